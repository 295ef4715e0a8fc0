"""The nouns of SDP negotiation: what we bring to it, what we want, and what came out.

No SDP text is known here; ``offer_answer.py`` turns text into these and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from orbridge.codecs.media import Codec, Kind, Role, VideoLimit
from orbridge.gateway.session import Note

SrtpPolicy = Literal["off", "optional", "mandatory"]
Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Hold = Literal["none", "peer", "ours", "both"]


@dataclass(frozen=True, slots=True)
class LocalLine:
    """One RTP leg of ours, before it is negotiated. Make it once a leg; keep it while the leg lives.

    Attributes:
        port: UDP port of RTP.
        rtcp_port: UDP port of RTCP; the same as ``port`` when the leg can only multiplex.
        ssrc: of what we send on it.
        keys: SRTP suite -> our master key followed by master salt, from ``codecs.sdes.fresh_keys()``. A suite that is
            missing here is neither offered nor accepted.
    """

    port: int
    rtcp_port: int
    ssrc: int
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """Our side of a call.

    Attributes:
        host: address the peer shall send to, IPv4 or IPv6 literal.
        cname: RTCP canonical name (RFC 7022), the same for all lines.
        session_id: number in our ``o=`` line, random, fixed for the life of the call, below 2^62.
        audio, video, content: legs; None: such a line is refused, and not offered.
    """

    host: str
    cname: str
    session_id: int
    audio: LocalLine | None = None
    video: LocalLine | None = None
    content: LocalLine | None = None

    def line(self, kind: Kind, role: Role) -> LocalLine | None:
        if kind is Kind.AUDIO:
            return self.audio if role is Role.MAIN else None
        return self.video if role is Role.MAIN else self.content


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration and the device's profile want of a negotiation.

    Attributes:
        srtp: ``off``: plain RTP only; ``optional``: encrypted where the peer can (RFC 8643); ``mandatory``: encrypted
            or refused.
        audio_codecs: names we take, the best first.
        max_video_kbps: the most that we want to receive and will send on a video line, kbit/s; 0 names none.
        rtcp_mux: offer RTP and RTCP on one port. An offered ``a=rtcp-mux`` is always accepted.
        h264_modes: packetization modes in our offers, the first preferred.
    """

    srtp: SrtpPolicy = "optional"
    audio_codecs: tuple[str, ...] = ("OPUS", "G722", "PCMA", "PCMU")
    max_video_kbps: int = 4000
    rtcp_mux: bool = False
    h264_modes: tuple[int, ...] = (1, 0)


@dataclass(frozen=True, slots=True)
class Feedback:
    """RTCP feedback messages (RFC 4585, RFC 5104) of a video line in one direction."""

    nack: bool = False
    pli: bool = False
    fir: bool = False
    tmmbr: bool = False


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """Outcome of SDES (RFC 4568); fits ``Leg.set_keys(suite, outbound, inbound)``."""

    suite: str
    outbound: bytes = field(repr=False)
    inbound: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NegotiatedLine:
    """One RTP line that both sides agreed on. Refused lines are not here: a note says why.

    Attributes:
        kind, role: which of our legs it is.
        index: place among the m-lines, from 0.
        mid: ``a=mid`` or None.
        remote_host, remote_port: where to send RTP. The host is ``""`` when the peer named no address that can be used
            (``0.0.0.0`` for a hold, a host name, multicast): let the leg learn it.
        remote_rtcp_host, remote_rtcp_port: where to send RTCP (RFC 3605); equal to the above with ``rtcp_mux``.
        rtcp_mux: RTP and RTCP share a port (RFC 5761).
        direction: ours, i.e. ``sendonly`` means that we send.
        hold: who stopped media: ``peer`` no longer takes ours, ``ours``: we don't take theirs. A line that was
            ``sendonly`` from the beginning (a camera) isn't held.
        codec: what we send, with the parameters of the peer.
        pt: payload type we send it with.
        receives: payload type -> codec name, everything that may arrive; for ``Leg.add_receiver``.
        dtmf_send, dtmf_receive: payload types of telephone-event (RFC 4733) to and from the peer, None: not agreed.
        packetization_mode: of what we send (H.264; 1 may fragment and aggregate).
        remote_packetization_mode: of what the peer sends.
        max_nal_bytes: the peer's ``max-rcmd-nalu-size`` where it is below what fits a packet, else 0.
        limit: what the peer's decoder takes; None when it named none.
        max_kbps: the peer's bandwidth limit (RFC 8866 5.8, RFC 3890), 0 unknown. ``limit.max_kbps`` includes it.
        feedback_send: what we may send (the peer listed it).
        feedback_receive: what the peer may send to us (we listed it as well).
        srtp: suite and keys, None: plain RTP.
        parameter_sets: SPS and PPS NAL units from ``sprop-parameter-sets``, without start codes.
        ptime_ms: packet time the peer wants to receive, None: 20.
    """

    kind: Kind
    role: Role
    index: int
    mid: str | None
    remote_host: str
    remote_port: int
    remote_rtcp_host: str
    remote_rtcp_port: int
    rtcp_mux: bool
    direction: Direction
    hold: Hold
    codec: Codec
    pt: int
    receives: Mapping[int, str]
    dtmf_send: int | None = None
    dtmf_receive: int | None = None
    packetization_mode: int = 0
    remote_packetization_mode: int = 0
    max_nal_bytes: int = 0
    limit: VideoLimit | None = None
    max_kbps: int = 0
    feedback_send: Feedback = Feedback()
    feedback_receive: Feedback = Feedback()
    srtp: SrtpKeys | None = None
    parameter_sets: tuple[bytes, ...] = ()
    ptime_ms: int | None = None

    @property
    def sends(self) -> bool:
        """We may send media on it."""
        return self.direction in ("sendrecv", "sendonly")

    @property
    def receives_media(self) -> bool:
        """The peer may send media on it."""
        return self.direction in ("sendrecv", "recvonly")


@dataclass(frozen=True, slots=True)
class Slot:
    """What one m-line was and is, so that the next description of ours keeps it (RFC 3264 8).

    Attributes:
        media, proto, formats: as in its ``m=`` line.
        kind, role: what it is for, whether it is in use or not; None: nothing that we ever take (BFCP, H.224).
        active: both sides agreed on it.
        current: codec agreed last: ``PCMA``, ``H264/1/42e01f`` (mode, profile-level-id).
        used: dynamic payload type -> what it means on this line, either way, the latest last: as ``current``,
            ``TELEPHONE-EVENT/8000``, or ``-`` for what isn't ours. RFC 3264 8.3.2: never another meaning.
        mid: kept too.
        rtcp_mux: agreed.
        suite: SRTP suite agreed; empty: plain RTP.
        one_way: the peer has never taken media on it (a camera): its ``sendonly`` isn't a hold.
    """

    media: str
    proto: str
    formats: tuple[str, ...]
    kind: Kind | None = None
    role: Role | None = None
    active: bool = False
    current: str = ""
    used: Mapping[int, str] = field(default_factory=dict)
    mid: str | None = None
    rtcp_mux: bool = False
    suite: str = ""
    one_way: bool = True


@dataclass(frozen=True, slots=True)
class Agreed:
    """Where a negotiation stands. Pass the last one as ``previous`` to the next offer or answer of the same call.

    Attributes:
        text: our description as last sent: the answer, or the offer that was answered.
        lines: what both sides agreed on, in m-line order. Empty: nothing in common, answer 488 (notes say why).
        notes: what a person should know, at most one for each code and line; ``text`` names what the device offered.
        warnings: what the parser tolerated; for a log line at DEBUG, no more than 16.
        version: of our ``o=`` line.
        slots: for the next description.
    """

    text: str
    lines: tuple[NegotiatedLine, ...]
    notes: tuple[Note, ...] = ()
    warnings: tuple[str, ...] = ()
    version: int = 1
    slots: tuple[Slot, ...] = ()

    def line(self, kind: Kind, role: Role = Role.MAIN) -> NegotiatedLine | None:
        """The agreed line of that kind, or None."""
        return next((line for line in self.lines if line.kind is kind and line.role is role), None)

    @property
    def held_by_peer(self) -> bool:
        """The peer takes media on no line (every line is held by it)."""
        return bool(self.lines) and all(line.hold in ("peer", "both") for line in self.lines)


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer of ours that waits for its answer.

    Attributes:
        text: to be sent as it is.
        version: of its ``o=`` line; equals the last one's when nothing changed.
    """

    text: str
    version: int
    local: LocalMedia
    hold: bool
    slots: tuple[Slot, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an offer asks for, known before any leg is opened.

    Attributes:
        audio, video, content: it has such a line that isn't refused by itself (port 0).
        ipv6: its first usable address is IPv6.
    """

    audio: bool
    video: bool
    content: bool
    ipv6: bool
