"""``/metrics`` for Prometheus: counted when asked, from what the gateway knows at that moment.

Labels name devices, adapters and rooms of the config only: a guest's name is nobody's business there, and made-up
room names would grow the series without bound.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from orbridge.gateway.http.auth import Guard
from orbridge.gateway.http.connections import Connections
from orbridge.gateway.http.facade import Gateway
from orbridge.gateway.http.room_events import RoomEvents
from orbridge.gateway.http.room_view import View
from orbridge.gateway.http.schema import StreamState, TrackState

# Members of Engine.stats that only grow, with what they count.
ENGINE_COUNTERS = {
    "packets_in": "RTP and RTCP packets that arrived.",
    "packets_out": "RTP and RTCP packets that were sent.",
    "bytes_in": "Bytes that arrived.",
    "bytes_out": "Bytes that were sent.",
    "rejected": "Malformed, foreign or unauthentic packets that were dropped.",
    "events_dropped": "Events of the engine that Python was too slow for.",
}
ENGINE_SECONDS = {"cpu_ns": "CPU time of the media thread.", "mixer_cpu_ns": "CPU time of the mixers."}
ENGINE_GAUGES = {
    "legs": "RTP transports.",
    "streams": "Streams on the bus.",
    "subscribers": "Subscribers of tracks.",
}


class Metrics:
    """The registry, the request counter and the handler of ``/metrics``."""

    def __init__(
        self, gateway: Gateway, view: View, guard: Guard, room_events: RoomEvents, connections: Connections
    ) -> None:
        self._guard = guard
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(GatewayCollector(gateway, view, guard, room_events, connections))
        self._requests = Counter(
            "orbridge_http_requests", "Answered requests.", ("method", "route", "status"), registry=self.registry
        )

    async def handle(self, request: web.Request) -> web.Response:
        """GET /metrics."""
        self._guard.require(request, "operate", None)
        text = generate_latest(self.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    def middleware(self) -> Middleware:
        """Counts requests by route, never by address: the number of series stays bounded."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "unknown"
            method = request.method if request.method in KNOWN_METHODS else "other"
            try:
                response = await handler(request)
            except web.HTTPException as exc:
                self._requests.labels(method, route, str(exc.status)).inc()
                raise
            self._requests.labels(method, route, str(response.status)).inc()
            return response

        return count


KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class GatewayCollector(Collector):
    """Reads the gateway when Prometheus asks."""

    def __init__(
        self, gateway: Gateway, view: View, guard: Guard, room_events: RoomEvents, connections: Connections
    ) -> None:
        self._gateway, self._view, self._guard = gateway, view, guard
        self._room_events, self._connections = room_events, connections

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._of_daemon()
        yield from self._of_sessions()
        yield from self._of_devices()
        yield from self._of_engine()
        yield from self._of_conversions()
        yield from self._of_streams()
        yield from self._of_http()

    def _of_daemon(self) -> Iterator[Metric]:
        status = self._gateway.status()
        build = GaugeMetricFamily("orbridge_build", "Which version runs; always 1.", labels=["version"])
        build.add_metric([str(status.get("version", ""))], 1)
        yield build
        yield gauge("orbridge_ready", "1 when calls are taken.", int(self._gateway.ready))
        yield gauge("orbridge_up_seconds", "Seconds since the start.", float(status.get("up_s", 0.0)))

    def _of_sessions(self) -> Iterator[Metric]:
        tally = Tally((session.adapter, str(session.state)) for session in self._gateway.sessions())
        sessions = GaugeMetricFamily("orbridge_sessions", "Sessions by state.", labels=["adapter", "state"])
        for (adapter, state), number in sorted(tally.items()):
            sessions.add_metric([adapter, state], number)
        yield sessions
        rooms = self._gateway.rooms.all()
        yield gauge("orbridge_rooms", "Open rooms.", len(rooms))
        named = {room.name for room in self._gateway.config.rooms} | {d.room for d in self._gateway.config.devices}
        people = GaugeMetricFamily("orbridge_participants", "Who is in, by room.", labels=["room", "kind"])
        counted: Tally[tuple[str, str]] = Tally()
        for room in rooms:
            label = room.name if room.name in named else "other"
            counted.update((label, member.kind) for member in room.participants)
        for (label, kind), number in sorted(counted.items()):
            people.add_metric([label, kind], number)
        yield people

    def _of_devices(self) -> Iterator[Metric]:
        connected = GaugeMetricFamily("orbridge_device_connected", "1 when it is in a call.", labels=["device"])
        registered = GaugeMetricFamily(
            "orbridge_device_reachable", "1 when it is in a call or registered.", labels=["device"]
        )
        for device in self._view.devices():
            connected.add_metric([device.name], int(device.state == "connected"))
            registered.add_metric([device.name], int(device.state in ("connected", "registered")))
        yield connected
        yield registered

    def _of_engine(self) -> Iterator[Metric]:
        stats = self._gateway.bus.engine.stats()
        for name, text in ENGINE_COUNTERS.items():
            if name in stats:
                yield counter(f"orbridge_engine_{name}", text, total(stats[name]))
        for name, text in ENGINE_SECONDS.items():
            if name in stats:
                yield counter(f"orbridge_engine_{name.removesuffix('_ns')}_seconds", text, stats[name] / 1e9)
        for name, text in ENGINE_GAUGES.items():
            if name in stats:
                yield gauge(f"orbridge_engine_{name}", text, stats[name])

    def _of_conversions(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("orbridge_conversions", "Tracks being decoded and encoded.", labels=["kind"])
        limit = GaugeMetricFamily("orbridge_conversions_limit", "How many may be at a time.", labels=["kind"])
        backlog = GaugeMetricFamily(
            "orbridge_conversions_backlog_seconds", "How late the latest of them is.", labels=["kind"]
        )
        refused = CounterMetricFamily("orbridge_conversions_refused", "Wishes over the limit.", labels=["kind"])
        failed = CounterMetricFamily("orbridge_conversions_failed", "Ended by what came.", labels=["kind"])
        for kind, facts in self._gateway.status().get("conversions", {}).items():
            running.add_metric([kind], len(facts["running"]))
            limit.add_metric([kind], facts["limit"])
            backlog.add_metric([kind], max((one["backlog_ms"] for one in facts["running"]), default=0) / 1000)
            refused.add_metric([kind], facts["refused"])
            failed.add_metric([kind], facts["failed"])
        yield from (running, limit, backlog, refused, failed)

    def _of_streams(self) -> Iterator[Metric]:
        labels = ["device", "role", "kind"]
        bitrate = GaugeMetricFamily("orbridge_device_bitrate_bps", "Bits a second that arrive.", labels=labels)
        lost = CounterMetricFamily("orbridge_device_lost_units", "Pictures and audio frames lost.", labels=labels)
        loss = GaugeMetricFamily("orbridge_device_loss_ratio", "Share of packets lost, last 5 s.", labels=labels)
        rtt = GaugeMetricFamily("orbridge_device_rtt_seconds", "Round trip to the device.", labels=labels)
        fps = GaugeMetricFamily("orbridge_device_fps", "Pictures a second.", labels=labels)
        for where, track in self._device_tracks():
            bitrate.add_metric(where, track.bitrate_bps)
            lost.add_metric(where, track.lost_units)
            if track.loss_percent is not None:
                loss.add_metric(where, track.loss_percent / 100)
            if track.rtt_ms is not None:
                rtt.add_metric(where, track.rtt_ms / 1000)
            if track.kind == "video":
                fps.add_metric(where, track.fps)
        yield from (bitrate, lost, loss, rtt, fps)

    def _device_tracks(self) -> Iterator[tuple[list[str], TrackState]]:
        """([device, role, kind], track) of what devices send."""
        streams: dict[str, StreamState] = {stream.name: stream for stream in self._view.streams()}
        for session in self._gateway.sessions():
            if session.device is None:
                continue
            for role, name in session.published.items():
                for track in streams[name].tracks if name in streams else ():
                    yield [session.device, str(role), track.kind], track

    def _of_http(self) -> Iterator[Metric]:
        yield gauge("orbridge_http_connections", "Open HTTP connections.", self._connections.open)
        yield gauge("orbridge_http_watchers", "Pages that look at a room.", self._room_events.watchers)
        yield counter("orbridge_http_connections_refused", "Connections over the limit.", self._connections.refused)
        yield counter("orbridge_http_tokens_refused", "Requests with a wrong token.", self._guard.refused)


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)


def total(value: Any) -> float:
    """A counter, or the sum of one that is split by cause."""
    return float(sum(value.values())) if isinstance(value, dict) else float(value)
