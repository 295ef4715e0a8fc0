"""Sound on this host's clock: samples are laid one after the other where their capture times say they belong.

A source's sample clock differs from ours by up to some hundred ppm, its timestamps are rounded, frames get lost, and
encoders restart. What comes out is one unbroken line of samples at 48 kHz of this host's clock: drift is taken up by
resampling so slightly that nobody hears it, gaps are filled with silence, overlaps are left out, and wherever samples
are cut they are faded. No clock is read here, nothing is decoded.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 48_000
NS_PER_S = 1_000_000_000

# Cut ends are faded over this many samples (5 ms), which are held back for it.
FADE = 240
# A step of the timestamps up to here, with nothing lost, is rounding or drift: resampling takes it up.
STEP_MS = 60
# More silence than this isn't made at once: time jumps.
GAP_LIMIT_MS = 2_000
# A capture time that is so far from what was expected has changed, it isn't jitter...
JUMP_MS = 100
# ... but an arrival time may be off by as much, on a network that stalls.
ARRIVAL_JUMP_MS = 1_000
# The line of samples isn't led back from further away than this: it is moved.
MOVE_MS = 200
# In the beginning, when a source's capture times are still being found out, it is moved whenever it is off by this.
SETTLING_S = 2
SETTLED_MS = 5
# Capture times are averaged over about this long. An error up to LEFT_MS is left alone, because times that go to and
# fro (a mix has those of its loudest voice) are no drift, and each sample's moment is known all the same; what is
# beyond is led back over LEAD_S, by 1000 ppm at most: less than two cents of a semitone.
AVERAGE_S = 1.0
LEFT_MS = 20
LEAD_S = 10.0
RATIO_LIMIT = 1e-3

# The interpolation between samples: a Kaiser-windowed sinc, nearest of so many phases (about 80 dB).
TAPS = 16
PHASES = 4096
KAISER_BETA = 8.0

Samples: TypeAlias = NDArray[np.float32]


def _interpolation_table() -> Samples:
    """One filter a phase: row p gives the value at p / PHASES after the middle tap."""
    offsets = np.arange(TAPS)[None, :] - (TAPS // 2 - 1) - np.arange(PHASES + 1)[:, None] / PHASES
    inside = np.clip(1 - (offsets / (TAPS / 2)) ** 2, 0, None)
    taps = np.sinc(offsets) * np.i0(KAISER_BETA * np.sqrt(inside)) / np.i0(KAISER_BETA)
    table: Samples = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    return table


TABLE = _interpolation_table()


class Stretch:
    """Resampling by a ratio next to one that may change at any time, without a break in the phase."""

    def __init__(self, channels: int) -> None:
        self._buffer: Samples = np.zeros((channels, TAPS // 2 - 1), np.float32)
        self._position = float(TAPS // 2 - 1)

    @property
    def held(self) -> float:
        """Input samples that haven't been answered yet."""
        return float(self._buffer.shape[1]) - self._position

    def feed(self, samples: Samples, step: float) -> Samples:
        """``step``: how many input samples an output sample takes."""
        buffer = self._buffer = np.concatenate((self._buffer, samples), axis=1)
        room = buffer.shape[1] - TAPS // 2 - 1 - self._position
        if room < 0:
            return np.zeros((buffer.shape[0], 0), np.float32)
        count = int(room / step) + 1
        places = self._position + step * np.arange(count)
        whole = places.astype(np.int64)
        phases = np.rint((places - whole) * PHASES).astype(np.int64)
        made = self._filtered(buffer, whole - (TAPS // 2 - 1), TABLE[phases])
        following = self._position + step * count
        drop = int(following) - (TAPS // 2 - 1)
        self._buffer, self._position = buffer[:, drop:], following - drop
        return made

    def _filtered(self, buffer: Samples, begins: NDArray[np.int64], filters: Samples) -> Samples:
        """Each filter over the taps that begin there; the places mostly follow each other, so nothing is copied."""
        channels, count = buffer.shape[0], len(begins)
        made = np.empty((channels, count), np.float32)
        across, along = buffer.strides
        edges = [0, *(np.flatnonzero(np.diff(begins) != 1) + 1).tolist(), count]
        for first, last in itertools.pairwise(edges):
            shape, offset = (channels, last - first, TAPS), int(begins[first]) * along
            windows = np.ndarray(shape, np.float32, buffer, offset, (across, along, along))
            np.einsum("ckt,kt->ck", windows, filters[first:last], out=made[:, first:last])
        return made


class Timeline:
    """Feed decoded sound at 48 kHz with its times; take it in frames.

    Sample n of what comes out belongs to the moment ``host_ns(n)``.

    Attributes:
        silence: samples of silence that were put in. trimmed: samples that were left out.
    """

    TICK = Fraction(1, RATE_HZ)

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.silence = self.trimmed = 0
        self._stretch = Stretch(channels)
        self._origin_ns: int | None = None
        # What is true of the capture times beyond origin and count, averaged, in samples.
        self._offset = 0.0
        self._parts: list[Samples] = []
        self._queued = 0
        self._taken = 0
        self._fade_in = True
        self._skip = 0
        # Silence that was put in because nothing came, since something last did.
        self._filled = 0

    @property
    def end(self) -> int:
        """Number of the next sample that will be laid down."""
        return self._taken + self._queued

    @property
    def ratio_ppm(self) -> float:
        """How much faster than ours the source's samples come, as far as it is being corrected at the moment."""
        return -self._correction() * 1e6

    def host_ns(self, sample: int) -> int:
        """The moment that this sample belongs to, on this host's clock."""
        assert self._origin_ns is not None
        return self._origin_ns + round((sample + self._offset) * NS_PER_S / RATE_HZ)

    def lay(self, samples: Samples, moment_ns: int, *, gap: int, lost: bool, is_capture: bool = True) -> None:
        """The next samples of the source.

        Args:
            samples: float32, (channels, n), at 48 kHz of the source's clock.
            moment_ns: when the first of them was captured; with ``is_capture`` false, when they arrived.
            gap: what the source's own timestamps say is missing before them, in samples; negative: an overlap.
            lost: something before them is known to be lost.
        """
        if self._origin_ns is None:
            self._origin_ns = moment_ns
        if self._filled:
            # What was filled may have been a pause of the source or a stall of the network: the moment tells.
            self._cut(round(self._error(moment_ns) - self._offset))
            self._filled = 0
        elif gap and (lost or abs(gap) > STEP_MS * RATE_HZ // 1000):
            self._cut(gap)
        self._measure(moment_ns, JUMP_MS if is_capture else ARRIVAL_JUMP_MS, samples.shape[1])
        if self._skip:
            skipped = min(self._skip, samples.shape[1])
            samples, self._skip = samples[:, skipped:], self._skip - skipped
            self.trimmed += skipped
        made = self._stretch.feed(samples, 1.0 - self._correction())
        if made.shape[1]:
            self._append(self._faded_in(made))

    def fill(self, until_ns: int) -> None:
        """Nothing came: silence up to this moment, in whole steps of the fade. Nothing happens before the beginning."""
        if self._origin_ns is None:
            return
        missing = round((until_ns - self._origin_ns) * RATE_HZ / NS_PER_S - self._offset) - self.end
        if missing >= FADE:
            self._skip = 0
            self._filled += self._cut(missing)

    def take(self, count: int) -> tuple[int, Samples] | None:
        """The next ``count`` samples with the number of the first; None while there aren't as many to give."""
        if self._queued - FADE < count:
            return None
        whole = np.concatenate(self._parts, axis=1) if len(self._parts) > 1 else self._parts[0]
        self._parts = [whole[:, count:]]
        first, self._taken, self._queued = self._taken, self._taken + count, self._queued - count
        return first, whole[:, :count]

    def _measure(self, moment_ns: int, jump_ms: int, count: int) -> None:
        error = self._error(moment_ns)
        if abs(error - self._offset) > jump_ms * RATE_HZ // 1000:
            self._offset = error
        else:
            self._offset += (error - self._offset) * min(1.0, count / (AVERAGE_S * RATE_HZ))
        move_ms = MOVE_MS if self.end > SETTLING_S * RATE_HZ else SETTLED_MS
        if abs(self._offset) > move_ms * RATE_HZ // 1000:
            assert self._origin_ns is not None
            self._origin_ns += round(self._offset * NS_PER_S / RATE_HZ)
            self._offset = 0.0

    def _error(self, moment_ns: int) -> float:
        """Where what comes next belongs, less where it would be laid, in samples."""
        assert self._origin_ns is not None
        belongs = (moment_ns - self._origin_ns) * RATE_HZ / NS_PER_S
        return belongs - (self.end + self._stretch.held - self._skip)

    def _correction(self) -> float:
        beyond = max(0.0, abs(self._offset) - LEFT_MS * RATE_HZ / 1000)
        return math.copysign(min(RATIO_LIMIT, beyond / (LEAD_S * RATE_HZ)), self._offset)

    def _cut(self, gap: int) -> int:
        """Leave ``gap`` samples of silence, or leave out as many of what follows. Returns how many it became."""
        if gap == 0:
            return 0
        gap, self._skip = gap - self._skip, 0
        limit = GAP_LIMIT_MS * RATE_HZ // 1000
        if gap < 0:
            # A source that went back further than that has begun anew: what it sends is played.
            self._skip = -gap if -gap <= max(limit, self._filled) else 0
        self._fade_out()
        # What comes doesn't belong to what came before.
        self._stretch = Stretch(self.channels)
        if gap > 0:
            gap = min(gap, limit)
            self.silence += gap
            self._append(np.zeros((self.channels, gap), np.float32))
        self._fade_in = True
        return gap

    def _append(self, samples: Samples) -> None:
        self._parts.append(samples)
        self._queued += samples.shape[1]

    def _fade_out(self) -> None:
        """The last samples that nobody has taken yet come to rest."""
        if not self._parts:
            return
        whole = np.concatenate(self._parts, axis=1)
        count = min(FADE, whole.shape[1])
        if count:
            whole[:, -count:] *= np.linspace(1, 0, count, dtype=np.float32)
        self._parts = [whole]

    def _faded_in(self, samples: Samples) -> Samples:
        if self._fade_in:
            self._fade_in = False
            count = min(FADE, samples.shape[1])
            samples[:, :count] *= np.linspace(0, 1, count, dtype=np.float32)
        return samples
