"""Mutations of real SIP messages through pjsip, the adapter and the negotiation, with a call standing by.

Oracle: the process lives, no exception reaches the border to pjsua2, the standing call stands, requests are still
answered, and when all is over nothing is left. ``ORBRIDGE_FUZZ_SIP`` says how many messages (seeded by their number).
"""

import asyncio
import os
import random
from typing import Any

import pytest
import structlog
from gateway_here import OR3, PORT, config, gateway
from rawpeer import Dialog, RawPeer, description, status
from sdp_calls import DEVICES, load

from orbridge.gateway.session import CloseReason, State

MESSAGES = int(os.environ.get("ORBRIDGE_FUZZ_SIP", "600"))
FAST_UPDATE = (
    '<?xml version="1.0"?><media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive>'
    "</media_control>"
)
SPICE = [
    b"%",
    b"\x00",
    b"\xff\xfe",
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b'"',
    b"<",
    b">",
    b";",
    b",",
    b"@",
    b":",
    b"*",
    b"-1",
    b"99999999999999999999",
    b"\xc3\x28",
    b"A" * 3000,
    b"m=video 0 RTP/AVP\r\n",
    b"a=rtpmap:96\r\n",
    b"a=fmtp:96 profile-level-id=zzzzzz\r\n",
    b"c=IN IP4\r\n",
]


class Recorder(RawPeer):
    """Gives the bytes of what it would send."""

    sent: bytes = b""

    def send(self, message: str | bytes) -> None:
        self.sent = message if isinstance(message, bytes) else message.encode()


def originals(peer: Recorder, standing: Dialog, rng: random.Random) -> bytes:
    """A valid message: in the standing call, or outside."""
    sdp = load(rng.choice(DEVICES)) if rng.random() < 0.7 else description()
    method = rng.choice(["INVITE", "INVITE", "INVITE", "UPDATE", "INFO", "REGISTER", "OPTIONS", "REFER", "ACK", "200"])
    within = rng.random() < 0.5 and method != "REGISTER"
    standing.cseq += 1
    known = (standing.call_id, standing.local, standing.remote, standing.target, standing.cseq + 1000)
    dialog = Dialog(*known) if within else peer.dialog()
    if method == "200":
        reply = f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:{PORT};branch=z9hG4bKx\r\nFrom: {dialog.remote}\r\n"
        reply += f"To: {dialog.local}\r\nCall-ID: {dialog.call_id}\r\nCSeq: 1 INVITE\r\n\r\n{sdp}"
        return reply.encode()
    content, kind = (sdp, "application/sdp") if method in ("INVITE", "UPDATE", "ACK") else ("", "")
    if method == "INFO":
        content, kind = rng.choice(
            [(FAST_UPDATE, "application/media_control+xml"), ("Signal=5\r\nDuration=1\r\n", "application/dtmf-relay")]
        )
    extra = ("Refer-To: <sip:x@127.0.0.1:1>",) if method == "REFER" else ()
    peer.request(method, dialog, content=content, content_type=kind, extra=extra)
    return peer.sent


def mutated(message: bytes, rng: random.Random) -> bytes:
    data = bytearray(message)
    for _ in range(rng.choice([0, 1, 1, 2, 4, 8])):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[at:at] = rng.choice(SPICE)
            case 1:
                del data[at : at + rng.choice([1, 1, 4, 40])]
            case 2:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                data[at:at] = data[at : at + rng.choice([1, 10, 200])]
            case 4:
                del data[at:]
            case _:
                lines = bytes(data).split(b"\r\n")
                rng.shuffle(lines)
                data = bytearray(b"\r\n".join(lines)) if rng.random() < 0.2 else data
        if not data:
            return b"\r\n"
    return bytes(data[:15_000])


@pytest.mark.timeout(600)
async def test_mutations_hurt_nobody() -> None:
    settings = config({"devices": [OR3], "sip": {"max_calls": 50}, "media": {"udp_ports": "41000-41999"}})
    logged: list[dict[str, Any]]
    with structlog.testing.capture_logs() as logged:
        async with gateway(settings) as gw:
            # every call of the fuzzer is the same device's: without this, each would replace the standing one
            gw.adapter._replace = lambda _device: None  # type: ignore[method-assign]
            named = iter(range(10**9))
            gw.books.admit_device = lambda device, _room: gw.books.admit_guest("or-3", f"or-3-{next(named)}")  # type: ignore[method-assign]
            peer, recorder = await RawPeer(21510, PORT).open(), Recorder(21510, PORT)
            dialog, answer = await peer.invite(description())
            assert status(answer) == 200
            standing = await gw.active()
            opened = 0
            for number in range(MESSAGES):
                rng = random.Random(number)
                peer.send(mutated(originals(recorder, dialog, rng), rng))
                if number % 20 == 19:
                    await asyncio.sleep(0.01)
                if number % 100 == 99:
                    assert status(await peer.transact("OPTIONS", peer.dialog())) == 200
                    opened += len(gw.books.sessions)
                    for session in gw.books.sessions:
                        if session is not standing:
                            session.close(CloseReason.LOCAL_HANGUP)
                    gw.books.sessions[:] = [standing]
            assert opened > MESSAGES // 100, "some of them were still calls"
            # it may have been ended by a BYE-like mutation, but never by a fault of ours
            if standing.state is State.CLOSED:
                assert standing.reason is not CloseReason.FAULT
            standing.close(CloseReason.LOCAL_HANGUP)
            for session in list(gw.adapter.sessions()):
                session.close(CloseReason.LOCAL_HANGUP)
            peer.forget()
            assert status(await peer.transact("OPTIONS", peer.dialog())) == 200
            assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}
            peer.close()
    assert [line for line in logged if line["event"] in ("callback.failed", "handler.failed")] == []
