"""Devices that register with us, over the wire: digest, calling them back, leaving."""

from collections.abc import AsyncIterator

import pytest
from gateway_here import PORT, Gateway, config, gateway
from rawpeer import Dialog, RawPeer, answer_to, body, description, header, headers, status, uri_in

from orbridge.adapters.sip.digest import expected_response, parse_authorization
from orbridge.gateway.session import State

CART = {"name": "cart", "adapter": "sip", "username": "cart-7", "password_file": "cart", "room": "or-3"}
PEER = 21513


@pytest.fixture
async def gw() -> AsyncIterator[Gateway]:
    async with gateway(config({"devices": [CART]}), {"cart": "s3cret"}) as made:
        yield made


@pytest.fixture
async def cart(gw: Gateway) -> AsyncIterator[RawPeer]:
    peer = await RawPeer(PEER, PORT, user="cart-7").open()
    yield peer
    peer.close()


def answer(challenge: str, method: str, uri: str, password: str, algorithm: str = "MD5") -> str:
    """An Authorization header for a 401."""
    offered = next(value for value in headers(challenge, "WWW-Authenticate") if f"algorithm={algorithm}," in value)
    nonce, realm = (offered.partition(f'{name}="')[2].partition('"')[0] for name in ("nonce", "realm"))
    head = (
        f'Digest username="cart-7", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm={algorithm}, '
        f'qop=auth, nc=00000001, cnonce="c1", response="'
    )
    return f'Authorization: {head}{expected_response(parse_authorization(head + "0" + chr(34)), method, password)}"'


async def register(
    peer: RawPeer, *, password: str = "s3cret", algorithm: str = "MD5", expires: int = 120, dialog: Dialog | None = None
) -> str:
    dialog = dialog or peer.dialog("cart-7")
    agent = "User-Agent: PJSUA v2.14" if algorithm == "SHA-256" else "User-Agent: TANDBERG/512 (TC3.1.3)"
    expiry = (f"Expires: {expires}", agent)
    challenge = await peer.transact("REGISTER", dialog, extra=expiry)
    assert status(challenge) == 401
    proof = answer(challenge, "REGISTER", dialog.target, password, algorithm)
    return await peer.transact("REGISTER", dialog, extra=(*expiry, proof))


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_registering_and_being_called(gw: Gateway, cart: RawPeer, algorithm: str) -> None:
    accepted = await register(cart, algorithm=algorithm)
    assert status(accepted) == 200
    assert uri_in(header(accepted, "Contact")) == f"sip:cart-7@127.0.0.1:{PEER}"
    bindings = gw.adapter.status()["bindings"]
    assert [(b["device"], b["address"]) for b in bindings] == [("cart", f"udp:127.0.0.1:{PEER}")]
    session = await gw.adapter.dial(gw.context.config.devices[0], "or-3")
    invite = await cart.wait(f"INVITE sip:cart-7@127.0.0.1:{PEER}")
    cart.reply(invite, 200, sdp=answer_to(body(invite)))
    await gw.until(lambda: session.state is State.ACTIVE)


async def test_a_wrong_password(gw: Gateway, cart: RawPeer) -> None:
    assert status(await register(cart, password="guess")) == 403
    assert gw.adapter.status()["bindings"] == []
    assert gw.adapter.status()["refused"]["credentials"] == 1


async def test_a_call_needs_the_password_too(gw: Gateway, cart: RawPeer) -> None:
    await register(cart)
    dialog, challenge = await cart.invite(description())
    assert status(challenge) == 401
    proof = answer(challenge, "INVITE", dialog.target, "s3cret")
    _, accepted = await cart.invite(description(), dialog, extra=(proof,))
    assert status(accepted) == 200
    assert (await gw.active()).device == "cart"
    # a re-INVITE is part of the call and isn't asked for it again
    _, again = await cart.invite(description(version=2), dialog)
    assert status(again) == 200


async def test_unregistering(gw: Gateway, cart: RawPeer) -> None:
    await register(cart)
    gone = await register(cart, expires=0)
    assert status(gone) == 200
    assert header(gone, "Contact") == ""
    assert gw.adapter.status()["bindings"] == []


async def test_a_retransmission_is_answered_again(gw: Gateway, cart: RawPeer) -> None:
    dialog = cart.dialog("cart-7")
    challenge = await cart.transact("REGISTER", dialog)
    proof = answer(challenge, "REGISTER", dialog.target, "s3cret")
    assert status(await cart.transact("REGISTER", dialog, extra=(proof,))) == 200
    again = {"cseq": dialog.cseq, "branch": dialog.branch, "extra": (proof,)}
    assert status(await cart.transact("REGISTER", dialog, **again)) == 200
    assert len(gw.adapter.status()["bindings"]) == 1


async def test_a_reload_forgets_devices_that_are_gone(gw: Gateway, cart: RawPeer) -> None:
    await register(cart)
    await gw.adapter.reload(config({"devices": []}))
    assert gw.adapter.status()["bindings"] == []
    _, refused = await cart.invite(description())
    assert status(refused) == 403
