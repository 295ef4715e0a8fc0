"""Peers that vanish, rooms that must survive them, and a host that has no ports, no disk or no writable folder."""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from media_peer import MediaPeer, rates
from rawpeer import header, status
from running_gateway import Gateway
from stock import stock
from waiting import crowding, until

pytestmark = pytest.mark.e2e

OFFER = Path(__file__).parents[1] / "data" / "webrtc" / "chromium_sendonly.sdp"
SDP = {"Content-Type": "application/sdp"}


async def test_a_peer_that_vanishes_is_freed_while_others_go_on(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "gateway", media_more="silence_timeout_s = 4")
    one, other, third = (MediaPeer(gateway.sip, f"or{number}") for number in (1, 2, 3))
    for number, peer in enumerate((one, other, third), start=1):
        gateway.device(f"or-{number}", peer.uri, "theatre")
    async with one, other, third, gateway:
        for peer in (one, other, third):
            await peer.call("theatre")
        await until("all are in", lambda: devices_in(gateway, {"or-1", "or-2", "or-3"}))
        await one.vanish()
        began = time.monotonic()
        # What the two hear of each other doesn't suffer while the third is missed and freed.
        found = await rates((other.audio, third.audio), 3.0)
        assert found == pytest.approx([50, 50], rel=0.2)
        await until("it is freed", lambda: devices_in(gateway, {"or-2", "or-3"}), within_s=4)
        assert time.monotonic() - began < 6 * crowding()
        found = await rates((other.audio, other.video, third.audio, third.video), 1.5)
        assert found == pytest.approx([50, 25, 50, 25], rel=0.2)
        (closed,) = gateway.log_lines("session.closed")
        assert (closed["device"], closed["reason"]) == ("or-1", "silent")
        # It may come back at once, under the same name, from another port.
        back = MediaPeer(gateway.sip, "or1")
        async with back:
            await back.call("theatre")
            await until("it is in again", lambda: devices_in(gateway, {"or-1", "or-2", "or-3"}))


async def devices_in(gateway: Gateway, wanted: set[str]) -> bool:
    return {session["device"] for session in await gateway.sessions()} == wanted


async def test_a_room_survives_the_crash_of_its_last_member(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "gateway", media_more="silence_timeout_s = 2")
    device = MediaPeer(gateway.sip, "or1")
    gateway.device("or-1", device.uri, "theatre")
    async with device, gateway, aiohttp.ClientSession(gateway.url) as http:
        async with stock(http) as browser:  # type: ignore[arg-type]
            await browser.publish("/rooms/theatre/whip?name=dr-li")
            await device.call("theatre")
            await until("they see each other", lambda: browser.connected and device.video.total > 10, within_s=15)
            await device.vanish()
            await until("the device is freed", lambda: devices_in(gateway, {None}), within_s=6)  # type: ignore[arg-type]
            (room,) = await gateway.api("GET", "/rooms")
            assert [member["name"] for member in room["participants"]] == ["dr-li"]
            # The last one crashes as well: no DELETE, no DTLS goodbye, no ICE answers any more.
            for transceiver in browser.pc.getTransceivers():
                await transceiver.sender.transport.transport._connection.close()
        await until("nobody is left", lambda: devices_in(gateway, set()), within_s=32, every_s=0.5)
        status_now = await gateway.api("GET", "/status")
        assert (status_now["engine"]["legs"], status_now["engine"]["streams"], status_now["rooms"]) == (0, 0, 0)
        again = MediaPeer(gateway.sip, "or1")
        async with again:
            await again.call("theatre")
            await until("the room is open again", lambda: devices_in(gateway, {"or-1"}))
            await again.hangup()


async def endless() -> AsyncIterator[bytes]:
    """A body that doesn't say how long it will be."""
    while True:
        yield b"a=x\r\n" * 1000


WRONG_BODIES: list[tuple[Any, str, frozenset[int]]] = [
    (b"x" * 70_000, "application/sdp", frozenset({413})),
    (b"x" * 20_000_000, "application/sdp", frozenset({413})),
    (endless, "application/sdp", frozenset({413})),
    (b"", "application/sdp", frozenset({422})),
    (b"garbage", "application/sdp", frozenset({400})),
    (b"\xff\xfe\x00", "application/sdp", frozenset({400})),
    (b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", "application/sdp", frozenset({400, 406, 422})),
    (b"{}", "application/json", frozenset({415})),
]


async def test_wrong_bodies_for_whip_are_refused_in_words(tmp_path: Path) -> None:
    async with Gateway(tmp_path / "gateway") as gateway, aiohttp.ClientSession(gateway.url) as http:
        for body, kind, wanted in WRONG_BODIES:
            data = body() if callable(body) else body
            try:
                async with http.post("/rooms/theatre/whip", data=data, headers={"Content-Type": kind}) as response:
                    answer = await response.json()
                    assert response.status in wanted, answer
                    assert set(answer) == {"error", "what", "do"}
                    assert answer["what"]
            except aiohttp.ClientConnectionError:
                # It hung up on a body that it doesn't want to hear to its end.
                assert 413 in wanted
        offer = OFFER.read_text()
        async with http.post("/rooms/theatre/whip?name=a", data=offer, headers=SDP) as response:
            assert response.status == 201
            location = response.headers["Location"]
        async with http.delete(location) as response:
            assert response.status == 200
        found = await gateway.api("GET", "/status")
        assert (found["sessions"], found["engine"]["legs"], found["rooms"]) == (0, 0, 0)
        assert gateway.log_lines("request.failed") == []


async def test_without_a_free_media_port_callers_are_told(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "gateway")
    one, other = MediaPeer(gateway.sip, "or1"), MediaPeer(gateway.sip, "or2")
    gateway.device("or-1", one.uri, "theatre")
    gateway.device("or-2", other.uri, "theatre")
    gateway.write()
    first = gateway.media_ports
    text = gateway.config.read_text()
    gateway.config.write_text(re.sub(r'udp_ports = "[^"]+"', f'udp_ports = "{first}-{first + 3}"', text))
    async with one, other:
        await gateway.start()
        try:
            await one.call("theatre")
            _, final = await other.sip.invite(other.offer(), room="theatre")
            assert status(final) in (488, 503), final
            said = final.splitlines()[0] + header(final, "Warning") + header(final, "Reason")
            assert "media port" in said, final
            async with aiohttp.ClientSession(gateway.url) as http:
                url = "/rooms/theatre/whip?name=a"
                async with http.post(url, data=OFFER.read_text(), headers=SDP) as response:
                    assert response.status == 503, await response.text()
                    problem = await response.json()
                    assert "media.udp_ports" in problem["what"] + problem["do"]
            causes = [line for line in gateway.log_lines("leg.failed") if line["level"] == "error"]
            assert causes
            assert [session["device"] for session in await gateway.sessions()] == ["or-1"]
            assert not gateway.log_lines("request.failed")
            # What was bound in vain is free again: when the first one goes, the second gets in.
            await one.hangup()
            await asyncio.sleep(0.2)
            await until("the ports are free", lambda: gets_in(other), within_s=8, every_s=0.5)
        finally:
            await gateway.__aexit__()


async def gets_in(peer: MediaPeer) -> bool:
    _, final = await peer.sip.invite(peer.offer(), room="theatre")
    return status(final) == 200


@pytest.mark.parametrize(
    ("settings", "environment", "words"),
    [
        ('[http]\nlisten = "127.0.0.1:{port}"\ntls_certificate = "auto"', "STATE_DIRECTORY", "that folder writable"),
        ('[http]\nlisten = "127.0.0.1:{port}"\n[control]\nsocket = "{file}/sock"', "", "control.socket names another"),
    ],
)
async def test_a_folder_that_cant_be_written_is_said_in_one_line(
    tmp_path: Path, settings: str, environment: str, words: str
) -> None:
    # A file where a folder has to be: nobody can write below it, root neither.
    file = tmp_path / "file"
    file.write_text("")
    gateway = Gateway(tmp_path / "gateway", transports=())
    gateway.folder.mkdir()
    gateway.config.write_text(settings.format(port=gateway.http, file=file) + '\n[log]\nformat = "json"\n')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orbridge.gateway.cli.main", "serve", "-c", str(gateway.config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"XDG_RUNTIME_DIR": str(tmp_path), **({environment: f"{file}/state"} if environment else {})},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 1
    said = [line for line in output.decode().splitlines() if '"error"' in line]
    assert len(said) == 1, output.decode()
    assert words in said[0]


async def test_a_full_disk_under_the_log_costs_no_call(tmp_path: Path) -> None:
    """Every write of the log fails with ENOSPC."""
    gateway = Gateway(tmp_path / "gateway")
    device = MediaPeer(gateway.sip, "or1")
    gateway.device("or-1", device.uri, "theatre")
    gateway.write()
    (gateway.folder / "log").symlink_to("/dev/full")
    async with device:
        await gateway.start()
        try:
            await device.call("theatre")
            await until("it is in", lambda: devices_in(gateway, {"or-1"}))
            await device.hangup()
            await until("it is out", lambda: devices_in(gateway, set()))
        finally:
            assert await gateway.stop() < 5
