"""Fuzzing of the running daemon: SIP and SDP, WHIP and WHEP bodies, the API; a healthy call goes on beside it.

Oracle: the daemon lives and answers OPTIONS in time, none of its log lines is a fault, the healthy call (baresip and a
member of its room) keeps its media, and when all is over nothing is left of what the fuzzer opened.

Every case is made from its number alone, so that a failure can be repeated: ``ORBRIDGE_FUZZ_FIRST`` is the first
number; ``ORBRIDGE_FUZZ_SECONDS`` how long each run takes (a short one in ``make test``, ``make fuzz`` for long).
"""

import asyncio
import itertools
import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from media_peer import MediaPeer
from mutations import mutated
from peer_baresip import Baresip
from ports import free_port
from rawpeer import Dialog, RawPeer, description, header, status, uri_in
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.e2e]

SECONDS = float(os.environ.get("ORBRIDGE_FUZZ_SECONDS", "7"))
FIRST = int(os.environ.get("ORBRIDGE_FUZZ_FIRST", "0"))
DATA = Path(__file__).parents[1] / "data"
# So many that one's next call rarely cuts its last one short.
DEVICES = 40
SIP_OFFERS = [path.read_text("utf-8", "replace") for path in sorted((DATA / "sdp").glob("*.sdp"))]
WEB_OFFERS = [path.read_bytes() for path in sorted((DATA / "webrtc").glob("*.sdp"))]
FAULTS = frozenset({"leg.faulted", "handler.failed", "callback.failed", "request.failed", "adapter.failed", "unparsed"})
FAST_UPDATE = (
    "<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>"
)
FRAGMENT = (
    b"a=ice-ufrag:newfrag1\r\na=ice-pwd:newpassword0123456789abcd\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
    b"a=candidate:1 1 udp 2122260223 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n"
)


class Caller(RawPeer):
    """Confirms what it is answered, and ends every call but ``standing``, so that mutated INVITEs are whole calls."""

    standing = ""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        super().datagram_received(data, addr)
        text = data.decode("utf-8", "replace")
        if status(text) // 100 == 2 and header(text, "CSeq").endswith("INVITE"):
            number = int(header(text, "CSeq").split()[0])
            target = uri_in(header(text, "Contact"))
            dialog = Dialog(header(text, "Call-ID"), header(text, "From"), header(text, "To"), target)
            self.request("ACK", dialog, cseq=number)
            if dialog.call_id != self.standing:
                self.request("BYE", dialog, cseq=number + 1)
        elif text.startswith(("BYE ", "OPTIONS ", "INFO ", "UPDATE ")):
            self.reply(text, 200)
        elif text.startswith("INVITE "):
            self.reply(text, 488)


@asynccontextmanager
async def healthy_call(tmp_path: Path) -> AsyncIterator[tuple[Gateway, Caller]]:
    """A gateway in which baresip and another device talk to each other while the test does its worst.

    Gives a third device for the fuzzer, of another room.
    """
    async with Baresip(tmp_path / "or-1", user="or1") as device:
        # What the fuzzer opens and doesn't end goes by itself.
        gateway = Gateway(tmp_path / "gateway", media_more="silence_timeout_s = 3")
        member = MediaPeer(gateway.sip, "or2")
        fuzzer = await Caller(free_port(), gateway.sip, user="fuzzer-0").open()
        gateway.device("or-1", device.uri, "theatre")
        gateway.device("or-2", member.uri, "theatre")
        for number in range(DEVICES):
            address = f"sip:fuzzer-{number}@{fuzzer.at}"
            gateway.device(f"fuzzer-{number}", address, f"elsewhere-{number % 5}")
        async with member, gateway:
            await member.call("theatre")
            await device.dial(gateway.uri("or-1"))
            await device.event("CALL_ESTABLISHED")
            await until("pictures of it arrive", lambda: member.video.total > 20, within_s=15)
            watching = asyncio.create_task(watch(member))
            yield gateway, fuzzer
            watching.cancel()
            worst = await watching
            assert worst < 1.0, f"the healthy call had no packet for {worst:.2f} s"
            assert {"or-1", "or-2"} <= {session["device"] for session in await gateway.sessions()}
            await device.command("hangup")
            await device.event("CALL_CLOSED")
            await member.hangup()
            fuzzer.close()
            await until("nothing is left", lambda: nothing_left(gateway), within_s=45, every_s=0.5)
            assert [line for line in gateway.log_lines() if line["event"] in FAULTS] == []
            assert gateway.process.returncode is None


async def watch(member: MediaPeer) -> float:
    """The longest time without a packet of the other one's, sound or picture, until cancelled."""
    loop = asyncio.get_running_loop()
    worst = 0.0
    seen = {line: (line.total, loop.time()) for line in (member.audio, member.video)}
    try:
        while True:
            await asyncio.sleep(0.02)
            now = loop.time()
            for line, (total, since) in seen.items():
                if line.total != total:
                    seen[line] = (line.total, now)
                else:
                    worst = max(worst, now - since)
    except asyncio.CancelledError:
        return worst


async def nothing_left(gateway: Gateway) -> bool:
    found = await gateway.api("GET", "/status")
    return (found["sessions"], found["engine"]["legs"], found["engine"]["streams"]) == (0, 0, 0)


class Recorder(RawPeer):
    """Gives the bytes of what it would send."""

    sent = b""

    def send(self, message: str | bytes) -> None:
        self.sent = message if isinstance(message, bytes) else message.encode()


def sip_message(recorder: Recorder, within: Dialog | None, rng: random.Random) -> bytes:
    """A valid message, in a dialog or outside of one."""
    sdp = rng.choice(SIP_OFFERS) if rng.random() < 0.7 else description()
    methods = ("INVITE", "INVITE", "INVITE", "UPDATE", "INFO", "OPTIONS", "ACK", "PRACK", "REFER", "response")
    method = rng.choice(methods if within else (*methods, "REGISTER", "CANCEL", "BYE"))
    dialog = within or recorder.dialog("fuzzed")
    if method == "response":
        lines = [
            rng.choice(("SIP/2.0 200 OK", "SIP/2.0 180 Ringing", "SIP/2.0 491 Request Pending", "SIP/2.0 302 Moved")),
            f"Via: SIP/2.0/UDP {recorder.gateway_at};branch=z9hG4bK{rng.getrandbits(40):x}",
            f"From: {dialog.remote}",
            f"To: {dialog.local}",
            f"Call-ID: {dialog.call_id}",
            f"CSeq: {rng.randrange(100)} INVITE",
            f"Content-Length: {len(sdp)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + sdp).encode()
    content, kind = "", "application/sdp"
    if method in ("INVITE", "UPDATE", "ACK", "PRACK"):
        content = sdp
    elif method == "INFO":
        bodies = (
            (FAST_UPDATE, "application/media_control+xml"),
            ("Signal=5\r\nDuration=1\r\n", "application/dtmf-relay"),
        )
        content, kind = rng.choice(bodies)
    extra = ("Refer-To: <sip:x@127.0.0.1:1>",) if method == "REFER" else ()
    recorder.request(method, dialog, content=content, content_type=kind, extra=extra)
    return recorder.sent


async def ask(peer: RawPeer, method: str, dialog: Dialog, within_s: float, content: str = "") -> str:
    """The final answer to this very request, not to one of the fuzzer's."""
    peer.forget()
    peer.request(method, dialog, content=content)
    return await peer.wait(lambda text: status(text) >= 200 and header(text, "Call-ID") == dialog.call_id, within_s)


async def in_dialog(peer: Caller, numbers: Iterator[int]) -> Dialog | None:
    """A call of one of the fuzzer's devices, in which the next messages are.

    A device of which too many calls were replaced by newer ones, because mutations cost their goodbyes, is refused for
    half a minute: another one. None when all are.
    """
    for _ in range(DEVICES):
        peer.user = f"fuzzer-{next(numbers)}"
        dialog = peer.dialog("fuzzed")
        peer.standing = dialog.call_id
        final = await ask(peer, "INVITE", dialog, 5.0, description())
        if status(final) == 200:
            dialog.remote, dialog.target = header(final, "To"), uri_in(header(final, "Contact"))
            return dialog
        assert status(final) == 486, final
    return None


async def answers(peer: RawPeer, case: int) -> None:
    """OPTIONS is answered within two seconds."""
    try:
        final = await ask(peer, "OPTIONS", peer.dialog(), 2.0)
    except TimeoutError as exc:
        raise AssertionError(f"OPTIONS isn't answered; the last cases end before {case}") from exc
    assert status(final) == 200


async def test_sip(tmp_path: Path) -> None:
    async with healthy_call(tmp_path) as (gateway, peer):
        recorder = Recorder(peer.port, peer.gateway, user=peer.user)
        registrant = await RawPeer(free_port(), peer.gateway).open()
        end = time.monotonic() + SECONDS
        case, calls = FIRST, 0
        numbers = itertools.cycle(range(DEVICES))
        dialog: Dialog | None = None
        while time.monotonic() < end:
            # Half of them in an open dialog, which mutations end now and then.
            if case % 200 == 0:
                dialog = await in_dialog(peer, numbers)
                calls += dialog is not None
            rng = random.Random(case)
            within = dialog if case % 2 else None
            recorder.user = peer.user if within else f"fuzzer-{rng.randrange(DEVICES)}"
            if within is not None:
                within.cseq += 1
            message = sip_message(recorder, within, rng)
            # Who registers owns the address that it comes from, and that must not be all the fuzzer's devices'.
            (registrant if message.startswith(b"REGISTER") else peer).send(mutated(message, rng))
            case += 1
            if case % 10 == 0:
                await asyncio.sleep(0.005)
            if case % 100 == 0:
                await answers(peer, case)
                assert gateway.process.returncode is None
        assert calls > 1
        assert case - FIRST > 100 * SECONDS, "fewer cases than that find nothing"
        registrant.close()
        for session in await gateway.sessions():
            if str(session["device"]).startswith("fuzzer"):
                await gateway.api("DELETE", f"/sessions/{session['id']}")


async def test_http(tmp_path: Path) -> None:
    """WHIP and WHEP bodies, trickle fragments, and the API's addresses and bodies."""
    async with healthy_call(tmp_path) as (gateway, peer), aiohttp.ClientSession(gateway.url) as http:
        end = time.monotonic() + SECONDS
        case, created = FIRST, 0
        while time.monotonic() < end:
            rng = random.Random(case)
            kind = rng.randrange(4)
            if kind == 0:
                code = await api_case(http, rng)
            else:
                path = "/rooms/fuzzed/whip?name=f" if kind < 3 else "/streams/or-1/main/whep"
                body = mutated(rng.choice(WEB_OFFERS), rng, 70_000)
                code, location = await post(http, path, body, "application/sdp")
                if location:
                    created += 1
                    fragment = mutated(FRAGMENT, rng)
                    headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*"}
                    async with http.patch(location, data=fragment, headers=headers) as response:
                        assert response.status < 500, (case, await response.text())
                    async with http.delete(location) as response:
                        assert response.status in (200, 404), case
            assert code < 500, f"case {case}: {code}"
            case += 1
            if case % 50 == 0:
                await answers(peer, case)
        assert created > 3, "some mutations are still offers"
        assert case - FIRST > 20 * SECONDS


async def post(http: aiohttp.ClientSession, path: str, body: bytes, kind: str) -> tuple[int, str]:
    """(status, Location or nothing)."""
    async with http.post(path, data=body, headers={"Content-Type": kind}) as response:
        text = await response.text()
        if response.status >= 400:
            assert set(json.loads(text)) == {"error", "what", "do"}, text
        return response.status, response.headers.get("Location", "")


async def api_case(http: aiohttp.ClientSession, rng: random.Random) -> int:
    """One request to the API that changes nothing of the healthy call."""
    bodies = (
        b'{"target": "nobody", "room": "x"}',
        b'{"device": "fuzzer-1", "participant": null}',
        b"[]",
        b'{"a": 1e999}',
    )
    method, path = rng.choice(
        (
            ("POST", "/api/v1/calls"),
            ("PUT", "/api/v1/rooms/elsewhere-1/pin"),
            ("DELETE", f"/api/v1/sessions/sip-{rng.randrange(10**9, 10**12)}"),
            ("GET", f"/api/v1/rooms/{''.join(rng.choice('%2F.~é?#a') for _ in range(9))}"),
            ("GET", "/api/v1/streams"),
            ("GET", "/rooms/a%00b"),
            ("BREW", "/"),
        )
    )
    headers = {"Content-Type": "application/json"}
    async with http.request(method, path, data=mutated(rng.choice(bodies), rng, 70_000), headers=headers) as response:
        await response.read()
        return response.status
