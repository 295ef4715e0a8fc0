"""CPU per packet relayed: plain RTP in, pictures, SRTP out; the engine against rtpengine, packet for packet."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.figures import Result, Samples, at_most
from tests.bench.keys import TAG_BYTES
from tests.bench.programs import Program, module, processors
from tests.bench.rtpengine import rtpengine
from tests.bench.trace import Camera, Counted, Trace, replay, replayer

STREAMS = 100
SECONDS = 4.0
CAMERA = Camera()
SOURCES, SINKS = 62000, 62200
ENGINE_PORTS, RTPENGINE_PORTS = "62500-64499", (64500, 65399)
PROFILES = {"gcm": "AEAD_AES_128_GCM", "cm": "AES_CM_128_HMAC_SHA1_80"}


def cameras(streams: int, seconds: float, *, timed: bool = False) -> Trace:
    """Streams that are phase shifted, each picture's packets back to back; timed: last packets of pictures."""
    trace = Trace()
    for number in range(streams):
        trace.socket(SOURCES + 2 * number)
    for number in range(streams):
        sink = trace.socket(SINKS + 2 * number)
        flow = trace.flow(number, sink, 96)
        shift = number * 1_000_000_000 // CAMERA.fps // streams
        for at, given, last in CAMERA.packets(seconds, 96, 0x1000 + number, place=number / streams):
            trace.packet(at + shift, flow, given, length=CAMERA.packet_bytes, timed=timed and last)
    return trace


def run(trace: Trace, ports: list[int], processor_ns: Callable[[], int], name: str) -> tuple[Counted, float]:
    """(what was counted, CPU us a packet of whatever ``processor_ns`` reads)."""
    with replayer(trace, [*ports, *[0] * len(ports)], name) as program:
        counted, used = replay(program, trace.seconds, processor_ns)
    return counted, used / 1e3 / counted.sent


def fault(counted: Counted, profile: str) -> str:
    """Why the run doesn't count; empty: it does. Every packet of every picture, and every byte of it."""
    for number, flow in enumerate(counted.flows):
        body = flow.sent * (CAMERA.packet_bytes - 12 + TAG_BYTES[profile])
        if (flow.packets, flow.payload_bytes, flow.duplicates) != (flow.sent, body, 0):
            return (
                f"stream {number}: {flow.sent} packets sent, {flow.packets} delivered, "
                f"{flow.payload_bytes - body:+d} bytes, {flow.duplicates} twice"
            )
        if flow.markers * CAMERA.fragments != flow.sent:
            return f"stream {number}: {flow.markers} pictures ended of {flow.sent // CAMERA.fragments}"
    return f"{counted.errors} send errors" if counted.errors else ""


def measure(suite: str, rounds: int) -> Result:
    profile = PROFILES[suite]
    trace = cameras(STREAMS, SECONDS)
    samples = Samples()
    with rtpengine(RTPENGINE_PORTS) as peer:
        for number in range(rounds):
            command = module("engine_relay", STREAMS, profile, SINKS, ENGINE_PORTS, "idle")
            with Program(command, processor=processors()[1], log="engine-relay") as engine:
                counted, ours = run(trace, engine.answer(), engine.processor_ns, "relay")
                totals = engine.ask("stats")
            calls = [peer.relay(profile, SOURCES + 2 * n, SINKS + 2 * n) for n in range(STREAMS)]
            theirs_counted, theirs = run(trace, [port for port, _ in calls], peer.processor_ns, "relay")
            for _, call_id in calls:
                peer.delete(call_id)
            problem = next(
                (
                    f"{who}: {said}"
                    for who, c in (("engine", counted), ("rtpengine", theirs_counted))
                    if (said := fault(c, profile))
                ),
                "",
            )
            if problem:
                samples.reject(f"round {number}: {problem}")
                continue
            samples.add(
                ours=ours,
                theirs=theirs,
                ratio=ours / theirs,
                thread=totals["cpu_ns"] / 1e3 / counted.sent,
                per_wakeup=counted.sent / totals["wakeups"],
            )
    return Result(
        f"relay_{suite}_vs_rtpengine",
        samples.figures(
            ("ratio", "engine / rtpengine", "", at_most(0.5)),
            ("ours", "engine", "us/packet", None),
            ("theirs", "rtpengine", "us/packet", None),
            ("thread", "engine's media thread", "us/packet", None),
            ("per_wakeup", "engine, packets a wake-up", "", None),
        ),
        samples.rejected,
        {"streams": STREAMS, "packets_per_s": STREAMS * 330, "seconds": SECONDS, "profile": profile},
    )
