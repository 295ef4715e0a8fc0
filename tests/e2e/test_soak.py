"""Three thousand calls by sipp through the running daemon: none fails, and nothing is left of them.

The calls come from 300 devices, for a device's new call replaces its old one; three share a room and overlap a little,
so that rooms, mixers and routes come and go as well.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from ports import free_port
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SCENARIO = Path(__file__).parents[1] / "data" / "sipp" / "soak.xml"
DEVICES, ROOMS = 300, 100
PER_SECOND = 100
# Growth that is allowed over two thousand calls: what fragmentation of the heap may cost, 6 KiB a call.
GROWTH_KIB = 12_288
# A finished call's transactions are remembered for 32 s (RFC 3261 17.2.2), and memory is given back every 30 s.
SETTLED_WITHIN_S = 75.0


@dataclass(frozen=True)
class Footprint:
    """What the daemon holds."""

    rss_kib: int
    descriptors: int
    threads: int
    legs: int
    streams: int
    sessions: int
    rooms: int


async def footprint(gateway: Gateway) -> Footprint:
    status = await gateway.api("GET", "/status")
    threads = len(list(Path(f"/proc/{gateway.process.pid}/task").iterdir()))
    engine = status["engine"]
    return Footprint(
        gateway.rss_kib(),
        gateway.descriptors(),
        threads,
        engine["legs"],
        engine["streams"],
        status["sessions"],
        len([room for room in await gateway.api("GET", "/rooms") if room["open"]]),
    )


async def call_often(gateway: Gateway, folder: Path, port: int, calls: int, transport: str) -> None:
    """Fails when one of the calls failed."""
    names = folder / "names.csv"
    names.write_text("SEQUENTIAL\n" + "".join(f"load{number:03};\n" for number in range(DEVICES)))
    output = (folder / f"sipp-{transport}.out").open("wb+")
    process = await asyncio.create_subprocess_exec(
        "sipp",
        f"127.0.0.1:{gateway.sip}",
        *("-sf", str(SCENARIO), "-inf", str(names), "-t", "t1" if transport == "tcp" else "u1"),
        *("-m", str(calls), "-r", str(PER_SECOND), "-l", "1000"),
        *("-i", "127.0.0.1", "-p", str(port), "-nostdin", "-trace_err", "-timeout", "100"),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TERM": "dumb"},
    )
    status = await process.wait()
    output.seek(0)
    said = output.read().decode("utf-8", "replace")
    output.close()
    assert status == 0, said[-3000:]


async def test_three_thousand_calls_leave_nothing_behind(tmp_path: Path) -> None:
    port = free_port()
    gateway = Gateway(tmp_path / "gateway", sip_more="max_calls = 400")
    for number in range(DEVICES):
        gateway.device(f"load{number:03}", f"sip:load{number:03}@127.0.0.1:{port}", f"ward-{number % ROOMS}")
    async with gateway:
        # Over TCP, where nothing of a finished call is kept, so that the warm state is known at once.
        await call_often(gateway, tmp_path, port, 1000, "tcp")
        warm = await settled(gateway)
        await call_often(gateway, tmp_path, port, 2000, "udp")
        assert (await settled(gateway)).sessions == 0

        async def memory_is_back() -> bool:
            return (await footprint(gateway)).rss_kib - warm.rss_kib < GROWTH_KIB

        await until("the memory is as it was before", memory_is_back, SETTLED_WITHIN_S, every_s=1.0)
        after = await footprint(gateway)
        assert after.descriptors <= warm.descriptors
        assert after.threads <= warm.threads
        assert (after.legs, after.streams, after.sessions, after.rooms) == (0, 0, 0, 0)
        closed = gateway.log_lines("session.closed")
        assert len(closed) == 3000
        assert {line["reason"] for line in closed} == {"remote_hangup"}
        bad = [line for line in gateway.log_lines() if line.get("level") in ("error", "critical")]
        assert bad == []


async def settled(gateway: Gateway) -> Footprint:
    async def is_empty() -> bool:
        found = await footprint(gateway)
        return (found.legs, found.streams, found.sessions, found.rooms) == (0, 0, 0, 0)

    await until("every session, leg, stream and room is gone", is_empty, within_s=5)
    return await footprint(gateway)
