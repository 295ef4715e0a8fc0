"""A call that is answered with a final response and never becomes a session."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from orbridge.adapters.sip.account import Account
from orbridge.adapters.sip.call import Call, Calls, Phase
from orbridge.adapters.sip.messages import Message
from orbridge.codecs.errors import LocalError
from orbridge.gateway import events

log = structlog.get_logger(__name__)


class _Nobody:
    """Implements ``call.CallOwner`` for nobody."""

    def describe(self, remote: str | None, draft: str) -> str:
        return draft

    def negotiated(self, remote: str | None) -> None: ...

    def heard(self, message: Message) -> None: ...

    def unanswered(self, method: str, status: int) -> None: ...

    def given_up(self) -> None: ...

    def progressed(self, phase: Phase, status: int, reason: str) -> None: ...

    def redirected(self) -> None: ...

    def transfer(self, target: str) -> Call | None:
        return None


def refuse(calls: Calls, account: Account, call_id: int, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
    """Answer an incoming call with a final status."""
    try:
        Call(calls, account, _Nobody(), call_id).answer(status, headers=headers)
    except LocalError as exc:
        log.debug(events.CALLER_REFUSED, problem=str(exc))
