"""Publisher and Subscription: media through Python, with the bus's promises (codecs/_engine.pyi)."""

from __future__ import annotations

import gc
import select
import time
from collections.abc import Iterator

import pytest
from engine_peer import PORTS, PPS, SPS, picture, prefixed, wait_event, wait_for

from orbridge.codecs._engine import ClosedError, Engine, Subscription, build_info, h264_sps


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(udp_ports=PORTS)
    yield engine
    engine.close()


def taken(
    subscription: Subscription, count: int, wait_s: float = 2.0
) -> list[tuple[int, int, int, bool, bool, int, int, bytes]]:
    units: list[tuple[int, int, int, bool, bool, int, int, bytes]] = []
    deadline = time.monotonic() + wait_s
    while len(units) < count and time.monotonic() < deadline:
        select.select([subscription], [], [], 0.1)
        units += subscription.take()
    return units


def test_units_arrive_whole_in_order_and_in_batches(engine: Engine) -> None:
    publisher = engine.publish("or-3/main")
    video = publisher.add_track("video", "H264", clock_hz=90_000)
    audio = publisher.add_track("audio", "G722", clock_hz=8000)
    subscription = engine.subscribe([video, audio], wake_ms=50)
    before = time.monotonic_ns()
    for number in range(5):
        publisher.write(
            video,
            number * 3000,
            prefixed(picture(number, 500, keyframe=number == 0)),
            keyframe=number == 0,
            capture_ns=number,
        )
        publisher.write(audio, number * 160, bytes([number]) * 160)
    assert select.select([subscription], [], [], 1.0)[0]
    assert time.monotonic_ns() - before > 45_000_000, "woken on a timer, not for each unit"
    units = subscription.take()
    assert [(unit[0], unit[1], unit[3]) for unit in units] == [
        entry for n in range(5) for entry in ((video, n * 3000, n == 0), (audio, n * 160, True))
    ]
    assert units[4][7] == prefixed(picture(2, 500))
    assert units[5][7] == b"\2" * 160
    assert [unit[5] for unit in units if unit[0] == video] == [0, 1, 2, 3, 4]
    assert all(before <= unit[6] <= time.monotonic_ns() and unit[4] and unit[2] == unit[1] for unit in units)
    assert not select.select([subscription], [], [], 0.1)[0]
    assert subscription.stats()["taken"] == 10


def test_a_key_frame_gets_the_parameter_sets_that_signalling_knew(engine: Engine) -> None:
    publisher = engine.publish("axis")
    video = publisher.add_track("video", "H264", clock_hz=90_000)
    engine.set_parameter_sets(video, [SPS, PPS])
    subscription = engine.subscribe([video])
    slice_only = picture(1, 100, keyframe=True)[2:]
    publisher.write(video, 0, prefixed(slice_only), keyframe=True)
    publisher.write(video, 3000, prefixed(picture(2, 100)), keyframe=False)
    units = taken(subscription, 2)
    assert [unit[7] for unit in units] == [prefixed([SPS, PPS, *slice_only]), prefixed(picture(2, 100))]
    assert wait_event(engine, "size") == ("size", video, h264_sps(SPS)["width"], h264_sps(SPS)["height"])
    track = engine.streams()[0]["tracks"][0]
    assert (track["width"], track["keyframes"], track["units"]) == (h264_sps(SPS)["width"], 1, 2)
    with pytest.raises(ValueError, match="SPS or PPS"):
        engine.set_parameter_sets(video, [b"\x65abc"])


def test_key_frames_are_asked_for_and_their_coming_is_told(engine: Engine) -> None:
    publisher = engine.publish("camera")
    video = publisher.add_track("video", "VP8", clock_hz=90_000)
    subscription = engine.subscribe([video])
    assert wait_event(engine, "keyframe_wanted") == ("keyframe_wanted", video, 1)
    engine.want_keyframe(video)
    assert wait_event(engine, "keyframe_wanted") == ("keyframe_wanted", video, 2), "repeated, others' wishes coalesced"
    publisher.write(video, 0, b"\x10" + bytes(50), keyframe=True)
    name, track, ms = wait_event(engine, "keyframe_came")
    assert (name, track) == ("keyframe_came", video)
    assert 400 < ms < 1500
    assert len(taken(subscription, 1)) == 1
    time.sleep(1.1)
    assert not [event for event in engine.drain() if event[0] == "keyframe_wanted"], "it came: nobody asks any more"


def test_who_comes_late_gets_the_kept_group(engine: Engine) -> None:
    publisher = engine.publish("rtmp")
    video = publisher.add_track("video", "VP8", clock_hz=90_000)
    for number in range(10):
        publisher.write(video, number * 3000, bytes([number]) * 50, keyframe=number in (0, 4))
    wait_for(lambda: engine.streams()[0]["tracks"][0]["units"] == 10)
    began = time.monotonic()
    units = taken(engine.subscribe([video]), 6)
    assert [unit[7][0] for unit in units] == [4, 5, 6, 7, 8, 9]
    assert time.monotonic() - began < 0.1, "at once: it doesn't wait for a key frame"
    assert not [event for event in engine.drain() if event[0] == "keyframe_wanted"]
    assert (engine.streams()[0]["tracks"][0]["cache_bytes"]) == 300


def test_a_subscriber_that_never_takes_is_bounded_counted_and_alone(engine: Engine) -> None:
    publisher = engine.publish("both")
    video = publisher.add_track("video", "VP8", clock_hz=90_000)
    audio = publisher.add_track("audio", "PCMU", clock_hz=8000)
    idle = engine.subscribe([video, audio], queue_ms=60_000, queue_bytes=50_000)
    busy = engine.subscribe([video, audio])
    got = []
    for number in range(200):
        publisher.write(video, number * 3000, bytes(1000), keyframe=number % 50 == 0)
        publisher.write(audio, number * 160, bytes(160))
        if number % 20 == 19:
            got += taken(busy, 40)
    assert len(got) == 400
    wait_for(lambda: idle.stats()["queued_units"] + idle.stats()["dropped"] == 400)
    stats = idle.stats()
    assert stats["queued_bytes"] <= 50_000
    assert stats["dropped"] > 100
    left = taken(idle, stats["queued_units"])
    assert sum(unit[0] == audio for unit in left) == 200, "never audio for video"
    assert [unit[3] for unit in left if unit[0] == video][:1] in ([], [True]), "video goes on at a key frame"
    overflowed = [event for event in engine.drain() if event[0] == "overflowed"]
    assert [event[1] for event in overflowed] == [idle.id], "told once, at most once a second"
    assert busy.stats()["dropped"] == 0


def test_a_closed_publisher_ends_its_subscriptions(engine: Engine) -> None:
    publisher = engine.publish("short")
    audio = publisher.add_track("audio", "PCMA", clock_hz=8000)
    subscription = engine.subscribe([audio], wake_ms=0)
    publisher.write(audio, 0, b"x")
    wait_for(lambda: subscription.stats()["queued_units"])
    publisher.close()
    publisher.close()
    assert not subscription.ended, "what is queued can still be taken"
    assert len(subscription.take()) == 1
    assert subscription.ended
    assert select.select([subscription], [], [], 1.0)[0]
    with pytest.raises(ClosedError):
        publisher.write(audio, 0, b"x")
    with pytest.raises(ValueError, match="no track"):
        engine.subscribe([audio])
    assert engine.track("short", "audio") is None
    again = engine.publish("short")
    assert again.add_track("audio", "PCMA", clock_hz=8000) > audio, "ids are never used again"


def test_a_removed_track_leaves_the_others(engine: Engine) -> None:
    publisher = engine.publish("two")
    video = publisher.add_track("video", "VP8", clock_hz=90_000)
    audio = publisher.add_track("audio", "OPUS", clock_hz=48_000, channels=2)
    publisher.remove_track(video)
    assert (engine.track("two", "video"), engine.track("two", "audio")) == (None, audio)
    with pytest.raises(ValueError, match="publisher's"):
        publisher.write(video, 0, b"x")
    assert publisher.add_track("video", "H264", clock_hz=90_000) not in (video, audio)


def test_wrong_arguments_are_named(engine: Engine) -> None:
    publisher = engine.publish("x")
    video = publisher.add_track("video", "H264", clock_hz=90_000)
    with pytest.raises(ValueError, match="already has a publisher"):
        engine.publish("x")
    with pytest.raises(ValueError, match="1 to 200 characters"):
        engine.publish("")
    with pytest.raises(ValueError, match="already has a track"):
        publisher.add_track("video", "VP8", clock_hz=90_000)
    with pytest.raises(ValueError, match="no codec for audio"):
        publisher.add_track("audio", "VP8", clock_hz=90_000)
    with pytest.raises(ValueError, match="not known"):
        publisher.add_track("audio", "SIREN7", clock_hz=16_000)
    with pytest.raises(ValueError, match="nal unit"):
        publisher.write(video, 0, b"\0\0\0\x09short")
    with pytest.raises(ValueError, match="never negative"):
        publisher.write(video, -1, prefixed([b"\x65x"]))
    with pytest.raises(ValueError, match="at least one track"):
        engine.subscribe([])
    with pytest.raises(ValueError, match="queue_ms"):
        engine.subscribe([video], queue_ms=0)
    with pytest.raises(ValueError, match="no track"):
        engine.want_keyframe(999)
    with pytest.raises(ValueError, match="udp_ports"):
        Engine(udp_ports=(30_000, 20_000))
    with pytest.raises(ValueError, match=r"."):
        h264_sps(b"\x67")


def test_a_forgotten_subscription_is_closed(engine: Engine) -> None:
    publisher = engine.publish("x")
    audio = publisher.add_track("audio", "PCMU", clock_hz=8000)
    subscription = engine.subscribe([audio])
    assert engine.stats()["subscribers"] == 1
    del subscription
    gc.collect()
    assert engine.stats()["subscribers"] == 0


def test_a_closed_engine_says_so() -> None:
    engine = Engine(udp_ports=PORTS)
    publisher = engine.publish("x")
    audio = publisher.add_track("audio", "PCMU", clock_hz=8000)
    subscription = engine.subscribe([audio])
    engine.close()
    engine.close()
    for call in (
        engine.streams,
        engine.stats,
        subscription.take,
        lambda: publisher.write(audio, 0, b"x"),
        lambda: engine.open_leg("127.0.0.1"),
    ):
        with pytest.raises(ClosedError):
            call()
    assert subscription.ended
    publisher.close()
    subscription.close()


def test_the_build_names_its_parts() -> None:
    info = build_info()
    assert info["crypto"].startswith("aws-lc")
    assert info["opus"].startswith("libopus")
    assert info["profile"] in ("release", "debug")


def test_a_parameter_set_is_read() -> None:
    sps = h264_sps(SPS)
    assert (sps["profile_idc"], sps["level_idc"], sps["width"], sps["height"]) == (66, 41, 1280, 800)
