"""Program: an engine that takes plain RTP in, builds pictures and sends them on, as the daemon uses it.

``engine_relay STREAMS PROFILE FIRST_SINK_PORT PORTS MODE``: says its inbound ports as JSON, answers every line with
the engine's totals, ends with its input. PROFILE: an SRTP profile or ``plain``. MODE: ``idle``, or ``blocked``: one
call that never gives up the interpreter takes 300 ms of every second.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence

import uvloop

from orbridge.codecs._engine import Engine
from orbridge.gateway import log
from orbridge.gateway.bus import Bus
from orbridge.gateway.config import Log
from tests.bench.keys import INBOUND, OUTBOUND, sized
from tests.bench.programs import Lines
from tests.bench.trace import Camera

PT = 96


def main(streams: int, profile: str, first_sink: int, ports: tuple[int, int], mode: str) -> None:
    log.configure(Log())
    engine = Engine(udp_ports=ports)
    inbound = []
    for number in range(streams):
        into = engine.open_leg("127.0.0.1")
        out = engine.open_leg("127.0.0.1", secure=profile != "plain")
        out.set_peer("127.0.0.1", first_sink + 2 * number)
        if profile != "plain":
            out.set_keys(profile, sized(OUTBOUND, profile), sized(INBOUND, profile))
        track = engine.publish(f"camera-{number}").add_track("video", "H264", clock_hz=90_000)
        into.add_receiver(track, payload_types={PT: "H264"}, nack=True, pli=True, fir=True)
        sender = out.add_sender(
            "H264",
            PT,
            clock_hz=90_000,
            ssrc=5000 + number,
            cname="bench",
            rtx_pt=97,
            rtx_ssrc=9000 + number,
            # Room for what the camera puts into its packets, so that as many go out as came in.
            max_payload_bytes=Camera().packet_bytes - 12,
        )
        sender.select(track)
        inbound.append(into.port)
    uvloop.run(serve(engine, inbound, mode))


async def serve(engine: Engine, ports: Sequence[object], mode: str) -> None:
    bus = Bus(engine)
    bus.start()
    ended = asyncio.Event()
    calls = calls_for_300_ms() if mode == "blocked" else 0

    def hear() -> None:
        heard = os.read(0, 4096)
        if not heard:
            ended.set()
        for _ in range(heard.count(b"\n")):
            Lines.say(engine.stats())

    loop = asyncio.get_running_loop()
    loop.add_reader(0, hear)
    blocking = loop.create_task(block(calls)) if calls else None
    Lines.say(ports)
    await ended.wait()
    if blocking is not None:
        blocking.cancel()
    bus.close()


async def block(calls: int) -> None:
    while True:
        await asyncio.sleep(0.7)
        hold_interpreter(calls)


def hold_interpreter(calls: int) -> None:
    """One call into C: nothing else of Python runs before it returns."""
    sum(range(calls))


def calls_for_300_ms() -> int:
    count = 1_000_000
    for _ in range(4):
        began = time.perf_counter()
        hold_interpreter(count)
        count = int(count * 0.3 / (time.perf_counter() - began))
    return count


if __name__ == "__main__":
    low, _, high = sys.argv[4].partition("-")
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), (int(low), int(high)), sys.argv[5])
