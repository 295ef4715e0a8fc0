"""A SIP call as the routing core sees it: states, what it publishes and can be sent, requests within it, its end.

Plain values only: pjsua2 is behind ``call.py``, descriptions are ``negotiation.py``'s, engine legs ``media.py``'s.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import structlog

from orbridge.adapters.sip import dtmf
from orbridge.adapters.sip.call import Call, Phase
from orbridge.adapters.sip.devices import DeviceProfile, profile_for
from orbridge.adapters.sip.endings import ending_of, status_for
from orbridge.adapters.sip.media import CallMedia
from orbridge.adapters.sip.messages import Message
from orbridge.adapters.sip.negotiated import Agreed
from orbridge.adapters.sip.negotiation import NO_PORT, Negotiation, Terms
from orbridge.adapters.sip.notes import picture_too_large
from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import Kind
from orbridge.gateway import events
from orbridge.gateway.session import CloseReason, Session, State

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
GIVEN_UP_S = 0.1
# How often we look for pictures that the peer can't be sent.
PICTURES_EVERY_S = 2.0
# Whom we have no port for may try again after this.
RETRY_AFTER_S = 10


class SipSession(Session):
    """One call. Implements ``call.CallOwner`` and ``negotiation.Party``."""

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
        self._digits, self._keys = dtmf.Digits(self._pressed), dtmf.InfoKeys(self._send_key)
        self._media = CallMedia(bus, terms.media, name, now_ns, self._digits.from_rtp, self._published)
        self._call: Call | None = None
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._negotiation = Negotiation(self, self._media, terms)
        # how it ends
        self._closing: tuple[CloseReason, str] | None = None
        self._was_confirmed = False
        self._redirected = False
        self._bye_heard = False
        self._info_refused = False
        # Content types of our INFOs without an answer yet, in their order.
        self._infos: dict[int, str] = {}
        self._info_numbers = itertools.count()

    # opening

    def accept(self, call: Call, offer: str | None) -> None:
        """Answer an incoming call: 180, then 200; 503 with the reason when we have no port for its media."""
        self._call = call
        self.move(State.RINGING)
        try:
            self._negotiation.prepare(offer)
        except OSError as exc:
            log.error(events.LEG_FAILED, session=self.id, cause=str(exc))
            self._turn_away(call)
            return
        try:
            call.answer(180)
            call.answer(200)
        except LocalError as exc:
            self._finish(CloseReason.FAULT, str(exc))

    def _turn_away(self, call: Call) -> None:
        self._closing = (CloseReason.FAULT, NO_PORT)
        self.move(State.CLOSING)
        self._free()
        # RFC 3261 20.43: 399 is for whatever a person should read
        headers = (("Warning", f'399 orbridge "{NO_PORT}"'), ("Retry-After", str(RETRY_AFTER_S)))
        try:
            call.answer(503, headers=headers)
        except LocalError as exc:
            self._finish(CloseReason.FAULT, f"{NO_PORT}; {exc}")

    def dial(self, call: Call, uri: str, *, local: str, target: str) -> None:
        """Send the INVITE. Raises LocalError when that can't be done."""
        self._call = call
        self._after("ring", self._terms.ring_timeout_s, self._no_answer)
        try:
            late = profile_for("", self._terms.profile).late_offer
            call.dial(uri, local=local, target=target, late_offer=late)
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
        if self.is_ending:
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
        self._negotiation.set_hold(True)

    def resume(self) -> None:
        self._negotiation.set_hold(False)

    def renegotiate(self) -> None:
        """Offer our side anew as soon as the call's signalling is free."""
        self._negotiation.renegotiate()

    def send_dtmf(self, digits: str) -> None:
        """RFC 4733 where agreed (and the device's profile doesn't know better), else SIP INFO."""
        keys = dtmf.keys_in(digits)
        if self.state not in (State.ACTIVE, State.HELD):
            raise LocalError(f"{self.id} takes no keys: the call is {self.state}")
        if self._media.takes_digits and not self._profile.keys_by_info:
            try:
                self._media.send_digits(keys)
            except ValueError as exc:
                raise LocalError(f"{self.id} takes no keys: {exc}") from exc
        else:
            self._keys.press(keys)

    def want_keyframe(self, track_id: int, attempt: int) -> None:
        line = self._media.line_of(track_id)
        if line is None or line.kind is not Kind.VIDEO or self._call is None or self._info_refused:
            return
        # One at a time: a device that is slow to answer must not collect a heap of them.
        wants = self._profile.wants_info(attempt, line.feedback_send)
        if wants and self._was_confirmed and FAST_UPDATE_TYPE not in self._infos.values():
            self._info(FAST_UPDATE_TYPE, FAST_UPDATE)

    def stats(self) -> dict[str, Any]:
        return {"user_agent": self.user_agent, "legs": self._media.stats()}

    @property
    def _profile(self) -> DeviceProfile:
        return profile_for(self.user_agent, self._terms.profile)

    # what the call tells (call.CallOwner)

    def describe(self, remote: str | None, draft: str) -> str:
        # A call that is turned away is described to pjsip only, which wants something for its own books.
        return draft if self.is_ending else self._negotiation.describe(remote, draft)

    def negotiated(self, remote: str | None) -> None:
        self._negotiation.negotiated(remote)

    def heard(self, message: Message) -> None:
        method = message.method
        if message.is_response:
            if method in ("INVITE", "UPDATE"):
                if method == "INVITE" and not self.user_agent and message.status > 100:
                    self.user_agent = (message.get("user-agent") or message.get("server") or "")[:100]
                self._negotiation.answer_heard(message)
            elif method == "INFO":
                self._info_answered(message.status)
        elif method == "ACK":
            self._negotiation.ack_heard(message)
        elif method == "INFO":
            self._info_heard(message)
        elif method == "BYE":
            self._bye_heard = True

    def unanswered(self, method: str, status: int) -> None:
        if method in ("INVITE", "UPDATE") and self._was_confirmed:
            self._negotiation.refused(status)
        elif method == "INFO":
            self._info_answered(status)

    def given_up(self) -> None:
        # Not waited for: a peer that vanished doesn't answer a BYE either, and pjsip says it for half a minute.
        if self.is_ending:
            return
        # A moment later, for an answer without anything usable has its reason told by the negotiation first.
        self._after("given up", GIVEN_UP_S, lambda: self._finish(CloseReason.EXPIRED))

    def progressed(self, phase: Phase, status: int, reason: str) -> None:
        if phase is Phase.OVER:
            self._ended(status, reason)
        elif self.is_ending:
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

    # negotiation.Party

    @property
    def may_reoffer(self) -> bool:
        return self._call is not None and self.state in (State.ACTIVE, State.HELD)

    @property
    def is_confirmed(self) -> bool:
        return self._was_confirmed

    @property
    def is_ending(self) -> bool:
        return self.state in (State.CLOSING, State.CLOSED)

    def reinvite(self) -> None:
        assert self._call is not None
        self._call.reinvite()

    def commit(self, agreed: Agreed) -> None:
        if self.is_ending:
            return
        if not agreed.lines:
            self.close(CloseReason.NO_COMMON_CODEC, "; ".join(note.text for note in agreed.notes))
            return
        try:
            self._media.apply(agreed)
        except (ValueError, OSError) as exc:
            log.error(events.LEG_FAILED, session=self.id, cause=str(exc))
            self.close(CloseReason.FAULT, str(exc))
            return
        self._note(agreed)
        self.published = self._media.published
        self._offer_sinks()
        self._settle_state()
        self.emit("media_changed", self)
        self._after("pictures", PICTURES_EVERY_S, self._watch_pictures)

    def _offer_sinks(self) -> None:
        """A caller is sent nothing before its ACK: until then it may have neither our answer nor the keys in it."""
        if self._was_confirmed or not self.inbound:
            self.sinks = self._media.sinks

    def _published(self) -> None:
        if not self.is_ending:
            self.published = self._media.published
            self.emit("media_changed", self)

    def _note(self, agreed: Agreed) -> None:
        """What people should know now; a note of another code than those before is logged."""
        known = {note.code for note in self.notes}
        too_large = self._media.too_large_bytes()
        self.notes = [*agreed.notes, *([picture_too_large(too_large)] if too_large else [])]
        for note in self.notes:
            if note.code not in known:
                log.info(events.SESSION_NOTED, session=self.id, device=self.device, note=note.code, text=note.text)

    def _settle_state(self) -> None:
        """Early media makes a call connecting; hold is a state of its own once it is confirmed."""
        if not self._was_confirmed:
            if not self.inbound and self.state in (State.NEW, State.RINGING):
                self.move(State.CONNECTING)
            return
        agreed = self._negotiation.agreed
        is_held = self._negotiation.on_hold or (agreed is not None and agreed.held_by_peer)
        if is_held is not (self.state is State.HELD):
            self._media.expect()
            self.move(State.HELD if is_held else State.ACTIVE)

    def _confirmed(self) -> None:
        self._was_confirmed = True
        self._cancel("ring")
        self._offer_sinks()
        if self.state in (State.NEW, State.RINGING):
            self.move(State.CONNECTING)
        self.move(State.ACTIVE)
        self._settle_state()
        self._media.expect()
        self._watch_silence()

    # requests within the call

    def _info_heard(self, message: Message) -> None:
        if message.content_type == FAST_UPDATE_TYPE and "picture_fast_update" in message.body:
            self._media.refresh_sources()
            return
        digit = dtmf.digit_of(message.content_type, message.body)
        if digit is not None:
            self._digits.from_info(digit, twin_possible=self._media.hears_digits)

    def _info(self, content_type: str, body: str) -> bool:
        """False when it can't be sent."""
        if self._call is None:
            return False
        # Noted before it goes: what fails at once is told as unanswered meanwhile.
        number = next(self._info_numbers)
        self._infos[number] = content_type
        try:
            self._call.info(content_type, body)
        except LocalError as exc:
            log.debug(events.SESSION_TROUBLED, session=self.id, problem=str(exc))
            self._infos.pop(number, None)
            return False
        return True

    def _info_answered(self, status: int) -> None:
        if status < 200 or not self._infos:
            return
        if self._infos.pop(next(iter(self._infos))) != FAST_UPDATE_TYPE:
            if status >= 300:
                log.info(events.SESSION_TROUBLED, session=self.id, problem=f"keys by INFO refused: {status}")
            self._keys.answered(status)
        elif status in (405, 415, 469, 489, 501):
            self._info_refused = True

    def _send_key(self, key: str) -> bool:
        return not self.is_ending and self._info(*dtmf.info_body(key))

    def _pressed(self, digit: str) -> None:
        self.emit("dtmf", self, digit)

    # ending

    def _no_answer(self) -> None:
        self.close(CloseReason.NO_ANSWER)

    def _watch_silence(self) -> None:
        """End a call whose peer has vanished. On hold nothing has to arrive."""
        timeout_s = self._terms.silence_timeout_s
        if timeout_s <= 0 or self.is_ending:
            return
        silent_s = 0.0 if self.state is State.HELD else self._media.silent_ms() / 1000
        if silent_s >= timeout_s:
            self.close(CloseReason.SILENT, f"nothing arrived for {silent_s:.0f} s")
        else:
            self._after("silence", max(timeout_s - silent_s, 0.2), self._watch_silence)

    def _watch_pictures(self) -> None:
        """Tell people of a picture that is too large for the peer, which otherwise just looks black."""
        if self.is_ending or self._media.sends_fragments:
            return
        agreed, before = self._negotiation.agreed, self.notes
        if agreed is not None:
            self._note(agreed)
            if self.notes != before:
                self.emit("media_changed", self)
        self._after("pictures", PICTURES_EVERY_S, self._watch_pictures)

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
        if why is CloseReason.NO_COMMON_CODEC and not self._was_confirmed:
            text = self._negotiation.problem or text
        elif self._was_confirmed and self._negotiation.agreed is None and self._negotiation.problem:
            # pjsip itself ends a call whose late offer we refused
            why, text = self._negotiation.blame, self._negotiation.problem
        self._finish(why, text)

    def _finish(self, reason: CloseReason, text: str = "") -> None:
        self._free()
        self._over.set()
        self.ended(reason, text)

    def _free(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._negotiation.close()
        self._digits.close()
        self._keys.close()
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
