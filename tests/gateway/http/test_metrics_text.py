"""/metrics as Prometheus reads it."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families


async def test_metrics_parse_and_count(start) -> None:
    running = await start()
    running.gateway.join("sip", "or-3", device="or-3")
    running.gateway.join("whip", "or-3", name="Dr. Li")
    running.gateway.join("whip", "made-up-room", name="Mallory")
    await running.ask("GET", "/api/v1/rooms/or-3", "desk")
    await running.ask("GET", "/api/v1/rooms/or-9", "desk")
    await running.ask("GET", "/random/address")
    _, text, response = await running.ask("GET", "/metrics", "desk")
    assert response.content_type == "text/plain"
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return samples[name, tuple(sorted(labels.items()))]

    assert value("orbridge_build", version="1.2.3") == 1
    assert value("orbridge_ready") == 1
    assert value("orbridge_sessions", adapter="fake", state="active") == 3
    assert value("orbridge_participants", room="or-3", kind="guest") == 1
    assert value("orbridge_participants", room="other", kind="guest") == 1
    assert value("orbridge_device_connected", device="or-3") == 1
    assert value("orbridge_device_connected", device="or-9") == 0
    assert value("orbridge_device_bitrate_bps", device="or-3", role="main", kind="video") == 1_500_000
    assert value("orbridge_device_loss_ratio", device="or-3", role="main", kind="video") == pytest.approx(0.013)
    assert value("orbridge_engine_packets_in_total") == 7
    assert value("orbridge_engine_rejected_total") == 3
    assert value("orbridge_engine_cpu_seconds_total") == 2.0
    assert value("orbridge_conversions", kind="video") == 1
    assert value("orbridge_conversions_limit", kind="video") == 2
    assert value("orbridge_conversions_backlog_seconds", kind="video") == pytest.approx(0.04)
    assert value("orbridge_conversions_refused_total", kind="video") == 3
    assert value("orbridge_conversions_failed_total", kind="video") == 1
    route = "/api/v1/rooms/{room}"
    assert value("orbridge_http_requests_total", method="GET", route=route, status="200") == 2
    assert value("orbridge_http_requests_total", method="GET", route="unknown", status="404") == 1
    assert any(name == "process_open_fds" for name, _ in samples)
    for private in ("Li", "Mallory", "made-up-room", "random"):
        assert private not in text
