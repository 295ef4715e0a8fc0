"""Who uses which conversion: shared by all who want the same, at most so many at a time, ended with the last user.

Runs on the event loop's thread; the jobs themselves run in theirs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import Codec
from orbridge.gateway import events
from orbridge.gateway.transcode.job import Converter, Job

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine

log = structlog.get_logger(__name__)

# What failed isn't tried again for this long: the source would only break it again.
RETRY_AFTER_S = 10.0
FAILURES_KEPT = 100
JOIN_WITHIN_S = 2.0

Key = Hashable


@dataclass(slots=True)
class _Shared:
    """A conversion with who uses it, and, when nobody does any more, when it ends."""

    job: Job
    users: set[str] = field(default_factory=set)
    ending: asyncio.TimerHandle | None = None


class Conversions:
    """Running conversions of one sort.

    Attributes:
        changed: called on the loop with a source track's id when something about its conversion changed: it failed,
            or has something to say.
        refused: how often the limit kept somebody from a conversion. failed: how many ended by themselves.
    """

    def __init__(self, engine: Engine, limit: int, *, queue_ms: int, wake_ms: int, linger_s: float) -> None:
        """``linger_s``: how long one goes on without users, because who is sent something else now is sent the old
        until a key frame of the new has come."""
        self.limit, self.refused, self.failed = limit, 0, 0
        self.changed: Callable[[int], None] = lambda _source: None
        self._engine, self._queue_ms, self._wake_ms, self._linger_s = engine, queue_ms, wake_ms, linger_s
        self._running: dict[Key, _Shared] = {}
        # key -> (why it failed, until when it isn't tried again)
        self._failures: dict[Key, tuple[str, float]] = {}
        # who was told that there is no room, since there last was
        self._away: set[tuple[str, Key]] = set()
        self._made = 0

    def __len__(self) -> int:
        return len(self._running)

    def use(
        self,
        user: str,
        key: Key,
        source: int,
        source_codec: Codec,
        codec: Codec,
        make: Callable[[], Converter],
        *,
        full: Callable[[], str],
    ) -> Job:
        """The conversion of this key, started when it doesn't run; released by ``release(user)``.

        ``full`` words why there can't be another one. Raises LocalError with a sentence: too many run, it failed a
        moment ago, nothing here converts this codec, the source has gone.
        """
        shared = self._running.get(key)
        if shared is None:
            why, until = self._failures.get(key, ("", 0.0))
            if time.monotonic() < until:
                raise LocalError(why)
            if len(self._running) >= self.limit and not self._end_lingering():
                raise LocalError(self._turned_away(user, key, full()))
            shared = self._running[key] = self._start(key, source, source_codec, codec, make())
        if shared.ending is not None:
            shared.ending.cancel()
            shared.ending = None
        shared.users.add(user)
        return shared.job

    def release(self, user: str, *, keep: Collection[Key] = ()) -> None:
        """``user`` needs none any more but those of ``keep``."""
        for key, shared in list(self._running.items()):
            if user in shared.users and key not in keep:
                shared.users.discard(user)
                if not shared.users:
                    shared.ending = asyncio.get_running_loop().call_later(self._linger_s, self._stop, key)

    def of_track(self, track: int) -> Job | None:
        """The conversion that makes this track."""
        return next((shared.job for shared in self._running.values() if shared.job.track_id == track), None)

    def facts(self) -> list[dict[str, Any]]:
        """One dict a conversion (``Job.facts``) with ``users``: room names and session ids."""
        return [{**shared.job.facts(), "users": sorted(shared.users)} for shared in self._running.values()]

    def close(self) -> None:
        """End all, waiting for their threads so that none outlives the engine. Idempotent."""
        jobs = [shared.job for shared in self._running.values()]
        for key in list(self._running):
            self._stop(key)
        deadline = time.monotonic() + JOIN_WITHIN_S
        for job in jobs:
            job.join(max(0.0, deadline - time.monotonic()))

    def _end_lingering(self) -> bool:
        """Make room by ending one that nobody uses. False: there is none."""
        key = next((key for key, shared in self._running.items() if shared.ending is not None), None)
        if key is not None:
            self._stop(key)
        return key is not None

    def _turned_away(self, user: str, key: Key, why: str) -> str:
        """Count and say it once a user and wish; it is asked again in every round of decisions."""
        if (user, key) not in self._away:
            self._away.add((user, key))
            self.refused += 1
            log.warning(events.TRANSCODE_REFUSED, user=user, problem=why)
        return why

    def _start(self, key: Key, source: int, source_codec: Codec, codec: Codec, converter: Converter) -> _Shared:
        loop = asyncio.get_running_loop()

        def tell(job: Job) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._told, key, job)

        self._made += 1
        name = f"transcoded/{source}/{codec.name.lower()}-{self._made}"
        try:
            job = Job(
                self._engine,
                source=source,
                source_codec=source_codec,
                stream=name,
                codec=codec,
                converter=converter,
                queue_ms=self._queue_ms,
                wake_ms=self._wake_ms,
                changed=tell,
            )
        except ValueError as exc:
            raise LocalError(f"what was to be converted has gone ({exc})") from exc
        log.info(events.TRANSCODE_STARTED, stream=name, source=job.source_stream, codec=source_codec.name)
        return _Shared(job)

    def _stop(self, key: Key) -> None:
        shared = self._running.pop(key)
        if shared.ending is not None:
            shared.ending.cancel()
        self._away.clear()
        shared.job.stop()
        facts = shared.job.facts()
        log.info(events.TRANSCODE_STOPPED, stream=facts["stream"], up_s=facts["up_s"], cpu_ms=facts["cpu_ms"])

    def _told(self, key: Key, job: Job) -> None:
        shared = self._running.get(key)
        if shared is None or shared.job is not job:
            return
        if job.has_ended:
            self._stop(key)
            if job.problem:
                self.failed += 1
                self._remember(key, job.problem)
                log.warning(events.TRANSCODE_FAILED, stream=job.stream, problem=job.problem)
                asyncio.get_running_loop().call_later(RETRY_AFTER_S, self.changed, job.source)
        self.changed(job.source)

    def _remember(self, key: Key, problem: str) -> None:
        now = time.monotonic()
        self._failures = {known: failure for known, failure in self._failures.items() if failure[1] > now}
        while len(self._failures) >= FAILURES_KEPT:
            del self._failures[next(iter(self._failures))]
        self._failures[key] = (problem, now + RETRY_AFTER_S)
