"""Key presses of a call: those of the peer, told once each although a device may send them twice, and ours by INFO.

Some devices send a key both as an RTP event (RFC 4733) and as SIP INFO. Where RTP events were agreed, an INFO waits a
moment for its twin, and the way that proved itself first is the only one that counts from then on.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable

from orbridge.codecs.errors import LocalError

DIGITS = "0123456789*#ABCD"
# An RTP event is told when the key is released; INFO is mostly sent at the same time.
TWIN_WITHIN_S = 0.5
# As the engine's telephone events: how long a key is pressed, and from one to the next.
PRESSED_MS = 160
NEXT_AFTER_S = 0.24
MAX_WAITING = 64
# pjsip gives a request up after 32 s (64 * T1).
ANSWER_WITHIN_S = 40.0

_SIGNAL = re.compile(r"^\s*signal\s*=\s*(\S{1,2})", re.IGNORECASE | re.MULTILINE)
INFO_TYPES = ("application/dtmf-relay", "application/dtmf")


def digit_of(content_type: str, body: str) -> str | None:
    """The key in an INFO body: ``Signal=5`` (dtmf-relay) or just ``5`` (dtmf); None when there is none."""
    if content_type == "application/dtmf-relay":
        found = _SIGNAL.search(body)
        text = found[1] if found else ""
    elif content_type == "application/dtmf":
        text = body.strip()
    else:
        return None
    # event numbers 10 and 11 of RFC 4733 are written by some for * and #
    text = {"10": "*", "11": "#"}.get(text, text[:1]).upper()
    return text if text and text in DIGITS else None


def info_body(digit: str) -> tuple[str, str]:
    """Content type and body of an INFO for one key."""
    return "application/dtmf-relay", f"Signal={digit}\r\nDuration={PRESSED_MS}\r\n"


def keys_in(digits: str) -> str:
    """The keys as they are sent. Raises LocalError for what is no key, for none and for too many."""
    keys = digits.upper()
    if not keys or any(key not in DIGITS for key in keys) or len(keys) > MAX_WAITING:
        raise LocalError(f"keys are 1 to {MAX_WAITING} of 0-9, *, #, A-D")
    return keys


class InfoKeys:
    """Our keys by INFO, one after the other: the next goes out once the last is answered, so that none overtakes.

    ``send(key)`` sends one and tells whether it could be sent.
    """

    def __init__(self, send: Callable[[str], bool]) -> None:
        self._send = send
        self._waiting: deque[str] = deque()
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def press(self, keys: str) -> None:
        """All of them or, with LocalError, none."""
        if len(self._waiting) + len(keys) > MAX_WAITING:
            raise LocalError(f"more than {MAX_WAITING} keys would wait to be sent")
        self._waiting.extend(keys)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def answered(self, status: int) -> None:
        """The peer's final answer to the last one. What it refuses it would refuse again: the rest isn't sent."""
        if status >= 300:
            self._waiting.clear()
        self._answered.set()

    def close(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._waiting:
            self._answered.clear()
            if not self._send(self._waiting.popleft()):
                self._waiting.clear()
                return
            await asyncio.sleep(NEXT_AFTER_S)
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await self._answered.wait()
            except TimeoutError:
                self._waiting.clear()


class Digits:
    """Both ways in, one out."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._way = ""
        self._waiting: list[asyncio.TimerHandle] = []

    def from_rtp(self, digit: str) -> None:
        for timer in self._waiting:
            timer.cancel()
        self._waiting.clear()
        if self._way != "info":
            self._way = "rtp"
            self._tell(digit)

    def from_info(self, digit: str, *, twin_possible: bool) -> None:
        """``twin_possible``: RTP events were agreed, so the same key may come that way too."""
        if self._way == "rtp":
            return
        if self._way == "info" or not twin_possible:
            self._way = "info"
            self._tell(digit)
        elif len(self._waiting) < len(DIGITS):
            self._waiting.append(asyncio.get_running_loop().call_later(TWIN_WITHIN_S, self._no_twin, digit))

    def close(self) -> None:
        for timer in self._waiting:
            timer.cancel()
        self._waiting.clear()

    def _no_twin(self, digit: str) -> None:
        now = asyncio.get_running_loop().time()
        self._waiting = [timer for timer in self._waiting if timer.when() > now]
        self._way = "info"
        self._tell(digit)
