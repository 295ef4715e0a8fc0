"""pjsua2's life on the loop: listeners and what can be wrong with them, transports, restarts, what is logged."""

import asyncio
import socket
import ssl
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from gateway_here import OR3, PORT, Gateway, config, gateway
from rawpeer import RawPeer, StreamPeer, answer_to, body, description, media_lines, status
from waiting import crowding

from orbridge.adapters.sip.endpoint import Listener, parse_listener
from orbridge.codecs.errors import LocalError
from orbridge.gateway.session import CloseReason, State

PEER = 21510


@pytest.mark.parametrize(
    ("text", "listener"),
    [
        ("udp:127.0.0.1:5060", Listener("udp", "127.0.0.1", 5060)),
        ("tls:[2001:db8::1]:5061", Listener("tls", "2001:db8::1", 5061)),
        ("tcp:0.0.0.0:5060", Listener("tcp", "0.0.0.0", 5060)),
    ],
)
def test_listeners(text: str, listener: Listener) -> None:
    assert parse_listener(text) == listener
    assert str(listener) == text


@pytest.mark.parametrize("text", ["127.0.0.1:5060", "sctp:127.0.0.1:5060", "udp:::1:5060", "udp:h:70000", "udp:h"])
def test_listeners_that_are_none(text: str) -> None:
    with pytest.raises(LocalError, match="udp:HOST:PORT"):
        parse_listener(text)


async def start_fails(settings: dict[str, Any]) -> str:
    with pytest.raises(LocalError) as caught:
        async with gateway(config(settings)):
            pass
    return str(caught.value)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_port_in_use_is_named(transport: str) -> None:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 21501))
        if transport == "tcp":
            other.listen()
        problem = await start_fails({"sip": {"listen": [f"{transport}:127.0.0.1:21501"]}})
    assert f"{transport}:127.0.0.1:21501" in problem
    assert "port 21501 is in use" in problem


async def test_an_address_that_is_not_ours() -> None:
    assert "203.0.113.7 isn't an address of this host" in await start_fails(
        {"sip": {"listen": ["udp:203.0.113.7:5060"]}}
    )


async def test_tls_without_a_certificate() -> None:
    assert "sip.tls_certificate" in await start_fails({"sip": {"listen": ["tls:127.0.0.1:21502"]}})


async def test_more_calls_than_the_build_can_do() -> None:
    assert "sip.max_calls is 5000" in await start_fails({"sip": {"max_calls": 5000}})


async def test_a_device_address_that_is_none() -> None:
    assert "or-9" in await start_fails({"devices": [{"name": "or-9", "adapter": "sip", "address": "10.0.0.9"}]})


async def test_a_second_one_in_the_process_is_refused() -> None:
    async with gateway(config({})):
        assert "already" in await start_fails({"sip": {"listen": ["udp:127.0.0.1:21503"]}})


async def test_it_starts_again_after_a_stop() -> None:
    for _ in range(3):
        async with gateway(config({"devices": [OR3]})) as gw:
            peer = await RawPeer(PEER, PORT).open()
            _, answer = await peer.invite(description())
            assert status(answer) == 200
            peer.close()
            assert gw.adapter.status()["listeners"] == [f"udp:127.0.0.1:{PORT}"]


async def test_status_says_which_build_and_how_it_is_driven() -> None:
    async with gateway(config({})) as gw:
        status = gw.adapter.status()
        assert (status["build"], status["capacity"], status["polling"]) == ("patched", 2048, False)


async def test_without_listeners_it_is_off() -> None:
    async with gateway(config({"sip": {"listen": []}})) as gw:
        assert gw.adapter.status()["listeners"] == []
        with pytest.raises(LocalError, match="SIP is off"):
            await gw.adapter.dial("sip:a@127.0.0.1", "or-3")


# transports


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    made = [str(tmp_path / name) for name in ("tls.pem", "tls.key")]
    options = [
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run(["openssl", "req", *options, "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
    return made[0], made[1]


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_calls_over_streams_both_ways(transport: str, certificate: tuple[str, str]) -> None:
    sip = {"listen": [f"{transport}:127.0.0.1:21504"], "tls_certificate": certificate[0], "tls_key": certificate[1]}
    async with gateway(config({"sip": sip, "devices": [{**OR3, "address": "sip:or3@127.0.0.1"}]})) as gw:
        tls = None
        if transport == "tls":
            tls = ssl.create_default_context(cafile=certificate[0])
            tls.check_hostname = False
        peer = await StreamPeer(0, 21504, tls=tls).open()
        try:
            dialog, answer = await peer.invite(description())
            assert status(answer) == 200
            session = await gw.active()
            await peer.transact("BYE", dialog)
            assert await gw.closed(session) is CloseReason.REMOTE_HANGUP
            # it registers, and is called back over its own connection
            registered = await peer.transact("REGISTER", peer.dialog(), extra=("Expires: 600",))
            assert status(registered) == 200
            back = await gw.adapter.dial(gw.context.config.devices[0], "or-3")
            invite = await peer.wait("INVITE ")
            peer.reply(invite, 200, sdp=answer_to(body(invite)))
            await peer.wait("ACK ")
            await gw.until(lambda: back.state is State.ACTIVE)
        finally:
            peer.close()


async def test_calls_over_ipv6() -> None:
    device = {**OR3, "address": "sip:or3@[::1]:21510"}
    settings = {"sip": {"listen": [f"udp:[::1]:{PORT}"]}, "media": {"hosts": ["::1"]}, "devices": [device]}
    async with gateway(config(settings)) as gw:
        peer = await RawPeer(PEER, PORT, host="::1").open()
        try:
            dialog, answer = await peer.invite(description("::1"))
            assert status(answer) == 200
            assert "c=IN IP6 ::1" in body(answer)
            session = await gw.active()
            await peer.transact("BYE", dialog)
            await gw.closed(session)
            session = await gw.adapter.dial(gw.context.config.devices[0], "or-3")
            invite = await peer.wait("INVITE sip:or3@[::1]")
            assert "c=IN IP6 ::1" in body(invite)
            peer.reply(invite, 200, sdp=answer_to(body(invite), host="::1"))
            await gw.until(lambda: session.state is State.ACTIVE)
        finally:
            peer.close()


async def test_two_listeners_each_send_from_their_own_address() -> None:
    listen = [f"udp:127.0.0.1:{PORT}", "udp:127.0.0.2:21505"]
    device = {**OR3, "address": "sip:or3@127.0.0.1:21510"}
    async with gateway(config({"sip": {"listen": listen}, "devices": [device]})) as gw:
        peer = await RawPeer(PEER, PORT).open()
        await gw.adapter.dial(gw.context.config.devices[0], "or-3")
        invite = await peer.wait("INVITE ")
        assert f"Via: SIP/2.0/UDP 127.0.0.1:{PORT}" in invite
        assert len(media_lines(body(invite))) == 2
        peer.close()


# the loop


async def roundtrip(peer: RawPeer) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await peer.transact("OPTIONS", peer.dialog())
    return loop.time() - began


async def test_requests_are_answered_at_once() -> None:
    """The descriptor wakes the loop; the tick alone would take 25 ms in the middle, and under 13 ms for a quarter."""
    async with gateway(config({"devices": [OR3]})):
        peer = await RawPeer(PEER, PORT).open()
        times = sorted([await roundtrip(peer) for _ in range(20)])
        peer.close()
    assert times[5] < 0.01 * crowding()


async def test_without_a_descriptor_it_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbridge.adapters.sip.endpoint._eventpolls", set)
    async with gateway(config({"devices": [OR3]})) as gw:
        assert gw.adapter.status()["polling"] is True
        peer = await RawPeer(PEER, PORT).open()
        times = sorted([await roundtrip(peer) for _ in range(20)])
        peer.close()
    assert times[10] < 0.04 * crowding()


def test_it_runs_on_uvloop() -> None:
    """In a process of its own: the loop's kind is a matter of the whole process."""
    program = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import uvloop
        from gateway_here import OR3, PORT, config, gateway
        from rawpeer import RawPeer, description, status

        async def main():
            async with gateway(config({{"devices": [OR3]}})) as gw:
                peer = await RawPeer({PEER}, PORT).open()
                _, answer = await peer.invite(description())
                print(status(answer), gw.adapter.status()["polling"])
                peer.close()

        uvloop.run(main())
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "\n200 False\n" in done.stdout, done.stderr


# what is logged


@pytest.fixture
def logged() -> AsyncIterator[list[dict[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


async def test_no_stranger_is_named_in_the_log(logged: list[dict[str, Any]]) -> None:
    async with gateway(config({"devices": [OR3]})) as gw:
        stranger = await RawPeer(PEER, PORT, user="anna.mueller").open()
        try:
            stranger_dialog = stranger.dialog("operation-of-anna-mueller")
            stranger_dialog.local = f'"Anna Mueller" {stranger_dialog.local}'
            await stranger.invite(description(), stranger_dialog)
            await gw.until(lambda: gw.books.sessions)
        finally:
            stranger.close()
        assert "mueller" not in gw.books.last.remote.lower()
    told = [line for line in logged if line["log_level"] != "debug"]
    assert "mueller" not in repr(told).lower()


async def test_keys_of_srtp_are_never_logged(logged: list[dict[str, Any]]) -> None:
    key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
    crypto = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n"
    async with gateway(config({"devices": [OR3]})):
        peer = await RawPeer(PEER, PORT).open()
        offer = description(video=None).replace("RTP/AVP", "RTP/SAVP") + crypto
        _, answer = await peer.invite(offer)
        assert "a=crypto:1" in body(answer)
        ours = body(answer).partition("inline:")[2][:40]
        peer.close()
    assert key not in repr(logged)
    assert ours not in repr(logged)


# what comes from outside

REST = b"To: <sip:or3@127.0.0.1>\r\nCall-ID: 1\r\nCSeq: 1 %s\r\n%s\r\nContent-Length: 0\r\n\r\n"
VIA = b"Via: SIP/2.0/UDP 127.0.0.1:21510;branch=z9hG4bK1\r\n"
SHAPES = [
    b"INVITE sip:x@y SIP/2.0\r\n\r\n",
    b"\x00\xff\xfe garbage",
    b"INVITE sip:gw@127.0.0.1 SIP/2.0\r\n%sFrom: \xff\xfe<sip:a@b>;tag=1\r\n" % VIA
    + REST % (b"INVITE", b"Contact: <sip:\xc3\x28@b>"),
    b"SIP/2.0 200 OK\r\n%sFrom: <sip:a@b>\r\n" % VIA + REST % (b"BYE", b"X: y"),
    b"REGISTER sip:gw SIP/2.0\r\n%sFrom: <sip:or3@127.0.0.1>;tag=1\r\n" % VIA
    + REST % (b"REGISTER", b"Contact: <<<<,,,>\r\nExpires: -1"),
    b"\r\n\r\n" * 100,
]


async def test_malformed_messages_hurt_nobody(logged: list[dict[str, Any]]) -> None:
    async with gateway(config({"devices": [OR3]})) as gw:
        peer = await RawPeer(PEER, PORT).open()
        try:
            await peer.invite(description())
            session = await gw.active()
            for shape in SHAPES:
                peer.send(shape)
            await asyncio.sleep(0.2)
            assert status(await peer.transact("OPTIONS", peer.dialog())) == 200
            assert session.state is State.ACTIVE
        finally:
            peer.close()
    assert not [line for line in logged if line["event"] == "callback.failed"]


async def test_a_fault_in_our_own_code_is_500_and_the_next_call_works(
    monkeypatch: pytest.MonkeyPatch, logged: list[dict[str, Any]]
) -> None:
    async with gateway(config({"devices": [OR3]})) as gw:
        peer = await RawPeer(PEER, PORT).open()
        try:
            with monkeypatch.context() as broken:
                broken.setattr(Gateway, "until", Gateway.until)
                broken.setattr(gw.adapter, "judge", lambda *_: 1 / 0)
                _, answer = await peer.invite(description())
                assert status(answer) == 500
            with monkeypatch.context() as broken:
                broken.setattr("orbridge.adapters.sip.offer_answer.answer", lambda *_a, **_k: 1 / 0)
                _, answer = await peer.invite(description())
                assert status(answer) == 488
            _, answer = await peer.invite(description())
            assert status(answer) == 200
        finally:
            peer.close()
    assert [line for line in logged if line["event"] == "callback.failed"]
