"""What is sent when there is nobody to be shown: a still picture and silence, encoded once and repeated.

It shows the outline of a person on a dark ground, which needs no language. One stream for the whole gateway, and only
while somebody is shown it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from av.audio.frame import AudioFrame
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from numpy.typing import NDArray

from orbridge.codecs.media import AAC, H264
from orbridge.gateway.transcode.audio import open_encoder as open_audio_encoder
from orbridge.gateway.transcode.timeline import RATE_HZ
from orbridge.gateway.transcode.video import TICK, encoded, open_encoder

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine, Publisher

WIDTH, HEIGHT = 1280, 720
FPS = 5
KEYFRAME_EVERY = 2 * FPS
STEP_S = 0.1
AAC_SAMPLES = 1024
KBPS = 1000
# It goes on for so long without users, because who is shown something else now is shown it until a key frame came.
LINGER_S = 4.0
# yuv420p, limited range.
GROUND, FIGURE, GREY = 32, 70, 128
# Nothing was sent for so long: what was missed isn't sent afterwards.
MISSED_NS = 1_000_000_000

Image = NDArray[np.uint8]


def picture(width: int = WIDTH, height: int = HEIGHT) -> Image:
    """A yuv420p array as PyAV takes it: height * 3 / 2 rows of width bytes."""
    image = np.full((height * 3 // 2, width), GREY, np.uint8)
    rows, columns = np.mgrid[0:height, 0:width]
    x, y = columns - width / 2, rows - height / 2
    unit = height / 10
    head = x**2 + (y + 1.2 * unit) ** 2 < unit**2
    shoulders = ((x / (2 * unit)) ** 2 + ((y - 2 * unit) / (1.7 * unit)) ** 2 < 1) & (y < 2 * unit)
    image[:height] = np.where(head | shoulders, FIGURE, GROUND)
    return image


def encoded_picture() -> list[tuple[bytes, bool]]:
    """(H.264 with length-prefixed NAL units, key frame) of two seconds, which may be repeated for ever."""
    encoder = open_encoder(WIDTH, HEIGHT, KBPS)
    image = picture()
    units = []
    for number in range(KEYFRAME_EVERY):
        frame = VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts, frame.time_base = number * TICK.denominator // FPS, TICK
        frame.pict_type = PictureType.I if number == 0 else PictureType.P
        units += [(encoded(packet), packet.is_keyframe) for packet in encoder.encode(frame)]
    return units


def encoded_silence() -> bytes:
    """One frame of AAC that may be repeated for ever."""
    encoder = open_audio_encoder("AAC", 2)
    packets: list[Packet[Any]] = []
    for number in range(4):
        frame = AudioFrame.from_ndarray(np.zeros((2, AAC_SAMPLES), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = RATE_HZ, number * AAC_SAMPLES
        packets += encoder.encode(frame)
    return bytes(packets[-1])


class Slate:
    """The stream, made when somebody needs it first and ended soon after its last user."""

    STREAM = "slate/main"

    def __init__(self, engine: Engine, now_ns: Callable[[], int]) -> None:
        self._engine, self._now_ns = engine, now_ns
        self._users: set[str] = set()
        self._publisher: Publisher | None = None
        self._video = self._audio = 0
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._pictures: list[tuple[bytes, bool]] = []
        self._silence = b""

    def video(self, user: str) -> int:
        """Its picture; released by ``release``."""
        self._use(user)
        return self._video

    def audio(self, user: str) -> int:
        """Its silence, AAC; released by ``release``."""
        self._use(user)
        return self._audio

    def release(self, user: str) -> None:
        """Idempotent."""
        self._users.discard(user)
        if not self._users and self._task is not None and self._ending is None:
            self._ending = asyncio.get_running_loop().call_later(LINGER_S, self.close)

    def close(self) -> None:
        """Idempotent."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None

    def _use(self, user: str) -> None:
        self._users.add(user)
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._publisher is not None:
            return
        self._publisher = self._engine.publish(self.STREAM)
        self._video = self._publisher.add_track("video", H264.name, clock_hz=H264.clock_hz)
        self._audio = self._publisher.add_track("audio", AAC.name, clock_hz=AAC.clock_hz, channels=AAC.channels)
        self._task = asyncio.get_running_loop().create_task(self._repeat(self._publisher))

    async def _repeat(self, publisher: Publisher) -> None:
        if not self._pictures:
            self._silence, self._pictures = await asyncio.to_thread(lambda: (encoded_silence(), encoded_picture()))
        began_ns = self._now_ns()
        pictures = frames = 0
        while True:
            now = self._now_ns()
            if now - began_ns - pictures * 1_000_000_000 // FPS > MISSED_NS:
                # The loop stood still: go on with a key frame where it is now.
                passed = (now - began_ns) // 1_000_000_000
                pictures = max(pictures, -(-passed // 2) * KEYFRAME_EVERY)
                frames = max(frames, passed * RATE_HZ // AAC_SAMPLES)
            while (due := began_ns + pictures * 1_000_000_000 // FPS) <= now:
                payload, keyframe = self._pictures[pictures % KEYFRAME_EVERY]
                pts = pictures * H264.clock_hz // FPS
                publisher.write(self._video, pts, payload, keyframe=keyframe, capture_ns=due)
                pictures += 1
            while (due := began_ns + frames * AAC_SAMPLES * 1_000_000_000 // RATE_HZ) <= now:
                publisher.write(self._audio, frames * AAC_SAMPLES, self._silence, capture_ns=due)
                frames += 1
            await asyncio.sleep(STEP_S)
