"""Relations between clocks: a source's millisecond timestamps, this host's monotonic clock, ticks of a track.

RTMP gives milliseconds that begin anywhere, drift against our clock, jump when an encoder restarts, and come in bursts.
Two things are made of them: media time that only goes forward, and the moment of capture on our clock. Nothing here
reads a clock: arrival is an argument. All kinds of one source share one clock, so that sound and picture keep together.

Not done: a correction of encoders whose sound and picture timestamps drift against each other; RTMP has no report that
would tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orbridge.codecs.media import Kind

# Media time begins here, so that what comes first but is older (sound before picture) isn't negative.
HEADROOM_MS = 10_000
# A timestamp so far before the last of its kind has jumped; less is an encoder's disorder.
BACKWARDS_MS = 500
# Nothing is captured in the future: so far ahead of the best that is known, the timestamps have jumped.
AHEAD_MS = 3_000
# A jump of another kind, a little earlier, that was as far as this one belongs to the same restart.
SAME_JUMP_MS = 2_000
# The least transit is the least of the last one to two of these: the rest is the network's jitter.
BUCKET_NS = 2_000_000_000
# Encoders and servers begin with what they have buffered, all at once. So long after the beginning it is known how far
# back that lay, and the time of capture steps there, for sound and picture in the same moment.
SETTLING_NS = 300_000_000
# Later a change is followed at this part of time's pace, so that it isn't seen or heard...
SLEW = 50
# ... unless it is so large that it can't be followed slowly.
STEP_NS = 500_000_000
# A source that comes later and later is mostly an encoder that can't keep up: its pictures are still in step with each
# other, and a step would show as a break. So more of that is followed slowly.
LATE_STEP_NS = 4_000_000_000


@dataclass(slots=True)
class _KindState:
    """Base: what is added to the source's timestamps. All in ms."""

    base: int
    last: int


class SourceClock:
    """From one source's timestamps to media time and capture time.

    Attributes:
        jumps: how often the source's timestamps jumped.
    """

    def __init__(self) -> None:
        self._kinds: dict[Kind, _KindState] = {}
        self._base: int | None = None
        self._began_ns: int | None = None
        self._is_settled = False
        # least arrival minus media time: of the running bucket, and of the one before
        self._running = self._before = 0
        self._bucket_until_ns = 0
        # capture minus media time as it is given out, and when it last was
        self._offset = self._offset_at_ns = 0
        self.jumps = 0

    def arrived(self, kind: Kind, timestamp_ms: int, arrival_ns: int) -> int:
        """Media time in ms of something of this kind that arrived now: never negative, jumps taken out.

        ``timestamp_ms`` is unwrapped. Within a kind it goes on rising over a jump; small disorder is left in.
        """
        if self._base is None:
            first_ms = HEADROOM_MS if self._began_ns is None else self._expected_ms(arrival_ns)
            self._base = first_ms - timestamp_ms
            self._restart(first_ms, arrival_ns)
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _KindState(self._base, timestamp_ms)
        media_ms = timestamp_ms + known.base
        if timestamp_ms < known.last - BACKWARDS_MS or self._is_ahead(media_ms, arrival_ns):
            media_ms = self._jumped(known, timestamp_ms, arrival_ns)
        known.last = timestamp_ms
        self._transit(media_ms, arrival_ns)
        return max(media_ms, 0)

    def capture_ns(self, media_ms: float, arrival_ns: int) -> int:
        """When, on our clock, what has this media time was captured; ``arrival_ns``: now."""
        target = min(self._running, self._before)
        passed = arrival_ns - self._offset_at_ns
        error = target - self._offset
        if not self._is_settled:
            if arrival_ns - (self._began_ns or 0) >= SETTLING_NS:
                self._is_settled, self._offset = True, target
        elif not -STEP_NS <= error <= LATE_STEP_NS:
            self._offset = target
        elif passed > 0:
            most = passed // SLEW
            self._offset += max(-most, min(most, error))
        self._offset_at_ns = max(self._offset_at_ns, arrival_ns)
        return max(1, round(media_ms * 1_000_000) + self._offset)

    def interrupted(self) -> None:
        """The source was away and comes back with timestamps of its own: media time goes on where it would be."""
        self._kinds.clear()
        self._base = None

    def _is_ahead(self, media_ms: int, arrival_ns: int) -> bool:
        transit = arrival_ns - media_ms * 1_000_000
        return transit < min(self._running, self._before) - AHEAD_MS * 1_000_000

    def _jumped(self, known: _KindState, timestamp_ms: int, arrival_ns: int) -> int:
        """Go on at the media time that it is now by what was known of the transit. Returns it."""
        base = self._expected_ms(arrival_ns) - timestamp_ms
        for other in self._kinds.values():
            # The other kind has jumped already: the same base keeps them together to the millisecond.
            if other is not known and other.base != known.base and abs(base - other.base) < SAME_JUMP_MS:
                base = other.base
                break
        else:
            self.jumps += 1
            self._base = base
        known.base = base
        return timestamp_ms + base

    def _expected_ms(self, arrival_ns: int) -> int:
        """The media time of what is captured now, by what is known of the transit."""
        return (arrival_ns - min(self._running, self._before)) // 1_000_000

    def _restart(self, media_ms: int, arrival_ns: int) -> None:
        transit = arrival_ns - media_ms * 1_000_000
        self._running = self._before = self._offset = transit
        self._began_ns = self._offset_at_ns = arrival_ns
        self._is_settled = False
        self._bucket_until_ns = arrival_ns + BUCKET_NS

    def _transit(self, media_ms: int, arrival_ns: int) -> None:
        transit = arrival_ns - media_ms * 1_000_000
        if arrival_ns >= self._bucket_until_ns:
            self._bucket_until_ns = arrival_ns + BUCKET_NS
            self._before, self._running = self._running, transit
        elif transit < self._running:
            self._running = transit


@dataclass(slots=True)
class FrameClock:
    """Ticks of sound whose timestamps are rounded to milliseconds: 1024 samples at 44.1 kHz are 23.22 ms.

    Frames follow each other without gap as long as the timestamps agree within ``TOLERANCE_MS``; where they don't,
    something is missing (or the encoder's sample clock has drifted from its timestamps), and the timestamps win.
    """

    clock_hz: int
    TOLERANCE_MS = 20
    _next: int | None = field(default=None, init=False)

    def ticks(self, media_ms: int, samples: int) -> int:
        """Position of a frame of so many samples."""
        exact = media_ms * self.clock_hz // 1000
        expected = self._next
        if expected is None or abs(exact - expected) * 1000 > self.TOLERANCE_MS * self.clock_hz:
            expected = exact
        self._next = expected + samples
        return expected


class Follower:
    """From a track's ticks to this host's clock, without the jitter of single capture times.

    Media time sets the pace; capture times are followed slowly. Where they are far off, time steps.
    """

    def __init__(self, clock_hz: int) -> None:
        self._clock_hz = clock_hz
        self._last: tuple[int, int] | None = None

    def host_ns(self, ticks: int, capture_ns: int) -> int:
        """Moment of what has these ticks and was captured then."""
        if self._last is None:
            host = capture_ns
        else:
            ticks_before, host_before = self._last
            passed = (ticks - ticks_before) * 1_000_000_000 // self._clock_hz
            expected = host_before + passed
            error = capture_ns - expected
            most = abs(passed) // SLEW
            host = capture_ns if abs(error) > STEP_NS else expected + max(-most, min(most, error))
        self._last = (ticks, host)
        return host


class Rising:
    """Timestamps in ms that only rise, whatever comes in: a decoder takes no time twice."""

    def __init__(self, last: int = -1) -> None:
        self.last = last

    def next(self, wanted: int) -> int:
        self.last = max(wanted, self.last + 1)
        return self.last
