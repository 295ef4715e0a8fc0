"""What every RTMP session stands on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from orbridge.adapters.rtmp.feed import Feeds
from orbridge.adapters.rtmp.gate import Gate
from orbridge.adapters.rtmp.pacer import Pacer
from orbridge.adapters.rtmp.session import RtmpSession
from orbridge.gateway.adapter import Context
from orbridge.gateway.session import CloseReason, Session


class Registry:
    """The sessions that are open."""

    def __init__(self) -> None:
        self._sessions: dict[str, RtmpSession] = {}
        self.opened = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def all(self) -> list[RtmpSession]:
        return list(self._sessions.values())

    def of_device(self, device: str) -> Iterable[RtmpSession]:
        return [session for session in self._sessions.values() if session.device == device]

    def add(self, session: RtmpSession) -> None:
        self._sessions[session.id] = session
        self.opened += 1
        session.on("closed", self._closed)

    def _closed(self, session: Session, _reason: CloseReason) -> None:
        self._sessions.pop(session.id, None)


class LogLimit:
    """Lets a burst of lines through, then one a second: who is refused may come again and again."""

    BURST = 10

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._left, self._at_s, self._held = float(self.BURST), now_s(), 0

    def take(self) -> int:
        """0: keep quiet. Else how many there were since the last line, this one included."""
        now = self._now_s()
        self._left, self._at_s = min(float(self.BURST), self._left + now - self._at_s), now
        self._held += 1
        if self._left < 1:
            return 0
        self._left -= 1
        count, self._held = self._held, 0
        return count


@dataclass(slots=True)
class Ground:
    """``failed``: connections that ended badly, by cause."""

    context: Context
    feeds: Feeds
    gate: Gate
    registry: Registry = field(default_factory=Registry)
    pacer: Pacer = field(default_factory=Pacer)
    failed: Counter[str] = field(default_factory=Counter)
    refusals: LogLimit = field(init=False)
    failures: LogLimit = field(init=False)

    def __post_init__(self) -> None:
        self.refusals, self.failures = LogLimit(self.now_s), LogLimit(self.now_s)

    def now_s(self) -> float:
        return self.context.now_ns() / 1e9
