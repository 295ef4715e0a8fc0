"""SDP offer and answer (RFC 3264) for SIP devices: text in, decisions and text out. The face of the negotiation.

Pure functions: no socket, no clock, no randomness. The same arguments give the same text. A call uses them like this:

* The peer offers: ``answer(text, local, policy, previous)``; send ``.text``, wire up ``.lines``, show ``.notes``; when
  ``.lines`` is empty, refuse with 488. Keep the result as ``previous``.
* We offer (also for a late offer, a re-INVITE without SDP, hold and resume): ``offer(local, policy, previous)``; send
  ``.text``; with the peer's answer call ``apply_answer``; keep its result as ``previous``. When the peer refuses the
  offer (488, 491), replace ``previous`` by ``rejected(previous, offer)``: version numbers are never used twice.
* Nothing can be done with an offer: ``refuse_all(text)``.

A line whose leg is None in ``local`` is refused (answer) or left out or removed (offer). Ports, SSRC, keys and session
id come from ``local``: hand in the same values again and they stay. Every function raises ParseError when a text isn't
SDP at all, and nothing else on text from outside.
"""

from __future__ import annotations

from dataclasses import replace

from orbridge.adapters.sip.answer import make_answer, make_refusal
from orbridge.adapters.sip.negotiated import (
    Agreed,
    Feedback,
    LocalLine,
    LocalMedia,
    NegotiatedLine,
    Offer,
    Policy,
    SrtpKeys,
    Wanted,
)
from orbridge.adapters.sip.offer import make_offer, read_answer
from orbridge.adapters.sip.remote import read_roles
from orbridge.codecs import sdp
from orbridge.codecs.media import Kind, Role

__all__ = [
    "Agreed",
    "Feedback",
    "LocalLine",
    "LocalMedia",
    "NegotiatedLine",
    "Offer",
    "Policy",
    "SrtpKeys",
    "Wanted",
    "answer",
    "apply_answer",
    "offer",
    "refuse_all",
    "rejected",
    "wanted",
]


def wanted(offer_text: str | bytes) -> Wanted:
    """What an offer asks for, to open no leg in vain. Raises ParseError."""
    description = sdp.parse(offer_text)
    live = [media for media in description.media if media.port]
    roles = set(read_roles(live))
    addresses = [media.address for media in live if media.address is not None]
    return Wanted(
        audio=(Kind.AUDIO, Role.MAIN) in roles,
        video=(Kind.VIDEO, Role.MAIN) in roles,
        content=(Kind.VIDEO, Role.CONTENT) in roles,
        ipv6=bool(addresses) and addresses[0].ipv6,
    )


def answer(
    offer_text: str | bytes, local: LocalMedia, policy: Policy, previous: Agreed | None = None, *, hold: bool = False
) -> Agreed:
    """Answer an offer. ``hold``: we take nothing at the moment (our hold goes on). Raises ParseError."""
    return make_answer(sdp.parse(offer_text), local, policy, previous, hold=hold)


def offer(local: LocalMedia, policy: Policy, previous: Agreed | None = None, *, hold: bool = False) -> Offer:
    """Our offer: everything we can do, with the lines and payload types of ``previous`` kept. ``hold``: sendonly."""
    return make_offer(local, policy, previous, hold=hold)


def apply_answer(ours: Offer, answer_text: str | bytes, policy: Policy) -> Agreed:
    """What an answer to our offer means. Tolerates lines missing, added or in another order. Raises ParseError."""
    return read_answer(ours, sdp.parse(answer_text), policy)


def rejected(previous: Agreed, ours: Offer) -> Agreed:
    """The state after the peer refused a re-offer of ours: unchanged but for the version number."""
    return replace(previous, version=max(previous.version, ours.version))


def refuse_all(offer_text: str | bytes) -> str:
    """An answer that refuses every line (port 0). Raises ParseError."""
    return make_refusal(sdp.parse(offer_text))
