"""Every device of the fixtures calls and is called, through pjsip and onto engine legs (A1, A14)."""

from collections.abc import AsyncIterator

import pytest
from gateway_here import OR3, PORT, Gateway, config, gateway
from rawpeer import RawPeer, body, status
from sdp_calls import DEVICES, device_answer, load

from orbridge.codecs import sdp
from orbridge.codecs.media import Kind
from orbridge.gateway.session import CloseReason, State

PEER = 21510
# Those that bring no codec of ours on a line: what is missing, and the note that says so.
WITHOUT_PICTURE = {"polycom_vsx7000", "microsoft_lync"}
WITHOUT_SOUND = {"huawei_mc850", "hikvision"}


@pytest.fixture
async def gw() -> AsyncIterator[Gateway]:
    async with gateway(config({"devices": [OR3]})) as made:
        yield made


@pytest.fixture
async def or3(gw: Gateway) -> AsyncIterator[RawPeer]:
    peer = await RawPeer(PEER, PORT).open()
    yield peer
    peer.close()


def kinds(device: str) -> set[Kind]:
    return {Kind.AUDIO, Kind.VIDEO} - (
        {Kind.VIDEO} if device in WITHOUT_PICTURE else {Kind.AUDIO} if device in WITHOUT_SOUND else set()
    )


@pytest.mark.parametrize("device", DEVICES)
async def test_it_calls(gw: Gateway, or3: RawPeer, device: str) -> None:
    offer = load(device)
    dialog, answer = await or3.invite(offer)
    assert status(answer) == 200
    session = await gw.active()
    assert {sink.kind for sink in session.sinks} == kinds(device)
    assert bool(session.notes) == (len(kinds(device)) < 2), "what is missing has its reason told, and nothing else"
    ours, theirs = sdp.parse(body(answer)), sdp.parse(offer)
    assert [media.kind for media in ours.media] == [media.kind for media in theirs.media]
    assert [media.proto for media in ours.media] == [media.proto for media in theirs.media]
    # the same offer again changes nothing
    _, again = await or3.invite(offer, dialog)
    assert sdp.parse(body(again)).media == ours.media
    await or3.transact("BYE", dialog)
    assert await gw.closed(session) is CloseReason.REMOTE_HANGUP


@pytest.mark.parametrize("device", DEVICES)
async def test_it_is_called(gw: Gateway, or3: RawPeer, device: str) -> None:
    session = await gw.adapter.dial(gw.context.config.devices[0], "or-3")
    invite = await or3.wait("INVITE ")
    or3.reply(invite, 200, sdp=device_answer(device, body(invite)))
    await or3.wait("ACK ")
    await gw.until(lambda: session.state in (State.ACTIVE, State.HELD) and session.sinks)
    assert {sink.kind for sink in session.sinks} == kinds(device)
    assert bool(session.notes) == (len(kinds(device)) < 2)


@pytest.mark.parametrize("policy", ["off", "optional", "mandatory"])
@pytest.mark.parametrize("device", ["tandberg_e20", "cisco_expressway", "tandberg_c20"])
async def test_what_the_policy_for_encryption_makes_of_it(device: str, policy: str) -> None:
    """E20: optional keys on RTP/AVP; Expressway: RTP/SAVP; C20: no keys at all."""
    async with gateway(config({"devices": [{**OR3, "srtp": policy}]})) as gw:
        peer = await RawPeer(PEER, PORT).open()
        try:
            _, answer = await peer.invite(load(device))
        finally:
            peer.close()
        refused = (device, policy) in (("cisco_expressway", "off"), ("tandberg_c20", "mandatory"))
        assert status(answer) == (488 if refused else 200)
        if not refused:
            keyed = policy != "off" and device != "tandberg_c20"
            assert ("a=crypto:" in body(answer)) == keyed
            legs = gw.books.last.stats()["legs"]
            assert {leg["secure"] for leg in legs} == {keyed}
