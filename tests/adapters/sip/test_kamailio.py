"""Kamailio as the hospital's registrar and proxy: digest, calls both ways through it, a restart that forgets us."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway_here import PORT, Gateway, config, gateway
from rawpeer import RawPeer, answer_to, body, description, status
from waiting import crowding

from orbridge.gateway.session import CloseReason, State

pytestmark = pytest.mark.e2e

TEMPLATE = Path(__file__).parents[2] / "data" / "kamailio" / "registrar.cfg"
PBX, DEVICE = 21550, 21551
ENTRY = {
    "uri": f"sip:orbridge@127.0.0.1:{PBX}",
    "username": "orbridge",
    "password_file": "pbx",
    "expires_s": 60,
    "room": "or-3",
}


def settings(transport: str = "udp") -> dict[str, Any]:
    way = {"registrar": f"sip:127.0.0.1:{PBX};transport={transport}"} if transport != "udp" else {}
    listen = [f"udp:127.0.0.1:{PORT}", f"tcp:127.0.0.1:{PORT}"]
    return {"registrars": [{**ENTRY, **way}], "sip": {"listen": listen}}


@asynccontextmanager
async def kamailio(folder: Path) -> AsyncIterator[None]:
    text = TEMPLATE.read_text("utf-8").replace("PORT", str(PBX)).replace("DEVICE", str(DEVICE))
    (folder / "kamailio.cfg").write_text(text.replace("PASSWORD", "s3cret"), "utf-8")
    command = ["kamailio", "-DD", "-E", "-f", str(folder / "kamailio.cfg"), "-Y", str(folder), "-m", "16", "-M", "4"]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        finally:
            # With its children at once: its own way out sometimes waits a minute for one of them.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def registered(gw: Gateway, within: float = 8.0) -> None:
    await gw.until(lambda: gw.adapter.status()["registrations"][0]["state"] == "registered", within)


@pytest.fixture
async def device() -> AsyncIterator[RawPeer]:
    peer = await RawPeer(DEVICE, PBX, user="device").open()
    yield peer
    peer.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_calls_through_it_both_ways(tmp_path: Path, device: RawPeer, transport: str) -> None:
    async with kamailio(tmp_path), gateway(config(settings(transport)), {"pbx": "s3cret"}) as gw:
        await registered(gw)
        dialog, answer = await device.invite(description(), room="orbridge")
        assert status(answer) == 200
        session = await gw.active()
        assert (session.room, session.inbound) == ("or-3", True)
        await session.hangup(CloseReason.LOCAL_HANGUP)
        device.reply(await device.wait("BYE "), 200)
        assert dialog.call_id

        session = await gw.adapter.dial(f"sip:device@127.0.0.1:{PBX}", "or-3")
        invite = await device.wait("INVITE ")
        assert "Record-Route" in invite
        device.reply(invite, 200, sdp=answer_to(body(invite)))
        await device.wait("ACK ")
        await gw.until(lambda: session.state is State.ACTIVE and len(session.sinks) == 2)


async def test_a_wrong_password(tmp_path: Path) -> None:
    async with kamailio(tmp_path), gateway(config(settings()), {"pbx": "guess"}) as gw:
        await gw.until(lambda: gw.adapter.status()["registrations"][0]["state"] == "refused", 8.0)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_restart_that_forgets_us(tmp_path: Path, device: RawPeer, transport: str) -> None:
    async with gateway(config(settings(transport)), {"pbx": "s3cret"}) as gw:
        async with kamailio(tmp_path):
            await registered(gw)
        # down for longer than an interval of the probe
        await asyncio.sleep(8.0)
        async with kamailio(tmp_path):
            back = time.monotonic()
            while time.monotonic() - back < 12.0:
                with contextlib.suppress(TimeoutError):
                    _, answer = await device.invite(description(), room="orbridge", within=0.5)
                    if status(answer) == 200:
                        break
                await asyncio.sleep(0.2)
            assert time.monotonic() - back < 5.5 * crowding()
            assert gw.books.sessions
