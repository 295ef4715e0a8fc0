"""A conversion as it runs: a thread that takes a track's units from the bus, converts and publishes them.

Decoding and encoding let go of the interpreter, so jobs run beside the event loop. This is the one file here that
crosses a thread: what the loop's side may call is ``stop``, ``want_keyframe`` and reading the attributes.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from orbridge.codecs._engine import ClosedError
from orbridge.codecs.errors import OrbridgeError
from orbridge.codecs.media import AccessUnit, Codec
from orbridge.gateway import events
from orbridge.gateway.transcode.made import Made

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from orbridge.codecs._engine import Engine

log = structlog.get_logger(__name__)

IDLE_WAIT_MS = 100
UNITS_AT_ONCE = 64
# A source that sends nothing for so long has a gap: the converter is told of the time that passed. Less is the
# network's: a lost packet of TCP takes some hundred milliseconds, and what comes after it is worth hearing.
STALLED_NS = 1_000_000_000
# Media threads of the engine come first.
NICE = 5


class Converter(Protocol):
    """One track into another codec: units in, units out."""

    @property
    def counters(self) -> DataclassInstance: ...
    @property
    def needs_keyframe(self) -> bool:
        """Nothing can be converted until the source sends one."""
        ...

    @property
    def note(self) -> str:
        """What people should know of how it goes, in words."""
        ...

    def feed(self, unit: AccessUnit, now_ns: int) -> list[Made]:
        """Raises OrbridgeError when what arrives can't be converted at all."""
        ...

    def fill(self, until_ns: int) -> list[Made]:
        """Nothing arrived that was captured before this moment."""
        ...

    def want_keyframe(self) -> None:
        """The next picture shall be one; nothing for sound."""
        ...


class Job:
    """One running conversion.

    Attributes:
        track_id: of what comes out.
        has_ended: nothing comes out any more.
        problem: why it ended, in words; empty while it runs and when it was stopped or its source ended.
        note: what people should know of how it goes, in words.
        backlog_ms: how far behind its arrival the newest unit was converted.
        cpu_ms: CPU time that it took so far.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        source: int,
        source_codec: Codec,
        stream: str,
        codec: Codec,
        converter: Converter,
        queue_ms: int,
        wake_ms: int,
        changed: Callable[[Job], None],
    ) -> None:
        """Raises ValueError when the source has gone. ``changed``: the note changed or the job ended; called in the
        job's thread."""
        self.source, self.source_codec, self.stream, self.codec = source, source_codec, stream, codec
        self.source_stream = engine.stream_of(source) or ""
        self.began_ns = time.monotonic_ns()
        self.problem = self.note = ""
        self.has_ended = False
        self.backlog_ms = self.cpu_ms = 0
        self._engine, self._converter, self._changed = engine, converter, changed
        self._stopping = threading.Event()
        self._subscription = engine.subscribe([source], queue_ms=queue_ms, wake_ms=wake_ms)
        try:
            self._publisher = engine.publish(stream)
            self.track_id = self._publisher.add_track(
                codec.kind.value, codec.name, clock_hz=codec.clock_hz, channels=codec.channels
            )
        except BaseException:
            self._subscription.close()
            raise
        self._thread = threading.Thread(target=self._run, name=stream, daemon=True)
        self._thread.start()

    def want_keyframe(self) -> None:
        self._converter.want_keyframe()

    def stop(self) -> None:
        """End it without waiting: nothing is published any more when this returns. Idempotent."""
        self._stopping.set()
        self._publisher.close()

    def join(self, timeout_s: float) -> bool:
        """Whether the thread has ended within that time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def facts(self) -> dict[str, Any]:
        """For status and metrics: of, source, stream, from, to, up_s, backlog_ms, cpu_ms, the converter's counters."""
        up_s = round((time.monotonic_ns() - self.began_ns) / 1e9, 1)
        counters = asdict(self._converter.counters)
        return {
            "of": self.source_stream,
            "source": self.source,
            "stream": self.stream,
            "from": self.source_codec.name,
            "to": self.codec.name,
            "up_s": up_s,
            "backlog_ms": self.backlog_ms,
            "cpu_ms": self.cpu_ms,
            **counters,
        }

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            self._convert()
        except ClosedError:
            pass  # stopped, or the engine itself was
        except OrbridgeError as exc:
            self.problem = str(exc)
        except Exception as exc:  # one conversion's fault must not cost anybody else anything
            self.problem = f"a fault in the gateway ended it ({type(exc).__name__})"
            log.exception(events.TRANSCODE_FAILED, stream=self.stream)
        finally:
            self._subscription.close()
            self._publisher.close()
            self.has_ended = True
            self._changed(self)

    def _convert(self) -> None:
        poll = select.poll()
        poll.register(self._subscription.fileno(), select.POLLIN)
        # (arrival, capture) of the newest unit
        newest: tuple[int, int] | None = None
        while not self._stopping.is_set():
            poll.poll(IDLE_WAIT_MS)
            units = [AccessUnit(*fields) for fields in self._subscription.take(UNITS_AT_ONCE)]
            for unit in units:
                self._publish(self._converter.feed(unit, time.monotonic_ns()))
                newest = (unit.arrival_ns, unit.capture_ns or unit.arrival_ns)
            now = time.monotonic_ns()
            if units and newest is not None:
                self.backlog_ms = (now - newest[0]) // 1_000_000
                self.cpu_ms = time.thread_time_ns() // 1_000_000
                self._look_back()
            elif self._subscription.ended:
                return
            elif newest is not None and now - newest[0] > STALLED_NS:
                self._publish(self._converter.fill(now - STALLED_NS - (newest[0] - newest[1])))

    def _look_back(self) -> None:
        """After some units: what the source and people must be told."""
        if self._converter.needs_keyframe:
            self._engine.want_keyframe(self.source)
        if self._converter.note != self.note:
            self.note = self._converter.note
            self._changed(self)

    def _publish(self, made: list[Made]) -> None:
        for unit in made:
            self._publisher.write(
                self.track_id,
                unit.pts,
                unit.payload,
                dts=unit.dts,
                keyframe=unit.keyframe,
                capture_ns=max(1, unit.capture_ns),
            )
