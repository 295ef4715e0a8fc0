"""What every RTMP session stands on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from orbridge.adapters.rtmp.feed import Feeds
from orbridge.adapters.rtmp.gate import Gate
from orbridge.adapters.rtmp.pacer import Pacer
from orbridge.adapters.rtmp.session import RtmpSession
from orbridge.gateway.adapter import Context
from orbridge.gateway.session import CloseReason, Session
from orbridge.gateway.throttle import Throttle

# Of the log.
LINES_AT_ONCE = 10


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


@dataclass(slots=True)
class Ground:
    """``failed``: connections that ended badly, by cause."""

    context: Context
    feeds: Feeds
    gate: Gate
    registry: Registry = field(default_factory=Registry)
    pacer: Pacer = field(default_factory=Pacer)
    failed: Counter[str] = field(default_factory=Counter)
    # Who is refused, or fails, may come again and again.
    refusals: Throttle = field(default_factory=lambda: Throttle(burst=LINES_AT_ONCE))
    failures: Throttle = field(default_factory=lambda: Throttle(burst=LINES_AT_ONCE))

    def now_s(self) -> float:
        return self.context.now_ns() / 1e9
