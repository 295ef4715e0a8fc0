"""The Python face of the stream bus: who publishes what, and whom the engine's events are about.

Media stays in the engine; ``publish`` and ``subscribe`` are for the few who need units in Python (tests, recorders,
the simulated device). Not thread-safe: everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from pyee.base import EventEmitter

from orbridge.codecs.media import AccessUnit, Codec, Kind, Track
from orbridge.gateway import events
from orbridge.gateway.throttle import Throttle

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine, Event
    from orbridge.codecs._engine import Publisher as EnginePublisher
    from orbridge.codecs._engine import Subscription as EngineSubscription

log = structlog.get_logger(__name__)

_BY_LEG = frozenset({"datagram", "peer_locked", "silent", "heard", "bye", "dtmf", "leg_failed", "rejected", "fault"})
_BY_TRACK = frozenset({"keyframe_wanted", "keyframe_came", "size", "reordered"})
_BY_SUBSCRIBER = frozenset({"overflowed", "source_ended"})

Handler = Callable[["Event"], None]


class Bus(EventEmitter):
    """The engine's events, dispatched, and the Python ends of streams.

    Events (pyee): ``size(track_id, width, height)``, ``levels(mixer_id, levels)``,
    ``source_ended(sender_id, track_id)``, ``keyframe_wanted(track_id, attempt)``, ``reordered(track_id, ms)``.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self._legs: dict[int, Handler] = {}
        self._tracks: dict[int, Handler] = {}
        self._failures = Throttle()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Listen to the engine on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.engine.fileno(), self._drain)

    def close(self) -> None:
        """Stop listening and stop the engine. Idempotent."""
        if self._loop is not None:
            self._loop.remove_reader(self.engine.fileno())
            self._loop = None
            self.engine.close()

    def on_leg(self, leg_id: int, handler: Handler) -> None:
        self._legs[leg_id] = handler

    def off_leg(self, leg_id: int) -> None:
        self._legs.pop(leg_id, None)

    def on_track(self, track_id: int, handler: Handler) -> None:
        self._tracks[track_id] = handler

    def off_track(self, track_id: int) -> None:
        self._tracks.pop(track_id, None)

    def publish(self, stream: str, tracks: Sequence[Codec], *, cache_ms: int = 12_000) -> Publisher:
        """A stream written from Python. Raises ValueError when the name is taken or two tracks are of one kind."""
        return Publisher(self.engine.publish(stream, cache_ms=cache_ms), tracks)

    def subscribe(self, stream: str, *, kinds: Sequence[Kind] = tuple(Kind), queue_ms: int = 2000) -> Subscription:
        """Units of a stream's tracks for Python, from its kept group of pictures on. Raises ValueError when the stream
        has none of these kinds."""
        ids = [track for kind in kinds if (track := self.engine.track(stream, kind.value)) is not None]
        if not ids:
            raise ValueError(f"stream {stream} has no {' or '.join(kinds)} track at the moment")
        return Subscription(self.engine.subscribe(ids, queue_ms=queue_ms))

    def _drain(self) -> None:
        for event in self.engine.drain():
            try:
                self._dispatch(event)
            except Exception:  # noqa: BLE001 - one handler's fault must not cost the others their events
                self._failed(event[0])

    def _dispatch(self, event: Event) -> None:
        kind, subject = event[0], event[1]
        if kind in _BY_LEG:
            self._report(event)
            handler = self._legs.get(subject)
            if handler is not None:
                handler(event)
            return
        if kind in _BY_TRACK:
            handler = self._tracks.get(subject)
            if handler is not None:
                handler(event)
        elif event[0] == "overflowed":
            log.warning(events.SUBSCRIBER_OVERFLOWED, subscriber=subject, units=event[2])
        self.emit(kind, *event[1:])

    def _report(self, event: Event) -> None:
        if event[0] == "rejected":
            log.warning(events.LEG_REJECTED, leg=event[1], cause=event[2], count=event[3])
        elif event[0] == "leg_failed":
            # EINVAL: an ICE check towards an address that this socket can't reach by its nature (a loopback socket, a
            # browser's other network). Expected, some a session.
            say = log.debug if "Invalid argument" in event[2] else log.warning
            say(events.LEG_FAILED, leg=event[1], cause=event[2])
        elif event[0] == "fault":
            log.error(events.LEG_FAULTED, leg=event[1], cause=event[2])
        elif event[0] == "peer_locked":
            log.debug(events.LEG_LOCKED, leg=event[1], peer=f"{event[2]}:{event[3]}")

    def _failed(self, what: str) -> None:
        if count := self._failures.take():
            log.exception(events.HANDLER_FAILED, what=what, count=count)


class Publisher:
    """The Python end of a stream that Python writes."""

    def __init__(self, inner: EnginePublisher, codecs: Sequence[Codec]) -> None:
        self._inner = inner
        self.stream = inner.stream
        self.tracks: dict[Kind, Track] = {}
        for codec in codecs:
            self.update(codec)

    def update(self, codec: Codec) -> Track:
        """Add a track, or change the one of this kind to another codec (it gets a new id)."""
        kind = codec.kind
        old = self.tracks.pop(kind, None)
        if old is not None:
            self._inner.remove_track(old.id)
        number = self._inner.add_track(kind.value, codec.name, clock_hz=codec.clock_hz, channels=codec.channels)
        track = self.tracks[kind] = Track(number, self.stream, kind, codec)
        return track

    def write(
        self,
        kind: Kind,
        pts: int,
        payload: bytes,
        *,
        dts: int | None = None,
        keyframe: bool = True,
        capture_ns: int = 0,
    ) -> None:
        """One access unit, in decoding order; payload and times as in ``AccessUnit``. ``dts``: None takes ``pts``."""
        self._inner.write(self.tracks[kind].id, pts, payload, dts=dts, keyframe=keyframe, capture_ns=capture_ns)

    def close(self) -> None:
        self._inner.close()


class Subscription:
    """Units for Python. An async iterator of batches; ends when the stream does.

    The queue is bounded in time and bytes: who reads too slowly loses units (video up to the next key frame), and
    ``AccessUnit.contiguous`` says so.
    """

    def __init__(self, inner: EngineSubscription) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[list[AccessUnit]]:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._inner.fileno(), ready.set)
        try:
            while True:
                batch = [AccessUnit(*fields) for fields in self._inner.take()]
                if batch:
                    yield batch
                elif self._inner.ended:
                    return
                else:
                    ready.clear()
                    await ready.wait()
        finally:
            loop.remove_reader(self._inner.fileno())

    def select(self, track_ids: Sequence[int], *, from_cache: bool = False) -> None:
        """Hear these tracks and no others from now on; see the engine's. Raises ValueError for one that isn't there."""
        self._inner.select(track_ids, from_cache=from_cache)

    def stats(self) -> dict[str, Any]:
        return self._inner.stats()

    def close(self) -> None:
        self._inner.close()
