"""Tones and pictures in the codecs that arrive, and ears and eyes for what comes out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from orbridge.codecs import avcc
from orbridge.codecs.media import AAC, G722, OPUS, PCMA, AccessUnit, Codec
from orbridge.gateway.simulator.picture import background, draw

# Captures begin here, on no real clock.
T0_NS = 1_000_000_000_000

Sound = NDArray[np.float32]


def tone(hz: float, seconds: float, rate: int, channels: int = 2, amplitude: float = 0.3) -> Sound:
    time_s = np.arange(round(seconds * rate)) / rate
    wave = (amplitude * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)
    return np.stack([wave] * channels)


def level_at(sound: Sound, hz: float, rate: int = 48_000) -> float:
    """Amplitude of a tone in one channel (Goertzel's sum over the whole of it)."""
    phase = np.exp(-2j * np.pi * hz * np.arange(len(sound)) / rate)
    return float(abs(np.dot(sound, phase)) * 2 / len(sound))


def level_near(sound: Sound, hz: float, rate: int = 48_000, within_hz: float = 10.0) -> float:
    """Amplitude of a tone of about this pitch, whether it is steady or not."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) * 4 / len(sound)
    pitches = np.fft.rfftfreq(len(sound), 1 / rate)
    # A Hann window spreads a tone's power over 1.5 lines.
    return float(np.sqrt((spectrum[np.abs(pitches - hz) <= within_hz] ** 2).sum() / 1.5))


ENCODERS = {"AAC": "aac", "OPUS": "libopus", "G722": "g722", "PCMA": "pcm_alaw", "PCMU": "pcm_mulaw"}
FRAMES = {"AAC": 1024, "OPUS": 960, "G722": 320, "PCMA": 160, "PCMU": 160}


def sample_rate(codec: Codec) -> int:
    return 16_000 if codec.name == "G722" else codec.clock_hz


def encode_sound(sound: Sound, codec: Codec, *, ppm: float = 0.0, first_pts: int = 100_000) -> list[AccessUnit]:
    """Units of a source whose sample clock is slow by ``ppm``; timestamps as the encoder gives them."""
    rate, size = sample_rate(codec), FRAMES[codec.name]
    encoder: Any = av.CodecContext.create(ENCODERS[codec.name], "w")
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[sound.shape[0]]
    form = {"AAC": "fltp", "OPUS": "flt"}.get(codec.name, "s16")
    encoder.sample_rate, encoder.layout, encoder.format = rate, layout, form
    encoder.time_base = Fraction(1, rate)
    if codec.name in ("AAC", "OPUS"):
        encoder.bit_rate = 128_000
    encoder.open()
    units: list[AccessUnit] = []
    for begin in range(0, sound.shape[1] - size + 1, size):
        part = sound[:, begin : begin + size]
        data = part if form == "fltp" else part.T.reshape(1, -1)
        if form == "s16":
            data = (data * 32_767).astype(np.int16)
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(data), format=form, layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        for packet in encoder.encode(frame):
            ticks = packet.pts * codec.clock_hz // rate
            capture_ns = T0_NS + round(packet.pts * 1e9 / rate * (1 + ppm / 1e6))
            units.append(sound_unit(first_pts + ticks, capture_ns, bytes(packet)))
    return units


def sound_unit(pts: int, capture_ns: int, payload: bytes, *, contiguous: bool = True) -> AccessUnit:
    return AccessUnit(1, pts, pts, True, contiguous, capture_ns, capture_ns + 30_000_000, payload)


def decode_sound(payloads: Iterable[bytes], name: str, channels: int = 2, rate: int = 48_000) -> Sound:
    """What a listener hears, (channels, samples)."""
    decoder: Any = av.CodecContext.create("libopus" if name == "OPUS" else ENCODERS[name], "r")
    if name == "AAC":
        decoder.extradata = (2 << 11 | 3 << 7 | channels << 3).to_bytes(2, "big")
    else:
        decoder.sample_rate, decoder.layout = rate, "stereo" if channels == 2 else "mono"
    parts = []
    for payload in payloads:
        for frame in decoder.decode(av.Packet(payload)):
            data = frame.to_ndarray()
            if not frame.format.is_planar:
                data = data.reshape(-1, channels).T
            parts.append(data / 32_768 if data.dtype == np.int16 else data)
    return np.concatenate(parts, axis=1).astype(np.float32)


VIDEO_ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "H264": ("libx264", {"preset": "ultrafast", "bf": "0", "tune": "zerolatency"}),
    "B": ("libx264", {"preset": "veryfast", "bf": "2", "x264-params": "bframes=2:b-adapt=0:scenecut=0"}),
    "H265": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
    "VP8": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    "VP9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    "AV1": ("libsvtav1", {"preset": "12"}),
}


def encode_pictures(
    name: str, count: int, width: int = 640, height: int = 360, *, fps: int = 30, group: int = 30
) -> list[AccessUnit]:
    """Pictures with their number times 33 as time code. ``name``: a codec, or B for H.264 with B-pictures."""
    encoder_name, options = VIDEO_ENCODERS[name]
    encoder: Any = av.CodecContext.create(encoder_name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.gop_size = Fraction(1, 90_000), Fraction(fps), group
    encoder.bit_rate, encoder.options, encoder.thread_count = 1_500_000, options, 1
    # opened here, so that what SVT-AV1 does to its caller can be undone: run by root it makes it, and whatever that
    # starts later, a real-time process
    encoder.open()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    ground = background(width, height)

    def frames() -> Iterator[VideoFrame | None]:
        for number in range(count):
            frame = VideoFrame.from_ndarray(draw(ground, width, height, number * 33, number), format="yuv420p")
            frame.pts, frame.time_base = number * 90_000 // fps, Fraction(1, 90_000)
            yield frame
        yield None

    units = []
    for frame in frames():
        for packet in encoder.encode(frame):
            payload = bytes(packet)
            if name in ("H264", "B", "H265"):
                payload = avcc.join_lengths(avcc.split_annex_b(payload))
            capture_ns = T0_NS + packet.pts * 100_000 // 9
            arrival_ns = T0_NS + packet.dts * 100_000 // 9 + 50_000_000
            units.append(
                AccessUnit(
                    1,
                    packet.pts + 90_000,
                    packet.dts + 90_000,
                    packet.is_keyframe,
                    True,
                    capture_ns,
                    arrival_ns,
                    payload,
                )
            )
    return units


SOUND_SOURCES = {
    "AAC at 48 kHz": AAC,
    "AAC at 44.1 kHz": Codec("AAC", 44_100, 2),
    "AAC at 16 kHz, mono": Codec("AAC", 16_000, 1),
    "Opus": OPUS,
    "G.722": G722,
    "G.711": PCMA,
}


def decode_pictures(payloads: Iterable[bytes]) -> list[NDArray[np.uint8]]:
    """yuv420p arrays of H.264 with length-prefixed NAL units, as a decoder without any delay shows them."""
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    return [frame.to_ndarray() for payload in payloads for frame in decoder.decode(av.Packet(avcc.to_annex_b(payload)))]
