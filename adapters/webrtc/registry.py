"""The sessions that are open, by the unguessable key in their address, and how many there may be."""

from __future__ import annotations

from orbridge.adapters.webrtc.refusal import refuse
from orbridge.adapters.webrtc.session import WebRtcSession
from orbridge.gateway.session import CloseReason, Session, State

MAX_SESSIONS = 1000
# Handshakes cost a few milliseconds of the interpreter each; more at once would only make all of them late.
MAX_CONNECTING = 100
MAX_PER_TOKEN = 300
RETRY_AFTER_S = 5


class Registry:
    """Sessions from the moment that they take up a place until they are closed."""

    def __init__(self) -> None:
        self._by_key: dict[str, WebRtcSession] = {}
        self.opened = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def all(self) -> list[WebRtcSession]:
        return list(self._by_key.values())

    def get(self, key: str) -> WebRtcSession | None:
        return self._by_key.get(key)

    @property
    def connecting(self) -> int:
        return sum(session.state in (State.NEW, State.CONNECTING) for session in self._by_key.values())

    def check_space(self, token: str) -> None:
        """Raises the answer to be given when another session can't be opened now."""
        if len(self._by_key) >= MAX_SESSIONS:
            raise refuse(
                503, "full", f"the gateway has {MAX_SESSIONS} browser sessions, its most", retry_after_s=RETRY_AFTER_S
            )
        if self.connecting >= MAX_CONNECTING:
            raise refuse(503, "busy", f"{MAX_CONNECTING} browsers are connecting at the moment", retry_after_s=1)
        if sum(session.token == token for session in self._by_key.values()) >= MAX_PER_TOKEN:
            what = f"token {token} has {MAX_PER_TOKEN} browser sessions open, its most"
            raise refuse(429, "too_many_sessions", what, retry_after_s=RETRY_AFTER_S)

    def add(self, session: WebRtcSession) -> None:
        self._by_key[session.key] = session
        self.opened += 1
        session.on("closed", self._closed)

    def _closed(self, session: Session, reason: CloseReason) -> None:
        if isinstance(session, WebRtcSession):
            self._by_key.pop(session.key, None)
