"""Session timers (RFC 4028): who refreshes, what is too short, and that a peer which vanished is noticed."""

import re
from collections.abc import AsyncIterator

import pytest
from gateway_here import OR3, PORT, Gateway, config, gateway
from rawpeer import RawPeer, answer_to, body, description, header, status

from orbridge.gateway.session import CloseReason, State

PEER = 21510
# Below what RFC 4028 allows a configuration, so that a test lasts seconds.
INTERVAL_S = 6


@pytest.fixture
async def gw() -> AsyncIterator[Gateway]:
    sip = {"session_expires_s": INTERVAL_S, "min_se_s": INTERVAL_S}
    async with gateway(config({"devices": [OR3], "sip": sip})) as made:
        yield made


@pytest.fixture
async def or3(gw: Gateway) -> AsyncIterator[RawPeer]:
    peer = await RawPeer(PEER, PORT).open()
    yield peer
    peer.close()


def interval(message: str) -> tuple[int, str]:
    found = re.match(r"(\d+)(?:;refresher=(\w+))?", header(message, "Session-Expires"))
    assert found is not None, "no Session-Expires"
    return int(found[1]), found[2] or ""


async def test_too_short_an_interval_is_answered_with_ours(gw: Gateway, or3: RawPeer) -> None:
    extra = ("Supported: timer", "Session-Expires: 3;refresher=uas", "Min-SE: 3")
    _, answer = await or3.invite(description(), extra=extra)
    assert status(answer) == 422
    assert header(answer, "Min-SE") == str(INTERVAL_S)


async def test_we_refresh_when_the_caller_leaves_it_to_us(gw: Gateway, or3: RawPeer) -> None:
    extra = ("Supported: timer", f"Session-Expires: {INTERVAL_S};refresher=uas", f"Min-SE: {INTERVAL_S}")
    _, answer = await or3.invite(description(), extra=extra)
    assert interval(answer) == (INTERVAL_S, "uas")
    session = await gw.active()
    for _ in range(2):
        refresh = await or3.wait(lambda m: m.startswith(("UPDATE ", "INVITE ")), INTERVAL_S)
        sdp = answer_to(body(refresh), version=1) if body(refresh) else ""
        keep = ("Require: timer", f"Session-Expires: {INTERVAL_S};refresher=uac")
        or3.reply(refresh, 200, sdp=sdp, extra=keep)
    assert session.state is State.ACTIVE


async def test_a_refresher_that_vanished_is_noticed(gw: Gateway, or3: RawPeer) -> None:
    extra = ("Supported: timer", f"Session-Expires: {INTERVAL_S};refresher=uac", f"Min-SE: {INTERVAL_S}")
    _, answer = await or3.invite(description(), extra=extra)
    assert interval(answer) == (INTERVAL_S, "uac")
    session = await gw.active()
    await or3.wait("BYE ", INTERVAL_S + 1)
    assert await gw.closed(session) is CloseReason.EXPIRED
    assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}


async def test_a_peer_without_timers_is_refreshed_by_us_alone(gw: Gateway, or3: RawPeer) -> None:
    await or3.invite(description())
    session = await gw.active()
    refresh = await or3.wait(lambda m: m.startswith(("UPDATE ", "INVITE ")), INTERVAL_S)
    or3.reply(refresh, 200, sdp=answer_to(body(refresh), version=1) if body(refresh) else "")
    await or3.wait(lambda m: m.startswith(("UPDATE ", "INVITE ")), INTERVAL_S)
    assert session.state is State.ACTIVE


async def test_a_device_that_wants_longer_intervals_gets_them(gw: Gateway, or3: RawPeer) -> None:
    """422 with Min-SE: 500, as a Cisco Expressway answers."""
    session = await gw.adapter.dial(gw.context.config.devices[0], "or-3")
    first = await or3.wait("INVITE ")
    assert interval(first)[0] == INTERVAL_S
    or3.reply(first, 422, extra=("Min-SE: 500",))
    again = await or3.wait("INVITE ")
    assert interval(again)[0] == 500
    assert header(again, "Min-SE") == "500"
    keep = ("Require: timer", "Session-Expires: 500;refresher=uac")
    or3.reply(again, 200, sdp=answer_to(body(again)), extra=keep)
    await gw.until(lambda: session.state is State.ACTIVE)


async def test_a_peer_that_asks_for_less_than_it_may_is_kept_alive(gw: Gateway, or3: RawPeer) -> None:
    session = await gw.adapter.dial(gw.context.config.devices[0], "or-3")
    invite = await or3.wait("INVITE ")
    keep = ("Require: timer", "Session-Expires: 4;refresher=uac")
    or3.reply(invite, 200, sdp=answer_to(body(invite)), extra=keep)
    await or3.wait("ACK ")
    await or3.wait(lambda m: m.startswith(("UPDATE ", "INVITE ")), 3.0)
    assert session.state is State.ACTIVE
