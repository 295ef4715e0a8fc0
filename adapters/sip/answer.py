"""Our answer to a peer's offer (RFC 3264 6)."""

from __future__ import annotations

from collections.abc import Sequence

from orbridge.adapters.sip.codec_choice import Refusal, received_limit
from orbridge.adapters.sip.line import (
    Accepted,
    Peer,
    codec_attributes,
    event_attributes,
    extend_usage,
    feedback_attributes,
    rtcp_attributes,
    switched_off,
    take,
    usage,
)
from orbridge.adapters.sip.negotiated import Agreed, Direction, LocalLine, LocalMedia, Policy, Slot
from orbridge.adapters.sip.notes import Report
from orbridge.adapters.sip.ours import audio_parameters, direction_of, write
from orbridge.adapters.sip.remote import read_roles
from orbridge.codecs import h264, sdes, sdp
from orbridge.codecs.media import Kind, Role
from orbridge.codecs.sdp import Attribute

_Key = tuple[Kind, Role]


def make_answer(
    offered: sdp.Description, local: LocalMedia, policy: Policy, previous: Agreed | None, *, hold: bool
) -> Agreed:
    """See ``offer_answer.answer``."""
    report = Report(offered.warnings)
    before = previous.slots if previous is not None else ()
    accepted, roles, peers = _match(offered, local, policy, before, direction_of(hold), report)
    media: list[sdp.Media] = []
    slots: list[Slot] = []
    for index, theirs in enumerate(offered.media):
        slot = before[index] if index < len(before) and before[index].media == theirs.kind else None
        used = dict(slot.used) if slot is not None else {}
        found = accepted.get(index)
        key = roles[index]
        if found is None or key is None:
            refused = sdp.Media(theirs.kind, 0, theirs.proto, theirs.formats[:1])
            media.append(refused)
            kind, role = key if key is not None else (None, None)
            formats = peers[index].formats if index in peers else ()
            slots.append(
                Slot(theirs.kind, theirs.proto, refused.formats, kind, role, used=extend_usage(used, formats, ()))
            )
            continue
        leg = local.line(*key)
        assert leg is not None, "a line is only accepted for a leg that exists"
        media.append(_answer_line(found, theirs, leg, local, policy))
        chosen = [one for one in (found.chosen, found.events) if one is not None]
        slots.append(
            Slot(
                theirs.kind,
                theirs.proto,
                media[-1].formats,
                *key,
                active=True,
                current=usage(found.chosen, chosen=True),
                used=extend_usage(used, peers[index].formats, chosen),
                mid=found.line.mid,
                rtcp_mux=found.line.rtcp_mux,
                suite=found.line.srtp.suite if found.line.srtp is not None else "",
                one_way=found.one_way,
            )
        )
    lines = tuple(accepted[index].line for index in sorted(accepted))
    # A line that isn't offered has no leg of ours, and is missed by people all the same.
    missed = ((Kind.AUDIO, Role.MAIN), (Kind.VIDEO, Role.MAIN))
    notes, warnings = report.finish(missed, ((line.kind, line.role) for line in lines), "offers")
    text, version = write(media, local, previous)
    return Agreed(text, lines, notes, warnings, version, tuple(slots))


def _match(
    offered: sdp.Description,
    local: LocalMedia,
    policy: Policy,
    before: Sequence[Slot],
    allowed: Direction,
    report: Report,
) -> tuple[dict[int, Accepted], list[_Key | None], dict[int, Peer]]:
    """Which m-line gets which leg: those that had it before come first, then the offer's order."""
    roles: list[_Key | None] = list(read_roles(offered.media))
    accepted: dict[int, Accepted] = {}
    peers: dict[int, Peer] = {}
    taken: set[_Key] = set()
    for index in sorted(range(len(roles)), key=lambda index: not (index < len(before) and before[index].active)):
        key = roles[index]
        if key is None:
            continue
        media = offered.media[index]
        formats, problems = sdp.read_formats(media)
        report.warn(problems)
        one_way = before[index].one_way if index < len(before) else True
        peers[index] = Peer(offered, media, index, formats, ordered=False, verb="offers", one_way=one_way)
        if key in taken and key == (Kind.VIDEO, Role.MAIN):
            # A second camera line that says nothing about itself is what the device shares.
            key = roles[index] = (Kind.VIDEO, Role.CONTENT)
        leg = local.line(*key)
        if key in taken or (leg is None and key[1] is Role.CONTENT):
            continue
        if leg is None and media.port:
            report.refused(*key, Refusal(f"{key[0]}_disabled", f"is configured without {key[0]}"))
            continue
        if leg is None:
            report.refused(*key, switched_off(key[0]))
            continue
        result = take(peers[index], *key, leg, policy, allowed, mux_allowed=True)
        if isinstance(result, Refusal):
            report.refused(*key, result)
            continue
        report.taken(key[0], passed_over=result.keying.passed_over, problem=result.problem)
        accepted[index] = result
        taken.add(key)
    return accepted, roles, peers


def _answer_line(found: Accepted, theirs: sdp.Media, leg: LocalLine, local: LocalMedia, policy: Policy) -> sdp.Media:
    line, chosen, events = found.line, found.chosen, found.events
    bandwidth: dict[str, int] = {}
    if line.kind is Kind.VIDEO:
        parameters = h264.answer_parameters(chosen.parameters, received_limit(policy.max_video_kbps))
        if policy.max_video_kbps:
            bandwidth["AS"] = policy.max_video_kbps
    else:
        parameters = audio_parameters(line.codec.name)
    attributes = codec_attributes(chosen.pt, line.codec.name, parameters)
    if events is not None:
        attributes += event_attributes(events.pt, events.clock_hz or 8_000)
    if line.srtp is not None:
        attributes.append(Attribute("crypto", sdes.serialise(found.keying.tag, line.srtp.suite, line.srtp.outbound)))
    attributes += [Attribute("rtcp-mux")] if line.rtcp_mux else rtcp_attributes(leg, mux=False)
    if line.kind is Kind.VIDEO:
        attributes += feedback_attributes("*" if found.wildcard_feedback else str(chosen.pt), line.feedback_receive)
        content = theirs.value("content")
        if content:
            attributes.append(Attribute("content", content))
    else:
        attributes.append(Attribute("ptime", "20"))
    if line.mid is not None:
        attributes.append(Attribute("mid", line.mid))
    attributes.append(Attribute("ssrc", f"{leg.ssrc} cname:{local.cname}"))
    attributes.append(Attribute(line.direction))
    formats = tuple(str(one.pt) for one in (chosen, events) if one is not None)
    return sdp.Media(theirs.kind, leg.port, theirs.proto, formats, None, bandwidth, tuple(attributes))


def make_refusal(offered: sdp.Description) -> str:
    """See ``offer_answer.refuse_all``."""
    nowhere = sdp.Address("0.0.0.0")
    media = tuple(sdp.Media(theirs.kind, 0, theirs.proto, theirs.formats[:1]) for theirs in offered.media)
    return sdp.serialise(sdp.Description(sdp.Origin(0, 0, nowhere), media, address=nowhere))
