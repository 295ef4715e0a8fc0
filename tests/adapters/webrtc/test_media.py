"""Media through the real engine: unmodified aiortc publishes and plays, and what arrives is decoded and looked at."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pairs import Side, joined, until
from pictures import Studio, bar_moves, decoded_pictures, decoded_sound, encoded_pictures, strongest_hz
from stock import HEIGHT, WIDTH, stock
from web_gateway import Gateway, web_gateway

from orbridge.adapters.webrtc.session import WebRtcSession
from orbridge.codecs._engine import Engine
from orbridge.codecs.media import AccessUnit, Kind
from orbridge.gateway.bus import Bus
from orbridge.gateway.config import Media
from orbridge.gateway.session import CloseReason, State


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    engine = Engine(udp_ports=(21600, 21690))
    made = Bus(engine)
    made.start()
    yield made
    assert engine.stats()["legs"] == 0
    made.close()


@pytest.fixture
async def gateway(bus: Bus) -> AsyncIterator[Gateway]:
    async with web_gateway(bus, routed=True) as made:
        yield made


async def collected(bus: Bus, stream: str, kind: Kind, seconds: float) -> list[AccessUnit]:
    subscription = bus.subscribe(stream, kinds=[kind])
    units: list[AccessUnit] = []
    try:
        async with asyncio.timeout(seconds):
            async for batch in subscription:
                units += batch
    except TimeoutError:
        return units
    finally:
        subscription.close()
    return units


def session_named(gateway: Gateway, name: str) -> WebRtcSession:
    return next(s for s in gateway.adapter.sessions() if s.name == name and isinstance(s, WebRtcSession))


async def test_a_publisher_arrives_on_the_bus(gateway: Gateway, bus: Bus) -> None:
    async with stock(gateway.http) as client:
        await client.publish("/rooms/or-3/whip?name=anna")
        await until(lambda: session_named(gateway, "anna").state is State.ACTIVE)
        video, audio = await asyncio.gather(
            collected(bus, "or-3/anna/main", Kind.VIDEO, 4), collected(bus, "or-3/anna/main", Kind.AUDIO, 4)
        )
        assert video[0].keyframe
        assert all(unit.contiguous for unit in video[1:])
        frames = decoded_pictures(video)
        assert len(frames) >= 60
        assert (frames[-1].width, frames[-1].height) == (WIDTH, HEIGHT)
        assert bar_moves(frames[-30:])
        assert len(audio) >= 150
        assert strongest_hz(decoded_sound(audio)) == pytest.approx(440, abs=3)
        (leg,) = session_named(gateway, "anna").stats()["legs"]
        assert leg["secure"]
        assert leg["rejected"] == {} or not any(leg["rejected"].values())


@pytest.mark.parametrize("profile", ["baseline", "high"])
async def test_a_player_decodes_what_python_publishes(gateway: Gateway, bus: Bus, profile: str) -> None:
    studio = Studio(bus, profile=profile)
    async with stock(gateway.http, "viewer") as client:
        await client.play("/streams/or-3/main/whep")
        await until(
            lambda: len(client.received["video"].frames) >= 75 and len(client.received["audio"].frames) >= 120, 15
        )
        frames = client.received["video"].frames[-30:]
        assert (frames[-1].width, frames[-1].height) == (640, 360)
        assert bar_moves(frames)
        assert strongest_hz(client.received["audio"].sound()) == pytest.approx(440, abs=3)
    await studio.close()


async def test_from_one_browser_to_another(gateway: Gateway) -> None:
    async with stock(gateway.http) as one, stock(gateway.http, "viewer") as other:
        await one.publish("/rooms/or-3/whip?name=anna")
        await until(lambda: session_named(gateway, "anna").state is State.ACTIVE)
        await other.play("/streams/or-3/anna/main/whep")
        await until(lambda: "video" in other.received and len(other.received["video"].frames) >= 45, 15)
        assert bar_moves(other.received["video"].frames[-30:])
        await until(lambda: len(other.received["audio"].frames) >= 100, 10)
        assert strongest_hz(other.received["audio"].sound()) == pytest.approx(440, abs=3)


async def test_a_stream_that_comes_later_is_played(gateway: Gateway) -> None:
    async with stock(gateway.http, "viewer") as viewer, stock(gateway.http) as publisher:
        await viewer.play("/streams/or-3/anna/main/whep?wait=1")
        await until(lambda: viewer.connected)
        await publisher.publish("/rooms/or-3/whip?name=anna")
        await until(lambda: "video" in viewer.received and len(viewer.received["video"].frames) >= 30, 15)


async def test_an_audio_codec_that_the_stream_has_passes_through(gateway: Gateway) -> None:
    async with stock(gateway.http) as one, stock(gateway.http, "viewer") as other:
        await one.publish("/rooms/or-3/whip?name=anna&audio=pcma")
        await until(lambda: session_named(gateway, "anna").state is State.ACTIVE)
        await other.play("/streams/or-3/anna/main/whep")
        await until(lambda: "audio" in other.received and len(other.received["audio"].frames) >= 100, 15)
        audio = next(s for s in session_named(gateway, "nurse").sinks if s.kind is Kind.AUDIO)
        assert audio.codec.name == "PCMA"
        sound = other.received["audio"]
        assert strongest_hz(sound.sound(), sound.frames[0].sample_rate) == pytest.approx(440, abs=3)


async def test_media_moves_with_the_nomination(bus: Bus) -> None:
    """Between two addresses of ours in the middle of a picture stream: same keys, same counters, no picture lost."""
    one, other = Side(bus, controlling=True), Side(bus, ["127.0.0.2", "127.0.0.3"])
    target = bus.engine.publish("there/main")
    track = target.add_track("video", "H264", clock_hz=90_000)
    source = bus.engine.publish("here/main")
    picture = source.add_track("video", "H264", clock_hz=90_000)
    try:
        await joined(one, other)
        one.peer.leg.add_receiver(track, payload_types={96: "H264"}, nack=True, pli=True)
        sender = other.peer.leg.add_sender("H264", 96, clock_hz=90_000, ssrc=7, cname="c")
        sender.select(picture)
        gathering = asyncio.ensure_future(collected(bus, "there/main", Kind.VIDEO, 3.5))
        units = encoded_pictures(320, 240, 90)
        for number, (keyframe, payload) in enumerate(units):
            source.write(picture, number * 3000, payload, keyframe=keyframe)
            await asyncio.sleep(1 / 60)
            if number in (30, 60):
                generation = other.peer._current
                assert generation is not None
                chosen = next(s for s in other.peer.sockets if s.leg is not other.peer.leg)
                other.peer.nominated(generation, chosen, (one.peer.leg.host, one.peer.leg.port))
                # The browser answers on the pair that it nominated.
                one.peer.leg.set_peer(*chosen.name)
        got = await gathering
        assert len(decoded_pictures(got)) >= len(units) - 1
        assert all(unit.contiguous for unit in got[1:])
        assert len({unit.payload for unit in got} & {payload for _, payload in units}) >= len(units) - 3
    finally:
        await one.peer.close()
        await other.peer.close()
        target.close()
        source.close()


async def test_ipv6(bus: Bus) -> None:
    one, other = Side(bus, ["::1"], controlling=True), Side(bus, ["127.0.0.1", "::1"])
    await joined(one, other)
    assert other.peer.leg.host == "::1"
    await one.peer.close()
    await until(lambda: other.ends)
    await other.peer.close()


async def test_several_addresses_and_a_browser(bus: Bus) -> None:
    async with (
        web_gateway(bus, Media(host="127.0.0.2", hosts=["127.0.0.1"]), routed=True) as gateway,
        stock(gateway.http) as client,
    ):
        await client.publish("/rooms/or-3/whip?name=anna")
        await until(lambda: session_named(gateway, "anna").state is State.ACTIVE)
        assert len(await collected(bus, "or-3/anna/main", Kind.VIDEO, 2)) >= 15
        assert bus.engine.stats()["legs"] == 2


async def test_everything_is_freed(gateway: Gateway, bus: Bus) -> None:
    async with stock(gateway.http) as client:
        await client.publish("/rooms/or-3/whip?name=anna")
        session = session_named(gateway, "anna")
        await until(lambda: session.state is State.ACTIVE)
        assert await client.delete() == 200
        assert session.reason is CloseReason.REMOTE_HANGUP
        stats = bus.engine.stats()
        assert (stats["legs"], stats["streams"]) == (0, 0)
