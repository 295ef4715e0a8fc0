"""Waiting for something to become true, with a bound and a sentence when it doesn't; what a busy machine excuses."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

SPIN_S = 0.06
# What a machine may be too slow by; whoever is slower still has a fault.
AT_MOST = 4.0


def crowding() -> float:
    """How many times longer than on a processor of one's own work takes here at this moment, 1 to 4.

    Bounds of time are multiplied with it, so that they stay strict where nobody else is working.
    """
    began, worked = time.perf_counter(), time.thread_time()
    while time.thread_time() - worked < SPIN_S:
        pass
    return min(max((time.perf_counter() - began) / SPIN_S, 1.0), AT_MOST)


async def until(what: str, probe: Callable[[], T | Awaitable[T]], within_s: float = 10.0, every_s: float = 0.1) -> T:
    """The first truthy value of ``probe``. Fails with ``what`` and the last value when the time is over.

    ``within_s``: on a machine that is free; a crowded one gets more.
    """
    began = time.monotonic()
    while True:
        value = probe()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        waited_s = time.monotonic() - began
        if waited_s > within_s and waited_s > within_s * crowding():
            raise AssertionError(f"not within {waited_s:.1f} s, of {within_s}: {what} (last: {value!r})")
        await asyncio.sleep(every_s)
