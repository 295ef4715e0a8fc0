"""Waiting for something to become true, with a bound and a sentence when it doesn't."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(what: str, probe: Callable[[], T | Awaitable[T]], within_s: float = 10.0, every_s: float = 0.1) -> T:
    """The first truthy value of ``probe``. Fails with ``what`` and the last value when the time is over."""
    deadline = time.monotonic() + within_s
    while True:
        value = probe()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what} (last: {value!r})")
        await asyncio.sleep(every_s)
