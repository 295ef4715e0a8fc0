"""What `orbridge status` says of conversions."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, Group

from orbridge.gateway.cli.show import conversions

ONE = {"of": "or-3/endoscope/main", "from": "H265", "to": "H264", "users": ["webrtc-1", "sip-2"], "up_s": 65.0}


def shown(facts: dict[str, Any]) -> str:
    text = io.StringIO()
    Console(file=text, width=120).print(Group(*conversions(facts)))
    return text.getvalue()


def test_conversions_and_refusals() -> None:
    video = {"running": [{**ONE, "backlog_ms": 40}], "limit": 1, "refused": 3, "failed": 0}
    text = shown({"video": video, "audio": {"running": [], "limit": 24, "refused": 0, "failed": 0}})
    row = next(line for line in text.splitlines() if "endoscope" in line)
    assert row.split() == ["or-3/endoscope/main", "H265", "H264", "webrtc-1,", "sip-2", "1", "min", "40", "ms"]
    assert "3 wishes for video were over the limit of 1" in text
    assert "audio" not in text


def test_nothing_is_said_of_nothing() -> None:
    assert conversions({"video": {"running": [], "limit": 2, "refused": 0, "failed": 0}}) == []
    assert conversions({}) == []
