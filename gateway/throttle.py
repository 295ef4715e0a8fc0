"""How often something that may happen again and again is said."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Lets a burst through, then one each ``every_s``, and says how many were held back since."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, every_s: float = 1.0, burst: int = 1) -> None:
        self._clock, self._every_s, self._burst = clock, every_s, float(burst)
        self._left, self._at_s, self._held = self._burst, clock(), 0

    def take(self) -> int:
        """0: keep quiet. Else how many there were since the last time, this one included."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at_s) / self._every_s)
        self._at_s = now
        self._held += 1
        if self._left < 1:
            return 0
        self._left -= 1
        count, self._held = self._held, 0
        return count
