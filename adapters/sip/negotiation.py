"""Offers and answers of one call over time: what waits for the other side, what is tried again, what is undone.

The rule: what a description says is kept aside until the signalling reports that both sides hold it, so that a refused
re-offer leaves everything as it was. SDP itself is ``offer_answer.py``'s; the timers are RFC 3261's.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Protocol

import structlog

from orbridge.adapters.sip import offer_answer
from orbridge.adapters.sip.border import failed
from orbridge.adapters.sip.media import AUDIO, CONTENT, VIDEO, CallMedia, MediaSettings, Place
from orbridge.adapters.sip.messages import Message, sdp_of
from orbridge.adapters.sip.negotiated import Agreed, Offer, Policy
from orbridge.codecs.errors import LocalError, ParseError
from orbridge.gateway import events
from orbridge.gateway.session import CloseReason

log = structlog.get_logger(__name__)

# A re-INVITE that can't be sent at the moment (another transaction is open) is tried again.
RETRY_S = 0.2
RETRIES = 150
# An offer without any answer after pjsip's own time limit (64 * T1) isn't waited for any more.
OFFER_LOST_S = 40.0
LONGEST_RETRY_AFTER_S = 30

NO_PORT = "no media port is free: widen media.udp_ports"


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


class Party(Protocol):
    """The session that negotiates."""

    id: str
    inbound: bool

    def commit(self, agreed: Agreed) -> None:
        """Both sides hold this now."""
        ...

    def close(self, reason: CloseReason, text: str = "") -> None: ...

    def reinvite(self) -> None:
        """Send a re-INVITE; ``describe(None, ...)`` is called meanwhile. Raises LocalError."""
        ...

    @property
    def may_reoffer(self) -> bool: ...

    @property
    def is_confirmed(self) -> bool: ...

    @property
    def is_ending(self) -> bool: ...


class Negotiation:
    """The offer/answer state of a call.

    Attributes:
        agreed: what both sides hold.
        problem, blame: why the last description couldn't be answered, for people and as the reason of an end.
        on_hold: we take nothing from the peer, or want to.
    """

    def __init__(self, party: Party, media: CallMedia, terms: Terms) -> None:
        self.agreed: Agreed | None = None
        self.problem, self.blame = "", CloseReason.NO_COMMON_CODEC
        self.on_hold = False
        self._party, self._media, self._terms = party, media, terms
        self._loop = asyncio.get_running_loop()
        self._answered: Agreed | None = None  # our answer, until both sides hold it
        self._offered: Offer | None = None  # our offer, until it is answered
        self._offered_at = 0.0
        self._last_offer: Offer | None = None
        self._answer_text: str | None = None
        self._applied_text: str | None = None
        self._held_before = False
        self._reoffer_wanted = False
        self._retries = 0
        self._timer: asyncio.TimerHandle | None = None

    def prepare(self, remote: str | None) -> None:
        """Bind what the answer to ``remote``, or our offer, will need, while the call can still be turned away.

        Raises OSError when no port is free.
        """
        try:
            if remote is None:
                self._media.open(self._offered_places())
            else:
                self._open_for(remote)
        except ParseError:
            return  # said when it is answered

    # what pjsip asks and tells

    def describe(self, remote: str | None, draft: str) -> str:
        """Our answer to ``remote``, or our offer. Never raises; ``draft`` is pjsua2's own description."""
        try:
            return self._answer(remote) if remote else self._offer()
        except ParseError as exc:
            log.debug(events.SDP_TOLERATED, session=self._party.id, problem=str(exc))
            self.problem, self.blame = str(exc), CloseReason.PROTOCOL_ERROR
        except OSError as exc:
            log.error(events.LEG_FAILED, session=self._party.id, cause=str(exc))
            self.problem, self.blame = NO_PORT, CloseReason.FAULT
        except BaseException:  # noqa: BLE001 - whatever it was, pjsua2's own draft must not go out
            failed("describe")
            self.problem, self.blame = "a fault in the gateway", CloseReason.FAULT
        return self._nothing(remote, draft)

    def negotiated(self, remote: str | None) -> None:
        """Both sides hold a description. ``remote``: the peer's as pjsip keeps it, if it tells."""
        if self._answered is not None:
            answered, self._answered = self._answered, None
            self._commit(answered)
        else:
            # The peer's answer as it wrote it comes with the message, before this turn of the loop ends; only an
            # answer in the ACK of a re-INVITE is known from here alone.
            self._loop.call_soon(self._settle, remote)

    def answer_heard(self, message: Message) -> None:
        """A response to an INVITE or UPDATE of ours."""
        status = message.status
        if 100 < status < 300:
            text = sdp_of(message)
            if text is not None:
                self._answer_text = text
                if status >= 200:
                    # pjsip reports no agreement on an answer that refuses every line
                    self._loop.call_soon(self._settle, None)
        # pjsip itself repeats after a challenge (401, 407) and after 422
        elif status >= 300 and status not in (401, 407, 422) and self._party.is_confirmed:
            wait = (message.get("retry-after") or "").split(";")[0].split("(")[0].strip()
            self.refused(status, int(wait[:4]) if wait.isascii() and wait.isdigit() else 0)

    def ack_heard(self, message: Message) -> None:
        """An ACK, which carries the answer to an offer in our 200."""
        self._answer_text = sdp_of(message) or self._answer_text
        self._loop.call_soon(self._settle, None)

    def refused(self, status: int, retry_after_s: int = 0) -> None:
        """A re-offer of ours was refused, or got no answer: the call goes on as before it."""
        ours, self._offered = self._offered, None
        if ours is None or self.agreed is None:
            return
        self.agreed = offer_answer.rejected(self.agreed, ours)
        self._answer_text = None
        if status == 491:
            # RFC 3261 14.1: who made the Call-ID waits longer, so that the two don't meet again
            wait = random.randrange(0, 201) / 100 if self._party.inbound else random.randrange(210, 401) / 100
        elif status in (500, 503) and 0 < retry_after_s <= LONGEST_RETRY_AFTER_S:
            wait = float(retry_after_s)
        else:
            log.info(events.SESSION_TROUBLED, session=self._party.id, problem=f"re-offer refused: {status}")
            self.on_hold = self._held_before
            return
        self._reoffer_wanted = True
        self._again(wait)

    # what the session wants

    def set_hold(self, hold: bool) -> None:
        if self.on_hold is not hold:
            self.on_hold = hold
            self.renegotiate()

    def renegotiate(self) -> None:
        """Offer our side anew as soon as the call's signalling is free."""
        self._reoffer_wanted, self._retries = True, 0
        self._reoffer()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # inside

    def _answer(self, remote: str) -> str:
        self._answered = None
        places = self._open_for(remote)
        local = self._media.local(places)
        agreed = offer_answer.answer(remote, local, self._terms.policy, self.agreed, hold=self.on_hold)
        if not agreed.lines:
            self.problem, self.blame = "; ".join(note.text for note in agreed.notes), CloseReason.NO_COMMON_CODEC
            return offer_answer.refuse_all(remote)
        self._answered = agreed
        return agreed.text

    def _open_for(self, remote: str) -> list[Place]:
        """Bind the lines that this offer asks for and we accept. Raises ParseError and OSError."""
        wanted = offer_answer.wanted(remote)
        asked = {AUDIO: wanted.audio, VIDEO: wanted.video, CONTENT: wanted.content}
        places = [place for place in self._terms.places if asked[place]]
        self._media.open(places, ipv6=wanted.ipv6)
        return places

    def _offered_places(self) -> list[Place]:
        agreed = self.agreed
        return [
            place
            for place in self._terms.places
            if place == AUDIO or (place == VIDEO and self._terms.offer_video) or (agreed and agreed.line(*place))
        ]

    def _offer(self) -> str:
        agreed, places = self.agreed, self._offered_places()
        self._media.open(places, ipv6=self._terms.media.prefers_ipv6)
        local = self._media.local(places)
        made = offer_answer.offer(local, self._terms.policy, agreed, hold=self.on_hold)
        self._offered = self._last_offer = made
        self._offered_at, self._answer_text = self._loop.time(), None
        return made.text

    def _nothing(self, remote: str | None, draft: str) -> str:
        """What goes out when we can't say anything: a refusal, or in a living call what was said before."""
        self._answered = None
        if remote is None and self.agreed is not None:
            return self.agreed.text
        if remote is None:
            self._loop.call_soon(self._party.close, CloseReason.FAULT, self.problem)
        return offer_answer.refuse_all(draft)

    def _settle(self, remote: str | None) -> None:
        """Apply the peer's answer to our offer, once."""
        text = self._answer_text or remote
        ours = self._offered or (self._last_offer if text != self._applied_text else None)
        if text is None or ours is None or self._party.is_ending:
            return
        try:
            agreed = offer_answer.apply_answer(ours, text, self._terms.policy)
        except ParseError as exc:
            self._party.close(CloseReason.PROTOCOL_ERROR, f"the peer's answer can't be read: {exc}")
            return
        self._offered, self._answer_text, self._applied_text = None, None, text
        self._held_before = self.on_hold
        self._commit(agreed)
        self._reoffer()

    def _commit(self, agreed: Agreed) -> None:
        self.agreed = agreed
        for warning in agreed.warnings:
            log.debug(events.SDP_TOLERATED, session=self._party.id, problem=warning)
        self._party.commit(agreed)

    def _reoffer(self) -> None:
        if not self._reoffer_wanted or not self._party.may_reoffer:
            return
        if self._offered is not None and self._loop.time() - self._offered_at < OFFER_LOST_S:
            return  # goes on when that is answered
        self._offered = None
        try:
            self._party.reinvite()
        except LocalError as exc:
            self._offered = None
            self._retries += 1
            if self._retries <= RETRIES:
                self._again(RETRY_S)
            else:
                self._reoffer_wanted = False
                log.warning(events.SESSION_TROUBLED, session=self._party.id, problem=f"can't re-offer: {exc}")
            return
        self._reoffer_wanted = False

    def _again(self, delay_s: float) -> None:
        self.close()
        self._timer = self._loop.call_later(delay_s, self._reoffer)
