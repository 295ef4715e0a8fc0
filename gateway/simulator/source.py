"""Feeds the bus with the test picture as H.264 and a tone as Opus, encoded by PyAV in worker threads."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction

import av
import numpy as np

from orbridge.codecs import avcc
from orbridge.codecs.media import H264, OPUS, Kind
from orbridge.gateway.bus import Bus, Publisher
from orbridge.gateway.simulator.picture import background, draw

FRAME_SAMPLES = 960
SAMPLE_HZ = 48_000


class PictureEncoder:
    """x264, constrained baseline, no delay. Not thread-safe: one call at a time."""

    def __init__(self, width: int, height: int, fps: int, kbps: int, max_nal_bytes: int) -> None:
        self.width, self.height = width, height
        self._ground = background(width, height)
        self._context = av.CodecContext.create("libx264", "w")
        self._context.width, self._context.height = width, height
        self._context.pix_fmt = "yuv420p"
        self._context.time_base = Fraction(1, 1000)
        self._context.framerate = Fraction(fps)
        self._context.bit_rate = kbps * 1000
        # RFC 6184 6.2: a device in packetization-mode 0 takes no fragments, so slices are made to fit a datagram.
        slices = f":slice-max-size={max_nal_bytes}" if max_nal_bytes else ""
        self._context.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "x264-params": f"keyint={fps * 10}:scenecut=0:repeat-headers=1:vbv-maxrate={kbps}:vbv-bufsize={kbps // 2}"
            f":sliced-threads=0:threads=1{slices}",
        }

    def encode(self, number: int, time_ms: int, *, keyframe: bool) -> list[tuple[bytes, bool]]:
        """(length-prefixed NAL units, is a key frame) of what the encoder gave for this picture."""
        image = draw(self._ground, self.width, self.height, time_ms, number)
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts = time_ms
        frame.pict_type = av.video.frame.PictureType.I if keyframe else av.video.frame.PictureType.NONE
        return [
            (avcc.join_lengths(avcc.split_annex_b(bytes(packet))), packet.is_keyframe)
            for packet in self._context.encode(frame)
        ]


class ToneEncoder:
    """A steady sine as 20 ms Opus frames."""

    def __init__(self, tone_hz: float, level: float = 0.2) -> None:
        self._step = 2 * np.pi * tone_hz / SAMPLE_HZ
        self._level = level
        self._sample = 0
        self._context = av.CodecContext.create("libopus", "w")
        self._context.sample_rate, self._context.format, self._context.layout = SAMPLE_HZ, "s16", "mono"
        self._context.time_base = Fraction(1, SAMPLE_HZ)
        self._context.bit_rate = 32_000
        self._context.options = {"application": "voip", "frame_duration": "20"}

    def encode(self) -> list[bytes]:
        samples = np.sin((np.arange(FRAME_SAMPLES) + self._sample) * self._step) * self._level * 32767
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_HZ, self._sample
        self._sample += FRAME_SAMPLES
        return [bytes(packet) for packet in self._context.encode(frame)]


class TestSource:
    """Publishes one stream until ``close``. A key frame is made whenever the bus wants one."""

    __test__ = False

    def __init__(self, bus: Bus, stream: str, *, width: int = 1280, height: int = 720, fps: int = 30,
                 kbps: int = 1500, tone_hz: float = 440.0, max_nal_bytes: int = 0) -> None:  # fmt: skip
        self._encoder = PictureEncoder(width, height, fps, kbps, max_nal_bytes)
        self._tone = ToneEncoder(tone_hz)
        self._fps = fps
        self._bus = bus
        self.publisher: Publisher = bus.publish(stream, [H264, OPUS])
        self.pictures = 0
        self._keyframe = True
        self._tasks: list[asyncio.Task[None]] = []
        bus.on_track(self.publisher.tracks[Kind.VIDEO].id, self._on_track)

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._pictures()), loop.create_task(self._sound())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._bus.off_track(self.publisher.tracks[Kind.VIDEO].id)
        self.publisher.close()

    def _on_track(self, event: tuple[object, ...]) -> None:
        if event[0] == "keyframe_wanted":
            self._keyframe = True

    async def _pictures(self) -> None:
        start_ns = time.monotonic_ns()
        number = 0
        while True:
            now_ns = time.monotonic_ns()
            due = (now_ns - start_ns) * self._fps // 1_000_000_000
            if due < number:
                await asyncio.sleep((start_ns + number * 1_000_000_000 // self._fps - now_ns) / 1e9)
                continue
            number = max(number, due - 1)  # who was late leaves pictures out instead of running after the time
            time_ms, keyframe, self._keyframe = time.time_ns() // 1_000_000, self._keyframe, False
            made = await asyncio.to_thread(self._encoder.encode, number, time_ms, keyframe=keyframe)
            for payload, is_keyframe in made:
                pts = number * 90_000 // self._fps
                self.publisher.write(Kind.VIDEO, pts, payload, keyframe=is_keyframe, capture_ns=now_ns)
                self.pictures += 1
            number += 1

    async def _sound(self) -> None:
        start_ns = time.monotonic_ns()
        number = 0
        while True:
            wait_s = (start_ns + number * 20_000_000 - time.monotonic_ns()) / 1e9
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            for payload in self._tone.encode():
                capture_ns = start_ns + number * 20_000_000
                self.publisher.write(Kind.AUDIO, number * FRAME_SAMPLES, payload, capture_ns=capture_ns)
            number += 1
