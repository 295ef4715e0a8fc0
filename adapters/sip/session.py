"""A SIP call as the routing core sees it: states, descriptions, requests within the call, its end.

Plain values only: pjsua2 is behind ``call.py``, SDP behind ``offer_answer.py``, the engine behind ``media.py``. The
rule for media: what a description says is kept aside until the signalling reports that both sides hold it, so that a
refused re-offer leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import structlog

from orbridge.adapters.sip import dtmf, offer_answer
from orbridge.adapters.sip.border import failed
from orbridge.adapters.sip.call import Call, Phase
from orbridge.adapters.sip.devices import profile_for
from orbridge.adapters.sip.endings import ending_of, status_for
from orbridge.adapters.sip.media import AUDIO, CONTENT, VIDEO, CallMedia, MediaSettings, Place
from orbridge.adapters.sip.messages import Message, sdp_of
from orbridge.adapters.sip.negotiated import Agreed, Offer, Policy
from orbridge.codecs.errors import LocalError, ParseError
from orbridge.codecs.media import Kind
from orbridge.gateway import events
from orbridge.gateway.session import CloseReason, Note, Session, State

if TYPE_CHECKING:
    from orbridge.gateway.adapter import Engines

log = structlog.get_logger(__name__)

# RFC 5168
FAST_UPDATE_TYPE = "application/media_control+xml"
FAST_UPDATE = (
    '<?xml version="1.0" encoding="utf-8"?>\r\n<media_control><vc_primitive><to_encoder><picture_fast_update/>'
    "</to_encoder></vc_primitive></media_control>\r\n"
)
# How long a peer has to confirm that a call is over before we stop waiting.
HANGUP_WITHIN_S = 3.0
# A re-INVITE that can't be sent at the moment (another transaction is open) is tried again.
RETRY_S = 0.2
RETRIES = 150
# An offer without any answer after pjsip's own time limit (64 * T1) isn't waited for any more.
OFFER_LOST_S = 40.0
DTMF_MS = 160
DTMF_GAP_S = 0.24


@dataclass(frozen=True, slots=True)
class Terms:
    """What configuration says about a call.

    Attributes:
        video, content: such lines are accepted.
        offer_video: and offered; the stock wheel can't.
        profile: of the device, or ``auto``.
    """

    policy: Policy
    media: MediaSettings
    video: bool
    content: bool
    offer_video: bool
    profile: str
    ring_timeout_s: float
    silence_timeout_s: float

    @property
    def places(self) -> tuple[Place, ...]:
        """Lines that we accept."""
        return (AUDIO, *((VIDEO,) if self.video else ()), *((CONTENT,) if self.video and self.content else ()))


class SipSession(Session):
    """One call. Implements ``call.CallOwner``."""

    adapter: ClassVar[str] = "sip"

    def __init__(
        self,
        session_id: str,
        *,
        terms: Terms,
        bus: Engines,
        now_ns: Callable[[], int],
        name: str,
        room: str,
        remote: str,
        inbound: bool,
        device: str | None,
        user_agent: str = "",
        transfer: Callable[[SipSession, str], Call | None] = lambda session, target: None,
    ) -> None:
        """``transfer(session, target)`` makes the call that a REFER asks for, or gives None where it isn't allowed."""
        super().__init__(
            session_id, name=name, room=room, remote=remote, inbound=inbound, opened_ns=now_ns(), device=device
        )
        self.user_agent = user_agent
        self._terms, self._transfer, self._bus = terms, transfer, bus
        self._digits = dtmf.Digits(self._pressed)
        self._media = CallMedia(bus, terms.media, name, now_ns, self._digits.from_rtp)
        self._call: Call | None = None
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # negotiation
        self._agreed: Agreed | None = None
        self._answered: Agreed | None = None  # our answer, until both sides hold it
        self._offered: Offer | None = None  # our offer, until it is answered
        self._offered_at = 0.0
        self._last_offer: Offer | None = None
        self._answer_text: str | None = None
        self._applied_text: str | None = None
        self._on_hold = False
        self._held_before = False
        self._reoffer_wanted = False
        self._retries = 0
        # how it ends
        self._closing: tuple[CloseReason, str] | None = None
        self._was_confirmed = False
        self._redirected = False
        self._no_codec = ""
        self._bye_heard = False
        self._info_refused = False
        self._fast_updates = 0

    # opening

    def accept(self, call: Call) -> None:
        """Answer an incoming call: 180, then 200."""
        self._call = call
        self.move(State.RINGING)
        try:
            call.answer(180)
            call.answer(200)
        except LocalError as exc:
            self._finish(CloseReason.FAULT, str(exc))

    def dial(self, call: Call, uri: str, *, local: str, target: str) -> None:
        """Send the INVITE. Raises LocalError when that can't be done."""
        self._call = call
        self._after("ring", self._terms.ring_timeout_s, self._no_answer)
        try:
            call.dial(uri, local=local, target=target)
        except LocalError as exc:
            self._finish(CloseReason.UNREACHABLE, str(exc))
            raise

    def adopt(self, call: Call) -> None:
        """A call that pjsua2 itself is about to dial (after a REFER)."""
        self._call = call
        self._after("ring", self._terms.ring_timeout_s, self._no_answer)

    # what the routing core asks

    async def hangup(self, reason: CloseReason, text: str = "") -> None:
        self.close(reason, text)
        if self.state is not State.CLOSED:
            try:
                await asyncio.wait_for(self._over.wait(), HANGUP_WITHIN_S)
            except TimeoutError:
                self._finish(reason, text)

    def close(self, reason: CloseReason, text: str = "") -> None:
        """Say goodbye and free the media, without waiting for the peer's confirmation. Idempotent."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        self._closing = (reason, text)
        self.move(State.CLOSING)
        self._free()
        if self._call is None or self._call.is_over:
            self._finish(reason, text)
            return
        try:
            self._call.hangup(0 if self._was_confirmed or not self.inbound else status_for(reason))
        except LocalError as exc:
            log.debug(events.SESSION_TROUBLED, session=self.id, problem=str(exc))
            self._finish(reason, text)

    def replace(self, text: str) -> None:
        """The same device calls again: this one is over at once, so that its name is free."""
        self.close(CloseReason.REMOTE_HANGUP, text)
        self._finish(CloseReason.REMOTE_HANGUP, text)

    def hold(self) -> None:
        """Take nothing from the peer and tell it so; a refused hold is undone."""
        self._set_hold(True)

    def resume(self) -> None:
        self._set_hold(False)

    def renegotiate(self) -> None:
        """Offer our side anew as soon as the call's signalling is free."""
        self._reoffer_wanted, self._retries = True, 0
        self._reoffer()

    def send_dtmf(self, digits: str) -> None:
        """Press keys towards the peer: RFC 4733 where agreed, else SIP INFO. Raises LocalError for other characters."""
        keys = digits.upper()
        if not keys or any(key not in dtmf.DIGITS for key in keys) or len(keys) > 64:
            raise LocalError("keys are 1 to 64 of 0-9, *, #, A-D")
        if self._media.takes_digits:
            self._media.send_digits(keys)
        else:
            self._spawn(self._press(keys))

    def want_keyframe(self, track_id: int, attempt: int) -> None:
        line = self._media.line_of(track_id)
        if line is None or line.kind is not Kind.VIDEO or self._call is None or self._info_refused:
            return
        profile = profile_for(self.user_agent, self._terms.profile)
        # One at a time: a device that is slow to answer must not collect a heap of them.
        if profile.wants_info(attempt, line.feedback_send) and self._was_confirmed and self._fast_updates == 0:
            self._info(FAST_UPDATE_TYPE, FAST_UPDATE)

    def stats(self) -> dict[str, Any]:
        return {"user_agent": self.user_agent, "legs": self._media.stats()}

    # what the call tells (call.CallOwner)

    def describe(self, remote: str | None, draft: str) -> str:
        try:
            return self._describe_answer(remote) if remote else self._describe_offer()
        except ParseError as exc:
            log.debug(events.SDP_TOLERATED, session=self.id, problem=str(exc))
            self._no_codec = str(exc)
        except OSError as exc:
            log.error(events.LEG_FAILED, session=self.id, cause=str(exc))
            self._no_codec = "no media port is free: widen media.udp_ports"
        except BaseException:  # noqa: BLE001 - whatever it was, pjsua2's own draft must not go out
            failed("describe")
        self._answered = None
        return offer_answer.refuse_all(draft)

    def negotiated(self, remote: str | None) -> None:
        if self._answered is not None:
            answered, self._answered = self._answered, None
            self._commit(answered)
        else:
            # The peer's answer as it wrote it comes with the message, before this turn of the loop ends; only an
            # answer in the ACK of a re-INVITE is known from here alone.
            self._loop.call_soon(self._settle, remote)

    def heard(self, message: Message) -> None:
        method = message.method
        if message.is_response:
            if method in ("INVITE", "UPDATE"):
                self._answer_heard(message)
            elif method == "INFO":
                self._info_answered(message.status)
            return
        if method == "ACK":
            self._answer_text = sdp_of(message) or self._answer_text
            self._loop.call_soon(self._settle, None)
        elif method == "INFO":
            self._info_heard(message)
        elif method == "BYE":
            self._bye_heard = True

    def unanswered(self, method: str, status: int) -> None:
        if method in ("INVITE", "UPDATE") and self._was_confirmed:
            self._offer_refused(status, 0)
        elif method == "INFO":
            self._info_answered(status)

    def progressed(self, phase: Phase, status: int, reason: str) -> None:
        if phase is Phase.OVER:
            self._ended(status, reason)
        elif self.state in (State.CLOSING, State.CLOSED):
            return
        elif phase is Phase.EARLY and not self.inbound and self.state is State.NEW:
            self.move(State.RINGING)
        elif phase is Phase.CONNECTING and self.state in (State.NEW, State.RINGING):
            self._cancel("ring")
            self.move(State.CONNECTING)
        elif phase is Phase.CONFIRMED and not self._was_confirmed:
            self._confirmed()

    def redirected(self) -> None:
        self._redirected = True

    def transfer(self, target: str) -> Call | None:
        return self._transfer(self, target)

    # negotiation

    def _describe_answer(self, remote: str) -> str:
        wanted = offer_answer.wanted(remote)
        asked = {AUDIO: wanted.audio, VIDEO: wanted.video, CONTENT: wanted.content}
        places = [place for place in self._terms.places if asked[place]]
        self._media.open(places, ipv6=wanted.ipv6)
        local = self._media.local(places)
        agreed = offer_answer.answer(remote, local, self._terms.policy, self._agreed, hold=self._on_hold)
        if not agreed.lines:
            self._answered = None
            self._no_codec = "; ".join(note.text for note in agreed.notes)
            return offer_answer.refuse_all(remote)
        self._answered = agreed
        return agreed.text

    def _describe_offer(self) -> str:
        agreed = self._agreed
        places = [
            place
            for place in self._terms.places
            if place == AUDIO or (place == VIDEO and self._terms.offer_video) or (agreed and agreed.line(*place))
        ]
        self._media.open(places)
        local = self._media.local(places)
        made = offer_answer.offer(local, self._terms.policy, self._agreed, hold=self._on_hold)
        self._offered = self._last_offer = made
        self._offered_at, self._answer_text = self._loop.time(), None
        return made.text

    def _settle(self, remote: str | None) -> None:
        """Apply the peer's answer to our offer, once."""
        text = self._answer_text or remote
        ours = self._offered or (self._last_offer if text != self._applied_text else None)
        if text is None or ours is None or self.state in (State.CLOSING, State.CLOSED):
            return
        try:
            agreed = offer_answer.apply_answer(ours, text, self._terms.policy)
        except ParseError as exc:
            self.close(CloseReason.PROTOCOL_ERROR, f"the peer's answer can't be read: {exc}")
            return
        self._offered, self._answer_text, self._applied_text = None, None, text
        self._held_before = self._on_hold
        self._commit(agreed)
        if self._reoffer_wanted:
            self._reoffer()

    def _commit(self, agreed: Agreed) -> None:
        if self.state in (State.CLOSING, State.CLOSED):
            return
        self._agreed = agreed
        for warning in agreed.warnings:
            log.debug(events.SDP_TOLERATED, session=self.id, problem=warning)
        if not agreed.lines:
            text = "; ".join(note.text for note in agreed.notes)
            self.close(CloseReason.NO_COMMON_CODEC, text)
            return
        try:
            self._media.apply(agreed)
        except (ValueError, OSError) as exc:
            log.error(events.LEG_FAILED, session=self.id, cause=str(exc))
            self.close(CloseReason.FAULT, str(exc))
            return
        known = {note.code for note in self.notes}
        self.notes = list(agreed.notes)
        for note in self.notes:
            self._report(note, known)
        self.published, self.sinks = self._media.published, self._media.sinks
        self._settle_state()
        self.emit("media_changed", self)

    def _report(self, note: Note, known: set[str]) -> None:
        if note.code not in known:
            log.info(events.SESSION_NOTED, session=self.id, device=self.device, note=note.code, text=note.text)

    def _settle_state(self) -> None:
        """Early media makes a call connecting; hold is a state of its own once it is confirmed."""
        if not self._was_confirmed:
            if not self.inbound and self.state in (State.NEW, State.RINGING):
                self.move(State.CONNECTING)
            return
        is_held = self._on_hold or (self._agreed is not None and self._agreed.held_by_peer)
        if is_held is not (self.state is State.HELD):
            self._media.expect()
            self.move(State.HELD if is_held else State.ACTIVE)

    def _confirmed(self) -> None:
        self._was_confirmed = True
        self._cancel("ring")
        if self.state in (State.NEW, State.RINGING):
            self.move(State.CONNECTING)
        self.move(State.ACTIVE)
        self._settle_state()
        self._media.expect()
        self._watch_silence()

    def _answer_heard(self, message: Message) -> None:
        status = message.status
        if 100 < status < 300:
            if message.method == "INVITE" and not self.user_agent:
                self.user_agent = (message.get("user-agent") or message.get("server") or "")[:100]
            text = sdp_of(message)
            if text is not None:
                self._answer_text = text
                if status >= 200:
                    # pjsip reports no agreement on an answer that refuses every line
                    self._loop.call_soon(self._settle, None)
        # pjsip itself repeats after a challenge (401, 407) and after 422
        elif status >= 300 and status not in (401, 407, 422) and self._was_confirmed:
            wait = (message.get("retry-after") or "").split(";")[0].split("(")[0].strip()
            self._offer_refused(status, int(wait[:4]) if wait.isascii() and wait.isdigit() else 0)

    # re-offers

    def _set_hold(self, hold: bool) -> None:
        if self._on_hold is not hold:
            self._on_hold = hold
            self.renegotiate()

    def _reoffer(self) -> None:
        if not self._reoffer_wanted or self._call is None or self.state not in (State.ACTIVE, State.HELD):
            return
        now = self._loop.time()
        if self._offered is not None and now - self._offered_at < OFFER_LOST_S:
            return  # goes on when that is answered
        self._offered = None
        try:
            self._call.reinvite()
        except LocalError as exc:
            self._offered = None
            self._retries += 1
            if self._retries > RETRIES:
                self._reoffer_wanted = False
                log.warning(events.SESSION_TROUBLED, session=self.id, problem=f"can't re-offer: {exc}")
            else:
                self._after("reoffer", RETRY_S, self._reoffer)
            return
        self._reoffer_wanted = False

    def _offer_refused(self, status: int, retry_after_s: int) -> None:
        """A re-offer of ours was refused: the call goes on as before it."""
        ours, self._offered = self._offered, None
        if ours is None or self._agreed is None:
            return
        self._agreed = offer_answer.rejected(self._agreed, ours)
        self._answer_text = None
        if status == 491:
            # RFC 3261 14.1: who made the Call-ID waits longer, so that the two don't meet again
            wait = random.randrange(0, 201) / 100 if self.inbound else random.randrange(210, 401) / 100
        elif status in (500, 503) and 0 < retry_after_s <= 30:
            wait = float(retry_after_s)
        else:
            log.info(
                events.SESSION_TROUBLED, session=self.id, device=self.device, problem=f"re-offer refused: {status}"
            )
            self._on_hold = self._held_before
            return
        self._reoffer_wanted = True
        self._after("reoffer", wait, self._reoffer)

    # requests within the call

    def _info_heard(self, message: Message) -> None:
        if message.content_type == FAST_UPDATE_TYPE and "picture_fast_update" in message.body:
            self._media.refresh_sources()
            return
        digit = dtmf.digit_of(message.content_type, message.body)
        if digit is not None:
            self._digits.from_info(digit, twin_possible=self._media.hears_digits)

    def _info(self, content_type: str, body: str) -> None:
        if self._call is None:
            return
        try:
            self._call.info(content_type, body)
        except LocalError as exc:
            log.debug(events.SESSION_TROUBLED, session=self.id, problem=str(exc))
            return
        if content_type == FAST_UPDATE_TYPE:
            self._fast_updates += 1

    def _info_answered(self, status: int) -> None:
        if self._fast_updates and status >= 200:
            self._fast_updates -= 1
            if status in (405, 415, 469, 489, 501):
                self._info_refused = True

    def _pressed(self, digit: str) -> None:
        self.emit("dtmf", self, digit)

    async def _press(self, keys: str) -> None:
        for key in keys:
            if self.state in (State.CLOSING, State.CLOSED):
                return
            self._info(*dtmf.info_body(key, DTMF_MS))
            await asyncio.sleep(DTMF_GAP_S)

    # ending

    def _no_answer(self) -> None:
        self.close(CloseReason.NO_ANSWER)

    def _watch_silence(self) -> None:
        """End a call whose peer has vanished. On hold nothing has to arrive."""
        timeout_s = self._terms.silence_timeout_s
        if timeout_s <= 0 or self.state in (State.CLOSING, State.CLOSED):
            return
        silent_s = 0.0 if self.state is State.HELD else self._media.silent_ms() / 1000
        if silent_s >= timeout_s:
            self.close(CloseReason.SILENT, f"nothing arrived for {silent_s:.0f} s")
        else:
            self._after("silence", max(timeout_s - silent_s, 0.2), self._watch_silence)

    def _ended(self, status: int, reason: str) -> None:
        if self._closing is not None:
            self._finish(*self._closing)
            return
        why, text = ending_of(
            status,
            reason,
            inbound=self.inbound,
            confirmed=self._was_confirmed,
            bye_heard=self._bye_heard,
            redirected=self._redirected,
        )
        if self._no_codec and not self._was_confirmed and why is CloseReason.NO_COMMON_CODEC:
            text = self._no_codec
        self._finish(why, text)

    def _finish(self, reason: CloseReason, text: str = "") -> None:
        self._free()
        self._over.set()
        self.ended(reason, text)

    def _free(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._digits.close()
        self.published, self.sinks = {}, []
        self._media.close()

    # timers

    def _after(self, what: str, delay_s: float, action: Callable[[], None]) -> None:
        self._cancel(what)
        self._timers[what] = self._loop.call_later(delay_s, action)

    def _cancel(self, what: str) -> None:
        timer = self._timers.pop(what, None)
        if timer is not None:
            timer.cancel()

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
