"""Bad SIP: unknown callers, wrong digests, malformed messages and descriptions; a call in the same gateway goes on."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from media_peer import MediaPeer, rates
from ports import free_port
from rawpeer import RawPeer, body, description, header, status
from running_gateway import Gateway
from torture import torture
from waiting import until

from orbridge.adapters.sip.digest import expected_response, parse_authorization

pytestmark = pytest.mark.e2e

PLACE = "0" * 32
FAULTS = ("leg.faulted", "handler.failed", "callback.failed", "request.failed", "unparsed")


class Stranger(RawPeer):
    """Somebody at another address than any device's."""

    def __init__(self, gateway: int) -> None:
        super().__init__(free_port(), gateway, user="scanner", host="127.0.0.2")

    @property
    def gateway_at(self) -> str:
        return f"127.0.0.1:{self.gateway}"

    def send(self, message: str | bytes) -> None:
        assert self._transport is not None
        data = message if isinstance(message, bytes) else message.encode()
        self._transport.sendto(data, ("127.0.0.1", self.gateway))


@contextlib.asynccontextmanager
async def in_a_call(tmp_path: Path) -> AsyncIterator[tuple[Gateway, MediaPeer, MediaPeer]]:
    """A gateway with two devices that see and hear each other; at the end they still do."""
    gateway = Gateway(tmp_path / "gateway")
    one, other = MediaPeer(gateway.sip, "or1"), MediaPeer(gateway.sip, "or2")
    gateway.device("or-1", one.uri, "theatre")
    gateway.device("or-2", other.uri, "theatre")
    async with one, other, gateway:
        await one.call("theatre")
        await other.call("theatre")
        lines = (one.audio, one.video, other.audio, other.video)
        await until("media flows both ways", lambda: all(line.total > 20 for line in lines))
        yield gateway, one, other
        for rate, wanted in zip(await rates(lines, 1.5), (50, 25, 50, 25), strict=True):
            assert rate == pytest.approx(wanted, rel=0.2)
        await one.hangup()
        await other.hangup()
        assert [line for line in gateway.log_lines() if line["event"] in FAULTS] == []
        errors = [line for line in gateway.log_lines() if line.get("level") == "error"]
        assert errors == []


async def refused(gateway: Gateway) -> dict[str, int]:
    found: dict[str, int] = (await gateway.api("GET", "/status"))["adapters"]["sip"]["refused"]
    return found


async def test_a_scanner_hears_five_refusals_and_then_nothing(tmp_path: Path) -> None:
    async with in_a_call(tmp_path) as (gateway, _, _):
        stranger = await Stranger(gateway.sip).open()
        began = time.monotonic()
        heard = []
        for number in range(60):
            stranger.user = f"{1000 + number}"
            stranger.request("INVITE" if number % 2 else "REGISTER", stranger.dialog("9011441"), content="")
            await asyncio.sleep(0.05)
        took = time.monotonic() - began
        heard = [message for message in stranger.seen if status(message) >= 200]
        assert [status(message) for message in heard] == [403] * 5
        counts = await refused(gateway)
        # as many as were asked, and what pjsip's peers repeat isn't repeated here
        assert counts["unknown"] == 60
        assert counts["silenced"] == 55
        lines = gateway.log_lines("caller.refused")
        assert 1 <= len(lines) <= took + 2
        assert sum(line["count"] for line in lines) <= 60
        assert {line["source"] for line in lines} == {"127.0.0.2"}
        assert {line["level"] for line in lines} == {"warning"}
        stranger.close()


async def test_wrong_digests(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "gateway")
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "icu").write_text("right password")
    gateway.device("icu", "", "icu", 'username = "icu"\npassword_file = "icu"')
    async with gateway:
        peer = await Stranger(gateway.sip).open()
        peer.user = "icu"
        for password, wanted in (("wrong", 403), ("", 403), ("right password", 200)):
            assert await registers(peer, password) == wanted
        # replayed, and with the answer to another request's challenge
        proof = peer.sent
        assert status(await peer.transact("REGISTER", peer.dialog(), extra=(f"Authorization: {proof}",))) != 200
        for junk in ("Digest", 'Digest username="icu"', "Digest " + "x" * 3000, "Basic aWN1OmljdQ==", "Digest ,,,=,="):
            peer.request("REGISTER", peer.dialog(), extra=(f"Authorization: {junk}",))
        await asyncio.sleep(0.3)
        counts = await refused(gateway)
        assert counts["credentials"] >= 2
        assert counts["authorization"] >= 1
        (binding,) = (await gateway.api("GET", "/status"))["adapters"]["sip"]["bindings"]
        assert "icu" in str(binding)
        peer.close()


async def registers(peer: Stranger, password: str) -> int:
    """Status of a REGISTER with a proof made with this password."""
    dialog = peer.dialog("icu")
    challenge = await peer.transact("REGISTER", dialog)
    assert status(challenge) == 401
    fields = header(challenge, "WWW-Authenticate").removeprefix("Digest ")
    uri = dialog.target
    text = f'Digest username="icu", uri="{uri}", response="{PLACE}", cnonce="c", nc=00000001, {fields}'.replace(
        'qop="auth"', "qop=auth"
    )
    auth = parse_authorization(text)
    response = expected_response(auth, "REGISTER", password)
    peer.sent = text.replace(PLACE, response)
    return status(await peer.transact("REGISTER", dialog, extra=(f"Authorization: {peer.sent}",)))


async def test_torture_messages(tmp_path: Path) -> None:
    async with in_a_call(tmp_path) as (gateway, one, _):
        stranger = await Stranger(gateway.sip).open()
        known = await RawPeer(free_port(), gateway.sip, user="or9").open()
        gateway.device("or-9", known.contact, "elsewhere")
        gateway.write()
        await gateway.api("POST", "/reload")
        # From a known device's address, which is let further in, and from nobody's.
        for peer in (known, stranger):
            for name, message, wanted in torture(peer):
                peer.forget()
                peer.send(message)
                if peer is known and wanted:
                    assert await final_status(peer, name) in wanted, name
            assert status(await one.sip.transact("OPTIONS", one.sip.dialog())) == 200
        sessions = await gateway.sessions()
        assert {session["device"] for session in sessions} >= {"or-1", "or-2"}
        for session in sessions:
            if session["device"] == "or-9":
                await gateway.api("DELETE", f"/sessions/{session['id']}")
        known.close()
        stranger.close()


async def final_status(peer: RawPeer, name: str) -> int:
    """0 when none comes."""
    try:
        return status(await peer.wait(lambda message: status(message) >= 200 and f"{name}@torture" in message, 1.0))
    except TimeoutError:
        return 0


async def test_a_device_gone_mad_takes_nobodys_place(tmp_path: Path) -> None:
    """It calls without end and confirms nothing; pjsip keeps a place for each such call for half a minute."""
    async with in_a_call(tmp_path) as (gateway, _, _):
        mad = await RawPeer(free_port(), gateway.sip, user="or9").open()
        last = await RawPeer(free_port(), gateway.sip, user="or8").open()
        gateway.device("or-9", mad.contact, "elsewhere")
        gateway.device("or-8", last.contact, "elsewhere")
        gateway.write()
        await gateway.api("POST", "/reload")
        began = time.monotonic()
        for _ in range(500):
            mad.request("INVITE", mad.dialog("x"), content=description())
            await asyncio.sleep(0.002)
        await until("it is told off", lambda: len([m for m in mad.seen if status(m) == 486]) > 400)
        _, final = await last.invite(description(), room="x")
        assert status(final) == 200
        found = (await gateway.api("GET", "/status"))["engine"]
        # Two lines for each of three that are in a call, and for the mad one's last.
        assert found["legs"] <= 8
        lines = [line for line in gateway.log_lines("caller.refused") if line.get("device") == "or-9"]
        assert 1 <= len(lines) <= time.monotonic() - began + 2
        assert (await refused(gateway))["busy"] > 400
        mad.close()
        last.close()


BROKEN_SDP = {
    "empty lines": "\r\n\r\n\r\n",
    "no media": "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n",
    "text": "this is not a description",
    "version": description().replace("v=0", "v=1"),
    "no address": description().replace("c=IN IP4 127.0.0.1\r\n", ""),
    "ports": description().replace("m=audio 30000", "m=audio 99999999999").replace("30002", "-1"),
    "formats": description(audio_formats="x y z"),
    "rtpmap": description().replace("PCMA/8000", "/").replace("H264/90000", "H264/0"),
    "nothing in common": description(audio_formats="3", video=None).replace("PCMA", "GSM"),
    "cut": description()[:95],
    "binary": "v=0\r\n" + "".join(chr(n) for n in range(1, 128)),
    "many": description() + "m=video 9 RTP/AVP 96\r\n" * 60,
    "endless": description() + "a=x:" + "y" * 9000 + "\r\n",
    "host": description().replace("127.0.0.1", "999.999.999.999"),
}


async def test_a_broken_reinvite_costs_only_itself(tmp_path: Path) -> None:
    async with in_a_call(tmp_path) as (gateway, one, other):
        assert one.dialog is not None
        for name, sdp in BROKEN_SDP.items():
            _, final = await one.sip.invite(sdp, one.dialog)
            # A description in which nothing can be used, or which says nothing new about what can, may be taken.
            assert 400 <= status(final) < 700 or "m=audio" in body(final), f"{name}: {final}"
            states = {session["device"]: session["state"] for session in await gateway.sessions()}
            assert states == {"or-1": "active", "or-2": "active"}, name
        _, final = await one.sip.invite(one.offer(version=9), one.dialog)
        assert status(final) == 200
        await until("media is as it was", lambda: flows(one, other), within_s=5)


async def flows(one: MediaPeer, other: MediaPeer) -> bool:
    found = await rates((one.audio, one.video, other.audio, other.video), 0.5)
    return all(rate > 15 for rate in found)


async def test_half_open_connections_to_sip_and_http(tmp_path: Path) -> None:
    async with in_a_call(tmp_path) as (gateway, one, _):
        before = gateway.descriptors()
        beginnings = {
            gateway.sip: [
                b"",
                b"INVITE sip:x@y SIP/2.0\r\n",
                b"\r\n\r\n",
                b"A" * 5000,
                random.Random(1).randbytes(900),
            ],
            gateway.http: [
                b"",
                b"GET / HTTP/1.1\r\nHost: x\r\n",
                b"POST /rooms/x/whip HTTP/1.1\r\nContent-Length: 9\r\n",
            ],
        }
        writers = []
        for port, texts in beginnings.items():
            for number in range(60):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(texts[number % len(texts)])
                writers.append(writer)
        await asyncio.sleep(0.5)
        assert status(await one.sip.transact("OPTIONS", one.sip.dialog())) == 200
        async with aiohttp.ClientSession() as client, client.get(f"{gateway.url}/healthz") as response:
            assert response.status == 200
        # Those that never say anything whole are let go, whether they end it themselves or not.
        await until("they are let go", lambda: gateway.descriptors() - before < 5, within_s=25, every_s=0.5)
        for writer in writers:
            writer.close()
        await until("nothing of them is left", lambda: gateway.descriptors() <= before + 2, within_s=5)
