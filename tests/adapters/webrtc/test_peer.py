"""Peer connections of ours against each other: ICE, DTLS and keys over real UDP, without media."""

import asyncio
import gc
import os
import weakref
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import cast

import pytest
from aioice import stun
from fake_engine import FakeEngine, FakeLeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pairs import Side, joined, remote, until

from orbridge.adapters.webrtc import dtls, ice, peer
from orbridge.gateway.bus import Bus
from orbridge.gateway.session import CloseReason


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    made = FakeEngine()
    yield made
    assert not made.legs, "legs are left"


@pytest.fixture
async def bus(engine: FakeEngine) -> AsyncIterator[Bus]:
    made = Bus(engine.typed())
    made.start()
    yield made
    made.close()


@pytest.fixture
async def sides(bus: Bus) -> AsyncIterator[tuple[Side, Side]]:
    pair = Side(bus, controlling=True), Side(bus)
    yield pair
    for side in pair:
        await side.peer.close()


def keys(side: Side) -> tuple[str, bytes, bytes]:
    leg = side.peer.leg
    assert isinstance(leg, FakeLeg)
    assert leg.keys is not None
    return leg.keys


@pytest.mark.parametrize("one_role", ["active", "passive"])
async def test_both_dtls_roles_end_in_the_same_keys(sides: tuple[Side, Side], one_role: str) -> None:
    one, other = sides
    await joined(one, other, one_role=one_role)
    profile, ours, theirs = keys(one)
    assert keys(other) == (profile, theirs, ours)
    assert profile == "SRTP_AEAD_AES_128_GCM"
    assert len(ours) == len(theirs) == 28
    assert ours != theirs
    assert one.peer.facts()["dtls"]["version"] == "DTLSv1.2"


async def test_media_goes_where_ice_says(sides: tuple[Side, Side]) -> None:
    one, other = sides
    await joined(one, other)
    assert isinstance(one.peer.leg, FakeLeg)
    assert one.peer.leg.peer == (other.peer.leg.host, other.peer.leg.port)
    assert one.peer.leg.settings["secure"]
    assert not one.peer.leg.settings["learn"]


async def test_goodbye_is_heard_at_once(sides: tuple[Side, Side]) -> None:
    one, other = sides
    await joined(one, other)
    await one.peer.close()
    await until(lambda: other.ends, 2)
    assert other.ends[0][0] is CloseReason.REMOTE_HANGUP
    assert one.ends == []


async def restarted(one: Side, other: Side) -> None:
    moves = one.peer.moves, other.peer.moves
    first, second = await one.peer.restart("active"), await other.peer.restart("passive")
    other.peer.reconnect(remote(first, ours="passive"))
    one.peer.reconnect(remote(second, ours="active"))
    await until(lambda: one.peer.moves > moves[0] and other.peer.moves > moves[1])


async def test_restart_keeps_keys_and_legs(sides: tuple[Side, Side], engine: FakeEngine) -> None:
    one, other = sides
    await joined(one, other)
    before, legs, facts = keys(other), set(engine.legs), other.peer.facts()
    for _ in range(3):
        await restarted(one, other)
    await until(lambda: all(len(socket.transports) == 1 for side in sides for socket in side.peer.sockets))
    assert keys(other) == before
    assert set(engine.legs) == legs
    assert other.peer.facts()["ice"]["local"] == facts["ice"]["local"]
    assert (one.ends, other.ends, one.connections) == ([], [], 1)


async def test_restart_while_the_first_session_has_no_path_yet(sides: tuple[Side, Side]) -> None:
    one, other = sides
    first, _ = await one.peer.gather("active"), await other.peer.gather("passive")
    # What the other hears of us leads nowhere, as after a network change just when connecting.
    other.peer.connect(remote(first, ours="passive", candidates=["1 1 udp 1 127.0.0.1 9 typ host"]))
    await asyncio.sleep(0.05)
    again, answered = await one.peer.restart("active"), await other.peer.restart("passive")
    other.peer.reconnect(remote(again, ours="passive"))
    one.peer.connect(remote(answered, ours="active"))
    one.peer.reconnect(remote(answered, ours="active"))
    await until(lambda: one.connected and other.connected)


async def test_a_restart_that_leads_nowhere_leaves_the_old_session(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = sides
    await joined(one, other)
    monkeypatch.setattr(peer, "ICE_TIMEOUT_S", 0.3)
    first = await one.peer.restart("active")
    await other.peer.restart("passive")
    other.peer.reconnect(remote(first, ours="passive", candidates=[]))
    await asyncio.sleep(0.6)
    assert other.ends == []
    assert other.connected
    await restarted(one, other)


async def test_no_path_ends_in_words(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "ICE_TIMEOUT_S", 0.3)
    one, other = sides
    first = await one.peer.gather("active")
    await other.peer.gather("passive")
    other.peer.connect(remote(first, ours="passive", candidates=[]))
    await until(lambda: other.ends)
    assert other.ends[0][0] is CloseReason.UNREACHABLE
    assert "no network path" in other.ends[0][1]


async def test_a_wrong_certificate_is_refused(sides: tuple[Side, Side]) -> None:
    one, other = sides
    first, second = await one.peer.gather("active"), await other.peer.gather("passive")
    wrong = "sha-256 " + ":".join(["00"] * 32)
    one.peer.connect(remote(second, ours="active"))
    other.peer.connect(remote(first, ours="passive", fingerprint=wrong))
    await until(lambda: other.ends)
    assert other.ends[0][0] is CloseReason.TRANSPORT_FAILED
    assert "fingerprint" in other.ends[0][1]
    assert not other.connected


async def test_silence_after_ice_ends_the_handshake(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "DTLS_TIMEOUT_S", 0.3)
    one, other = sides
    first, second = await one.peer.gather("active"), await other.peer.gather("passive")
    monkeypatch.setattr(one.peer, "_secure", _nothing)
    one.peer.connect(remote(second, ours="active"))
    other.peer.connect(remote(first, ours="passive"))
    await until(lambda: other.ends)
    assert other.ends[0][0] is CloseReason.TRANSPORT_FAILED


async def _nothing(_remote: object) -> None: ...


async def test_a_vanished_peer_is_noticed(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("INTERVAL", 0.05), ("RETRY", 0.05), ("EXPIRY", 0.8), ("SILENT_EXPIRY", 0.3)):
        monkeypatch.setattr(ice, f"CONSENT_{name}_S", value)
    one, other = sides
    await joined(one, other)
    await asyncio.sleep(1.2)
    assert other.ends == []
    for leg in (socket.leg for socket in one.peer.sockets):
        leg.close()
    await until(lambda: other.ends, 4)
    assert other.ends[0][0] is CloseReason.EXPIRED


def test_the_worst_case_of_consent_is_below_thirty_seconds() -> None:
    # The last answer, the longest pause until the next check, then checks (two tries: 0.5 s and 1 s) until it expires.
    rest = 1.5 + 1.2 * ice.CONSENT_RETRY_S
    assert ice.CONSENT_EXPIRY_S + rest + stun.RETRY_RTO < 30
    assert ice.CONSENT_INTERVAL_S * 1.2 < ice.CONSENT_SILENT_EXPIRY_S < ice.CONSENT_EXPIRY_S


async def test_names_of_mdns_and_tcp_candidates_are_not_looked_up(sides: tuple[Side, Side]) -> None:
    one, other = sides
    first, second = await one.peer.gather("active"), await other.peer.gather("passive")
    hidden = ["1 1 udp 2122252543 5e1f6a3c-0000-4000-8000-000000000001.local 5000 typ host"]
    hidden += [
        "2 1 tcp 1518214911 127.0.0.1 9 typ host tcptype active",
        "3 1 udp 1 127.0.0.1 99999 typ host",
        "nonsense",
    ]
    loop = asyncio.get_running_loop()
    started = loop.time()
    one.peer.connect(remote(second, ours="active"))
    other.peer.connect(remote(first, ours="passive", candidates=hidden))
    await until(lambda: one.connected and other.connected)
    assert loop.time() - started < 1
    assert other.peer.facts()["ice"]["remote_type"] == "prflx"


async def test_trickled_candidates_are_used(sides: tuple[Side, Side]) -> None:
    one, other = sides
    first, second = await one.peer.gather("active"), await other.peer.gather("passive")
    one.peer.connect(remote(second, ours="active", candidates=[]))
    other.peer.connect(remote(first, ours="passive", candidates=[]))
    await asyncio.sleep(0.1)
    assert not other.connected
    await one.peer.add_candidates(second.candidates)
    await until(lambda: one.connected and other.connected)


async def test_candidates_are_bounded(sides: tuple[Side, Side]) -> None:
    _, other = sides
    await other.peer.gather("passive")
    await other.peer.add_candidates([f"{n} 1 udp 1 127.0.0.1 {n} typ host" for n in range(1000, 2000)])
    assert other.peer.facts()["ice"]["remote_candidates"] == ice.MAX_REMOTE


async def test_several_addresses(bus: Bus) -> None:
    one, other = Side(bus, ["127.0.0.1"], controlling=True), Side(bus, ["127.0.0.2", "127.0.0.3", "127.0.0.4"])
    try:
        await joined(one, other)
        first = other.peer.leg
        before = keys(other)
        # The browser finds another way better and nominates it (its network changed): the media's leg, with its keys
        # and counters, goes to that address, because the same keys may never be on two legs.
        chosen = next(socket for socket in other.peer.sockets if socket.leg is not first)
        generation = other.peer._current
        assert generation is not None
        was = first.host
        other.peer.nominated(generation, chosen, (one.peer.leg.host, one.peer.leg.port))
        assert other.peer.leg is first
        assert first.host == chosen.name[0] != was
        assert keys(other) == before
        assert sum(getattr(socket.leg, "keys", None) is not None for socket in other.peer.sockets) == 1
        await restarted(one, other)
        assert keys(other) == before
    finally:
        await one.peer.close()
        await other.peer.close()


async def test_strangers_dtls_is_not_listened_to(sides: tuple[Side, Side]) -> None:
    one, other = sides
    await joined(one, other)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=(other.peer.leg.host, other.peer.leg.port)
    )
    for _ in range(5):
        transport.sendto(bytes([21]) + os.urandom(40))
    await until(lambda: other.peer.facts()["strangers"] == 5)
    transport.close()
    assert other.connected


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda b: b"\x00\x01" + b), st.just(b"")))
async def test_malformed_datagrams_cost_nothing(sides: tuple[Side, Side], data: bytes) -> None:
    _, other = sides
    if not other.peer.sockets:
        await other.peer.gather("passive")
    socket = other.peer.sockets[0]
    socket._event(("datagram", socket.leg.id, data, "127.0.0.1", 9))
    assert not other.ends


async def test_mutated_stun_costs_nothing(sides: tuple[Side, Side]) -> None:
    one, other = sides
    await joined(one, other)
    generation = other.peer._current
    assert generation is not None
    pair = generation._nominated[1]
    request = generation.build_request(pair, nominate=False)
    request.add_message_integrity(b"x" * 22)
    good, socket = bytes(request), other.peer.sockets[0]
    for at in range(len(good)):
        for value in (0, 1, 0x80, 0xFF):
            socket._event(("datagram", 1, good[:at] + bytes([value]) + good[at + 1 :], "127.0.0.1", 9))
            socket._event(("datagram", 1, good[:at], "127.0.0.1", 9))
    assert socket.malformed > 0
    assert other.connected
    assert not other.ends


def test_certificates_are_replaced_before_they_expire() -> None:
    certificates = dtls.Certificates()
    first = certificates.current()
    assert certificates.current() is first
    late = first.expires - dtls.ROTATE_BEFORE + timedelta(seconds=1)
    assert certificates.current(late) is not first
    assert first.fingerprint.startswith("sha-256 ")
    context = first._create_ssl_context(dtls.PROFILES)
    assert first._create_ssl_context(dtls.PROFILES) is context


async def test_a_stun_server_that_never_answers_costs_a_second(bus: Bus) -> None:
    side = Side(bus, stun_server=("127.0.0.1", 9))
    loop = asyncio.get_running_loop()
    started = loop.time()
    local = await side.peer.gather("passive")
    assert loop.time() - started < ice.REFLEXIVE_TIMEOUT_S + 0.5
    assert len(local.candidates) == 1
    await side.peer.close()


async def test_broken_dtls_records_cost_nothing(sides: tuple[Side, Side]) -> None:
    one, other = sides
    await joined(one, other)
    address = (one.peer.leg.host, one.peer.leg.port)
    for kind in range(20, 64):
        for body in (
            b"",
            b"\xfe\xfd",
            b"\xfe\xfd" + bytes(9),
            os.urandom(80),
            b"\xfe\xfd" + bytes(8) + b"\x00\x20" + os.urandom(32),
        ):
            other.peer.dtls_received(bytes([kind]) + body, address)
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    assert other.ends == []
    await one.peer.close()
    await until(lambda: other.ends, 2)


async def test_peers_leave_no_trace_in_memory(bus: Bus) -> None:
    traces = []
    for _ in range(3):
        one, other = Side(bus, controlling=True), Side(bus)
        await joined(one, other)
        await one.peer.close()
        await other.peer.close()
        traces += [weakref.ref(each.peer) for each in (one, other)]
        del one, other
    await asyncio.sleep(0)
    gc.collect()
    assert [trace() for trace in traces] == [None] * 6


class StunServer(asyncio.DatagramProtocol):
    """Answers every binding with one public address (RFC 8489)."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = stun.parse_message(data)
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.5", 4242)
        self.transport.sendto(bytes(answer), addr)


async def test_what_a_stun_server_sees_becomes_a_candidate(bus: Bus) -> None:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(StunServer, ("127.0.0.1", 0))
    side = Side(bus, stun_server=transport.get_extra_info("sockname"))
    local = await side.peer.gather("passive")
    port = side.peer.sockets[0].leg.port
    assert local.candidates[1].endswith(f" 203.0.113.5 4242 typ srflx raddr 127.0.0.1 rport {port}")
    await side.peer.close()
    transport.close()


async def test_gathering_given_up_leaves_nothing(bus: Bus, engine: FakeEngine) -> None:
    side = Side(bus, stun_server=("127.0.0.1", 9))
    gathering = asyncio.ensure_future(side.peer.gather("passive"))
    await asyncio.sleep(0.1)
    gathering.cancel()
    await asyncio.wait([gathering])
    await side.peer.close()
    assert engine.legs == {}
    assert len(asyncio.all_tasks()) == 1
