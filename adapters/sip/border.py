"""The border to pjsua2: nothing that Python raises may go back into it, and its log comes out into ours."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import structlog

from orbridge.gateway import events

log = structlog.get_logger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


class Throttle:
    """Lets one through a second and says how many it held back since."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, every_s: float = 1.0) -> None:
        self._clock, self._every_s = clock, every_s
        self._next_at = 0.0
        self._held = 0

    def take(self) -> int:
        """0: keep quiet. Else the number of occurrences since the last time, this one included."""
        self._held += 1
        now = self._clock()
        if now < self._next_at:
            return 0
        self._next_at, count, self._held = now + self._every_s, self._held, 0
        return count


_failures = Throttle()


def failed(what: str) -> None:
    """Log the exception that is being handled, at most once a second."""
    count = _failures.take()
    if count:
        log.exception(events.CALLBACK_FAILED, what=what, count=count)


def guarded(callback: F) -> F:
    """For a method that pjsua2 calls: an exception ends here. pjsua2 sees None, which each callback's default fits."""

    @functools.wraps(callback)
    def inner(*args: Any) -> Any:
        try:
            return callback(*args)
        except BaseException:  # noqa: BLE001 - nothing may go back into the library, a panic of the engine neither
            failed(callback.__qualname__)
            return None

    return cast(F, inner)
