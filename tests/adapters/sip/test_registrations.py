"""Registering elsewhere: digest, outages of the registrar and of the way to it, calls through it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator

import pytest
from gateway_here import PORT, Gateway, config, gateway
from rawpeer import RawPeer, answer_to, body, description, header, status
from waiting import crowding

from orbridge.adapters.sip.digest import expected_response, parse_authorization
from orbridge.gateway.session import State

PBX = 21520
ENTRY = {
    "uri": "sip:orbridge@127.0.0.1:21520",
    "username": "orbridge",
    "password_file": "pbx",
    "expires_s": 60,
    "room": "or-3",
}
CHALLENGE = 'WWW-Authenticate: Digest realm="pbx", nonce="n1", algorithm=MD5, qop="auth"'


class Pbx(RawPeer):
    """A registrar that accepts the right password; ``is_up`` False: deaf. Everything else is the test's to answer."""

    def __init__(self) -> None:
        super().__init__(PBX, PORT, user="pbx")
        self.is_up = True
        self.registered: list[float] = []
        self.gone = 0

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        text = data.decode()
        if not text.startswith(("REGISTER ", "OPTIONS ")):
            super().datagram_received(data, addr)
        elif self.is_up:
            self.serve(text)

    def serve(self, request: str) -> None:
        if request.startswith("OPTIONS "):
            self.reply(request, 200)
            return
        proof = header(request, "Authorization")
        if not proof:
            self.reply(request, 401, extra=(CHALLENGE,))
            return
        auth = parse_authorization(proof)
        if auth.response != expected_response(auth, "REGISTER", "s3cret"):
            self.reply(request, 403)
            return
        expires = header(request, "Expires") or "60"
        if expires == "0":
            self.gone += 1
        else:
            self.registered.append(time.monotonic())
        self.reply(request, 200, extra=(f"Expires: {expires}",))


@pytest.fixture
async def pbx() -> AsyncIterator[Pbx]:
    made = Pbx()
    yield made
    made.close()


def state(gw: Gateway) -> str:
    return str(gw.adapter.status()["registrations"][0]["state"])


async def test_registering_with_digest_and_leaving(pbx: Pbx) -> None:
    await pbx.open()
    async with gateway(config({"registrars": [ENTRY]}), {"pbx": "s3cret"}) as gw:
        await gw.until(lambda: state(gw) == "registered")
        assert len(pbx.registered) == 1
        await gw.adapter.stop(3.0)
        assert pbx.gone == 1


async def test_a_wrong_password_is_said(pbx: Pbx) -> None:
    await pbx.open()
    async with gateway(config({"registrars": [ENTRY]}), {"pbx": "guess"}) as gw:
        await gw.until(lambda: state(gw) == "refused")
        assert "403" in gw.adapter.status()["registrations"][0]["detail"]


async def test_a_registrar_that_comes_later_is_found_within_five_seconds(pbx: Pbx) -> None:
    pbx.is_up = False
    await pbx.open()
    async with gateway(config({"registrars": [ENTRY]}), {"pbx": "s3cret"}) as gw:
        await asyncio.sleep(3.0)
        entry = gw.adapter.status()["registrations"][0]
        assert entry["state"] == "registering"
        assert re.fullmatch(r"trying: no answer for [23] s, none before", entry["detail"])
        pbx.is_up = True
        back = time.monotonic()
        await gw.until(lambda: state(gw) == "registered", 12.0)
        assert pbx.registered[-1] - back < 5.0 * crowding()


async def test_a_silent_registrar_is_said_while_the_request_waits(pbx: Pbx) -> None:
    """pjsip waits for 32 s; whoever looks learns it sooner, and calls are still taken as before."""
    await pbx.open()
    async with gateway(config({"registrars": [ENTRY]}), {"pbx": "s3cret"}) as gw:
        await gw.until(lambda: state(gw) == "registered")
        pbx.is_up = False
        # the next probe within 5 s, 2 s for its answer
        await gw.until(lambda: state(gw) == "unanswered", 8.0)
        detail = gw.adapter.status()["registrations"][0]["detail"]
        assert re.fullmatch(r"trying: no answer for 2 s, last one [2-7] s ago", detail), detail
        dialog, answer = await pbx.invite(description(), room="orbridge")
        assert status(answer) == 200
        await pbx.transact("BYE", dialog)
        pbx.is_up = True
        await gw.until(lambda: state(gw) == "registered", 12.0)
        assert gw.adapter.status()["registrations"][0]["detail"] == ""


async def test_after_an_outage_it_registers_anew_within_five_seconds(pbx: Pbx) -> None:
    """The registrar may have been started again without its memory."""
    await pbx.open()
    async with gateway(config({"registrars": [ENTRY]}), {"pbx": "s3cret"}) as gw:
        await gw.until(lambda: state(gw) == "registered")
        pbx.is_up = False
        await asyncio.sleep(12.0)
        pbx.is_up = True
        back = time.monotonic()
        await gw.until(lambda: len(pbx.registered) > 1, 12.0)
        assert pbx.registered[-1] - back < 5.0 * crowding()
        await gw.until(lambda: state(gw) == "registered")


async def test_a_tcp_registrar_that_is_down_is_found_when_it_is_up() -> None:
    entry = {**ENTRY, "registrar": "sip:127.0.0.1:21521;transport=tcp"}
    settings = {"registrars": [entry], "sip": {"listen": [f"udp:127.0.0.1:{PORT}", f"tcp:127.0.0.1:{PORT}"]}}
    async with gateway(config(settings), {"pbx": "s3cret"}) as gw:
        await gw.until(lambda: state(gw) == "unreachable")
        heard = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await reader.read(4096)
            if data.startswith(b"REGISTER "):
                heard.set()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 21521)
        await asyncio.wait_for(heard.wait(), 5.0)
        server.close()


async def test_calls_through_the_registrar_both_ways(pbx: Pbx) -> None:
    await pbx.open()
    async with gateway(config({"registrars": [ENTRY]}), {"pbx": "s3cret"}) as gw:
        await gw.until(lambda: state(gw) == "registered")
        # in: whoever the registrar lets call us, under the name that we registered
        dialog, answer = await pbx.invite(description(), room="orbridge")
        assert status(answer) == 200
        session = await gw.active()
        assert (session.device, session.room) == (None, "or-3")
        await pbx.transact("BYE", dialog)
        await gw.closed(session)
        # out: an address at the registrar's host goes out under our name there, with our password
        session = await gw.adapter.dial("sip:meeting@127.0.0.1:21520", "or-3")
        invite = await pbx.wait("INVITE ")
        assert "sip:orbridge@127.0.0.1" in header(invite, "From")
        pbx.reply(invite, 407, extra=(CHALLENGE.replace("WWW", "Proxy"),))
        again = await pbx.wait("INVITE ")
        auth = parse_authorization(header(again, "Proxy-Authorization"))
        assert auth.response == expected_response(auth, "INVITE", "s3cret")
        pbx.reply(again, 200, sdp=answer_to(body(again)))
        await gw.until(lambda: session.state is State.ACTIVE)


async def test_the_registrar_is_no_way_in_for_other_names(pbx: Pbx) -> None:
    await pbx.open()
    async with gateway(config({"registrars": [ENTRY]}), {"pbx": "s3cret"}) as gw:
        await gw.until(lambda: state(gw) == "registered")
        _, answer = await pbx.invite(description(), room="board")
        assert status(answer) == 403
