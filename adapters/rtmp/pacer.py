"""Reads those who send all the time in step, so that many small arrivals become few large ones.

Waking up for each message of each encoder costs as much as what the messages need themselves (measured: relaying cost
twice as much). The price is that media waits for half a step in the mean; the more encoders there are, the longer a
step is, so that one alone, which costs little, is hardly delayed.
"""

from __future__ import annotations

import asyncio

# A step for each encoder that sent in the last one, and the longest: a picture's time.
EACH_S = 0.01
LONGEST_S = 0.04
# One read takes 256 KiB at most: who has sent that much has more.
LARGE_BYTES = 200_000


class Pacer:
    """Holds transports back until the next step."""

    def __init__(self) -> None:
        self._held: list[asyncio.Transport] = []
        self._count = 1
        self._step: asyncio.TimerHandle | None = None

    def hold(self, transport: asyncio.Transport) -> None:
        """Read no more from it until the next step."""
        transport.pause_reading()
        self._held.append(transport)
        if self._step is None:
            loop = asyncio.get_running_loop()
            now, every_s = loop.time(), min(LONGEST_S, EACH_S * self._count)
            self._step = loop.call_at(now + every_s - now % every_s, self._resume)

    def close(self) -> None:
        """Nobody is read any more. Idempotent."""
        if self._step is not None:
            self._step.cancel()
            self._step = None
        self._held = []

    def _resume(self) -> None:
        held, self._held, self._step = self._held, [], None
        self._count = len(held)
        for transport in held:
            if not transport.is_closing():
                transport.resume_reading()
