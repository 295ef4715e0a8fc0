"""The line of samples on our clock: drift, gaps, overlaps and jumps, on no real clock and faster than life."""

from __future__ import annotations

import numpy as np
import pytest
from media_made import T0_NS, Sound, level_at

from orbridge.gateway.transcode.timeline import FADE, RATE_HZ, Stretch, Timeline

BLOCK = 960
NS = 1_000_000_000


def sine(first: int, count: int, hz: float = 440.0) -> Sound:
    return np.sin(2 * np.pi * hz / RATE_HZ * (np.arange(count) + first)).astype(np.float32)[None, :]


def roughness(sound: Sound, hz: float = 440.0) -> float:
    """How far the sound is from a sine of about this pitch, at its worst sample: a click of d shows as d."""
    rest = sound[2:] + sound[:-2] - 2 * np.cos(2 * np.pi * hz / RATE_HZ) * sound[1:-1]
    return float(np.abs(rest).max())


class Line:
    def __init__(self) -> None:
        self.timeline = Timeline(1)
        self.heard: list[Sound] = []
        self.first: list[int] = []

    def lay(self, samples: Sound, moment_ns: int, *, gap: int = 0, lost: bool = False) -> None:
        self.timeline.lay(samples, moment_ns, gap=gap, lost=lost)
        self.take()

    def take(self) -> None:
        while (taken := self.timeline.take(BLOCK)) is not None:
            self.first.append(taken[0])
            self.heard.append(taken[1][0])

    @property
    def sound(self) -> Sound:
        return np.concatenate(self.heard)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("ppm", "seconds"), [(200, 2 * 3600), (-900, 600)])
def test_hours_of_drift_neither_click_nor_lag(ppm: int, seconds: int) -> None:
    """A source whose clock is slow (or fast) by so much, in blocks of 100 ms with 3 ms of jitter in their times.

    The tone has one period in a block that is taken, so a block's phase says which of the source's samples it holds.
    """
    hz, block, line = 50.0, 4800, Line()
    jitter = np.random.default_rng(7).integers(-3_000_000, 3_000_000, seconds * 10)
    turn = np.exp(-2j * np.pi * hz / RATE_HZ * np.arange(BLOCK))
    errors_ms: list[float] = []
    offsets_ms: list[float] = []
    worst_step = 0.0
    last = np.zeros(2, np.float32)
    for number in range(seconds * 10):
        captured = T0_NS + round(number * block * NS / RATE_HZ * (1 + ppm / 1e6))
        line.lay(sine(number * block, block, hz), captured + int(jitter[number]))
        if number % 100 == 99:
            joined = np.concatenate((last, line.sound))
            if number > 200:
                worst_step = max(worst_step, roughness(joined, hz))
                newest = line.first[-1]
                moment = line.timeline.host_ns(newest)
                phase = (np.angle(np.dot(line.heard[-1], turn)) + np.pi / 2) / (2 * np.pi) * BLOCK
                belongs = (moment - T0_NS) / NS * RATE_HZ / (1 + ppm / 1e6)
                errors_ms.append(((belongs - phase + BLOCK / 2) % BLOCK - BLOCK / 2) / RATE_HZ * 1000)
                offsets_ms.append((moment - T0_NS) / 1e6 - newest / RATE_HZ * 1000)
            last, line.heard, line.first = joined[-2:], [], []
    assert worst_step < 0.0005
    assert max(abs(error) for error in errors_ms) < 2.0, "a sample's time is when it was captured"
    # Hours of our clock are as many hours of samples: what is left is what is left alone, and the correction's own.
    assert max(abs(offset) for offset in offsets_ms) < 32.0
    assert line.timeline.end / RATE_HZ == pytest.approx(seconds * (1 + ppm / 1e6), abs=0.03)
    assert line.timeline.ratio_ppm == pytest.approx(-ppm, abs=60)
    assert (line.timeline.silence, line.timeline.trimmed) == (0, 0)


def test_a_lost_frame_becomes_silence_with_soft_ends() -> None:
    line = Line()
    for number in range(50):
        if number == 25:
            continue
        moment = T0_NS + number * BLOCK * NS // RATE_HZ
        line.lay(sine(number * BLOCK, BLOCK), moment, gap=BLOCK if number == 26 else 0, lost=number == 26)
    assert line.timeline.silence == BLOCK
    sound = line.sound
    assert np.abs(np.diff(sound)).max() < 0.07, "the steepest part of this tone is 0.058 a sample"
    middle = 25 * BLOCK + BLOCK // 2
    assert np.abs(sound[middle - 100 : middle + 100]).max() == 0
    assert level_at(sound[26 * BLOCK + FADE : 46 * BLOCK + FADE], 440) == pytest.approx(1.0, abs=0.01)
    # What comes after the gap is where it was.
    assert line.timeline.host_ns(0) == pytest.approx(T0_NS, abs=200_000)


def test_an_overlap_is_left_out() -> None:
    line = Line()
    for number in range(50):
        moment = T0_NS + number * BLOCK * NS // RATE_HZ
        line.lay(sine(number * BLOCK, BLOCK), moment)
        if number == 25:
            line.lay(sine((number - 3) * BLOCK, 4 * BLOCK), moment - 3 * BLOCK * NS // RATE_HZ, gap=-4 * BLOCK)
    assert line.timeline.trimmed == 4 * BLOCK
    assert len(line.sound) == pytest.approx(50 * BLOCK, abs=2 * BLOCK)
    assert np.abs(np.diff(line.sound)).max() < 0.07


def test_rounded_timestamps_are_no_gaps() -> None:
    line = Line()
    for number in range(500):
        moment = T0_NS + (number * BLOCK * 1000 // RATE_HZ) * 1_000_000
        line.lay(sine(number * BLOCK, BLOCK), moment, gap=(7, -13, 6)[number % 3])
    assert (line.timeline.silence, line.timeline.trimmed) == (0, 0)
    assert roughness(line.sound[2 * FADE :]) < 0.001


def test_a_step_of_the_capture_times_moves_the_line_and_loses_nothing() -> None:
    """An encoder that began with three seconds of buffered sound: when that is known, captures step back."""
    line = Line()
    for number in range(300):
        step_ns = 3 * NS if number >= 100 else 0
        line.lay(sine(number * BLOCK, BLOCK), T0_NS + number * BLOCK * NS // RATE_HZ - step_ns)
    assert (line.timeline.silence, line.timeline.trimmed) == (0, 0)
    assert roughness(line.sound[2 * FADE :]) < 0.001
    assert line.timeline.host_ns(0) == pytest.approx(T0_NS - 3 * NS, abs=1_000_000)


@pytest.mark.parametrize("seconds", [1, 10])
def test_a_stall_is_filled_and_what_comes_late_is_left_out(seconds: int) -> None:
    line = Line()
    for number in range(50):
        line.lay(sine(number * BLOCK, BLOCK), T0_NS + number * BLOCK * NS // RATE_HZ)
    for step in range(1, seconds * 10 + 1):
        line.timeline.fill(T0_NS + NS + step * NS // 10)
        line.take()
    assert line.timeline.silence == pytest.approx(seconds * RATE_HZ, abs=50)
    # The network was slow, not the source: all of it comes at once, and a second more.
    for number in range(50, 50 + (seconds + 1) * 50):
        line.lay(sine(number * BLOCK, BLOCK), T0_NS + number * BLOCK * NS // RATE_HZ)
    assert line.timeline.trimmed == pytest.approx(seconds * RATE_HZ, abs=50)
    assert line.timeline.end == pytest.approx((seconds + 2) * RATE_HZ, abs=50)
    assert line.timeline.host_ns(0) == pytest.approx(T0_NS, abs=1_000_000)


def test_a_source_that_paused_goes_on_without_loss() -> None:
    line = Line()
    for number in range(50):
        line.lay(sine(number * BLOCK, BLOCK), T0_NS + number * BLOCK * NS // RATE_HZ)
    line.timeline.fill(T0_NS + 60 * NS)
    assert line.timeline.silence == 2 * RATE_HZ, "silence is bounded"
    for number in range(50):
        line.lay(sine(number * BLOCK, BLOCK), T0_NS + 60 * NS + number * BLOCK * NS // RATE_HZ, gap=0)
    assert line.timeline.trimmed == 0
    assert line.timeline.host_ns(line.timeline.end) == pytest.approx(T0_NS + 61 * NS, abs=10_000_000)


def test_stretching_is_exact() -> None:
    stretch, step = Stretch(1), 1.0003
    made = np.concatenate([stretch.feed(sine(n * 333, 333, 5000.0), step)[0] for n in range(200)])
    wanted = np.sin(2 * np.pi * 5000.0 / RATE_HZ * step * np.arange(len(made)))
    assert np.abs(made[50:] - wanted[50:]).max() < 0.002
