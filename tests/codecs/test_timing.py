"""Clocks of sources that drift, jump and come in bursts."""

import itertools
import random

import pytest

from orbridge.codecs.media import Kind
from orbridge.codecs.timing import HEADROOM_MS, Follower, FrameClock, Rising, SourceClock

MS = 1_000_000
START_NS = 50_000 * MS


class Encoder:
    """Timestamps of a source whose clock runs ``ppm`` too fast, 40 ms pictures and 1024-sample frames at 48 kHz."""

    def __init__(self, ppm: float = 0.0, jitter_ms: float = 0.0, seed: int = 1) -> None:
        self.rate = 1 + ppm / 1e6
        self.random = random.Random(seed)
        self.jitter_ms = jitter_ms

    def units(self, seconds: float, begin: float = 0.0) -> list[tuple[int, Kind, int, float]]:
        """(arrival_ns, kind, timestamp_ms, true capture in ms)"""
        made = []
        for kind, step in ((Kind.VIDEO, 40.0), (Kind.AUDIO, 1024 / 48.0)):
            count = int(seconds * 1000 / step)
            for number in range(count):
                source_ms = begin * 1000 + number * step
                true_ms = source_ms / self.rate
                arrival = true_ms + 5 + self.random.random() * self.jitter_ms
                made.append((START_NS + int(arrival * MS), kind, int(source_ms), true_ms))
        return sorted(made)


def captured(clock: SourceClock, units: list[tuple[int, Kind, int, float]]) -> list[tuple[Kind, float, float]]:
    """(kind, error of the capture time in ms, media time in ms)"""
    out = []
    for arrival, kind, timestamp, true_ms in units:
        media = clock.arrived(kind, timestamp, arrival)
        out.append((kind, (clock.capture_ns(media, arrival) - START_NS) / MS - true_ms, media))
    return out


@pytest.mark.parametrize("ppm", [-200, 0, 200])
def test_sound_and_picture_stay_together_over_ten_minutes_of_drift(ppm: int) -> None:
    errors = captured(SourceClock(), Encoder(ppm, jitter_ms=15).units(600))
    late = errors[-1000:]
    video = [error for kind, error, _ in late if kind is Kind.VIDEO]
    audio = [error for kind, error, _ in late if kind is Kind.AUDIO]
    assert max(video) - min(audio) < 45
    assert max(audio) - min(video) < 45
    # And neither has run away from when it happened.
    assert all(-5 <= error <= 45 for _, error, _ in late)


def test_media_time_begins_with_headroom_and_follows_the_source() -> None:
    clock = SourceClock()
    assert clock.arrived(Kind.VIDEO, 5_000_000, START_NS) == HEADROOM_MS
    assert clock.arrived(Kind.AUDIO, 4_999_900, START_NS + MS) == HEADROOM_MS - 100
    assert clock.arrived(Kind.VIDEO, 5_000_040, START_NS + 40 * MS) == HEADROOM_MS + 40


@pytest.mark.parametrize("jump_ms", [-3_600_000, -1_000, 10_000, 2**32])
def test_a_jump_is_taken_out_and_both_kinds_stay_together(jump_ms: int) -> None:
    clock = SourceClock()
    captured(clock, Encoder().units(10))
    after = [
        (arrival, kind, timestamp + jump_ms, true_ms)
        for arrival, kind, timestamp, true_ms in Encoder().units(10, begin=10)
    ]
    results = captured(clock, after)
    assert clock.jumps == 1
    assert all(abs(error - 5) < 20 for _, error, _ in results)
    for kind in Kind:
        media = [ms for of, _, ms in results if of is kind]
        assert media[0] >= HEADROOM_MS + 9_900
        assert media == sorted(media)
    video, audio = ([error for of, error, _ in results if of is kind] for kind in Kind)
    assert abs(sum(video) / len(video) - sum(audio) / len(audio)) < 2


def test_a_burst_at_the_beginning_is_understood() -> None:
    """Two seconds of pictures come at once, as a server with a kept group sends them; then it is live."""
    clock = SourceClock()
    for number in range(50):
        clock.arrived(Kind.VIDEO, number * 40, START_NS + number * 100_000)
        assert clock.capture_ns(HEADROOM_MS + number * 40, START_NS) > 0
    live = [(START_NS + (number + 1) * 40 * MS, Kind.VIDEO, (50 + number) * 40, 0.0) for number in range(100)]
    for arrival, kind, timestamp, _ in live[10:]:
        media = clock.arrived(kind, timestamp, arrival)
        assert abs(clock.capture_ns(media, arrival) - arrival) < 100 * MS
    assert clock.jumps == 0


def test_a_stall_and_the_burst_after_it_are_no_jump() -> None:
    clock = SourceClock()
    captured(clock, Encoder().units(10))
    late = [(START_NS + 15_000 * MS + number, kind, ts, true) for number, (_, kind, ts, true)
            in enumerate(Encoder().units(5, begin=10))]  # fmt: skip
    results = captured(clock, late)
    assert clock.jumps == 0
    assert all(abs(error - 5) < 30 for _, error, _ in results)


def test_an_encoder_that_cannot_keep_up_makes_no_break() -> None:
    """It falls two seconds behind, picture by picture; what it sends stays in step."""
    clock, follower, got = SourceClock(), Follower(90_000), list[int]()
    for number in range(1000):
        arrival = START_NS + number * 40 * MS + min(number, 500) * 4 * MS
        media = clock.arrived(Kind.VIDEO, number * 40, arrival)
        got.append(follower.host_ns(media * 90, clock.capture_ns(media, arrival)))
    steps = [(after - before) / MS for before, after in itertools.pairwise(got)]
    assert all(38 <= step <= 42 for step in steps), (min(steps), max(steps))


def test_after_an_interruption_media_time_goes_on() -> None:
    clock = SourceClock()
    captured(clock, Encoder().units(10))
    clock.interrupted()
    arrival = START_NS + 30_000 * MS
    assert clock.arrived(Kind.VIDEO, 7, arrival) == pytest.approx(HEADROOM_MS + 30_000, abs=30)
    assert clock.jumps == 0


def test_frames_of_sound_follow_without_gap_although_milliseconds_are_rounded() -> None:
    frames = FrameClock(44_100)
    ticks = [frames.ticks(int(number * 1024 / 44.1), 1024) for number in range(2000)]
    assert {after - before for before, after in itertools.pairwise(ticks)} == {1024}


def test_a_hole_in_the_sound_shows() -> None:
    frames = FrameClock(48_000)
    assert [frames.ticks(ms, 960) for ms in (100, 120, 200)] == [4800, 5760, 9600]


def test_a_follower_takes_out_jitter_and_steps_where_it_must() -> None:
    follower, seeded = Follower(90_000), random.Random(3)
    got = []
    for number in range(250):
        jitter = seeded.randrange(0, 20 * MS)
        got.append(follower.host_ns(number * 3600, START_NS + number * 40 * MS + jitter))
    steps = [after - before for before, after in itertools.pairwise(got)]
    assert all(abs(step - 40 * MS) <= MS for step in steps)
    jumped = follower.host_ns(250 * 3600, START_NS + 60_000 * MS)
    assert jumped == START_NS + 60_000 * MS


def test_rising() -> None:
    rising = Rising()
    assert [rising.next(ms) for ms in (5, 5, 3, 9)] == [5, 6, 7, 9]
