"""The border to pjsua2: nothing that Python raises may go back into it, and its log comes out into ours."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import structlog

from orbridge.gateway import events
from orbridge.gateway.throttle import Throttle

log = structlog.get_logger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


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
