"""The words of the house: what travels on the bus and how it is described.

Immutable nouns only; no socket, no clock, no task. Times are integers whose name carries the unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a track carries."""

    AUDIO = "audio"
    VIDEO = "video"


class Role(StrEnum):
    """What a stream shows: the camera with its microphone, or what somebody shares."""

    MAIN = "main"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec with its parameters, as in an ``a=rtpmap`` and ``a=fmtp`` pair (RFC 8866 6.6, 6.15).

    Attributes:
        name: upper case as registered with IANA: ``H264``, ``VP8``, ``OPUS``, ``G722``, ``PCMA``, ``PCMU``, ``L16``;
            ``AAC`` (not registered) for MPEG-4 AAC, whose payload formats in RTP have names of their own.
        clock_hz: RTP clock. 8000 for G.722 although it samples at 16 kHz (RFC 3551 4.5.2).
        channels: audio channels; 1 for video.
        fmtp: parameters with lower-case names; values as the peer wrote them.
    """

    name: str
    clock_hz: int
    channels: int = 1
    fmtp: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def kind(self) -> Kind:
        return Kind.VIDEO if self.name in VIDEO_NAMES else Kind.AUDIO


VIDEO_NAMES = frozenset({"H264", "H265", "VP8", "VP9", "AV1"})

PCMU = Codec("PCMU", 8000)
PCMA = Codec("PCMA", 8000)
G722 = Codec("G722", 8000)
OPUS = Codec("OPUS", 48000, 2)
AAC = Codec("AAC", 48000, 2)
H264 = Codec("H264", 90000)
H265 = Codec("H265", 90000)
VP8 = Codec("VP8", 90000)


@dataclass(frozen=True, slots=True)
class VideoLimit:
    """The most that a decoder takes (RFC 6184 8.1: level, raised by ``max-fs``, ``max-mbps``, ``max-br``).

    Attributes:
        max_fs: frame size in macroblocks (16 x 16).
        max_mbps: macroblocks per second.
        max_kbps: bit rate in kbit/s, 0 when unknown.
    """

    max_fs: int
    max_mbps: int
    max_kbps: int = 0

    def admits(self, width: int, height: int, fps: float = 0.0) -> bool:
        """Whether a picture of this size (and rate, when known) may be sent."""
        macroblocks = ((width + 15) // 16) * ((height + 15) // 16)
        return macroblocks <= self.max_fs and macroblocks * fps <= self.max_mbps * 1.05


@dataclass(frozen=True, slots=True)
class Track:
    """One audio or video line of a stream.

    Attributes:
        id: the engine's number of it; unique while the engine lives, never used again.
        stream: name of the stream it belongs to, e.g. ``or-3/main``.
    """

    id: int
    stream: str
    kind: Kind
    codec: Codec


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One picture or one audio frame: the smallest thing with a timestamp, and the only thing that travels.

    Attributes:
        track: id of its track.
        pts: presentation time in ticks of the track's clock, unwrapped, never negative.
        dts: decoding time in the same ticks; equals ``pts`` where there are no B-frames.
        keyframe: decoding may begin here. Always true for audio.
        contiguous: nothing of this track was lost just before.
        capture_ns: when it was captured, on this host's monotonic clock, 0 when unknown.
        arrival_ns: when its last byte arrived, on this host's monotonic clock.
        payload: H.264 and H.265: NAL units, each preceded by its length in four bytes, big endian, without start
            codes (ISO/IEC 14496-15 5.3); VP8, VP9: one frame; AV1: one temporal unit of low-overhead OBUs; audio: one
            frame, of AAC a raw access unit without ADTS header.
    """

    track: int
    pts: int
    dts: int
    keyframe: bool
    contiguous: bool
    capture_ns: int
    arrival_ns: int
    payload: bytes
