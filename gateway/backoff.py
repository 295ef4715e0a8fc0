"""How long to wait before the next attempt to reach somebody.

Backs off with jitter, so that a theatre that is switched off at night costs nothing and a hundred of them don't come
back at the same moment.
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S = 1.0
# What lasted this long was a good one: the next wait is the shortest again.
GOOD_S = 30.0


class Backoff:
    """1 s, 2 s, 4 s ... ``longest_s``, each between half and the whole of it."""

    def __init__(self, longest_s: float, jitter: Callable[[], float] = random.random) -> None:
        self._longest_s, self._jitter = longest_s, jitter
        self.failures = 0

    def wait_s(self, lasted_s: float = 0.0) -> float:
        """After a failure; ``lasted_s``: how long it had been good before."""
        if lasted_s >= GOOD_S:
            self.failures = 0
        most = min(self._longest_s, FIRST_S * 2.0 ** min(self.failures, 10))
        self.failures += 1
        return most * (0.5 + self._jitter() / 2)
