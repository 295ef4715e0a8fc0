"""An offer matched against what we can do, and the answer written (RFC 3264, RFC 9429, RFC 9725 4.2).

Decisions and text: no socket, no clock, no randomness. What is deliberately not done: renegotiation that adds lines,
simulcast (RFC 8853), RTCP on a port of its own, data channels, transport-wide congestion control.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from orbridge.adapters.webrtc.offer import DIGESTS, Media, Offer
from orbridge.codecs import h264
from orbridge.codecs.errors import RemoteError
from orbridge.codecs.h264 import Profile
from orbridge.codecs.media import Codec, Kind
from orbridge.codecs.sdp import Format

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"  # RFC 9143 16.2
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"  # RFC 6464
EXTENSIONS = (MID, AUDIO_LEVEL)
# What we answer of RTCP feedback where it is offered. Not transport-cc: a sender that was promised it and gets none
# stays at its lowest rate.
FEEDBACK = {
    Kind.VIDEO: ("goog-remb", "ccm fir", "nack", "nack pli"),
    Kind.AUDIO: (),
}
# H.264 profiles, best first. What a room's devices can decode comes first when a browser publishes; a player gets the
# profile that includes the others (Chromium decodes High under a negotiated 42e01f: measured).
PUBLISHED_PROFILES = (
    Profile.CONSTRAINED_BASELINE,
    Profile.BASELINE,
    Profile.MAIN,
    Profile.CONSTRAINED_HIGH,
    Profile.HIGH,
)
PLAYED_PROFILES = (
    Profile.HIGH,
    Profile.CONSTRAINED_HIGH,
    Profile.CONSTRAINED_BASELINE,
    Profile.BASELINE,
    Profile.MAIN,
)

Setup = Literal["active", "passive"]


class UnusableOffer(RemoteError):
    """A well-formed offer that can't be answered. ``common_codec`` is False when only that was missing."""

    def __init__(self, problem: str, *, common_codec: bool = True) -> None:
        super().__init__(problem)
        self.problem, self.common_codec = problem, common_codec

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True, slots=True)
class Transport:
    """What the other side says of ICE and DTLS (RFC 8839, RFC 8842). ``setup`` is the role that we take."""

    ufrag: str
    password: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: Setup
    candidates: tuple[str, ...] = ()
    ice_lite: bool = False


@dataclass(slots=True)
class Line:
    """A media line that both sides agree on.

    Attributes:
        sends, takes: directions from our side.
        feedback: RTCP feedback that both know, as in ``a=rtcp-fb`` without the payload type.
        ssrc, rtx_ssrc: of what we send.
    """

    media: Media
    kind: Kind
    format: Format
    rtx: Format | None
    sends: bool
    takes: bool
    feedback: tuple[str, ...]
    extensions: dict[str, int]
    ssrc: int = 0
    rtx_ssrc: int = 0

    @property
    def codec(self) -> Codec:
        return Codec(self.format.name, self.format.clock_hz, self.format.channels, dict(self.format.parameters))

    @property
    def packetization_mode(self) -> int:
        return h264.packetization_mode(self.format.parameters)


@dataclass(frozen=True, slots=True)
class Local:
    """Our side's transport, as it is written into an answer."""

    ufrag: str
    password: str
    candidates: tuple[str, ...]
    fingerprint: str
    setup: Setup


def match_offer(
    offer: Offer, direction: Literal["sendonly", "recvonly"], *, audio: Sequence[str], video: Sequence[str]
) -> tuple[list[Line], list[str]]:
    """The lines to be used, at most one a kind, and why others can't be.

    ``direction`` is ours; ``audio`` and ``video`` name codecs, the best first. Raises UnusableOffer when none can be.
    """
    lines: list[Line] = []
    reasons: list[str] = []
    common_codec = True
    for media in offer.media:
        if media.kind not in ("audio", "video"):
            continue
        kind = Kind(media.kind)
        names = audio if kind is Kind.AUDIO else video
        problem = _unfit(media, offer, direction)
        if any(line.kind is kind for line in lines):
            problem = problem or f"there is a second {kind} line"
        if problem:
            reasons.append(problem)
            continue
        chosen = _choose(media, names, direction)
        if chosen is None:
            common_codec = False
            reasons.append(f"the {kind} line has none of {', '.join(names)}")
            continue
        lines.append(_line(media, kind, chosen, direction))
    if not lines:
        why = "; ".join(reasons) or "it has no audio or video line"
        raise UnusableOffer(f"the offer can't be used: {why}", common_codec=common_codec)
    return lines, reasons


def _line(media: Media, kind: Kind, chosen: Format, direction: str) -> Line:
    repeats = str(chosen.pt)  # RFC 4588 8.6
    rtx = next((f for f in media.formats if f.name == "RTX" and f.parameters.get("apt") == repeats), None)
    feedback = media.feedback.get(chosen.pt, frozenset())
    return Line(
        media,
        kind,
        chosen,
        rtx if "nack" in feedback else None,
        sends=direction == "sendonly",
        takes=direction == "recvonly",
        feedback=tuple(name for name in FEEDBACK[kind] if name in feedback),
        extensions={uri: media.extensions[uri] for uri in EXTENSIONS if uri in media.extensions},
    )


def _unfit(media: Media, offer: Offer, direction: str) -> str:
    """Why this line can't be used, whatever its codecs; empty: it can."""
    if not media.offered:
        return f"the {media.kind} line has port 0"
    if media.proto not in ("UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF"):
        return f"the {media.kind} line isn't RTP over DTLS-SRTP"
    theirs = ("sendrecv", "recvonly") if direction == "sendonly" else ("sendrecv", "sendonly")
    if media.direction not in theirs:
        return f"the {media.kind} line is {media.direction}, so nothing can be {_VERBS[direction]}"
    # One transport carries everything: rtcp-mux and BUNDLE are required (RFC 9725 4.4.1).
    if not media.rtcp_mux:
        return f"the {media.kind} line has no rtcp-mux"
    used = sum(other.kind in ("audio", "video") and other.offered for other in offer.media)
    if media.mid not in offer.bundle and used > 1:
        return f"the {media.kind} line isn't in the BUNDLE group"
    return ""


_VERBS = {"sendonly": "played to it", "recvonly": "published with it"}


def _choose(media: Media, names: Sequence[str], direction: str) -> Format | None:
    profiles = PLAYED_PROFILES if direction == "sendonly" else PUBLISHED_PROFILES
    for name in names:
        fitting = [f for f in media.formats if f.name == name and _clock_fits(f)]
        if name == "H264":
            fitting.sort(key=lambda f: _h264_rank(f, profiles))
        if fitting:
            return fitting[0]
    return None


def _clock_fits(f: Format) -> bool:
    expected = {"OPUS": (48000, 2), "G722": (8000, 1), "PCMA": (8000, 1), "PCMU": (8000, 1)}
    return (f.clock_hz, f.channels) == expected.get(f.name, (90000, 1))


def _h264_rank(f: Format, profiles: Sequence[Profile]) -> tuple[int, int]:
    """Mode 1 before mode 0, then the order of profiles, then the offer's own (sorting is stable)."""
    known = h264.read_profile_level(f.parameters)
    # An absent profile-level-id is Baseline (RFC 6184 8.1).
    profile = known.profile if known is not None else Profile.BASELINE
    place = profiles.index(profile) if profile in profiles else len(profiles)
    return (0 if h264.packetization_mode(f.parameters) == 1 else 1, place)


def transport(offer: Offer, lines: Sequence[Line]) -> Transport:
    """ICE and DTLS of the line that carries the bundle. Raises UnusableOffer."""
    first = lines[0].media
    by_mid = {media.mid: media for media in offer.media}
    # The group's first line holds the transport (RFC 9143 7.3.1: offerer-tagged), even when we refuse the line itself
    # (a data channel in front).
    media = by_mid.get(offer.bundle[0], first) if first.mid in offer.bundle else first
    if not (media.ufrag and media.password):
        media = first
    if not (media.ufrag and media.password):
        raise UnusableOffer("the offer has no ice-ufrag and ice-pwd")
    fingerprints = media.fingerprints or first.fingerprints
    if not fingerprints:
        raise UnusableOffer(f"the offer has no fingerprint of a digest we know ({', '.join(DIGESTS)})")
    setup = media.setup or first.setup or "actpass"
    if setup == "holdconn":
        raise UnusableOffer("the offer's setup is holdconn, so no connection is wanted")
    # Those of the other lines lead to sockets that close once the bundle is agreed on.
    candidates = media.candidates or first.candidates
    return Transport(
        media.ufrag,
        media.password,
        fingerprints,
        # As DTLS server we choose the SRTP profile, which is AES-GCM; left the choice, Chromium takes AES-CM.
        "active" if setup == "passive" else "passive",
        candidates,
        offer.ice_lite,
    )


def write_answer(
    offer: Offer,
    lines: Iterable[Line],
    local: Local,
    *,
    session_id: int,
    cname: str,
    stream: str,
    max_video_kbps: int = 0,
) -> str:
    """The answer, with one section for each of the offer's in its order (RFC 3264 6).

    ``stream``: msid of what we send. ``max_video_kbps``: the most that we want to be sent; 0: not said.
    """
    chosen = {id(line.media): line for line in lines}
    mids = [media.mid for media in offer.media if id(media) in chosen and media.mid]
    rows = ["v=0", f"o=- {session_id} 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    if mids and offer.bundle:
        rows.append(f"a=group:BUNDLE {' '.join(mids)}")
    rows.append("a=msid-semantic: WMS *")
    first = True
    for media in offer.media:
        line = chosen.get(id(media))
        if line is None:
            rows += _refused(media)
            continue
        rows += _agreed(line, local, cname, stream, max_video_kbps)
        if first:
            rows += [f"a=candidate:{candidate}" for candidate in local.candidates]
            rows.append("a=end-of-candidates")
            first = False
    return "\r\n".join(rows) + "\r\n"


def _refused(media: Media) -> list[str]:
    rows = [f"m={media.kind} 0 {media.proto} {' '.join(media.tokens)}", "c=IN IP4 0.0.0.0", "a=inactive"]
    return [*rows, f"a=mid:{media.mid}"] if media.mid else rows


def _agreed(line: Line, local: Local, cname: str, stream: str, max_video_kbps: int) -> list[str]:
    media, formats = line.media, [line.format] + ([line.rtx] if line.rtx else [])
    direction = "sendonly" if line.sends else "recvonly"
    rows = [f"m={media.kind} 9 {media.proto} {' '.join(str(f.pt) for f in formats)}", "c=IN IP4 0.0.0.0"]
    if line.kind is Kind.VIDEO and line.takes and max_video_kbps:
        rows += [f"b=AS:{max_video_kbps}", f"b=TIAS:{max_video_kbps * 1000}"]
    rows += ["a=rtcp:9 IN IP4 0.0.0.0", f"a=ice-ufrag:{local.ufrag}", f"a=ice-pwd:{local.password}"]
    rows += ["a=ice-options:trickle", f"a=fingerprint:{local.fingerprint}", f"a=setup:{local.setup}"]
    if media.mid:
        rows.append(f"a=mid:{media.mid}")
    rows += [f"a=extmap:{number} {uri}" for uri, number in line.extensions.items()]
    rows += [f"a={direction}", "a=rtcp-mux"]
    rows += _format_rows(line)
    if line.sends:
        rows.append(f"a=msid:{stream} {line.kind}")
        if line.rtx:
            rows.append(f"a=ssrc-group:FID {line.ssrc} {line.rtx_ssrc}")
        rows += [f"a=ssrc:{ssrc} cname:{cname}" for ssrc in ((line.ssrc, line.rtx_ssrc) if line.rtx else (line.ssrc,))]
    return rows


def _format_rows(line: Line) -> list[str]:
    f = line.format
    name = "opus" if f.name == "OPUS" else f.name
    rows = [f"a=rtpmap:{f.pt} {name}/{f.clock_hz}" + (f"/{f.channels}" if f.channels > 1 else "")]
    rows += [f"a=rtcp-fb:{f.pt} {feedback}" for feedback in line.feedback]
    fmtp = answered_fmtp(f)
    if fmtp:
        rows.append(f"a=fmtp:{f.pt} " + ";".join(f"{key}={value}" for key, value in fmtp.items()))
    if line.rtx:
        rows += [f"a=rtpmap:{line.rtx.pt} rtx/{line.rtx.clock_hz}", f"a=fmtp:{line.rtx.pt} apt={f.pt}"]
    return rows


def answered_fmtp(f: Format) -> dict[str, str]:
    """The parameters that an answer repeats or states for a format."""
    if f.name == "H264":
        # The profile must be the offer's (RFC 6184 8.2.2); with level-asymmetry-allowed each side states its own level.
        kept = ("level-asymmetry-allowed", "packetization-mode", "profile-level-id")
        return {key: f.parameters[key] for key in kept if key in f.parameters}
    if f.name == "OPUS":
        return {"minptime": "10", "useinbandfec": "1"}
    return {}
