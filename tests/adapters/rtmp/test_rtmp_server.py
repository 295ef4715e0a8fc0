"""The server with our own client as the peer: who may publish and play, and what arrives."""

import asyncio
import itertools

import msgspec
import pytest
from rtmp_gateway import ADMIN, ELSEWHERE, KEY, STREAM, TOKEN, TOWER, Gateway, rtmp_gateway, until
from rtmp_peer import Client, Encoder, audio_header, is_header, recording, video_header

from orbridge.adapters.rtmp import peer
from orbridge.codecs import flv
from orbridge.codecs.rtmp.events import Media, PublishStarted, Rejected, StreamClosed
from orbridge.gateway.config import Rtmp
from orbridge.gateway.session import CloseReason, State

PUBLISH = f"live/tower?key={KEY}"
PLAY = f"tower?token={TOKEN}"


def rising(client: Client, kind: str) -> list[int]:
    times = [event.timestamp_ms for event in client.media(kind)]
    assert all(before < after for before, after in itertools.pairwise(times)), times
    return times


async def player(gateway: Gateway, name: str = PLAY, app: str = "live") -> Client:
    return await (await Client.open(gateway.port, app)).play(name)


async def test_what_is_published_is_played_from_a_key_frame_on() -> None:
    async with rtmp_gateway() as gateway:
        encoder = await Encoder.start(gateway.port, PUBLISH)
        await until("it runs", lambda: encoder.sent > 30)
        (session,) = gateway.sessions
        assert session.published == {"main": STREAM}
        assert (session.state, session.device, session.room) == (State.ACTIVE, "tower", "or-3")
        client = await player(gateway)
        await until("a second of pictures", lambda: len(client.media("video")) > 30)
        media = client.of(Media)
        assert media[0].kind == "data"
        metadata = flv.parse_metadata(media[1].payload if media[0].payload[3:4] == b"|" else media[0].payload)
        first_video = next(event for event in media if event.kind == "video")
        assert first_video.payload == video_header(recording())
        pictures = [flv.parse_video(event.payload) for event in client.media("video")]
        assert pictures[0].keyframe
        sent = [payload for _, payload in recording().pictures]
        at = sent.index(bytes(pictures[0].body))
        assert [bytes(picture.body) for picture in pictures[:25]] == (sent + sent)[at : at + 25]
        assert metadata is not None or media[0].payload
        rising(client, "video")
        sound = rising(client, "audio")
        assert all(after - before in (20, 21, 22, 23) for before, after in itertools.pairwise(sound))
        await client.close()
        await encoder.stop()
        await until("both are gone", lambda: not gateway.sessions)
        assert session.reason is CloseReason.REMOTE_HANGUP


async def test_a_late_player_has_a_picture_at_once_and_both_get_the_same_bytes() -> None:
    async with rtmp_gateway() as gateway:
        encoder = await Encoder.start(gateway.port, PUBLISH, recording(100, 100))
        await until("it runs", lambda: encoder.sent > 10)
        early = await player(gateway)
        await until("pictures", lambda: len(early.media("video")) > 20)
        began = asyncio.get_running_loop().time()
        late = await player(gateway)
        await until("a picture", lambda: late.media("video"))
        assert asyncio.get_running_loop().time() - began < 0.5
        assert flv.parse_video(late.media("video")[0].payload).keyframe
        await asyncio.sleep(0.5)
        assert gateway.adapter.status()["feeds"] == 1
        one = {event.timestamp_ms: event.payload for event in early.media("video")}
        other = {event.timestamp_ms: event.payload for event in late.media("video")}
        common = one.keys() & other.keys()
        assert len(common) > 30
        assert all(one[at] == other[at] for at in common)
        await encoder.stop()


@pytest.mark.parametrize(
    "name", ["tower?key=wrong", "tower", "nobody?key=" + KEY, "?key=" + KEY, "or-3/tower?key=wrong"]
)
async def test_wrong_keys_and_unknown_devices_are_answered_alike(name: str) -> None:
    async with rtmp_gateway() as gateway:
        client = await (await Client.open(gateway.port)).publish(name)
        (rejected,) = client.of(Rejected)
        assert rejected.code == "NetStream.Publish.BadName"
        assert rejected.description == "no device of this name may publish with this key"
        await until("closed", lambda: client.lost)
        assert gateway.counted("wrong_key") == 1
        assert gateway.sessions == []


async def test_guessing_keys_ends_in_a_pause_that_does_not_touch_who_knows_the_key() -> None:
    async with rtmp_gateway() as gateway:
        known = await Encoder.start(gateway.port, PUBLISH)
        await known.stop()
        for number in range(12):
            client = await (await Client.open(gateway.port)).publish(f"tower?key=guess-{number}")
            (rejected,) = client.of(Rejected)
        assert "too many wrong keys" in rejected.description
        assert gateway.counted("wrong_key") == 10
        assert gateway.counted("too_many_wrong_keys") == 2
        again = await Encoder.start(gateway.port, PUBLISH)
        await again.stop()


async def test_the_key_may_be_anywhere_in_the_address() -> None:
    async with rtmp_gateway() as gateway:
        client = await (await Client.open(gateway.port, f"live?key={KEY}")).publish("tower")
        assert client.stream_id
        await client.close()
        await until("gone", lambda: not gateway.sessions)
        client = await (await Client.open(gateway.port, f"live/tower?key={KEY}")).publish("")
        assert client.stream_id
        await client.close()


async def test_a_second_publisher_is_refused() -> None:
    async with rtmp_gateway() as gateway:
        first = await Encoder.start(gateway.port, PUBLISH)
        second = await (await Client.open(gateway.port)).publish(f"tower?key={KEY}")
        assert second.of(Rejected)[0].description == "tower is publishing already"
        before = first.sent
        await until("the first goes on", lambda: first.sent > before + 10)
        assert not first.client.is_over
        await first.stop()


async def test_a_second_publisher_takes_over_and_players_stay() -> None:
    async with rtmp_gateway(Rtmp(second_publisher="take_over")) as gateway:
        first = await Encoder.start(gateway.port, PUBLISH)
        client = await player(gateway)
        await until("pictures", lambda: len(client.media("video")) > 10)
        second = await Encoder.start(gateway.port, PUBLISH, begin_ms=1_000_000)
        await until("the first is told", lambda: first.client.lost)
        count = len(client.media("video"))
        await until("pictures of the second", lambda: len(client.media("video")) > count + 30)
        rising(client, "video")
        rising(client, "audio")
        await second.stop()


async def test_who_may_play_what() -> None:
    async with rtmp_gateway() as gateway:
        encoder = await Encoder.start(gateway.port, PUBLISH)
        for app, name, problem in (
            ("live", "tower", "this needs the secret of a token"),
            ("live", "tower?token=wrong", "the token's secret is wrong or no longer valid"),
            ("live", f"tower?token={ELSEWHERE}", "the token stranger doesn't have the right to view in room or-3"),
            ("live", f"or-3/other/main?token={TOKEN}", "nobody publishes or-3/other/main at the moment"),
            ("vod", f"tower?token={TOKEN}", "there is rtmp://SERVER/live/DEVICE"),
            ("rooms", f"elsewhere?token={TOKEN}", "the token nurse doesn't have the right to view in room elsewhere"),
        ):
            client = await player(gateway, name, app)
            (rejected,) = client.of(Rejected)
            assert rejected.code == "NetStream.Play.StreamNotFound"
            assert rejected.description.startswith(problem), name
        for app, name in (
            ("live", f"tower/main?token={TOKEN}"),
            ("live/tower", f"main?token={TOKEN}"),
            ("live", f"tower?token={ADMIN}"),
            ("live", f"tower?key={TOKEN}"),
        ):
            client = await player(gateway, name, app)
            await until("pictures", lambda client=client: client.media("video"))
            await client.close()
        await encoder.stop()


async def test_a_room_is_played_as_one_stream() -> None:
    async with rtmp_gateway() as gateway:
        encoder = await Encoder.start(gateway.port, PUBLISH)
        client = await player(gateway, f"or-3?token={TOKEN}", "rooms")
        await until("pictures", lambda: len(client.media("video")) > 10)
        viewer = next(session for session in gateway.sessions if session.watches)
        assert (viewer.room, viewer.plays) == ("or-3", None)
        await encoder.stop()


async def test_a_player_stays_when_the_encoder_comes_back() -> None:
    async with rtmp_gateway() as gateway:
        first = await Encoder.start(gateway.port, PUBLISH)
        client = await player(gateway)
        await until("pictures", lambda: len(client.media("video")) > 20)
        first.abort()
        await until("the stream ended", lambda: gateway.routing.room_of(STREAM) is None)
        await asyncio.sleep(0.5)
        count = len(client.media("video"))
        second = await Encoder.start(gateway.port, PUBLISH, begin_ms=77_000)
        await until("pictures again", lambda: len(client.media("video")) > count + 20)
        assert not client.of(StreamClosed)
        times = rising(client, "video")
        assert 400 <= times[count] - times[count - 1] <= 3000
        assert flv.parse_video(client.media("video")[count].payload).keyframe
        await second.stop()


async def test_sound_that_begins_late_is_added() -> None:
    async with rtmp_gateway() as gateway:
        encoder = await Encoder.start(gateway.port, PUBLISH, audio=False)
        client = await player(gateway)
        await until("pictures", lambda: len(client.media("video")) > 20)
        sound = recording().sound
        publisher = encoder.client
        publisher.send("audio", 1000, audio_header())
        for number in range(60):
            publisher.send("audio", encoder.sent * 40, flv.serialise_audio("AAC", "frames", sound[number]))
            await asyncio.sleep(0.02)
        await until("sound", lambda: client.media("audio"))
        headers = [event for event in client.of(Media) if is_header(event) and event.kind == "audio"]
        assert len(headers) == 1
        rising(client, "video")
        assert len([event for event in client.of(Media) if is_header(event) and event.kind == "video"]) == 1
        await encoder.stop()


async def test_a_device_without_video_publishes_its_sound_only() -> None:
    async with rtmp_gateway(devices=[msgspec.structs.replace(TOWER, video=False)]) as gateway:
        encoder = await Encoder.start(gateway.port, PUBLISH)
        await until("sound", lambda: gateway.bus.engine.track(STREAM, "audio"))
        await until("it runs", lambda: encoder.sent > 20)
        assert gateway.bus.engine.track(STREAM, "video") is None
        await encoder.stop()


async def test_a_pause_stops_media_and_it_goes_on_at_what_is_live() -> None:
    async with rtmp_gateway() as gateway:
        encoder = await Encoder.start(gateway.port, PUBLISH)
        client = await player(gateway)
        await until("pictures", lambda: len(client.media("video")) > 5)
        session = next(session for session in gateway.sessions if session.plays)
        session.outlet.pause(True)  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)
        count = len(client.media("video"))
        await asyncio.sleep(0.5)
        assert len(client.media("video")) == count
        session.outlet.pause(False)  # type: ignore[attr-defined]
        await until("pictures again", lambda: len(client.media("video")) > count + 5)
        assert flv.parse_video(client.media("video")[count].payload).keyframe
        rising(client, "video")
        await encoder.stop()


async def test_a_player_changes_to_another_stream_on_its_connection() -> None:
    async with rtmp_gateway() as gateway:
        encoder = await Encoder.start(gateway.port, PUBLISH)
        client = await player(gateway)
        await until("pictures", lambda: client.media("video"))
        assert [session.name for session in gateway.sessions if session.plays] == ["nurse"]
        client.machine._send_command(1, "play2", 0.0, None, {"streamName": f"tower?token={ADMIN}"})
        client.flush()
        await until("another session", lambda: [s.name for s in gateway.sessions if s.plays] == ["boss"])
        count = len(client.media("video"))
        await until("its pictures", lambda: len(client.media("video")) > count + 20)
        assert not client.of(Rejected)
        await client.close()
        await encoder.stop()


async def test_an_encoder_that_stops_may_publish_again_but_not_stay_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer, "HURRY_S", 2.0)
    async with rtmp_gateway() as gateway:
        client = await (await Client.open(gateway.port)).publish(f"tower?key={KEY}")
        for times in (1, 2):
            assert len(client.of(PublishStarted)) == times
            await until("a session", lambda: len(gateway.sessions) == 1)
            client.machine._send_command(0, "deleteStream", 9.0, None, 1.0)
            client.flush()
            await until("it is over", lambda: not gateway.sessions)
            if times == 1:
                client.machine._streams.clear()
                client.machine.publish(f"tower?key={KEY}")
                client.flush()
                await until("it publishes again", lambda: len(client.of(PublishStarted)) == 2)
        await until("who does nothing is let go", lambda: client.lost)
        assert gateway.adapter.status()["connections"] == 0
