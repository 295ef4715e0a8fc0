"""A picture in another codec, or without B-pictures: decoded, scaled where it must be, encoded as H.264.

What comes out is constrained baseline without reordering, which every browser and room system shows. Units in, units
out: no thread, no clock, no bus; ``now_ns`` says how late a unit is. Who can't keep up leaves pictures out, first of
encoding, then of decoding up to the next key frame, so that what is shown stays live.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from orbridge.codecs import avcc
from orbridge.codecs.errors import LocalError, ParseError
from orbridge.codecs.media import AccessUnit, Codec, VideoLimit
from orbridge.gateway.transcode.made import Made, TranscodeFailed

CLOCK_HZ = 90_000
TICK = Fraction(1, CLOCK_HZ)
KEYFRAME_EVERY_S = 2
# Later than this a picture is decoded but not encoded, as long as one was encoded in the last LIVELY_NS...
LATE_NS = 200_000_000
LIVELY_NS = 200_000_000
# ... and later than this nothing is decoded up to the next key frame.
HOPELESS_NS = 1_000_000_000
# So long afterwards people are still told.
FORGIVEN_NS = 30_000_000_000
# A job begins with the group of pictures that the bus kept and may take so long to catch up.
BEGINNING_NS = 5_000_000_000
# Bits that a pixel of a moving picture needs at most, at this encoder's settings.
BITS_PER_PIXEL = 0.12
QUALITY_CRF = 23
PRESET, HASTY_PRESET = "veryfast", "ultrafast"
ASSUMED_FPS = 30
# So many units in a row that no picture comes of are of another kind than their track says.
FRUITLESS_LIMIT = 150
KEPT_TIMES = 256
THREADS = max(1, min(4, os.cpu_count() or 1))

_DECODERS = {"H264": "h264", "H265": "hevc", "VP8": "vp8", "VP9": "vp9", "AV1": "libdav1d"}
SOURCES = frozenset(_DECODERS)
# NAL unit types that are worth sending (ITU-T H.264 table 7-1): slices and parameter sets.
_SENT_NALS = frozenset({avcc.NAL_SLICE, avcc.NAL_IDR, avcc.NAL_SPS, avcc.NAL_PPS})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the encoded picture must keep to: bit rate, and the decoder's limit where it named one."""

    max_kbps: int
    limit: VideoLimit | None = None


@dataclass(slots=True)
class Counters:
    """Units in and out, units that couldn't be decoded, pictures left out for lateness, sizes in pixels."""

    units_in: int = 0
    units_out: int = 0
    broken: int = 0
    left_out: int = 0
    source_width: int = 0
    source_height: int = 0
    width: int = 0
    height: int = 0


class VideoConverter:
    """One track as H.264.

    ``feed`` gives what is ready. Raises LocalError at once for a codec that nothing here decodes, and TranscodeFailed
    when what comes isn't what the track says.

    Attributes:
        needs_keyframe: nothing can be decoded until the source sends one.
        note: what people should know of how it goes, in words; empty when all is well.
    """

    def __init__(self, source: Codec, bounds: Bounds) -> None:
        if source.name not in _DECODERS:
            raise LocalError(f"{source.name} can't be decoded, only {', '.join(sorted(_DECODERS))}")
        self.source, self.bounds = source, bounds
        self.counters = Counters()
        self.needs_keyframe = True
        self.note = ""
        self._decoder = self._open_decoder()
        self._encoder: VideoCodecContext | None = None
        self._preset = PRESET
        self._wants_keyframe = True
        self._began_ns: int | None = None
        self._encoded_ns = self._hopeless_ns = 0
        self._captures: dict[int, int] = {}
        self._last_pts = -1
        self._last_keyframe = 0
        self._fruitless = 0

    def want_keyframe(self) -> None:
        self._wants_keyframe = True

    def fill(self, until_ns: int) -> list[Made]:
        """A picture that doesn't come is not replaced."""
        return []

    def feed(self, unit: AccessUnit, now_ns: int) -> list[Made]:
        self.counters.units_in += 1
        if self._began_ns is None:
            self._began_ns = now_ns
        if self._is_hopeless(unit, now_ns):
            self.counters.left_out += 1
            return []
        self._captures[unit.pts] = unit.capture_ns or unit.arrival_ns
        while len(self._captures) > KEPT_TIMES:
            del self._captures[next(iter(self._captures))]
        try:
            frames = self._decoder.decode(self._packet(unit))
        except av.FFmpegError:
            self.counters.broken += 1
            frames = []
        self._count_fruitless(bool(frames))
        late = now_ns - unit.arrival_ns > LATE_NS
        return [made for frame in frames for made in self._encode(frame, late, now_ns)]

    def _is_hopeless(self, unit: AccessUnit, now_ns: int) -> bool:
        """Whether the unit is to be thrown away undecoded."""
        assert self._began_ns is not None
        if self.note and now_ns - self._hopeless_ns > FORGIVEN_NS:
            self.note = ""
        if unit.keyframe:
            self.needs_keyframe = False
            return False
        is_late = now_ns - unit.arrival_ns > HOPELESS_NS and now_ns - self._began_ns > BEGINNING_NS
        if is_late and not self.needs_keyframe:
            self.needs_keyframe, self._hopeless_ns = True, now_ns
            # From now on with less effort, at the cost of the picture's quality.
            self._preset, self._encoder = HASTY_PRESET, None
            self.note = "the processor can't keep up with converting this picture: parts of it are left out"
        return self.needs_keyframe

    def _count_fruitless(self, is_fruitful: bool) -> None:
        """Some decoders pass over in silence what they can't read."""
        self._fruitless = 0 if is_fruitful else self._fruitless + 1
        if self._fruitless >= FRUITLESS_LIMIT:
            raise TranscodeFailed(f"{FRUITLESS_LIMIT} pictures in a row can't be decoded as {self.source.name}")

    def _packet(self, unit: AccessUnit) -> Packet[Any]:
        is_nals = self.source.name in ("H264", "H265")
        try:
            packet = av.Packet(avcc.to_annex_b(unit.payload) if is_nals else unit.payload)
        except ParseError as exc:
            raise TranscodeFailed(f"a picture can't be read: {exc}") from exc
        packet.pts, packet.dts, packet.time_base = unit.pts, unit.dts, TICK
        return packet

    def _encode(self, frame: VideoFrame, late: bool, now_ns: int) -> list[Made]:
        pts = frame.pts
        if pts is None or pts <= self._last_pts:
            return []
        if late and now_ns - self._encoded_ns < LIVELY_NS:
            self.counters.left_out += 1
            return []
        self.counters.source_width, self.counters.source_height = frame.width, frame.height
        width, height = fit(frame.width, frame.height, self.bounds.limit)
        if self._is_too_soon(pts, width, height):
            return []
        capture_ns = self._captures.pop(pts, 0) or now_ns
        encoder = self._ready_encoder(width, height)
        self._encoded_ns, self._last_pts = now_ns, pts
        picture = frame.reformat(width, height, "yuv420p")
        picture.pts, picture.time_base = pts, TICK
        is_due = pts - self._last_keyframe >= KEYFRAME_EVERY_S * CLOCK_HZ
        picture.pict_type = PictureType.I if self._wants_keyframe or is_due else PictureType.NONE
        made = [self._made(packet, capture_ns) for packet in encoder.encode(picture)]
        self.counters.units_out += len(made)
        return made

    def _is_too_soon(self, pts: int, width: int, height: int) -> bool:
        """Whether the decoder's limit takes fewer pictures a second than come."""
        limit = self.bounds.limit
        if limit is None or self._last_pts < 0:
            return False
        return (pts - self._last_pts) * limit.max_mbps < 0.9 * macroblocks(width, height) * CLOCK_HZ

    def _made(self, packet: Packet[Any], capture_ns: int) -> Made:
        assert packet.pts is not None
        if packet.is_keyframe:
            self._wants_keyframe, self._last_keyframe = False, packet.pts
        # Nothing is reordered or held back, so a packet is the picture that was put in just before.
        return Made(packet.pts, packet.pts, encoded(packet), packet.is_keyframe, capture_ns)

    def _open_decoder(self) -> VideoCodecContext:
        decoder = cast(VideoCodecContext, av.CodecContext.create(_DECODERS[self.source.name], "r"))
        # Not by frame: that would hold back a picture for each thread.
        decoder.thread_type, decoder.thread_count = "SLICE", THREADS
        if self.source.name == "AV1":
            decoder.options = {"max_frame_delay": "1"}
        return decoder

    def _ready_encoder(self, width: int, height: int) -> VideoCodecContext:
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (width, height):
            encoder = self._encoder = open_encoder(width, height, self.bounds.max_kbps, self._preset)
            self.counters.width, self.counters.height = width, height
            self._wants_keyframe = True
        return encoder


def open_encoder(width: int, height: int, max_kbps: int, preset: str = PRESET) -> VideoCodecContext:
    """H.264 constrained baseline at constant quality, within the bit rate over half a second."""
    kbps = max(64, min(max_kbps, round(width * height * ASSUMED_FPS * BITS_PER_PIXEL / 1000)))
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = TICK, Fraction(ASSUMED_FPS)
    encoder.gop_size = ASSUMED_FPS * KEYFRAME_EVERY_S * 4
    encoder.thread_count = THREADS
    encoder.options = {
        "preset": preset,
        "tune": "zerolatency",
        "profile": "baseline",
        "crf": str(QUALITY_CRF),
        "maxrate": f"{kbps}k",
        "bufsize": f"{kbps // 2}k",
        "forced-idr": "1",
    }
    encoder.open()
    return encoder


def macroblocks(width: int, height: int) -> int:
    return ((width + 15) // 16) * ((height + 15) // 16)


def fit(width: int, height: int, limit: VideoLimit | None) -> tuple[int, int]:
    """The largest even size of this shape that the limit admits; at least 16 x 16."""
    scale = 1.0
    if limit is not None and macroblocks(width, height) > limit.max_fs:
        scale = math.sqrt(limit.max_fs / macroblocks(width, height))
    while True:
        size = max(16, int(width * scale) // 2 * 2), max(16, int(height * scale) // 2 * 2)
        if limit is None or macroblocks(*size) <= limit.max_fs or size == (16, 16):
            return size
        scale *= 0.98


def encoded(packet: Packet[Any]) -> bytes:
    """What x264 made as the bus has it: slices and parameter sets behind their lengths."""
    return avcc.join_lengths(nal for nal in avcc.split_annex_b(bytes(packet)) if nal[0] & 0x1F in _SENT_NALS)
