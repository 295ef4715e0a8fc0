"""Our offer, and what the peer's answer to it means (RFC 3264 5, 7, 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

from orbridge.adapters.sip.codec_choice import AUDIO_CODECS, TELEPHONE_EVENT, Refusal, received_limit
from orbridge.adapters.sip.line import (
    DYNAMIC,
    OUR_FEEDBACK,
    Accepted,
    Peer,
    codec_attributes,
    event_attributes,
    extend_usage,
    feedback_attributes,
    rtcp_attributes,
    take,
    usage,
)
from orbridge.adapters.sip.negotiated import Agreed, Direction, LocalLine, LocalMedia, Offer, Policy, Slot
from orbridge.adapters.sip.notes import Report
from orbridge.adapters.sip.ours import audio_parameters, direction_of, write
from orbridge.adapters.sip.remote import read_roles
from orbridge.codecs import h264, sdes, sdp
from orbridge.codecs.media import Kind, Role
from orbridge.codecs.sdp import Attribute

_STATIC = {"PCMU": 0, "PCMA": 8, "G722": 9}
# First choices for the others; any free number does.
_PREFERRED = {"OPUS": 111, f"{TELEPHONE_EVENT}/8000": 101, f"{TELEPHONE_EVENT}/48000": 110, "H264/1": 96, "H264/0": 97}
_LEGS = ((Kind.AUDIO, Role.MAIN), (Kind.VIDEO, Role.MAIN), (Kind.VIDEO, Role.CONTENT))


class _Offered(NamedTuple):
    """A payload type of ours: what it means (as in ``Slot.used``) and how it is written."""

    pt: int
    meaning: str
    attributes: list[Attribute]


def make_offer(local: LocalMedia, policy: Policy, previous: Agreed | None, *, hold: bool) -> Offer:
    """See ``offer_answer.offer``."""
    slots = list(previous.slots) if previous is not None else []
    placed: dict[int, tuple[Kind, Role]] = {}
    for key in _LEGS:
        if local.line(*key) is None:
            continue
        candidates = [index for index, slot in enumerate(slots) if (slot.kind, slot.role) == key]
        candidates.sort(key=lambda index: not slots[index].active)
        if not candidates:
            slots.append(Slot(key[0].value, "", (), *key))
            candidates = [len(slots) - 1]
        placed[candidates[0]] = key
    media: list[sdp.Media] = []
    for index, slot in enumerate(slots):
        leg = local.line(*placed[index]) if index in placed else None
        if leg is None:
            media.append(sdp.Media(slot.media, 0, slot.proto, slot.formats[:1]))
            slots[index] = replace(slot, active=False)
        else:
            line, slots[index] = _offer_line(slot, *placed[index], leg, local, policy, direction_of(hold))
            media.append(line)
    text, version = write(media, local, previous)
    return Offer(text, version, local, hold, tuple(slots))


def _offer_line(
    slot: Slot, kind: Kind, role: Role, leg: LocalLine, local: LocalMedia, policy: Policy, direction: Direction
) -> tuple[sdp.Media, Slot]:
    offered = _audio_types(slot, policy) if kind is Kind.AUDIO else _video_types(slot, policy)
    attributes = [attribute for one in offered for attribute in one.attributes]
    # What was agreed in the clear stays so for the call; what was agreed with a suite keeps it.
    suites = (slot.suite,) if slot.suite else () if slot.active or policy.srtp == "off" else sdes.OFFERED
    crypto = [(suite, leg.keys[suite]) for suite in suites if suite in leg.keys]
    attributes += [Attribute("crypto", sdes.serialise(tag, *one)) for tag, one in enumerate(crypto, 1)]
    attributes += rtcp_attributes(leg, mux=policy.rtcp_mux or slot.rtcp_mux)
    bandwidth: dict[str, int] = {}
    if kind is Kind.VIDEO:
        attributes += feedback_attributes("*", OUR_FEEDBACK)
        if policy.max_video_kbps:
            bandwidth["AS"] = policy.max_video_kbps
        if role is Role.CONTENT or local.content is not None:
            attributes.append(Attribute("content", "slides" if role is Role.CONTENT else "main"))
    else:
        attributes.append(Attribute("ptime", "20"))
    if slot.mid is not None:
        attributes.append(Attribute("mid", slot.mid))
    attributes.append(Attribute("ssrc", f"{leg.ssrc} cname:{local.cname}"))
    attributes.append(Attribute(direction))
    proto = slot.proto if slot.active else "RTP/SAVP" if policy.srtp == "mandatory" else "RTP/AVP"
    formats = tuple(str(one.pt) for one in offered)
    meanings = {one.pt: one.meaning for one in offered if one.pt in DYNAMIC}
    used = {pt: meaning for pt, meaning in slot.used.items() if pt not in meanings} | meanings
    line = sdp.Media(kind.value, leg.port, proto, formats, None, bandwidth, tuple(attributes))
    return line, replace(slot, media=kind.value, proto=proto, formats=formats, used=used)


def _audio_types(slot: Slot, policy: Policy) -> list[_Offered]:
    """Codecs in the configured order, the one in use first, then telephone-event for their clocks."""
    names = [name for name in policy.audio_codecs if name in AUDIO_CODECS]
    if slot.active and slot.current in names:
        names.sort(key=lambda name: name != slot.current)
    found: list[_Offered] = []
    clocks: list[int] = []
    for name in names:
        pt = _payload_type(name, slot.used, found)
        if pt is None:
            continue
        found.append(_Offered(pt, name, codec_attributes(pt, name, audio_parameters(name))))
        # G.722 counts at 8 kHz like G.711.
        clock_hz = AUDIO_CODECS[name].clock_hz
        if clock_hz not in clocks:
            clocks.append(clock_hz)
    for clock_hz in sorted(clocks):
        meaning = f"{TELEPHONE_EVENT}/{clock_hz}"
        pt = _payload_type(meaning, slot.used, found)
        if pt is not None:
            found.append(_Offered(pt, meaning, event_attributes(pt, clock_hz)))
    return found


def _video_types(slot: Slot, policy: Policy) -> list[_Offered]:
    """H.264 in each mode, at Constrained Baseline or, once agreed, at the profile in use."""
    modes = list(policy.h264_modes)
    if slot.active:
        modes.sort(key=lambda mode: not slot.current.startswith(f"H264/{mode}/"))
    found: list[_Offered] = []
    for mode in modes:
        meaning = next((used for used in reversed(tuple(slot.used.values())) if used.startswith(f"H264/{mode}/")), "")
        profile = h264.read_profile_level({"profile-level-id": meaning.rpartition("/")[2]})
        profile = profile or h264.CONSTRAINED_BASELINE_31
        meaning = f"H264/{mode}/{profile}"
        pt = _payload_type(meaning, slot.used, found)
        if pt is None:
            continue
        parameters = h264.offer_parameters(profile, mode, received_limit(policy.max_video_kbps))
        found.append(_Offered(pt, meaning, codec_attributes(pt, "H264", parameters)))
    return found


def _payload_type(meaning: str, used: Mapping[int, str], offered: Sequence[_Offered]) -> int | None:
    """The number that already means this, else a static one, else a free one; None when all 32 are taken."""
    for pt, known in reversed(tuple(used.items())):
        if known == meaning:
            return pt
    if meaning in _STATIC:
        return _STATIC[meaning]
    preferred = _PREFERRED.get(meaning) or _PREFERRED.get(meaning.rpartition("/")[0], DYNAMIC.start)
    taken = {one.pt for one in offered} | used.keys()
    return next((pt for pt in (preferred, *DYNAMIC) if pt not in taken), None)


def read_answer(ours: Offer, answered: sdp.Description, policy: Policy) -> Agreed:
    """See ``offer_answer.apply_answer``."""
    report = Report(answered.warnings)
    offered = sdp.parse(ours.text)
    pairs = _pair(offered, answered, ours.slots)
    if any(pairs.get(index) != index for index in range(max(len(offered.media), len(answered.media)))):
        report.warn([f"an answer of {len(answered.media)} m-lines to {len(offered.media)}, or in another order"])
    accepted: dict[int, Accepted] = {}
    slots: list[Slot] = []
    for index, (media, slot) in enumerate(zip(offered.media, ours.slots, strict=True)):
        leg = ours.local.line(slot.kind, slot.role) if slot.kind is not None and slot.role is not None else None
        if slot.kind is None or slot.role is None or leg is None or media.port == 0:
            slots.append(replace(slot, active=False))
            continue
        # Only the suites that this offer named can be answered.
        keys = {line.suite: line.key for value in media.values("crypto") if (line := sdes.parse(value)) is not None}
        leg = replace(leg, keys=keys)
        own, _ = sdp.read_formats(media)
        found: Accepted | Refusal
        if index not in pairs:
            found = Refusal(f"no_{slot.kind}_line", f"leaves the {slot.kind} line out of its answer")
            formats: tuple[sdp.Format, ...] = ()
        else:
            theirs = answered.media[pairs[index]]
            # An answer without rtpmap lines means our numbers.
            known = sdp.STATIC_FORMATS | {one.pt: (one.name, one.clock_hz, one.channels) for one in own}
            formats, problems = sdp.read_formats(theirs, known)
            report.warn(problems)
            peer = Peer(answered, theirs, index, formats, ordered=True, verb="answers with", one_way=slot.one_way)
            allowed = cast(Direction, offered.direction(media))
            found = take(peer, slot.kind, slot.role, leg, policy, allowed, mux_allowed=media.has("rtcp-mux"))
        if isinstance(found, Refusal):
            report.refused(slot.kind, slot.role, found)
            slots.append(replace(slot, active=False, used=extend_usage(slot.used, formats, ())))
            continue
        report.taken(slot.kind, passed_over=found.keying.passed_over, problem=found.problem)
        found = _with_own_types(found, own)
        accepted[index] = found
        slots.append(
            replace(
                slot,
                active=True,
                current=usage(found.chosen, chosen=True),
                # Our numbers stay ours when we offer again; those the peer uses for the same codecs are used up.
                used=extend_usage(slot.used, formats, ()),
                mid=found.line.mid or slot.mid,
                rtcp_mux=found.line.rtcp_mux,
                suite=found.line.srtp.suite if found.line.srtp is not None else "",
                one_way=found.one_way,
            )
        )
    lines = tuple(accepted[index].line for index in sorted(accepted))
    legs = [key for key in _LEGS if ours.local.line(*key) is not None and key[1] is Role.MAIN]
    notes, warnings = report.finish(legs, ((line.kind, line.role) for line in lines), "answers with")
    return Agreed(ours.text, lines, notes, warnings, ours.version, tuple(slots))


def _with_own_types(found: Accepted, own: Sequence[sdp.Format]) -> Accepted:
    """What arrives is numbered as we offered; devices that use their own numbers are understood too."""
    line = found.line
    receives = {**line.receives, **{one.pt: one.name for one in own if one.name != TELEPHONE_EVENT}}
    events = None
    if found.events is not None:
        events = next(
            (one.pt for one in own if one.name == TELEPHONE_EVENT and one.clock_hz == (found.events.clock_hz or 8_000)),
            found.events.pt,
        )
        receives.pop(events, None)
    return replace(found, line=replace(line, receives=receives, dtmf_receive=events))


def _pair(offered: sdp.Description, answered: sdp.Description, slots: Sequence[Slot]) -> dict[int, int]:
    """Our m-line -> the answer's: by place where the media agree, else the next of the same media and role.

    A line that says of itself that it is another one (RFC 4796) doesn't agree.
    """
    roles = read_roles(answered.media)
    pairs = {
        index: index
        for index, (ours, theirs) in enumerate(zip(offered.media, answered.media, strict=False))
        if ours.kind == theirs.kind
        and not (theirs.has("content") and roles[index] != (slots[index].kind, slots[index].role))
    }
    free = [index for index in range(len(answered.media)) if index not in pairs]
    for index, ours in enumerate(offered.media):
        if index in pairs:
            continue
        same = [other for other in free if answered.media[other].kind == ours.kind]
        same.sort(key=lambda other: roles[other] != (slots[index].kind, slots[index].role))
        if same:
            pairs[index] = same[0]
            free.remove(same[0])
    return pairs
