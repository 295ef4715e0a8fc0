"""Calls in numbers, made by sipp: every one is answered rightly, and nothing is left of them.

The routing core of these tests gives each call a name of its own, because the load is one configured device that calls
often; the adapter's rule that a device's new call replaces its old one is tested elsewhere.
"""

import asyncio
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from gateway_here import PORT, Books, Gateway, config, gateway

from orbridge.adapters.sip.adapter import SipAdapter
from orbridge.gateway.adapter import Admission
from orbridge.gateway.config import Device
from orbridge.gateway.session import CloseReason, State

pytestmark = pytest.mark.e2e

SCENARIOS = Path(__file__).parents[2] / "data" / "sipp"
SIPP = 21530
LOAD = {"name": "load", "adapter": "sip", "address": f"sip:load@127.0.0.1:{SIPP}", "room": "or-3"}
SETTINGS: dict[str, Any] = {
    "devices": [LOAD],
    "sip": {"max_calls": 500},
    "media": {"udp_ports": "42000-44999", "silence_timeout_s": 0},
}


async def sipp(scenario: str, tmp_path: Path, *options: str) -> str:
    """Run sipp to its end; gives what it says when it fails, else nothing."""
    process = await asyncio.create_subprocess_exec(
        "sipp",
        f"127.0.0.1:{PORT}",
        "-sf",
        str(SCENARIOS / scenario),
        *("-i", "127.0.0.1", "-p", str(SIPP), "-nostdin", "-trace_err", "-timeout", "100"),
        *options,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TERM": "dumb"},
    )
    output, _ = await process.communicate()
    return "" if process.returncode == 0 else output.decode("utf-8", "replace")[-3000:]


@pytest.fixture
def _named_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count(1)
    monkeypatch.setattr(
        Books,
        "admit_device",
        lambda _books, device, _room: Admission(device.room, f"{device.name}-{next(numbers)}", device),
    )
    monkeypatch.setattr(SipAdapter, "_replace", lambda _adapter, _device: None)


def memory_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.usefixtures("_named_apart")
async def test_five_hundred_calls(tmp_path: Path) -> None:
    async with gateway(config(SETTINGS)) as gw:
        assert await sipp("caller.xml", tmp_path, "-m", "500", "-r", "100", "-l", "500") == ""
        assert len(gw.books.sessions) == 500
        assert {session.reason for session in gw.books.sessions} == {CloseReason.REMOTE_HANGUP}
        assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}


@pytest.mark.usefixtures("_named_apart")
async def test_descriptors_and_memory_come_back(tmp_path: Path) -> None:
    async with gateway(config(SETTINGS)) as gw:
        assert await sipp("caller.xml", tmp_path, "-m", "150", "-r", "100", "-l", "500") == ""
        descriptors, memory = len(os.listdir("/proc/self/fd")), memory_kib()
        for _ in range(3):
            gw.books.sessions.clear()
            assert await sipp("caller.xml", tmp_path, "-m", "150", "-r", "100", "-l", "500") == ""
        await gw.until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
        # pjsip keeps a transaction for 32 s after its end: 450 of them are in this figure
        assert memory_kib() - memory < 80_000


async def test_calls_to_a_room_system(tmp_path: Path) -> None:
    async with gateway(config(SETTINGS)) as gw:
        device = gw.context.config.devices[0]
        running = asyncio.create_task(sipp("callee.xml", tmp_path, "-m", "10"))
        await asyncio.sleep(0.5)
        for _ in range(10):
            await one_call(gw, device)
        assert await running == ""
        assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}


async def one_call(gw: Gateway, device: Device) -> None:
    session = await gw.adapter.dial(device, "or-3")
    await gw.until(lambda: session.state is State.ACTIVE)
    assert len(session.sinks) == 2
    await session.hangup(CloseReason.LOCAL_HANGUP)
