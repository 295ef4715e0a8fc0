"""One RTP line of a peer against one leg of ours: accepted with what follows from it, or refused.

Used for the peer's offers and for its answers; the difference is who wrote which text first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orbridge.adapters.sip.codec_choice import (
    AUDIO_CODECS,
    TELEPHONE_EVENT,
    Refusal,
    choose_audio,
    choose_events,
    choose_video,
    fits_ours,
    is_h264,
    refuse_audio,
    refuse_video,
)
from orbridge.adapters.sip.keying import Keying, agree_keys
from orbridge.adapters.sip.negotiated import (
    Direction,
    Feedback,
    Hold,
    LocalLine,
    NegotiatedLine,
    Policy,
)
from orbridge.adapters.sip.remote import (
    REVERSED,
    intersect,
    read_direction,
    read_feedback,
    read_packet_time,
    read_transport,
    rtp_profile,
)
from orbridge.codecs import h264, sdp
from orbridge.codecs.media import H264, Codec, Kind, Role
from orbridge.codecs.sdp import Attribute, Format

# What the engine sends and obeys. TMMBR isn't among it: REMB and the b= line limit a sender.
OUR_FEEDBACK = Feedback(nack=True, pli=True, fir=True)

# A max-rcmd-nalu-size from here on says nothing that the packet size doesn't (Cisco writes 3133440).
_PACKET_BYTES = 1_400

DYNAMIC = range(96, 128)


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer's m-line in its description, and how to read it.

    Attributes:
        ordered: its first format counts more than our order: it answers.
        verb: ``offers`` or ``answers``, for sentences.
        one_way: it has never taken media on this line.
    """

    description: sdp.Description
    media: sdp.Media
    index: int
    formats: tuple[Format, ...]
    ordered: bool
    verb: str
    one_way: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """An agreed line, and what of the peer's text led to it. ``one_way``: the peer has still never taken media."""

    line: NegotiatedLine
    chosen: Format
    events: Format | None
    keying: Keying
    wildcard_feedback: bool
    problem: str
    one_way: bool


def take(
    peer: Peer, kind: Kind, role: Role, leg: LocalLine, policy: Policy, allowed: Direction, *, mux_allowed: bool
) -> Accepted | Refusal:
    """Match a line. ``allowed``: the ways that we allow, as we see them."""
    media = peer.media
    if media.port == 0:
        return switched_off(kind)
    profile = rtp_profile(media.proto)
    if profile is None:
        return Refusal("no_rtp", f"{peer.verb} {kind} over {media.proto[:40]}, which is not done here")
    if kind is Kind.VIDEO:
        chosen = choose_video(peer.formats, policy.h264_modes)
    else:
        chosen = choose_audio(peer.formats, policy.audio_codecs, ordered=peer.ordered)
    if chosen is None:
        if kind is Kind.VIDEO:
            return refuse_video(peer.formats, peer.verb)
        return refuse_audio(peer.formats, policy.audio_codecs, peer.verb)
    keying = agree_keys(media, profile, policy.srtp, leg.keys, peer.verb)
    if isinstance(keying, Refusal):
        return keying
    return _accepted(peer, kind, role, chosen, keying, policy, allowed, mux_allowed=mux_allowed)


def switched_off(kind: Kind) -> Refusal:
    """The peer gave the line port 0 (RFC 3264 5.1)."""
    return Refusal(f"{kind}_off", f"has switched its {kind} line off")


def _accepted(
    peer: Peer,
    kind: Kind,
    role: Role,
    chosen: Format,
    keying: Keying,
    policy: Policy,
    allowed: Direction,
    *,
    mux_allowed: bool,
) -> Accepted:
    media = peer.media
    mux = mux_allowed and media.has("rtcp-mux")
    transport = read_transport(media, mux=mux)
    theirs = read_direction(peer.description, media)
    direction = intersect(REVERSED[theirs], allowed)
    events = choose_events(peer.formats, chosen) if kind is Kind.AUDIO else None
    event_pt = events.pt if events is not None else None
    kbps = peer.description.bandwidth_kbps(media)
    video = kind is Kind.VIDEO
    mode = h264.packetization_mode(chosen.parameters) if video else 0
    feedback, wildcard = read_feedback(media, chosen.pt) if video else (Feedback(), False)
    line = NegotiatedLine(
        kind=kind,
        role=role,
        index=peer.index,
        mid=media.value("mid") or None,
        remote_host=transport.host,
        remote_port=transport.port,
        remote_rtcp_host=transport.rtcp_host,
        remote_rtcp_port=transport.rtcp_port,
        rtcp_mux=mux,
        direction=direction,
        hold=_hold(theirs, allowed, one_way=peer.one_way),
        codec=codec_of(chosen),
        pt=chosen.pt,
        receives={one.pt: one.name for one in peer.formats if _understood(one, kind, policy)},
        dtmf_send=event_pt,
        dtmf_receive=event_pt,
        packetization_mode=mode,
        remote_packetization_mode=mode,
        max_nal_bytes=_max_nal_bytes(chosen) if video else 0,
        limit=h264.read_limit(chosen.parameters, kbps) if video else None,
        max_kbps=kbps,
        feedback_send=feedback,
        feedback_receive=both(feedback, OUR_FEEDBACK),
        srtp=keying.keys,
        parameter_sets=h264.read_parameter_sets(chosen.parameters) if video else (),
        ptime_ms=read_packet_time(media),
    )
    one_way = peer.one_way and theirs in ("sendonly", "inactive")
    return Accepted(line, chosen, events, keying, wildcard, transport.problem, one_way)


def _understood(one: Format, kind: Kind, policy: Policy) -> bool:
    """We could take it, chosen or not. Some devices go on with their first type whatever was answered."""
    if kind is Kind.VIDEO:
        return is_h264(one) and h264.packetization_mode(one.parameters) in (0, 1)
    return one.name in policy.audio_codecs and fits_ours(one)


def _hold(theirs: Direction, allowed: Direction, *, one_way: bool) -> Hold:
    """A peer that takes nothing holds us; so do we when we allow no more than sending.

    A camera takes nothing anyway: its ``sendonly`` is no hold, nor its ``inactive`` while we hold it.
    """
    ours = allowed in ("sendonly", "inactive")
    peer = (theirs == "inactive" and not (one_way and ours)) or (theirs == "sendonly" and not one_way)
    if peer:
        return "both" if ours else "peer"
    return "ours" if ours else "none"


def _max_nal_bytes(one: Format) -> int:
    size = h264.read_number(one.parameters, "max-rcmd-nalu-size")
    return size if size < _PACKET_BYTES else 0


def codec_of(one: Format) -> Codec:
    """The house's codec with the peer's parameters."""
    known = H264 if is_h264(one) else AUDIO_CODECS[one.name]
    return Codec(known.name, known.clock_hz, known.channels, dict(one.parameters))


def both(first: Feedback, second: Feedback) -> Feedback:
    return Feedback(
        first.nack and second.nack, first.pli and second.pli, first.fir and second.fir, first.tmmbr and second.tmmbr
    )


def usage(one: Format, *, chosen: bool) -> str:
    """What a payload type means, in the words of ``Slot.used``."""
    if not chosen:
        return "-"
    if one.name == "H264":
        known = h264.read_profile_level(one.parameters) or h264.CONSTRAINED_BASELINE_31
        return f"H264/{h264.packetization_mode(one.parameters)}/{known}"
    if one.name == TELEPHONE_EVENT:
        return f"{one.name}/{one.clock_hz or 8_000}"
    return one.name


def extend_usage(used: Mapping[int, str], formats: Iterable[Format], chosen: Sequence[Format]) -> dict[int, str]:
    """``Slot.used`` after formats were seen on a line: what was chosen comes last, what once was ours stays."""
    numbers = {one.pt for one in chosen}
    others = {one.pt: "-" for one in formats if one.pt not in numbers and one.pt in DYNAMIC}
    kept = {pt: meaning for pt, meaning in used.items() if pt not in numbers}
    return others | kept | {one.pt: usage(one, chosen=True) for one in chosen if one.pt in DYNAMIC}


# --- our own text -----------------------------------------------------------------------------------------------


def codec_attributes(pt: int, name: str, parameters: Mapping[str, str]) -> list[Attribute]:
    """rtpmap and fmtp of one of our codecs. Static types get their rtpmap too: some devices want it."""
    known = H264 if name == H264.name else AUDIO_CODECS[name]
    written = "opus" if name == "OPUS" else name
    channels = f"/{known.channels}" if known.channels > 1 else ""
    attributes = [Attribute("rtpmap", f"{pt} {written}/{known.clock_hz}{channels}")]
    if parameters:
        attributes.append(Attribute("fmtp", f"{pt} " + ";".join(f"{key}={value}" for key, value in parameters.items())))
    return attributes


def event_attributes(pt: int, clock_hz: int) -> list[Attribute]:
    return [Attribute("rtpmap", f"{pt} telephone-event/{clock_hz}"), Attribute("fmtp", f"{pt} 0-15")]


def rtcp_attributes(leg: LocalLine, *, mux: bool) -> list[Attribute]:
    """a=rtcp-mux; and a=rtcp (RFC 3605) where RTCP isn't on the next port or a peer may refuse the mux."""
    attributes = [] if leg.rtcp_port == leg.port + 1 else [Attribute("rtcp", str(leg.rtcp_port))]
    if mux:
        attributes.append(Attribute("rtcp-mux"))
    return attributes


def feedback_attributes(target: str, feedback: Feedback) -> list[Attribute]:
    """``target``: a payload type or ``*``."""
    listed = ((feedback.nack, "nack"), (feedback.pli, "nack pli"), (feedback.fir, "ccm fir"))
    return [Attribute("rtcp-fb", f"{target} {name}") for wanted, name in listed if wanted]
