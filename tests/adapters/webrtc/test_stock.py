"""Unmodified aiortc as WHIP publisher and WHEP player: connecting and parting."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fake_engine import FakeEngine, FakeLeg
from pairs import until
from stock import stock
from web_gateway import Gateway, web_gateway

from orbridge.adapters.webrtc import peer
from orbridge.adapters.webrtc.session import NO_MEDIA, WebRtcSession
from orbridge.gateway.bus import Bus
from orbridge.gateway.session import CloseReason, State


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    made = FakeEngine()
    yield made
    assert not made.legs


@pytest.fixture
async def gateway(engine: FakeEngine) -> AsyncIterator[Gateway]:
    bus = Bus(engine.typed())
    bus.start()
    async with web_gateway(bus) as made:
        yield made
    bus.close()


def session_of(gateway: Gateway) -> WebRtcSession:
    (session,) = gateway.adapter.sessions()
    assert isinstance(session, WebRtcSession)
    return session


async def test_publisher(gateway: Gateway, engine: FakeEngine) -> None:
    async with stock(gateway.http) as client:
        await client.publish("/rooms/or-3/whip?name=anna")
        session = session_of(gateway)
        await until(lambda: client.connected and session.state is State.ACTIVE)
        (leg,) = engine.legs.values()
        assert leg.keys is not None
        assert leg.keys[0] == "SRTP_AEAD_AES_128_GCM"
        assert {next(iter(r["payload_types"].values())) for r in leg.receivers} == {"OPUS", "H264"}
        video = next(r for r in leg.receivers if "H264" in r["payload_types"].values())
        assert video["nack"]
        assert video["pli"]
        assert video["remb_bps"] == 4_000_000
        assert list(video["rtx"].values()) == list(video["payload_types"])
        assert session.stats()["dtls"]["role"] == "server"
    await until(lambda: session.state is State.CLOSED)
    assert session.reason is CloseReason.REMOTE_HANGUP


async def test_player(gateway: Gateway, engine: FakeEngine) -> None:
    publisher = engine.publish("or-3/main")
    publisher.add_track("audio", "PCMA", clock_hz=8000)
    publisher.add_track("video", "H264", clock_hz=90000)
    async with stock(gateway.http, "viewer") as client:
        await client.play("/streams/or-3/main/whep")
        session = session_of(gateway)
        await until(lambda: client.connected and session.state is State.ACTIVE)
        assert {sink.codec.name for sink in session.sinks} == {"H264", "PCMA"}
        (leg,) = engine.legs.values()
        sender = next(s for s in leg.senders if s["codec"] == "H264")
        assert sender["packetization_mode"] == 1
        assert sender["rtx_pt"]
        assert sender["rtx_ssrc"] not in (0, sender["ssrc"])
        assert await client.delete() == 200
        assert session.sinks == []
        assert session.reason is CloseReason.REMOTE_HANGUP
        await until(lambda: client.pc.connectionState == "closed")
    publisher.close()


async def test_silence_is_said_and_unsaid(gateway: Gateway, engine: FakeEngine) -> None:
    async with stock(gateway.http) as client:
        await client.publish("/rooms/or-3/whip?name=anna")
        session = session_of(gateway)
        await until(lambda: session.state is State.ACTIVE)
        changes: list[list[str]] = []
        session.on("media_changed", lambda s: changes.append([note.code for note in s.notes]))
        (leg,) = engine.legs.values()
        engine.push("silent", leg.id, 5000)
        await until(lambda: changes == [[NO_MEDIA]])
        engine.push("heard", leg.id, 0)
        await until(lambda: changes == [[NO_MEDIA], []])


async def test_a_fault_in_the_engine_ends_the_one_session(gateway: Gateway, engine: FakeEngine) -> None:
    async with stock(gateway.http) as one, stock(gateway.http) as other:
        await one.publish("/rooms/or-3/whip?name=anna")
        first = session_of(gateway)
        await other.publish("/rooms/or-3/whip?name=bert")
        await until(lambda: one.connected and other.connected and first.state is State.ACTIVE)
        legs: list[FakeLeg] = list(engine.legs.values())
        engine.push("fault", legs[0].id, "a broken invariant")
        await until(lambda: first.state is State.CLOSED)
        assert first.reason is CloseReason.FAULT
        assert session_of(gateway).name == "bert"


async def test_nothing_is_left_of_those_who_leave_without_a_word(
    gateway: Gateway, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "ICE_TIMEOUT_S", 0.5)
    for number in range(6):
        async with stock(gateway.http) as client:
            await client.publish("/rooms/or-3/whip?name=anna")
            await asyncio.sleep(0.1 * number)
    await until(lambda: not list(gateway.adapter.sessions()), 20)
    assert engine.legs == {}
    assert engine.published == {}
