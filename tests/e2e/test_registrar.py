"""Registering both ways with the daemon: at Kamailio, as a hospital's PBX, and baresip at us."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from media_peer import MediaPeer
from peer_baresip import Baresip
from ports import free_port
from running_gateway import Gateway
from test_daemon import orbridge
from waiting import crowding, until

pytestmark = pytest.mark.e2e

TEMPLATE = Path(__file__).parents[1] / "data" / "kamailio" / "registrar.cfg"
REGISTRAR = """
[[registrars]]
uri = "sip:orbridge@127.0.0.1:{port}"
username = "orbridge"
password_file = "pbx"
expires_s = 60
room = "theatre"
"""
CART = 'username = "cart-7"\npassword_file = "cart"'


@asynccontextmanager
async def kamailio(folder: Path, port: int, device: int) -> AsyncIterator[None]:
    """``device``: the port of the SIP device that is a trunk of this PBX."""
    folder.mkdir(exist_ok=True)
    text = TEMPLATE.read_text("utf-8").replace("PORT", str(port)).replace("DEVICE", str(device))
    (folder / "kamailio.cfg").write_text(text.replace("PASSWORD", "s3cret"), "utf-8")
    command = ["kamailio", "-DD", "-E", "-f", str(folder / "kamailio.cfg"), "-Y", str(folder), "-m", "16", "-M", "4"]
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        finally:
            # With its children at once: its own way out sometimes waits a minute for one of them.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def registering(tmp_path: Path, port: int, password: str) -> Gateway:
    gateway = Gateway(tmp_path / "gateway", more=REGISTRAR.format(port=port))
    gateway.folder.mkdir(parents=True)
    (gateway.folder / "pbx").write_text(password)
    return gateway


async def registration(gateway: Gateway) -> dict[str, Any]:
    (found,) = (await gateway.api("GET", "/status"))["adapters"]["sip"]["registrations"]
    assert isinstance(found, dict)
    return found


async def is_state(gateway: Gateway, state: str) -> bool:
    return bool((await registration(gateway))["state"] == state)


async def test_a_call_through_kamailio_into_the_room(tmp_path: Path) -> None:
    """baresip calls the name that we registered; a device in the room and it hear and see each other."""
    pbx = free_port()
    async with Baresip(tmp_path / "caller", user="caller", tone=440) as caller:
        gateway = registering(tmp_path, pbx, "s3cret")
        member = MediaPeer(gateway.sip, "or1")
        gateway.device("or-1", member.uri, "theatre")
        async with kamailio(tmp_path / "pbx", pbx, caller.sip), member, gateway:
            await until("registered", lambda: is_state(gateway, "registered"), within_s=8)
            await member.call("theatre")
            await caller.dial(f"sip:orbridge@127.0.0.1:{pbx}")
            await caller.event("CALL_ESTABLISHED")
            before = member.audio.total, member.video.total
            await asyncio.sleep(3)
            # What the room's other member gets of the caller.
            assert member.audio.total - before[0] > 100
            assert member.video.total - before[1] > 50
            by_name = {session["name"]: session for session in await gateway.sessions()}
            assert by_name["caller"]["room"] == "theatre"
            assert by_name["caller"]["device"] is None
            await caller.command("hangup")
            await until("it has left", lambda: has_left(gateway, "caller"))
            await asyncio.sleep(0.5)
            received, _ = caller.packets()["audio"]
            assert received > 100, "and the caller hears the room"
            assert caller.packets()["video"][0] > 30


async def has_left(gateway: Gateway, name: str) -> bool:
    return name not in {session["name"] for session in await gateway.sessions()}


async def test_a_wrong_password_is_said_in_the_status(tmp_path: Path) -> None:
    pbx = free_port()
    gateway = registering(tmp_path, pbx, "guess")
    async with kamailio(tmp_path / "pbx", pbx, 1), gateway:
        await until("refused", lambda: is_state(gateway, "refused"), within_s=8)
        found = await registration(gateway)
        assert found["registrar"] == f"127.0.0.1:{pbx}"
        assert "401" in found["detail"] or "403" in found["detail"]
        said = gateway.log_lines("registration.changed")
        assert [line["state"] for line in said] == ["refused"]
        assert "guess" not in gateway.folder.joinpath("log").read_text()
        _, out, _ = await orbridge("status", "--socket", str(gateway.control))
        assert "refused" in out
        assert "401" in out or "403" in out


async def test_registered_again_within_five_seconds_of_the_registrars_return(tmp_path: Path) -> None:
    pbx = free_port()
    gateway = registering(tmp_path, pbx, "s3cret")
    async with gateway:
        await until("it is missed", lambda: is_state(gateway, "registering"), within_s=3)
        async with kamailio(tmp_path / "pbx", pbx, 1):
            await until("registered", lambda: is_state(gateway, "registered"), within_s=6)
        before = len(gateway.log_lines("registration.changed"))
        # Longer than its probe's interval, and it comes back without its memory.
        await asyncio.sleep(8)
        async with kamailio(tmp_path / "pbx", pbx, 1):
            back = time.monotonic()

            def is_registered_anew() -> bool:
                states = [line["state"] for line in gateway.log_lines("registration.changed")[before:]]
                return states[-1:] == ["registered"]

            await until("registered anew", is_registered_anew, within_s=6.5)
            # The registrar itself takes a moment until it listens.
            assert time.monotonic() - back < 6 * crowding()
            assert await is_state(gateway, "registered")


async def test_a_device_that_registers_with_us(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "gateway")
    gateway.folder.mkdir(parents=True)
    (gateway.folder / "cart").write_text("s3cret")
    gateway.device("cart", "", "theatre", CART)
    member = MediaPeer(gateway.sip, "or1")
    gateway.device("or-1", member.uri, "theatre")
    async with member, gateway:
        async with Baresip(tmp_path / "thief", user="thief") as thief:
            await thief.command("uanew", account(gateway, "wrong"))
            await thief.event("REGISTER_FAIL")
            assert await state_of(gateway, "cart") == "unknown"
            refused = (await gateway.api("GET", "/status"))["adapters"]["sip"]["refused"]
            assert refused["credentials"] >= 1
        async with Baresip(tmp_path / "cart", user="spare", tone=440) as device:
            await device.command("uanew", account(gateway, "s3cret"))
            await device.event("REGISTER_OK")
            assert await state_of(gateway, "cart") == "registered"
            await member.call("theatre")
            status, out, err = await orbridge("call", "cart", "--socket", str(gateway.control))
            assert status == 0, err
            assert "calling cart" in out
            await device.event("CALL_ESTABLISHED")
            before = member.video.total
            await asyncio.sleep(2)
            assert member.video.total - before > 30, "the room sees it"
            assert await state_of(gateway, "cart") == "connected"
            status, _, _ = await orbridge("call", "cart", "--socket", str(gateway.control))
            assert status == 1, "it is in a call already"
            await device.command("uafind", f"sip:cart-7@127.0.0.1:{gateway.sip}")
            await device.command("hangup")
            await until("it has left", lambda: has_left(gateway, "cart"))
        # On its end baresip unregisters.
        await until("its address is forgotten", lambda: bindings(gateway, 0))
        status, _, err = await orbridge("call", "cart", "--socket", str(gateway.control))
        assert status == 1
        assert "isn't registered" in err


def account(gateway: Gateway, password: str) -> str:
    return f"<sip:cart-7@127.0.0.1:{gateway.sip}>;auth_user=cart-7;auth_pass={password};regint=60;answermode=auto"


async def state_of(gateway: Gateway, name: str) -> str:
    found = {device["name"]: device["state"] for device in await gateway.api("GET", "/devices")}
    return str(found[name])


async def bindings(gateway: Gateway, count: int) -> bool:
    return len((await gateway.api("GET", "/status"))["adapters"]["sip"]["bindings"]) == count
