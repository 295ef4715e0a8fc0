"""One call of pjsua2's, behind plain values: text of descriptions and messages, status codes, states.

Everything that pjsua2 calls back is caught here. Its object must live until the call is over, so ``Calls`` keeps it.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterable
from typing import Any, Protocol

import pjsua2 as pj

from orbridge.adapters.sip.border import failed, guarded
from orbridge.adapters.sip.messages import Message, clean, parse_message
from orbridge.codecs.errors import LocalError, ParseError


class Phase(enum.Enum):
    """pjsip's states of an INVITE session, as far as a session cares."""

    CALLING = "calling"
    INCOMING = "incoming"
    EARLY = "early"
    CONNECTING = "connecting"
    CONFIRMED = "confirmed"
    OVER = "over"


_PHASES = {
    pj.PJSIP_INV_STATE_CALLING: Phase.CALLING,
    pj.PJSIP_INV_STATE_INCOMING: Phase.INCOMING,
    pj.PJSIP_INV_STATE_EARLY: Phase.EARLY,
    pj.PJSIP_INV_STATE_CONNECTING: Phase.CONNECTING,
    pj.PJSIP_INV_STATE_CONFIRMED: Phase.CONFIRMED,
    pj.PJSIP_INV_STATE_DISCONNECTED: Phase.OVER,
}


class CallOwner(Protocol):
    """What a call tells its session."""

    def describe(self, remote: str | None, draft: str) -> str:
        """Our description: the answer to ``remote``, or with None an offer. Must not raise; ``draft`` is pjsua2's."""
        ...

    def negotiated(self, remote: str | None) -> None:
        """Both sides have agreed. ``remote``: the peer's description as pjsip keeps it, None with the stock wheel."""
        ...

    def heard(self, message: Message) -> None:
        """A request or response of this call arrived."""
        ...

    def unanswered(self, method: str, status: int) -> None:
        """A request of ours within the call got no answer (408) or couldn't be sent (503)."""
        ...

    def given_up(self) -> None:
        """pjsip itself says goodbye: the session timer ran out, or the peer doesn't know of the call any more."""
        ...

    def progressed(self, phase: Phase, status: int, reason: str) -> None:
        """``status`` and ``reason`` of the last response; for OVER of what ended it."""
        ...

    def redirected(self) -> None:
        """The peer answered 3xx; it isn't followed."""
        ...

    def transfer(self, target: str) -> Call | None:
        """The peer asks us to call somebody else (REFER). The call that is made for it, or None: refused."""
        ...


class Calls:
    """Every call that pjsua2 knows of, so that its object lives as long as it may be called back."""

    def __init__(self) -> None:
        self._alive: set[Call] = set()

    def add(self, call: Call) -> None:
        self._alive.add(call)

    def remove(self, call: Call) -> None:
        """Let go of it once pjsua2 has returned from the callback that this is called in."""
        asyncio.get_running_loop().call_soon(self._release, call)

    def clear(self) -> None:
        """Let go of all before the library goes: a call's object must not outlive it."""
        for call in list(self._alive):
            self._release(call)

    def _release(self, call: Call) -> None:
        call.inner = None
        self._alive.discard(call)

    def __len__(self) -> int:
        return len(self._alive)


class Call:
    """A call. Methods raise LocalError when pjsip can't do it at the moment."""

    def __init__(self, calls: Calls, account: Any, owner: CallOwner, call_id: int | None = None) -> None:
        """``call_id``: pjsua2's number of an incoming call."""
        self._calls = calls
        self.inner: Any = _Inner(self, account, owner, pj.PJSUA_INVALID_ID if call_id is None else call_id)
        self.is_over = False
        calls.add(self)

    def dial(
        self,
        uri: str,
        *,
        local: str,
        target: str,
        late_offer: bool = False,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send the INVITE.

        Args:
            uri: To.
            local: From.
            target: where it is sent, the request's URI.
            late_offer: without a description: the peer offers in its 200, and our ACK answers.
        """
        option = _option()
        if late_offer:
            option.opt.flag |= pj.PJSUA_CALL_NO_SDP_OFFER
        option.txOption.localUri, option.txOption.targetUri = local, target
        for name, value in headers:
            option.txOption.headers.push_back(header(name, value))
        try:
            self._do("dial", "makeCall", uri, option)
        except LocalError:
            self.over()
            raise

    def answer(self, status: int, *, headers: Iterable[tuple[str, str]] = ()) -> None:
        option = _option(status)
        for name, value in headers:
            option.txOption.headers.push_back(header(name, value))
        self._do("answer", "answer", option)

    def hangup(self, status: int = 0) -> None:
        """BYE, CANCEL or a final response, whichever is due."""
        option = pj.CallOpParam()
        option.statusCode = status
        self._do("hang up", "hangup", option)

    def reinvite(self) -> None:
        self._do("re-invite", "reinvite", _option())

    def info(self, content_type: str, body: str) -> None:
        request = pj.CallSendRequestParam()
        request.method = "INFO"
        request.txOption.contentType, request.txOption.msgBody = content_type, body
        self._do("send INFO", "sendRequest", request)

    def over(self) -> None:
        """pjsua2 is done with it. Idempotent."""
        self.is_over = True
        self._calls.remove(self)

    def _do(self, what: str, method: str, *args: Any) -> None:
        if self.inner is None:
            raise LocalError(f"can't {what}: the call is over")
        try:
            getattr(self.inner, method)(*args)
        except pj.Error as exc:
            raise LocalError(f"can't {what}: {exc.reason}") from exc


class _Inner(pj.Call):  # type: ignore[misc]
    # pjsua2's names

    def __init__(self, call: Call, account: Any, owner: CallOwner, call_id: int) -> None:
        super().__init__(account, call_id)
        self._call, self._owner = call, owner

    @guarded
    def onCallSdpCreated(self, prm: Any) -> None:
        remote = clean(prm.remSdp.wholeSdp)
        prm.sdp.wholeSdp = self._owner.describe(remote or None, clean(prm.sdp.wholeSdp))

    @guarded
    def onCallMediaState(self, prm: Any) -> None:
        remote = clean(prm.remSdp.wholeSdp) if hasattr(prm, "remSdp") else ""
        self._owner.negotiated(remote or None)

    @guarded
    def onCallTsxState(self, prm: Any) -> None:
        change = prm.e.body.tsxState
        if change.type == pj.PJSIP_EVENT_RX_MSG:
            self._heard(change.src.rdata.wholeMsg)
        elif (
            change.type in (pj.PJSIP_EVENT_TIMER, pj.PJSIP_EVENT_TRANSPORT_ERROR)
            and change.tsx.role == pj.PJSIP_ROLE_UAC
            and change.tsx.state == pj.PJSIP_TSX_STATE_TERMINATED
            and change.tsx.statusCode >= 400
        ):
            self._owner.unanswered(clean(change.tsx.method), int(change.tsx.statusCode))
        elif (
            change.type == pj.PJSIP_EVENT_TX_MSG
            and change.tsx.role == pj.PJSIP_ROLE_UAC
            and clean(change.tsx.method) == "BYE"
        ):
            self._owner.given_up()

    @guarded
    def onCallState(self, prm: Any) -> None:
        if prm.e.type == pj.PJSIP_EVENT_RX_MSG:
            self._heard(prm.e.body.rxMsg.rdata.wholeMsg)
        info = self.getInfo()
        phase = _PHASES.get(info.state)
        if phase is Phase.OVER:
            self._call.over()
        if phase is not None:
            self._owner.progressed(phase, int(info.lastStatusCode), clean(info.lastReason))

    def onCallRedirected(self, prm: Any) -> int:
        try:
            self._owner.redirected()
        except Exception:  # noqa: BLE001 - see border.guarded; this one must return a value
            failed("onCallRedirected")
        return int(pj.PJSIP_REDIRECT_STOP)

    @guarded
    def onCallTransferRequest(self, prm: Any) -> None:
        prm.statusCode = 603
        made = self._owner.transfer(clean(prm.dstUri))
        if made is not None:
            prm.newCall, prm.statusCode = made.inner, 202

    @guarded
    def onCallReplaceRequest(self, prm: Any) -> None:
        prm.statusCode = 603

    def _heard(self, text: str) -> None:
        try:
            message = parse_message(text)
        except ParseError:
            return  # pjsip took it, so it is no more than odd
        self._owner.heard(message)


def _option(status: int = 0) -> Any:
    option = pj.CallOpParam(True)
    option.opt.audioCount, option.opt.videoCount = 1, 0
    if hasattr(option.opt, "textCount"):
        option.opt.textCount = 0
    option.statusCode = status
    return option


def header(name: str, value: str) -> Any:
    made = pj.SipHeader()
    made.hName, made.hValue = name, value
    return made
