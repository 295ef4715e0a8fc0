"""How long to wait before the next attempt to reach a server."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S = 1.0
LONGEST_S = 30.0
# A connection that lasted this long was a good one: the next wait is the shortest again.
GOOD_S = 30.0


class Backoff:
    """1 s, 2 s, 4 s ... 30 s, each between half and the whole of it, so that many don't come back at once."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self.failures = 0

    def wait_s(self, lasted_s: float = 0.0) -> float:
        """After a failure; ``lasted_s``: how long it had been good before."""
        if lasted_s >= GOOD_S:
            self.failures = 0
        most = min(LONGEST_S, FIRST_S * 2.0 ** min(self.failures, 10))
        self.failures += 1
        return most * (0.5 + self._jitter() / 2)
