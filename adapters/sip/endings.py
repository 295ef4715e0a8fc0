"""SIP status codes and the finite list of ways a session ends, one into the other."""

from __future__ import annotations

from orbridge.gateway.session import CloseReason

# RFC 3261 21 and friends: what an answer to our INVITE means for people.
_ANSWERS = {
    400: CloseReason.PROTOCOL_ERROR,
    401: CloseReason.REFUSED,
    403: CloseReason.REJECTED,
    404: CloseReason.UNREACHABLE,
    407: CloseReason.REFUSED,
    408: CloseReason.UNREACHABLE,
    410: CloseReason.UNREACHABLE,
    415: CloseReason.NO_COMMON_CODEC,
    480: CloseReason.UNREACHABLE,
    486: CloseReason.BUSY,
    487: CloseReason.CANCELLED,
    488: CloseReason.NO_COMMON_CODEC,
    500: CloseReason.UNREACHABLE,
    502: CloseReason.UNREACHABLE,
    503: CloseReason.UNREACHABLE,
    504: CloseReason.UNREACHABLE,
    600: CloseReason.BUSY,
    603: CloseReason.REJECTED,
    604: CloseReason.UNREACHABLE,
    606: CloseReason.NO_COMMON_CODEC,
}

_REJECTIONS = {
    CloseReason.REFUSED: 403,
    CloseReason.ROOM_FULL: 486,
    CloseReason.BUSY: 486,
    CloseReason.NO_COMMON_CODEC: 488,
    CloseReason.SHUTDOWN: 503,
    CloseReason.FAULT: 500,
    CloseReason.UNREACHABLE: 480,
}


def status_for(reason: CloseReason) -> int:
    """With what an incoming call that isn't answered yet is rejected."""
    return _REJECTIONS.get(reason, 603)


def ending_of(
    status: int, reason: str, *, inbound: bool, confirmed: bool, bye_heard: bool, redirected: bool
) -> tuple[CloseReason, str]:
    """Why a call ended that we didn't end, and a sentence where the reason alone says too little.

    ``status``, ``reason``: as pjsip reports them, i.e. the final answer, 408 for a timer, 503 for a transport.
    """
    if confirmed:
        if bye_heard:
            return CloseReason.REMOTE_HANGUP, ""
        if status == 408:
            return CloseReason.EXPIRED, ""
        if status == 503:
            return CloseReason.TRANSPORT_FAILED, ""
        if status in (200, 481):
            return CloseReason.REMOTE_HANGUP, ""
        return CloseReason.PROTOCOL_ERROR, f"the call broke off with {_said(status, reason)}"
    if redirected:
        return CloseReason.REFUSED, "the peer redirects calls elsewhere, and redirections are not followed"
    if inbound:
        if status == 487:
            return CloseReason.CANCELLED, ""
        if status == 408:
            return CloseReason.UNREACHABLE, "the caller didn't confirm our answer"
        if bye_heard or status == 200:
            return CloseReason.REMOTE_HANGUP, ""
    why = _ANSWERS.get(status, CloseReason.REJECTED)
    if status in (401, 407):
        return why, "the peer wants a user name and password that the configuration doesn't have, or not these"
    if status == 408:
        return why, "the peer doesn't answer"
    return why, f"the peer answered {_said(status, reason)}" if why is not CloseReason.CANCELLED else ""


def _said(status: int, reason: str) -> str:
    words = "".join(char for char in reason if char.isalnum() or char in " -'")[:60].strip()
    return f"{status} {words}".strip()
