"""One pair of tracks on its way to many peers: read from the bus once, put into bytes once, sent to all.

What has come since the last key frame is kept for peers that join later, bounded in bytes and time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from orbridge.adapters.rtmp.from_bus import FromBus, TrackFacts
from orbridge.adapters.rtmp.message import Batch, Message, Timeline
from orbridge.codecs.media import Codec, Kind

if TYPE_CHECKING:
    from orbridge.adapters.rtmp.outlet import Outlet
    from orbridge.codecs._engine import Engine, Subscription

log = structlog.get_logger(__name__)

# At once: what encoders send is read in step (pacer.py), so it comes in batches, and a batch costs each peer one write.
WAKE_MS = 0
QUEUE_MS = 15_000
QUEUE_BYTES = 16_777_216
KEPT_MS = 12_000
KEPT_BYTES = 8_388_608

Key = tuple[int | None, int | None]


class Feed:
    """One subscription and the peers that hear it.

    Attributes:
        key: ids of the video and the audio track.
    """

    def __init__(self, engine: Engine, key: Key, facts: dict[Kind, TrackFacts], timeline: Timeline) -> None:
        """Raises ValueError when a track is gone."""
        self.key, self.timeline = key, timeline
        self.has_video = Kind.VIDEO in facts
        self._engine = engine
        self._mapper = FromBus(facts, timeline)
        self._outlets: list[Outlet] = []
        self._kept: list[Message] = []
        self._kept_bytes = 0
        self._loop = asyncio.get_running_loop()
        tracks = [track for track in key if track is not None]
        self._subscription: Subscription | None = engine.subscribe(
            tracks, queue_ms=QUEUE_MS, queue_bytes=QUEUE_BYTES, wake_ms=WAKE_MS
        )
        self._fd = self._subscription.fileno()
        self._loop.add_reader(self._fd, self._ready)

    @property
    def is_over(self) -> bool:
        """Every track of it is gone."""
        return self._subscription is None

    @property
    def is_ready(self) -> bool:
        """A peer that joins now gets a picture at once, or there is none to wait for."""
        return bool(self._kept) or not self.has_video

    def join(self, outlet: Outlet) -> None:
        self._outlets.append(outlet)

    def leave(self, outlet: Outlet) -> None:
        """Who leaves last closes it. Idempotent."""
        if outlet in self._outlets:
            self._outlets.remove(outlet)
        if not self._outlets:
            self.close()

    def close(self) -> None:
        """Idempotent."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._loop.remove_reader(self._fd)
            subscription.close()

    def headers(self, *, begins: bool, publishes: bool) -> list[Message]:
        """What a peer needs before anything else. ``begins``: it has had nothing yet; ``publishes``: it is a server."""
        metadata = [self._mapper.metadata(set_data_frame=publishes)] if begins else []
        return [*metadata, *self._mapper.headers()]

    def kept(self) -> list[Message]:
        """From the last key frame to now; nothing when the group has outgrown its bounds."""
        return self._kept

    def want_keyframe(self) -> None:
        """For sources that can give one on request; an encoder over RTMP can't."""
        if self.key[0] is not None and not self.is_over:
            self._engine.want_keyframe(self.key[0])

    def stats(self) -> dict[str, Any]:
        return {"tracks": self.key, "peers": len(self._outlets), "kept_bytes": self._kept_bytes}

    def _ready(self) -> None:
        subscription = self._subscription
        if subscription is None:
            return
        messages = self._mapper.messages(subscription.take())
        if messages:
            batch = Batch(messages)
            self._keep(batch)
            for outlet in self._outlets.copy():
                outlet.take(self, batch)
        elif subscription.ended:
            self.close()

    def _keep(self, batch: Batch) -> None:
        if not self.has_video:
            return
        messages = batch.messages
        if batch.begins:
            self._kept, self._kept_bytes = [], 0
            messages = messages[batch.begins_at :]
        elif not self._kept:
            return
        self._kept += messages
        self._kept_bytes += batch.size
        first, last = self._kept[0], self._kept[-1]
        if self._kept_bytes > KEPT_BYTES or last.timestamp_ms - first.timestamp_ms > KEPT_MS:
            self._kept, self._kept_bytes = [], 0


class Feeds:
    """Every feed that somebody hears."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._feeds: list[Feed] = []

    def check(self, track_id: int, kind: Kind) -> None:
        """Raises ValueError when there is no such track of this kind."""
        if self._facts(track_id, kind) is None:
            raise ValueError(f"there is no {kind} track {track_id}")

    def join(self, key: Key, timeline: Timeline | None, outlet: Outlet) -> Feed | None:
        """The feed of these tracks, made when nobody hears it yet; None when they are gone.

        ``timeline``: the peer's, once it has one. Only a feed on the same timeline continues what it was sent before.
        """
        self._feeds = [feed for feed in self._feeds if not feed.is_over]
        for feed in self._feeds:
            if feed.key == key and timeline in (None, feed.timeline):
                feed.join(outlet)
                return feed
        facts = {
            kind: found
            for kind, track in zip((Kind.VIDEO, Kind.AUDIO), key, strict=True)
            if track is not None and (found := self._facts(track, kind)) is not None
        }
        try:
            feed = Feed(self._engine, key, facts, timeline or Timeline())
        except ValueError:
            # Gone since it was selected: who publishes it says so, and another is selected.
            return None
        feed.join(outlet)
        self._feeds.append(feed)
        return feed

    def close(self) -> None:
        for feed in self._feeds:
            feed.close()
        self._feeds = []

    def stats(self) -> list[dict[str, Any]]:
        return [feed.stats() for feed in self._feeds if not feed.is_over]

    def _facts(self, track_id: int, kind: Kind) -> TrackFacts | None:
        name = self._engine.stream_of(track_id)
        for stream in self._engine.streams([name] if name is not None else []):
            for track in stream["tracks"]:
                if track["id"] == track_id and track["kind"] == kind:
                    codec = Codec(track["codec"], track["clock_hz"], track["channels"])
                    return TrackFacts(track_id, codec, track["fps"] or 0.0, track["width"] or 0, track["height"] or 0)
        return None
