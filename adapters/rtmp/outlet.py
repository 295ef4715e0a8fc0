"""What one peer is sent: the feed of the tracks that were selected for it, cut at key frames, and less when it is slow.

The tracks come from the routing core, a line each (``gateway.session.Line``); which feed carries them is decided once
when a turn of the loop is over. Knows no socket: ``send`` takes bytes, ``buffered`` says how many are on their way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from orbridge.adapters.rtmp.message import Batch, Message, Timeline
from orbridge.codecs.media import Kind

if TYPE_CHECKING:
    from orbridge.adapters.rtmp.feed import Feed, Feeds

# So much may be on its way to a peer beyond what it began with; then it loses everything up to a key frame.
BEHIND_BYTES = 1_500_000
RESUME_BYTES = 256_000
# A peer that takes nothing for so long is let go.
STALLED_S = 10.0


class RtmpLine:
    """One kind of media towards a peer. Implements ``gateway.session.Line``."""

    def __init__(self, outlet: Outlet, kind: Kind) -> None:
        self._outlet, self._kind = outlet, kind
        self._selected: int | None = None

    @property
    def selected(self) -> int | None:
        return self._selected

    def select(self, track_id: int | None) -> None:
        """From the next key frame on, the old track until then. Raises ValueError when there is no such track."""
        if track_id is not None:
            self._outlet.feeds.check(track_id, self._kind)
        self._selected = track_id
        self._outlet.retune()


class Outlet:
    """Everything that goes to one peer, in order.

    Attributes:
        lines: to be offered to the routing core as sinks.
        dropped: messages that the peer was too slow for.
        on_selected: called when what is selected changed.
    """

    def __init__(
        self,
        feeds: Feeds,
        now_s: Callable[[], float],
        on_selected: Callable[[], None] | None = None,
        *,
        publishes: bool = False,
    ) -> None:
        """``publishes``: the peer is a server, to which we publish."""
        self.feeds = feeds
        self.lines = {kind: RtmpLine(self, kind) for kind in Kind}
        self.dropped = 0
        self.on_selected = on_selected
        self._now_s, self._publishes = now_s, publishes
        self._send: Callable[[bytes], None] | None = None
        self._buffered: Callable[[], int] = lambda: 0
        self._on_stalled: Callable[[], None] = lambda: None
        self._stream_id = 1
        self._feed: Feed | None = None
        self._next: Feed | None = None
        self._retuning: asyncio.Handle | None = None
        self._timeline: Timeline | None = None
        self._awaits_keyframe = True
        self._is_paused = False
        # what the peer has: the last of each kind, and the headers
        self._last: dict[Kind, Message] = {}
        self._last_ms: dict[Kind, int] = {}
        self._headers: dict[Kind, bytes] = {}
        self._catching_up: set[Kind] = set()
        # since when it is too slow, and what it had to take then
        self._slow_since: float | None = None
        self._allowed = BEHIND_BYTES

    @property
    def selected(self) -> dict[Kind, int]:
        return {kind: line.selected for kind, line in self.lines.items() if line.selected is not None}

    @property
    def is_slow(self) -> bool:
        return self._slow_since is not None

    def open(
        self,
        stream_id: int,
        send: Callable[[bytes], None],
        buffered: Callable[[], int],
        on_stalled: Callable[[], None],
    ) -> None:
        """A peer is there now, and has nothing yet."""
        self._stream_id, self._send, self._buffered, self._on_stalled = stream_id, send, buffered, on_stalled
        self._timeline = None
        self._awaits_keyframe, self._is_paused = True, False
        self._last, self._last_ms, self._headers = {}, {}, {}
        self._catching_up = set()
        self._slow_since, self._allowed = None, BEHIND_BYTES
        self.retune()

    def close(self) -> None:
        """The peer is gone; what is selected stays. Idempotent."""
        self._send = None
        if self._retuning is not None:
            self._retuning.cancel()
            self._retuning = None
        for feed in (self._feed, self._next):
            if feed is not None:
                feed.leave(self)
        self._feed = self._next = None

    def pause(self, paused: bool) -> None:
        """The player wants nothing for a while; afterwards it goes on at what is live then."""
        self._is_paused = paused
        if not paused:
            self._awaits_keyframe = self._feed is None or self._feed.has_video
            if self._feed is not None:
                self._feed.want_keyframe()

    def retune(self) -> None:
        """What is selected changed: find the feed that carries it, once, when this turn of the loop is over."""
        if self._retuning is None:
            self._retuning = asyncio.get_running_loop().call_soon(self._retune)

    def stats(self) -> dict[str, Any]:
        return {"dropped": self.dropped, "slow": self.is_slow, "buffered_bytes": self._buffered() if self._send else 0}

    # from the feed

    def take(self, feed: Feed, batch: Batch) -> None:
        """What a feed has now."""
        if feed is self._next:
            if batch.begins or not feed.has_video:
                self._cut_over(batch)
            return
        if feed is not self._feed or self._send is None or self._is_paused:
            return
        buffered = self._buffered()
        if self._slow_since is not None or buffered > self._allowed:
            self._take_slowly(feed, batch, buffered)
            return
        if buffered < RESUME_BYTES:
            self._allowed = BEHIND_BYTES
        if self._awaits_keyframe or self._catching_up or batch.has_headers:
            self._take_singly(batch.messages)
        else:
            self._send(batch.chunks(self._stream_id))
            self._last.update(batch.last)
            for kind, message in batch.last.items():
                self._last_ms[kind] = message.timestamp_ms

    def _take_slowly(self, feed: Feed, batch: Batch, buffered: int) -> None:
        """Nothing until the peer has taken what is on its way; then from the next key frame on."""
        now = self._now_s()
        if self._slow_since is None:
            self._slow_since = now
            self._awaits_keyframe = feed.has_video
        if buffered <= RESUME_BYTES:
            if batch.begins or not feed.has_video:
                self._slow_since, self._allowed = None, BEHIND_BYTES
                self._take_singly(batch.messages)
                return
            feed.want_keyframe()
        elif now - self._slow_since >= STALLED_S:
            self._on_stalled()
        self.dropped += len(batch.messages)

    def _take_singly(self, messages: Sequence[Message]) -> None:
        """Messages that don't go out as every other peer gets them: some left out, some with other timestamps."""
        if self._send is None:
            return
        parts = []
        for message in messages:
            kind = message.kind
            if kind is None:
                parts += message.chunks(self._stream_id)
                continue
            if kind is Kind.VIDEO and self._awaits_keyframe:
                if message.is_header:
                    pass
                elif not message.is_keyframe:
                    continue
                else:
                    self._awaits_keyframe = False
            if message.is_header:
                if self._headers.get(kind) == message.body:
                    continue
                self._headers[kind] = message.body
            else:
                self._last[kind] = message
            at_ms = message.timestamp_ms
            before = self._last_ms.get(kind, -1)
            if kind in self._catching_up:
                if at_ms > before:
                    self._catching_up.discard(kind)
                else:
                    at_ms = before if message.is_header else before + 1
                    message = message.at(at_ms)
            self._last_ms[kind] = at_ms
            parts += message.chunks(self._stream_id)
        if parts:
            self._send(b"".join(parts))

    # tuning

    def _retune(self) -> None:
        self._retuning = None
        if self.on_selected is not None:
            self.on_selected()
        if self._send is None:
            return
        chosen = self.selected
        wanted = (chosen.get(Kind.VIDEO), chosen.get(Kind.AUDIO))
        if self._next is not None and self._next.key != wanted:
            self._next.leave(self)
            self._next = None
        if self._feed is not None and self._feed.key == wanted:
            return
        if wanted == (None, None):
            if self._feed is not None:
                self._feed.leave(self)
                self._feed = None
            return
        if self._next is None:
            self._next = self.feeds.join(wanted, self._timeline, self)
        if self._next is not None:
            self._timeline = self._next.timeline
            keeps = self._feed is not None and self._feed.has_video and not self._feed.is_over
            if self._next.is_ready or not keeps:
                self._cut_over(None)

    def _cut_over(self, batch: Batch | None) -> None:
        """Leave the old feed for the next one: its headers, what it has kept, then what comes."""
        feed, old = self._next, self._feed
        assert feed is not None
        self._feed, self._next = feed, None
        if old is not None:
            old.leave(self)
        # A picture's track that goes on goes on where it was; of another one, what is older than now is caught up with.
        # Sound that is older than what was heard isn't wanted.
        pending = batch.messages if batch is not None and not feed.has_video else feed.kept()
        kept = [message for message in pending if not self._has(message)]
        video = self._last.get(Kind.VIDEO)
        if video is None or video.track != feed.key[0]:
            self._awaits_keyframe = feed.has_video
        self._catching_up = {kind for kind in Kind if kind in self._last_ms}
        self._allowed = BEHIND_BYTES + sum(len(message.body) for message in kept)
        self._take_singly([*feed.headers(begins=not self._last_ms, publishes=self._publishes), *kept])

    def _has(self, message: Message) -> bool:
        """The peer has had it already, or something later."""
        kind = message.kind
        if kind is None or message.is_header:
            return False
        last = self._last.get(kind)
        if last is None:
            return False
        if last.track == message.track:
            return message.ticks <= last.ticks
        return kind is Kind.AUDIO and message.timestamp_ms <= self._last_ms[kind]
