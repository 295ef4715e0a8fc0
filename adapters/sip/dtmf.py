"""Key presses of a call, told once each although a device may send them twice.

Some devices send a key both as an RTP event (RFC 4733) and as SIP INFO. Where RTP events were agreed, an INFO waits a
moment for its twin, and the way that proved itself first is the only one that counts from then on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

DIGITS = "0123456789*#ABCD"
# An RTP event is told when the key is released; INFO is mostly sent at the same time.
TWIN_WITHIN_S = 0.5

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


def info_body(digit: str, duration_ms: int) -> tuple[str, str]:
    """Content type and body of an INFO for one key."""
    return "application/dtmf-relay", f"Signal={digit}\r\nDuration={duration_ms}\r\n"


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
