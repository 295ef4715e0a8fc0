"""What a simulated room system shows and says, and what it makes of what comes back: x264, FFmpeg's audio codecs.

Each picture carries a time code: whose it is in the top byte, when it was drawn (ms, modulo 2**24) below it.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np

from orbridge.codecs.avcc import split_annex_b
from orbridge.gateway.simulator.picture import background, draw, read_time_code

CLOCK_BITS = 24
ENCODERS = {"OPUS": "libopus", "G722": "g722", "PCMA": "pcm_alaw", "PCMU": "pcm_mulaw"}
SAMPLE_HZ = {"OPUS": 48_000, "G722": 16_000, "PCMA": 8_000, "PCMU": 8_000}
# RTP ticks of a 20 ms frame. G.722 counts at 8 kHz (RFC 3551 4.5.2).
TICKS = {"OPUS": 960, "G722": 160, "PCMA": 160, "PCMU": 160}


def now_ms() -> int:
    return time.time_ns() // 1_000_000 & (1 << CLOCK_BITS) - 1


class Camera:
    """x264 without delay. ``keyframe`` makes the next picture an IDR picture.

    ``gop``: pictures from one IDR to the next unless asked. ``max_nal_bytes``: slices cut to that size, as devices in
    packetization-mode 0 do. ``in_band``: the NAL types of the parameter sets that are in the stream (7 SPS, 8 PPS).
    ``noise``: grain in the lower half, for large key frames.
    """

    def __init__(
        self,
        who: int,
        *,
        width: int = 320,
        height: int = 192,
        fps: int = 15,
        gop: int = 150,
        profile: str = "baseline",
        max_nal_bytes: int = 0,
        in_band: frozenset[int] = frozenset({7, 8}),
        quality: int = 26,
        noise: int = 0,
    ) -> None:
        self.who, self.width, self.height, self.fps, self.in_band = who, width, height, fps, in_band
        self.sets: dict[int, bytes] = {}
        self.keyframes = 0
        self._ground = background(width, height)
        if noise:
            grain = np.random.default_rng(who).integers(0, noise, (height // 2, width), np.uint8)
            self._ground[height // 2 : height] = np.maximum(self._ground[height // 2 : height], 40) + grain
        self._number, self._wanted = 0, True
        self._context = av.CodecContext.create("libx264", "w")
        self._context.width, self._context.height, self._context.pix_fmt = width, height, "yuv420p"
        self._context.time_base, self._context.framerate = Fraction(1, 1000), Fraction(fps)
        slices = f":slice-max-size={max_nal_bytes}" if max_nal_bytes else ""
        self._context.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "profile": profile,
            "crf": str(quality),
            "x264-params": f"keyint={gop}:scenecut=0:repeat-headers=1:threads=1:sliced-threads=0{slices}",
        }

    def keyframe(self) -> None:
        self._wanted = True

    def picture(self) -> list[bytes]:
        """NAL units of the next picture, drawn now."""
        at_ms = now_ms()
        image = draw(self._ground, self.width, self.height, self.who << CLOCK_BITS | at_ms, self._number)
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts = self._number * 1000 // self.fps
        kinds = av.video.frame.PictureType
        frame.pict_type, self._wanted = kinds.I if self._wanted else kinds.NONE, False
        self._number += 1
        made: list[bytes] = []
        for packet in self._context.encode(frame):
            self.keyframes += packet.is_keyframe
            for nal in split_annex_b(bytes(packet)):
                kind = nal[0] & 0x1F
                if kind in (7, 8):
                    self.sets[kind] = nal
                if kind not in (7, 8) or kind in self.in_band:
                    made.append(nal)
        return made


@cache
def tone(codec: str, hz: int) -> tuple[bytes, ...]:
    """A second of a sine as 20 ms frames, to be sent round and round."""
    rate = SAMPLE_HZ[codec]
    context = av.CodecContext.create(ENCODERS[codec], "w")
    context.sample_rate, context.format, context.layout = rate, "s16", "mono"
    context.time_base = Fraction(1, rate)
    step, frames = rate // 50, []
    for number in range(50):
        samples = np.sin((np.arange(step) + number * step) * 2 * np.pi * hz / rate) * 8000
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, number * step
        frames += [bytes(packet) for packet in context.encode(frame)]
    return tuple(frames)


class Ear:
    """The last 600 ms of what arrived."""

    def __init__(self) -> None:
        self.frames = 0
        self.codec = ""
        self.last = self.largest_gap_s = 0.0
        self._payloads: deque[tuple[float, bytes]] = deque(maxlen=30)

    def hear(self, codec: str, payload: bytes) -> None:
        if codec != self.codec:
            self.codec = codec
            self._payloads.clear()
        now = time.monotonic()
        self.largest_gap_s = max(self.largest_gap_s, now - self.last if self.last else 0.0)
        self.frames, self.last = self.frames + 1, now
        self._payloads.append((self.last, payload))

    def watch(self) -> None:
        """Begin to look for gaps anew."""
        self.last, self.largest_gap_s = time.monotonic(), 0.0

    def loudest(self) -> float:
        """Frequency in Hz of what came in the last 600 ms; 0 for silence or too little of it."""
        spectrum = self._spectrum()
        return float(np.argmax(spectrum[20:]) + 20) if spectrum.size else 0.0

    def tones(self, known: set[int]) -> set[int]:
        """Those of the known frequencies (Hz, 20 apart at least) that are in it."""
        spectrum = self._spectrum()
        if not spectrum.size:
            return set()
        return {hz for hz in known if spectrum[hz - 8 : hz + 9].max() > 0.2 * spectrum[20:].max()}

    def _spectrum(self) -> "np.ndarray[Any, Any]":
        """Of whole hertz; empty for silence or too little sound."""
        since = time.monotonic() - 0.6
        payloads = [payload for at, payload in self._payloads if at >= since]
        if len(payloads) < 12:
            return np.empty(0)
        context = av.CodecContext.create(ENCODERS[self.codec], "r")
        rate = SAMPLE_HZ[self.codec]
        if self.codec != "OPUS":
            context.sample_rate, context.layout = rate, "mono"
        decoded = [frame for payload in payloads for frame in context.decode(av.Packet(payload))]
        # the first frames of a fresh decoder swing in
        samples = np.concatenate([_mono(frame) for frame in decoded[4:]])
        if float(np.sqrt(np.mean(samples**2))) < 0.01:
            return np.empty(0)
        return np.abs(np.fft.rfft(samples * np.hanning(samples.size), n=rate))

    def hears(self, hz: int) -> bool:
        return abs(self.loudest() - hz) < 12


def _mono(frame: Any) -> "np.ndarray[Any, Any]":
    samples = frame.to_ndarray()
    scale = 1.0 if frame.format.name.startswith("flt") else 32767.0
    count = frame.layout.nb_channels
    return (samples.mean(axis=0) if frame.format.is_planar else samples.reshape(-1, count).mean(axis=1)) / scale


@dataclass
class Screen:
    """Decodes whole pictures; everything that a person would see is in the attributes.

    Attributes:
        who, delay_ms: of the last picture that had a time code.
        first_at: when the first picture was decoded, monotonic seconds.
        largest_gap_s: the longest time between two pictures since ``watch``.
        broken: pictures that FFmpeg refused.
    """

    frames: int = 0
    broken: int = 0
    unreadable: int = 0
    width: int = 0
    height: int = 0
    who: int = 0
    delay_ms: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    largest_gap_s: float = 0.0
    seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._context = av.CodecContext.create("h264", "r")
        self._context.thread_count = 1
        self._context.options = {"err_detect": "explode"}

    def watch(self) -> None:
        """Begin to look for gaps anew."""
        self.largest_gap_s, self.last_at, self.seen = 0.0, time.monotonic(), set()

    def show(self, nals: list[bytes]) -> None:
        try:
            frames = list(self._context.decode(av.Packet(b"".join(b"\0\0\0\1" + nal for nal in nals))))
        except av.FFmpegError:
            self.broken += 1
            return
        for frame in frames:
            self.look(frame)

    def look(self, frame: av.VideoFrame) -> None:
        """One decoded picture."""
        now = time.monotonic()
        self.first_at = self.first_at or now
        self.largest_gap_s = max(self.largest_gap_s, now - self.last_at if self.last_at else 0.0)
        self.last_at, self.frames = now, self.frames + 1
        self.width, self.height = frame.width, frame.height
        code = read_time_code(frame.to_ndarray(format="yuv420p")[: frame.height])
        if code is None:
            self.unreadable += 1
            return
        self.who = code >> CLOCK_BITS
        self.seen.add(self.who)
        self.delay_ms = now_ms() - code & (1 << CLOCK_BITS) - 1


# RTP payloads of H.264 (RFC 6184), written here once more so that the engine isn't tested with itself.

MAX_PAYLOAD = 1200


def packets_of(nals: list[bytes], mode: int) -> Iterator[bytes]:
    """RTP payloads of one picture. Mode 0: a NAL unit each; 1: parameter sets in a STAP-A, large units in FU-As."""
    if mode == 0:
        yield from nals
        return
    sets = [nal for nal in nals if nal[0] & 0x1F in (7, 8)]
    if sets:
        yield b"\x78" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in sets)
    for nal in nals:
        if nal[0] & 0x1F in (7, 8):
            continue
        if len(nal) <= MAX_PAYLOAD:
            yield nal
            continue
        parts = [nal[at : at + MAX_PAYLOAD - 2] for at in range(1, len(nal), MAX_PAYLOAD - 2)]
        for number, part in enumerate(parts):
            edge = 0x80 * (number == 0) | 0x40 * (number == len(parts) - 1)
            yield bytes((nal[0] & 0xE0 | 28, edge | nal[0] & 0x1F)) + part


class Depacketizer:
    """Payloads in order -> pictures. ``kinds``: packet types seen (28 FU-A, 24 STAP-A, else a NAL unit's)."""

    def __init__(self) -> None:
        self.kinds: set[int] = set()
        self.largest = 0
        self._nals: list[bytes] = []
        self._fragment = b""

    def push(self, payload: bytes, marker: bool) -> list[bytes] | None:
        """The NAL units of a picture that is complete."""
        kind = payload[0] & 0x1F
        self.kinds.add(kind)
        self.largest = max(self.largest, len(payload))
        if kind == 28:
            start, end = payload[1] & 0x80, payload[1] & 0x40
            if start:
                self._fragment = bytes((payload[0] & 0xE0 | payload[1] & 0x1F,))
            self._fragment += payload[2:]
            if end:
                self._nals.append(self._fragment)
        elif kind == 24:
            at = 1
            while at + 2 <= len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                self._nals.append(payload[at + 2 : at + 2 + size])
                at += 2 + size
        else:
            self._nals.append(payload)
        if not marker:
            return None
        done, self._nals = self._nals, []
        return done
