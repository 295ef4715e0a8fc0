"""What a track of the bus carries and says about itself (codecs/_engine.pyi): every codec, order, pictures' sizes."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest
from engine_peer import PORTS, prefixed, wait_event, wait_for

from orbridge.codecs import media
from orbridge.codecs._engine import ClosedError, Engine, Subscription

# x265 3.5: Main, 1920x1080; 1366x768, cut out of 1368x768
VPS, SPS, PPS, SMALLER, IDR, TRAIL = map(
    bytes.fromhex,
    (
        "40010c01ffff016000000300900000030000030078959409",
        "420101016000000300900000030000030078a003c0801107cb965654a4c2f0168080000003008000000c84",
        "4401c073c189",
        "420101016000000300900000030000030078a002b080301cde595952930bc05a020000030002000003003210",
        "2801ac74110b2ee488830ec2",
        "0201d0115620e02238304081",
    ),
)

Units = list[tuple[int, int, int, bool, bool, int, int, bytes]]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(udp_ports=PORTS)
    yield engine
    engine.close()


def taken(subscription: Subscription, count: int, wait_s: float = 2.0) -> Units:
    units: Units = []
    deadline = time.monotonic() + wait_s
    while len(units) < count and time.monotonic() < deadline:
        select.select([subscription], [], [], 0.1)
        units += subscription.take()
    return units


@pytest.mark.parametrize("codec", ["VP9", "AV1", "AAC", "H265"])
def test_what_only_python_speaks_travels_and_no_leg_takes_it(engine: Engine, codec: str) -> None:
    kind = "audio" if codec == "AAC" else "video"
    clock_hz = 48_000 if codec == "AAC" else 90_000
    publisher = engine.publish("tower")
    track = publisher.add_track(kind, codec, clock_hz=clock_hz, channels=2 if codec == "AAC" else 1)
    payload = b"\0\0\0\3\x26\1\xaf" if codec == "H265" else b"\x12\0opaque"
    subscription = engine.subscribe([track], wake_ms=0)
    publisher.write(track, 0, payload, keyframe=True, capture_ns=5)
    publisher.write(track, 1024, payload, keyframe=False, capture_ns=6)
    units = taken(subscription, 2)
    assert [(unit[1], unit[3], unit[5], unit[7]) for unit in units] == [
        (0, True, 5, payload),
        (1024, codec == "AAC", 6, payload),
    ]
    assert engine.streams()[0]["tracks"][0]["codec"] == codec
    leg = engine.open_leg("127.0.0.1")
    with pytest.raises(ValueError, match=rf"(?i){codec}"):
        leg.add_sender(codec, 96, clock_hz=clock_hz, ssrc=1, cname="x")
    with pytest.raises(ValueError, match=rf"(?i){codec}"):
        leg.add_receiver(track, payload_types={96: codec})
    other = "OPUS" if codec == "AAC" else "VP8"
    sender = leg.add_sender(other, 96, clock_hz=48_000 if codec == "AAC" else 90_000, ssrc=2, cname="x")
    with pytest.raises(ValueError, match=codec):
        sender.select(track)
    with pytest.raises(ValueError, match="can't decode" if codec == "AAC" else "isn't audio"):
        engine.open_mixer().set_inputs([track])


def test_the_words_of_the_house_are_the_engines(engine: Engine) -> None:
    for codec in (media.AAC, media.H265):
        publisher = engine.publish(codec.name)
        publisher.add_track(codec.kind.value, codec.name, clock_hz=codec.clock_hz, channels=codec.channels)
    for name in media.VIDEO_NAMES:
        engine.publish(f"{name}/video").add_track("video", name, clock_hz=90_000)


def test_reordered_pictures_are_measured_and_told_once(engine: Engine) -> None:
    publisher = engine.publish("b-frames")
    video = publisher.add_track("video", "VP8", clock_hz=90_000)
    straight = engine.publish("straight")
    plain = straight.add_track("video", "VP8", clock_hz=90_000)
    subscription = engine.subscribe([video], wake_ms=0)
    for group in range(20):
        for decoded, shown in ((0, 3), (1, 1), (2, 2)):
            pts = (group * 3 + shown) * 3600
            publisher.write(video, pts, b"x" * 100, dts=(group * 3 + decoded) * 3600, keyframe=group + decoded == 0)
        straight.write(plain, group * 3600, b"x", keyframe=group == 0)
    assert wait_event(engine, "reordered") == ("reordered", video, 80)
    units = taken(subscription, 60)
    assert [unit[2] for unit in units] == [number * 3600 for number in range(60)]
    wait_for(lambda: engine.streams(["straight"])[0]["tracks"][0]["units"] == 20)
    tracks = {stream["name"]: stream["tracks"][0] for stream in engine.streams()}
    assert (tracks["b-frames"]["reordered"], tracks["b-frames"]["reorder_ms"]) == (40, 80)
    assert (tracks["straight"]["reordered"], tracks["straight"]["reorder_ms"]) == (0, 0)
    assert not [event for event in engine.drain() if event[0] == "reordered"]


def test_the_rates_of_what_python_writes(engine: Engine) -> None:
    publisher = engine.publish("rated")
    video = publisher.add_track("video", "VP8", clock_hz=90_000)
    began = time.monotonic()
    for number in range(60):
        time.sleep(max(0.0, began + number / 40 - time.monotonic()))
        publisher.write(video, number * 2250, bytes(1000), keyframe=number == 0)
    track = engine.streams()[0]["tracks"][0]
    assert 35 < track["fps"] < 45
    assert 35 * 8000 < track["bitrate_bps"] < 45 * 8000


def test_an_h265_track_keeps_its_parameter_sets_and_says_its_size(engine: Engine) -> None:
    publisher = engine.publish("hevc")
    video = publisher.add_track("video", "H265", clock_hz=90_000)
    engine.set_parameter_sets(video, [VPS, SPS, PPS])
    subscription = engine.subscribe([video], wake_ms=0)
    delimiter = bytes.fromhex("460150")
    publisher.write(video, 0, prefixed([delimiter, IDR]), keyframe=True)
    publisher.write(video, 3000, prefixed([TRAIL]), keyframe=False)
    assert wait_event(engine, "size") == ("size", video, 1920, 1080)
    publisher.write(video, 6000, prefixed([SMALLER, IDR]), keyframe=True)
    assert wait_event(engine, "size") == ("size", video, 1366, 768)
    publisher.write(video, 9000, prefixed([VPS, SMALLER, PPS, IDR]), keyframe=True)
    assert [unit[7] for unit in taken(subscription, 4)] == [
        prefixed([delimiter, VPS, SPS, PPS, IDR]),
        prefixed([TRAIL]),
        prefixed([VPS, SMALLER, PPS, IDR]),
        prefixed([VPS, SMALLER, PPS, IDR]),
    ]
    track = engine.streams()[0]["tracks"][0]
    assert (track["codec"], track["width"], track["height"], track["keyframes"]) == ("H265", 1366, 768, 3)
    with pytest.raises(ValueError, match="VPS"):
        engine.set_parameter_sets(video, [b"\x67\x42"])


def test_who_comes_late_gets_the_kept_group_with_its_sound(engine: Engine) -> None:
    publisher = engine.publish("encoder")
    video = publisher.add_track("video", "H265", clock_hz=90_000)
    audio = publisher.add_track("audio", "AAC", clock_hz=48_000, channels=2)
    for number in range(12):
        publisher.write(video, number * 3600, prefixed([IDR if number % 6 == 0 else TRAIL]), keyframe=number % 6 == 0)
        publisher.write(audio, number * 1920, bytes([number]) * 20)
    wait_for(lambda: engine.streams()[0]["tracks"][1]["units"] == 12)
    subscription = engine.subscribe([video, audio], wake_ms=0)
    units = taken(subscription, 12)
    assert [(unit[0], unit[1]) for unit in units] == [
        entry for n in range(6, 12) for entry in ((video, n * 3600), (audio, n * 1920))
    ]
    alone = engine.subscribe([audio], wake_ms=0)
    live = engine.subscribe([video, audio], wake_ms=0, from_cache=False)
    assert wait_event(engine, "keyframe_wanted")[1] == video
    publisher.write(video, 12 * 3600, prefixed([TRAIL]), keyframe=False)
    publisher.write(audio, 12 * 1920, b"now")
    assert [unit[7] for unit in taken(alone, 1)] == [b"now"]
    assert [unit[0] for unit in taken(live, 1)] == [audio]
    assert engine.streams()[0]["tracks"][1]["cache_bytes"] == 6 * 20 + 3


def test_a_subscription_turns_to_other_tracks_on_the_same_descriptor(engine: Engine) -> None:
    publishers = [engine.publish(name) for name in ("one", "two")]
    one, two = (publisher.add_track("video", "VP8", clock_hz=90_000) for publisher in publishers)
    subscription = engine.subscribe([one], wake_ms=0)
    descriptor = subscription.fileno()
    publishers[0].write(one, 0, b"one-0", keyframe=True)
    publishers[1].write(two, 0, b"two-0", keyframe=True)
    publishers[1].write(two, 3000, b"two-1", keyframe=False)
    assert [unit[7] for unit in taken(subscription, 1)] == [b"one-0"]
    wait_for(lambda: engine.streams(["two"])[0]["tracks"][0]["units"] == 2)
    subscription.select([two], from_cache=True)
    assert [unit[7] for unit in taken(subscription, 2)] == [b"two-0", b"two-1"]
    engine.drain()
    subscription.select([one])
    assert wait_event(engine, "keyframe_wanted") == ("keyframe_wanted", one, 1)
    publishers[0].write(one, 3000, b"one-1", keyframe=False)
    publishers[0].write(one, 6000, b"one-2", keyframe=True)
    publishers[1].write(two, 6000, b"two-2", keyframe=True)
    assert [unit[7] for unit in taken(subscription, 1)] == [b"one-2"]
    assert subscription.fileno() == descriptor
    assert subscription.stats()["tracks"] == [one]
    with pytest.raises(ValueError, match="no track"):
        subscription.select([one, 999])
    with pytest.raises(ValueError, match="at least one track"):
        subscription.select([])
    publishers[0].close()
    assert taken(subscription, 1, 0.2) == []
    assert subscription.ended
    subscription.select([two])
    assert not subscription.ended, "it hears something again"
    subscription.close()
    with pytest.raises(ClosedError):
        subscription.select([two])


def test_a_subscription_without_wake_ms_is_woken_at_once(engine: Engine) -> None:
    publisher = engine.publish("quick")
    audio = publisher.add_track("audio", "PCMU", clock_hz=8000)
    subscription = engine.subscribe([audio], wake_ms=0)
    took = []
    for number in range(20):
        time.sleep(0.005)
        began = time.monotonic()
        publisher.write(audio, number * 160, bytes(160))
        assert select.select([subscription], [], [], 1.0)[0]
        took.append(time.monotonic() - began)
        assert len(subscription.take()) == 1
    assert sorted(took)[10] < 0.005, took
