"""Calls to a device, over the wire: dialling, what the answers mean, changing the call from our side."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from gateway_here import OR3, PORT, Gateway, config, gateway
from rawpeer import RawPeer, answer_to, body, description, directions, header, media_lines, uri_in

from orbridge.adapters.sip.digest import expected_response, parse_authorization
from orbridge.adapters.sip.session import SipSession
from orbridge.codecs.media import Kind, Role
from orbridge.gateway.adapter import Refused
from orbridge.gateway.session import CloseReason, State

PEER = 21510
SILENT_DEVICE = {"name": "silent", "adapter": "sip", "address": "sip:x@127.0.0.1:21599", "room": "or-3"}
BARE = {"name": "bare", "adapter": "sip", "room": "or-3"}
GUARDED = {
    "name": "guarded",
    "adapter": "sip",
    "address": "sip:guarded@127.0.0.1:21510",
    "username": "gateway",
    "password_file": "pw",
    "room": "or-3",
}


@pytest.fixture
async def gw() -> AsyncIterator[Gateway]:
    devices = [OR3, SILENT_DEVICE, BARE, GUARDED]
    async with gateway(config({"devices": devices, "sip": {"ring_timeout_s": 1}}), {"pw": "s3cret"}) as made:
        yield made


@pytest.fixture
async def or3(gw: Gateway) -> AsyncIterator[RawPeer]:
    peer = await RawPeer(PEER, PORT).open()
    yield peer
    peer.close()


async def dialled(gw: Gateway, name: str = "or-3", room: str = "or-3") -> SipSession:
    device = next(device for device in gw.context.config.devices if device.name == name)
    return await gw.adapter.dial(device, room)


async def connected(gw: Gateway, or3: RawPeer, **more: object) -> tuple[SipSession, str]:
    """A call that the device has answered; with our offer."""
    session = await dialled(gw)
    invite = await or3.wait("INVITE ")
    or3.reply(invite, 200, sdp=answer_to(body(invite), **more))
    await or3.wait("ACK ")
    await gw.until(lambda: session.state is State.ACTIVE and session.sinks)
    return session, invite


async def test_a_device_is_called_and_answers(gw: Gateway, or3: RawPeer) -> None:
    session = await dialled(gw, room="tumour-board")
    assert (session.state, session.inbound, session.device) == (State.NEW, False, "or-3")
    invite = await or3.wait("INVITE ")
    assert invite.startswith("INVITE sip:or3@127.0.0.1:21510 SIP/2.0")
    assert uri_in(header(invite, "From")).startswith("sip:tumour-board@")
    assert [line.split()[0] for line in media_lines(body(invite))] == ["m=audio", "m=video"]
    or3.reply(invite, 180, "Ringing")
    await gw.until(lambda: session.state is State.RINGING)
    or3.reply(invite, 200, sdp=answer_to(body(invite)))
    await or3.wait("ACK ")
    await gw.until(lambda: session.state is State.ACTIVE)
    assert session.published == {Role.MAIN: "or-3/main"}
    assert {sink.kind for sink in session.sinks} == {Kind.AUDIO, Kind.VIDEO}
    dialog = or3.dialog_of(invite)
    await or3.transact("BYE", dialog)
    assert await gw.closed(session) is CloseReason.REMOTE_HANGUP
    assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (486, CloseReason.BUSY),
        (600, CloseReason.BUSY),
        (603, CloseReason.REJECTED),
        (404, CloseReason.UNREACHABLE),
        (480, CloseReason.UNREACHABLE),
        (488, CloseReason.NO_COMMON_CODEC),
        (302, CloseReason.REFUSED),
        (401, CloseReason.REFUSED),
    ],
)
async def test_what_answers_mean(gw: Gateway, or3: RawPeer, code: int, reason: CloseReason) -> None:
    session = await dialled(gw)
    invite = await or3.wait("INVITE ")
    extra = {
        302: ("Contact: <sip:elsewhere@127.0.0.1:21512>",),
        401: ('WWW-Authenticate: Digest realm="r", nonce="n", algorithm=MD5',),
    }
    or3.reply(invite, code, "Some Words", extra=extra.get(code, ()))
    assert await gw.closed(session) is reason
    assert session.reason_text
    assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}


async def test_nobody_answers(gw: Gateway, or3: RawPeer) -> None:
    session = await dialled(gw)
    invite = await or3.wait("INVITE ")
    or3.reply(invite, 180, "Ringing")
    cancel = await or3.wait("CANCEL ")
    or3.reply(cancel, 200)
    or3.reply(invite, 487, "Request Terminated")
    await or3.wait("ACK ")
    assert await gw.closed(session) is CloseReason.NO_ANSWER


async def test_nobody_is_there(gw: Gateway) -> None:
    session = await dialled(gw, "silent")
    assert await gw.closed(session) is CloseReason.NO_ANSWER
    assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}


async def test_hangup_while_it_rings_is_a_cancel(gw: Gateway, or3: RawPeer) -> None:
    session = await dialled(gw)
    or3.reply(await or3.wait("INVITE "), 180, "Ringing")
    await gw.until(lambda: session.state is State.RINGING)
    await session.hangup(CloseReason.LOCAL_HANGUP)
    await or3.wait("CANCEL ")
    assert session.reason is CloseReason.LOCAL_HANGUP


async def test_a_device_without_an_address_that_is_not_registered(gw: Gateway) -> None:
    with pytest.raises(Refused, match="isn't registered here"):
        await dialled(gw, "bare")


async def test_a_device_in_a_call_is_not_called_again(gw: Gateway, or3: RawPeer) -> None:
    await connected(gw, or3)
    with pytest.raises(Refused, match="in a call already"):
        await dialled(gw)


@pytest.mark.parametrize("target", ["sip:", "mailto:x@y", "sip:x@no-such-host.invalid"])
async def test_an_address_that_cannot_be_called(gw: Gateway, target: str) -> None:
    with pytest.raises(Refused):
        await gw.adapter.dial(target, "or-3")


async def test_any_address_can_be_called(gw: Gateway, or3: RawPeer) -> None:
    session = await gw.adapter.dial("sip:meeting.4711@127.0.0.1:21510", "or-3")
    invite = await or3.wait("INVITE sip:meeting.4711@")
    or3.reply(invite, 200, sdp=answer_to(body(invite)))
    await gw.until(lambda: session.state is State.ACTIVE)
    assert session.device is None
    assert "4711" not in session.remote, "user parts of strangers aren't shown"


async def test_early_media_flows_before_the_answer(gw: Gateway, or3: RawPeer) -> None:
    session = await dialled(gw)
    invite = await or3.wait("INVITE ")
    answer = answer_to(body(invite))
    or3.reply(invite, 183, "Session Progress", sdp=answer)
    await gw.until(lambda: session.sinks)
    assert session.state is State.CONNECTING
    or3.reply(invite, 200, sdp=answer)
    await gw.until(lambda: session.state is State.ACTIVE)
    assert len(session.sinks) == 2


async def test_a_challenge_is_answered_with_the_devices_password(gw: Gateway, or3: RawPeer) -> None:
    session = await dialled(gw, "guarded")
    invite = await or3.wait("INVITE ")
    or3.reply(invite, 407, extra=('Proxy-Authenticate: Digest realm="or", nonce="n1", algorithm=MD5, qop="auth"',))
    again = await or3.wait("INVITE ")
    auth = parse_authorization(header(again, "Proxy-Authorization"))
    assert auth.username == "gateway"
    assert auth.response == expected_response(auth, "INVITE", "s3cret")
    or3.reply(again, 200, sdp=answer_to(body(again)))
    await gw.until(lambda: session.state is State.ACTIVE)


async def test_hold_and_resume_by_us(gw: Gateway, or3: RawPeer) -> None:
    session, _ = await connected(gw, or3)
    session.hold()
    invite = await or3.wait("INVITE ")
    assert directions(body(invite)) == ["sendonly", "sendonly"]
    or3.reply(invite, 200, sdp=answer_to(body(invite), direction="recvonly", version=2))
    await or3.wait("ACK ")
    await gw.until(lambda: session.state is State.HELD)
    session.resume()
    invite = await or3.wait("INVITE ")
    assert directions(body(invite)) == ["sendrecv", "sendrecv"]
    or3.reply(invite, 200, sdp=answer_to(body(invite), version=3))
    await gw.until(lambda: session.state is State.ACTIVE)


async def test_a_refused_hold_leaves_the_call_as_it_was(gw: Gateway, or3: RawPeer) -> None:
    session, _ = await connected(gw, or3)
    session.hold()
    or3.reply(await or3.wait("INVITE "), 488)
    await or3.wait("ACK ")
    await asyncio.sleep(0.1)
    assert session.state is State.ACTIVE
    session.renegotiate()
    invite = await or3.wait("INVITE ")
    assert directions(body(invite)) == ["sendrecv", "sendrecv"]


async def test_glare_settles(gw: Gateway, or3: RawPeer) -> None:
    """Both sides re-INVITE at once: both refuse with 491 and try again after their own times (RFC 3261 14.1)."""
    session, first = await connected(gw, or3)
    dialog = or3.dialog_of(first)
    session.hold()
    ours = await or3.wait("INVITE ")
    or3.request("INVITE", dialog, content=description(video_pt="96", version=2))
    refused = await or3.wait("SIP/2.0 491")
    or3.request("ACK", dialog, cseq=dialog.invite_cseq, branch=dialog.branch)
    assert header(refused, "CSeq") == f"{dialog.invite_cseq} INVITE"
    or3.reply(ours, 491)
    await or3.wait("ACK ")
    assert session.state is State.ACTIVE
    # the device is not the owner of the Call-ID and may be first
    await or3.invite(answer_to(body(first), version=3), dialog)
    again = await or3.wait("INVITE ", 5.0)
    or3.reply(again, 200, sdp=answer_to(body(again), direction="recvonly", version=4))
    await gw.until(lambda: session.state is State.HELD)


async def test_a_lost_reinvite_race_is_retried(gw: Gateway, or3: RawPeer) -> None:
    """A re-INVITE of the device waits for its ACK while we want one too: ours comes after it."""
    session, first = await connected(gw, or3)
    dialog = or3.dialog_of(first)
    await or3.invite(answer_to(body(first), version=3), dialog, ack=False)
    session.hold()
    await or3.nothing("INVITE ", 0.3)
    or3.request("ACK", dialog, cseq=dialog.invite_cseq)
    held = await or3.wait("INVITE ", 2.0)
    assert directions(body(held)) == ["sendonly", "sendonly"]


@pytest.mark.parametrize("order", ["fewer", "more", "swapped"])
async def test_answers_whose_lines_do_not_fit(gw: Gateway, or3: RawPeer, order: str) -> None:
    session = await dialled(gw)
    invite = await or3.wait("INVITE ")
    text = answer_to(body(invite))
    cut = text.index("m=video")
    head, rest = text.index("m=audio"), text[cut:]
    audio = text[head:cut]
    answer = {
        "fewer": text[:cut],
        "more": text + "m=application 0 UDP/BFCP *\r\n",
        "swapped": text[:head] + rest + audio,
    }[order]
    or3.reply(invite, 200, sdp=answer)
    await or3.wait("ACK ")
    await gw.until(lambda: session.state is State.ACTIVE and session.sinks)
    kinds = {sink.kind for sink in session.sinks}
    assert kinds == ({Kind.AUDIO} if order == "fewer" else {Kind.AUDIO, Kind.VIDEO})


async def test_an_answer_without_anything_usable_ends_the_call(gw: Gateway, or3: RawPeer) -> None:
    session = await dialled(gw)
    invite = await or3.wait("INVITE ")
    refused = re.sub(r"^m=(\w+) \d+", r"m=\1 0", answer_to(body(invite)), flags=re.MULTILINE)
    or3.reply(invite, 200, sdp=refused)
    assert await gw.closed(session) is CloseReason.NO_COMMON_CODEC
    await or3.wait("BYE ")


async def test_key_frames_are_asked_for_by_info(gw: Gateway, or3: RawPeer) -> None:
    session, _ = await connected(gw, or3)
    track = gw.bus.engine.track("or-3/main", "video")
    assert track is not None
    session.want_keyframe(track, 1)
    session.want_keyframe(track, 2)
    await or3.nothing("INFO ", 0.2)
    session.want_keyframe(track, 3)
    info = await or3.wait("INFO ")
    assert header(info, "Content-Type") == "application/media_control+xml"
    assert "picture_fast_update" in body(info)
    session.want_keyframe(track, 4)
    await or3.nothing("INFO ", 0.2)
    or3.reply(info, 415)
    await asyncio.sleep(0.1)
    session.want_keyframe(track, 5)
    await or3.nothing("INFO ", 0.3)


async def test_key_frames_of_a_device_without_feedback(gw: Gateway, or3: RawPeer) -> None:
    session = await dialled(gw)
    invite = await or3.wait("INVITE ")
    or3.reply(invite, 200, sdp=re.sub(r"a=rtcp-fb.*\r\n", "", answer_to(body(invite))))
    await or3.wait("ACK ")
    await gw.until(lambda: session.state is State.ACTIVE and session.sinks)
    track = gw.bus.engine.track("or-3/main", "video")
    assert track is not None
    session.want_keyframe(track, 1)
    or3.reply(await or3.wait("INFO "), 200)


async def test_keys_go_out_as_info_where_rtp_events_were_not_agreed(gw: Gateway, or3: RawPeer) -> None:
    session = await dialled(gw)
    invite = await or3.wait("INVITE ")
    or3.reply(invite, 200, sdp=answer_to(body(invite), audio_formats="8"))
    await or3.wait("ACK ")
    await gw.until(lambda: session.state is State.ACTIVE and session.sinks)
    session.send_dtmf("4#")
    for key in "4#":
        info = await or3.wait("INFO ")
        assert f"Signal={key}" in body(info)
        or3.reply(info, 200)


async def test_a_late_offer_goes_out_and_is_answered_in_the_ack(gw: Gateway, or3: RawPeer) -> None:
    session, first = await connected(gw, or3)
    changes = gw.books.changes
    dialog = or3.dialog_of(first)
    dialog.cseq += 1
    _, ok = await or3.invite("", dialog, ack=False)
    or3.request("ACK", dialog, content=answer_to(body(ok), version=7, audio=35000), cseq=dialog.invite_cseq)
    await gw.until(lambda: gw.books.changes > changes)
    assert session.state is State.ACTIVE
