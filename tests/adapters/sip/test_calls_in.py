"""Calls from a device, over the wire: who is let in, what is answered, how it ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from gateway_here import OR3, PORT, Gateway, config, gateway
from rawpeer import RawPeer, answer_to, body, description, directions, header, media_lines, status

from orbridge.codecs.media import Kind, Role
from orbridge.gateway.session import CloseReason, State

PEER = 21510


@pytest.fixture
async def gw() -> AsyncIterator[Gateway]:
    async with gateway(config({"devices": [OR3]})) as made:
        yield made


@pytest.fixture
async def or3(gw: Gateway) -> AsyncIterator[RawPeer]:
    peer = await RawPeer(PEER, PORT).open()
    yield peer
    peer.close()


async def test_a_configured_device_is_answered_with_sound_and_picture(gw: Gateway, or3: RawPeer) -> None:
    dialog, answer = await or3.invite(description())
    assert status(answer) == 200
    assert [status(m) for m in or3.seen] == [100, 180, 200]
    audio, video = media_lines(body(answer))
    assert audio.startswith("m=audio 415")
    assert video.split()[3:] == ["96"], "the packetization mode 1 that was offered second"
    session = await gw.active()
    assert (session.name, session.device, session.room, session.inbound) == ("or-3", "or-3", "or-3", True)
    assert session.published == {Role.MAIN: "or-3/main"}
    assert {(sink.kind, sink.codec.name) for sink in session.sinks} == {(Kind.AUDIO, "PCMA"), (Kind.VIDEO, "H264")}
    assert status(await or3.transact("BYE", dialog)) == 200
    assert await gw.closed(session) is CloseReason.REMOTE_HANGUP
    assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}


async def test_a_room_of_its_list_may_be_dialled(gw: Gateway, or3: RawPeer) -> None:
    await or3.invite(description(), room="tumour-board")
    assert (await gw.active()).room == "tumour-board"


async def test_a_room_that_is_not_on_its_list_becomes_its_own(gw: Gateway, or3: RawPeer) -> None:
    await or3.invite(description(), room="board-of-directors")
    assert (await gw.active()).room == "or-3"


async def test_our_hangup_is_a_bye(gw: Gateway, or3: RawPeer) -> None:
    await or3.invite(description())
    session = await gw.active()
    ending = gw.adapter.sessions()
    assert list(ending) == [session]
    session.close(CloseReason.LOCAL_HANGUP)
    assert gw.leftovers()["legs"] == 0, "media is freed before the peer confirms"
    or3.reply(await or3.wait("BYE "), 200)
    assert await gw.closed(session) is CloseReason.LOCAL_HANGUP


async def test_hangup_is_bounded_when_the_peer_is_gone(gw: Gateway, or3: RawPeer) -> None:
    await or3.invite(description())
    session = await gw.active()
    await session.hangup(CloseReason.LOCAL_HANGUP)
    assert session.state is State.CLOSED
    await or3.wait("BYE ")
    await or3.wait("BYE ")  # nobody answers, so it is said again


async def test_a_caller_that_gives_up(gw: Gateway, or3: RawPeer) -> None:
    gw.books.refusal = None
    dialog, answer = await or3.invite(description(), ack=False)
    assert status(answer) == 200
    # the ACK never comes; a CANCEL is too late by then, a BYE isn't
    await or3.transact("BYE", dialog)
    assert await gw.closed(gw.books.last) is CloseReason.REMOTE_HANGUP


async def test_an_unknown_caller_is_refused_and_then_not_even_that(gw: Gateway) -> None:
    stranger = await RawPeer(21511, PORT, user="mrs-miller", host="127.0.0.1").open()
    gw.adapter._gate.configure([], lambda name: "")
    try:
        answers = []
        for _ in range(5):
            _, answer = await stranger.invite(description())
            answers.append(status(answer))
        assert answers == [403] * 5
        stranger.forget()
        stranger.request("INVITE", stranger.dialog(), content=description())
        await stranger.nothing("SIP/2.0", 0.3)
    finally:
        stranger.close()
    assert gw.adapter.status()["refused"] == {"unknown": 6, "silenced": 1}
    assert gw.books.sessions == []


async def test_no_common_codec_is_488_with_the_reason_kept(gw: Gateway, or3: RawPeer) -> None:
    offer = description(video=None, audio_formats="3").replace("a=rtpmap:8 PCMA", "a=rtpmap:3 GSM")
    _, answer = await or3.invite(offer)
    assert status(answer) == 488
    session = gw.books.last
    assert await gw.closed(session) is CloseReason.NO_COMMON_CODEC
    assert "GSM" in session.reason_text
    assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}


async def test_video_alone_is_taken(gw: Gateway, or3: RawPeer) -> None:
    text = description()
    offer = text[: text.index("m=audio")] + text[text.index("m=video") :]
    _, answer = await or3.invite(offer)
    assert status(answer) == 200
    assert [line.split()[0] for line in media_lines(body(answer))] == ["m=video"]


async def test_a_description_that_is_none(gw: Gateway, or3: RawPeer) -> None:
    _, answer = await or3.invite("v=0\r\no=x 1 1 IN IP4 1.1.1.1\r\ngarbage")
    assert status(answer) // 100 == 4
    assert gw.leftovers()["sessions"] == 0


async def test_a_late_offer(gw: Gateway, or3: RawPeer) -> None:
    _, answer = await or3.invite("", ack_sdp=description(video_pt="96", audio_formats="8 101"))
    assert len(media_lines(body(answer))) == 2
    session = await gw.active()
    await gw.until(lambda: session.sinks)
    assert {sink.codec.name for sink in session.sinks} == {"PCMA", "H264"}


async def test_the_same_device_again_replaces_its_call(gw: Gateway, or3: RawPeer) -> None:
    await or3.invite(description())
    first = await gw.active()
    _, answer = await or3.invite(description())
    assert status(answer) == 200
    assert first.reason is CloseReason.REMOTE_HANGUP
    second = await gw.active()
    assert second is not first
    assert second.published == {Role.MAIN: "or-3/main"}


async def test_options_in_and_out_of_a_call(gw: Gateway, or3: RawPeer) -> None:
    answer = await or3.transact("OPTIONS", or3.dialog())
    assert status(answer) == 200
    assert "INVITE" in header(answer, "Allow")
    dialog, _ = await or3.invite(description())
    assert status(await or3.transact("OPTIONS", dialog)) == 200


@pytest.mark.parametrize(("method", "code"), [("MESSAGE", 405), ("SUBSCRIBE", 405), ("PUBLISH", 405), ("REFER", 603)])
async def test_what_is_not_for_us_outside_a_call(gw: Gateway, or3: RawPeer, method: str, code: int) -> None:
    assert status(await or3.transact(method, or3.dialog())) == code


async def test_a_message_in_a_call_is_refused_and_the_call_stays(gw: Gateway, or3: RawPeer) -> None:
    dialog, _ = await or3.invite(description())
    session = await gw.active()
    answer = await or3.transact("MESSAGE", dialog, content="hello", content_type="text/plain")
    assert status(answer) == 405
    assert session.state is State.ACTIVE


async def test_refer_is_declined(gw: Gateway, or3: RawPeer) -> None:
    dialog, _ = await or3.invite(description())
    answer = await or3.transact("REFER", dialog, extra=("Refer-To: <sip:x@127.0.0.1:21512>",))
    assert status(answer) == 603
    assert len(gw.books.sessions) == 1


async def test_refer_is_followed_where_the_device_may() -> None:
    """The device connects the room with somebody else, and leaves."""
    async with gateway(config({"devices": [{**OR3, "allow_refer": True}]})) as gw:
        or3, other = await RawPeer(PEER, PORT).open(), await RawPeer(21512, PORT, user="x").open()
        try:
            dialog, _ = await or3.invite(description())
            await gw.active()
            answer = await or3.transact("REFER", dialog, extra=("Refer-To: <sip:x@127.0.0.1:21512>",))
            assert status(answer) == 202
            invite = await other.wait("INVITE ")
            other.reply(invite, 200, sdp=answer_to(body(invite)))
            await other.wait("ACK ")
            made = gw.books.last
            await gw.until(lambda: made.state is State.ACTIVE and made.sinks)
            assert (made.device, made.room, made.inbound) == (None, "or-3", False)
            notify = await or3.wait(lambda m: m.startswith("NOTIFY ") and " 200 " in body(m))
            or3.reply(notify, 200)
            await or3.transact("BYE", dialog)
            await asyncio.sleep(0.1)
            assert made.state is State.ACTIVE
            await made.hangup(CloseReason.LOCAL_HANGUP)
            await other.wait("BYE ")
        finally:
            or3.close()
            other.close()


async def test_replaces_is_declined(gw: Gateway, or3: RawPeer) -> None:
    dialog, answer = await or3.invite(description())
    session = await gw.active()
    ours = header(answer, "To").partition("tag=")[2]
    theirs = dialog.local.partition("tag=")[2]
    replaces = f"Replaces: {dialog.call_id};to-tag={ours};from-tag={theirs}"
    _, refused = await or3.invite(description(), extra=("Require: replaces", replaces))
    assert status(refused) >= 400
    assert session.state is State.ACTIVE


async def test_hold_and_resume_by_the_device(gw: Gateway, or3: RawPeer) -> None:
    dialog, _ = await or3.invite(description())
    session = await gw.active()
    for direction, ours, state in (
        ("sendonly", "recvonly", State.HELD),
        ("sendrecv", "sendrecv", State.ACTIVE),
        ("inactive", "inactive", State.HELD),
        ("sendrecv", "sendrecv", State.ACTIVE),
    ):
        _, answer = await or3.invite(description(direction=direction, version=2), dialog)
        assert directions(body(answer)) == [ours, ours]
        await gw.until(lambda wanted=state: session.state is wanted)


async def test_picture_removed_and_added_later(gw: Gateway, or3: RawPeer) -> None:
    dialog, _ = await or3.invite(description(video=None))
    session = await gw.active()
    assert [sink.kind for sink in session.sinks] == [Kind.AUDIO]
    audio = session.sinks[0]
    await or3.invite(description(version=2), dialog)
    await gw.until(lambda: len(session.sinks) == 2)
    await or3.invite(description(version=3, video=0), dialog)
    await gw.until(lambda: len(session.sinks) == 1)
    assert session.sinks[0] is audio, "sound went on all the time"
    await or3.invite(description(version=4), dialog)
    await gw.until(lambda: len(session.sinks) == 2)


async def test_update_changes_the_ports(gw: Gateway, or3: RawPeer) -> None:
    dialog, _ = await or3.invite(description())
    await gw.active()
    answer = await or3.transact("UPDATE", dialog, content=description(version=2, audio=31000, video=31002))
    assert status(answer) == 200
    assert len(media_lines(body(answer))) == 2
    assert status(await or3.transact("UPDATE", dialog)) == 200


async def test_a_reinvite_without_a_description(gw: Gateway, or3: RawPeer) -> None:
    dialog, _ = await or3.invite(description())
    session = await gw.active()
    changes = gw.books.changes
    _, answer = await or3.invite("", dialog, ack_sdp=description(version=5, video_pt="96", audio=34000))
    assert status(answer) == 200
    assert len(media_lines(body(answer))) == 2
    await gw.until(lambda: gw.books.changes > changes)
    assert session.state is State.ACTIVE


async def test_a_refused_reoffer_leaves_all_as_it_was(gw: Gateway, or3: RawPeer) -> None:
    dialog, _ = await or3.invite(description())
    session = await gw.active()
    sinks = list(session.sinks)
    offer = description(video=None, audio_formats="3", version=2).replace("a=rtpmap:8 PCMA", "a=rtpmap:3 GSM")
    _, answer = await or3.invite(offer + "m=video 0 RTP/AVP 96\r\n", dialog)
    assert status(answer) == 488
    assert session.state is State.ACTIVE
    assert session.sinks == sinks


async def test_info_asks_for_a_picture_and_presses_keys(gw: Gateway, or3: RawPeer) -> None:
    dialog, _ = await or3.invite(description(audio_formats="8 0"))
    await gw.active()
    update = (
        '<?xml version="1.0"?><media_control><vc_primitive><to_encoder><picture_fast_update/>'
        "</to_encoder></vc_primitive></media_control>"
    )
    answer = await or3.transact("INFO", dialog, content=update, content_type="application/media_control+xml")
    assert status(answer) == 200
    for content_type, text in (("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"), ("application/dtmf", "#")):
        assert status(await or3.transact("INFO", dialog, content=text, content_type=content_type)) == 200
    assert status(await or3.transact("INFO", dialog, content="x", content_type="text/x-own")) == 415
    assert gw.books.digits == ["5", "#"]


async def test_stop_says_goodbye_to_everyone(or3: RawPeer, gw: Gateway) -> None:
    await or3.invite(description())
    session = await gw.active()
    stopping = asyncio.create_task(gw.adapter.stop(3.0))
    await or3.wait("BYE ")  # this one is lost
    or3.reply(await or3.wait("BYE "), 200)
    await asyncio.wait_for(stopping, 1.5)  # half of the time that it has
    assert session.reason is CloseReason.SHUTDOWN


async def test_calls_above_the_limit_are_busy_and_ended_ones_do_not_count() -> None:
    second = {**OR3, "name": "or-4", "address": "sip:or4@127.0.0.1:21514"}
    async with gateway(config({"devices": [OR3, second], "sip": {"max_calls": 1}})) as gw:
        or3, or4 = await RawPeer(PEER, PORT).open(), await RawPeer(21514, PORT, user="or4").open()
        try:
            await or3.invite(description())
            first = await gw.active()
            _, busy = await or4.invite(description())
            assert status(busy) == 486
            # its BYE is never answered
            await first.hangup(CloseReason.LOCAL_HANGUP)
            _, answer = await or4.invite(description())
            assert status(answer) == 200
        finally:
            or3.close()
            or4.close()
