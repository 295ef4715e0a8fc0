"""H.264 and Opus made and read by FFmpeg (PyAV), as access units of the bus."""

import asyncio
import fractions
from collections.abc import Iterable, Sequence
from typing import Any

import av
import numpy as np

from orbridge.codecs.media import H264, OPUS, AccessUnit, Kind
from orbridge.gateway.bus import Bus

FPS = 30


def length_prefixed(annex_b: bytes) -> bytes:
    """NAL units after start codes -> NAL units after their length in four bytes."""
    parts = annex_b.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01")[1:]
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in parts if nal)


def annex_b(payload: bytes) -> bytes:
    out, at = b"", 0
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        out += b"\x00\x00\x00\x01" + payload[at + 4 : at + 4 + size]
        at += 4 + size
    return out


def encoded_pictures(
    width: int, height: int, count: int, *, gop: int = FPS, profile: str = "baseline"
) -> list[tuple[bool, bytes]]:
    """A bar that moves 8 points a picture: (keyframe, payload) each."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.time_base, codec.gop_size, codec.bit_rate = fractions.Fraction(1, FPS), gop, 600_000
    codec.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": profile, "x264-params": "scenecut=0"}
    units: list[tuple[bool, bytes]] = []
    for number in range(count):
        picture = np.full((height, width, 3), 40, np.uint8)
        at = number * 8 % width
        picture[:, at : at + 24] = 220
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        units += [(bool(packet.is_keyframe), length_prefixed(bytes(packet))) for packet in codec.encode(frame)]
    return units


def encoded_tone(count: int, hz: int = 440) -> list[bytes]:
    """20 ms Opus frames."""
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.format, codec.layout = 48_000, "s16", "mono"
    codec.time_base = fractions.Fraction(1, 48_000)
    frames: list[bytes] = []
    for number in range(count):
        samples = np.sin(2 * np.pi * hz * (np.arange(960) + number * 960) / 48_000) * 8000
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, number * 960
        frames += [bytes(packet) for packet in codec.encode(frame)]
    return frames


def decoded_pictures(units: Iterable[AccessUnit]) -> list[Any]:
    """Frames; raises when FFmpeg finds the stream broken."""
    codec = av.CodecContext.create("h264", "r")
    codec.options = {"err_detect": "explode"}
    return [frame for unit in units for frame in codec.decode(av.Packet(annex_b(unit.payload)))]


def decoded_sound(units: Sequence[AccessUnit]) -> "np.ndarray[Any, Any]":
    codec = av.CodecContext.create("libopus", "r")
    frames = [frame for unit in units for frame in codec.decode(av.Packet(unit.payload))]
    return np.concatenate([frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0] for frame in frames])


def strongest_hz(samples: "np.ndarray[Any, Any]", rate: int = 48_000) -> float:
    """The loudest frequency of the last second or what there is."""
    piece = samples[-rate:].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece))))
    return float(np.argmax(spectrum[10:]) + 10) * rate / len(piece)


def bar_moves(frames: Sequence[Any]) -> bool:
    """Whether the bright bar is at different places in the pictures, and there is one in each."""
    places = []
    for frame in frames:
        columns = frame.to_ndarray(format="gray").mean(axis=0)
        if columns.max() < 150:
            return False
        places.append(int(np.argmax(columns)) // 8)
    return len(set(places)) > len(places) // 4


class Studio:
    """Publishes ``or-3/main`` from Python in real time: picture and tone."""

    def __init__(
        self,
        bus: Bus,
        stream: str = "or-3/main",
        *,
        width: int = 640,
        height: int = 360,
        gop: int = FPS,
        profile: str = "baseline",
    ) -> None:
        self._pictures = encoded_pictures(width, height, 4 * FPS, gop=gop, profile=profile)
        self._tone = encoded_tone(200)
        self._publisher = bus.publish(stream, [H264, OPUS])
        self.pictures = 0
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        started, sounds = loop.time(), 0
        while True:
            keyframe, payload = self._pictures[self.pictures % len(self._pictures)]
            self._publisher.write(Kind.VIDEO, self.pictures * 3000, payload, keyframe=keyframe)
            self.pictures += 1
            while sounds * 0.02 < self.pictures / FPS:
                self._publisher.write(Kind.AUDIO, sounds * 960, self._tone[sounds % len(self._tone)])
                sounds += 1
            await asyncio.sleep(max(0.0, started + self.pictures / FPS - loop.time()))

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        self._publisher.close()
