"""Looks at a stream as a person would: decodes it and says what is to be seen and heard.

For the simulated device and for tests; the gateway itself decodes no picture.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from orbridge.codecs import avcc
from orbridge.codecs.errors import ParseError
from orbridge.codecs.media import AccessUnit, Kind
from orbridge.gateway.bus import Bus, Subscription
from orbridge.gateway.simulator.picture import Image, read_time_code

DECODERS = {"H264": "h264", "VP8": "vp8", "OPUS": "libopus", "G722": "g722", "PCMA": "pcm_alaw", "PCMU": "pcm_mulaw"}
HEARD_MS = 400


@dataclass(slots=True)
class Seen:
    """What was decoded so far.

    Attributes:
        frames, errors: pictures decoded; access units that the decoder refused.
        delay_ms: between the clock in the last picture and now, where the picture is a test picture of this host.
        tone_hz, level_dbfs: the strongest frequency and the loudness of the last 400 ms; None before there were any.
    """

    frames: int = 0
    errors: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    delay_ms: int | None = None
    sounds: int = 0
    tone_hz: float | None = None
    level_dbfs: float | None = None
    luma: Image | None = None
    chroma: Image | None = None
    stamps: deque[float] = field(default_factory=lambda: deque(maxlen=120))

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        names = ("frames", "errors", "width", "height", "fps", "delay_ms", "sounds", "tone_hz", "level_dbfs")
        return {name: getattr(self, name) for name in names}


def loudest(samples: NDArray[np.float32], rate: int) -> tuple[float | None, float]:
    """(frequency in Hz, dBFS) of mono samples in -1..1; no frequency in silence."""
    level = float(np.sqrt(np.mean(samples**2))) if samples.size else 0.0
    if level < 1e-4:
        return None, -100.0
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(np.argmax(spectrum[1:]) + 1) * rate / samples.size, 20 * float(np.log10(level))


class Watcher:
    """Decodes one stream of the bus from now until ``close``."""

    def __init__(self, bus: Bus, stream: str) -> None:
        self.seen = Seen()
        self._bus, self._stream = bus, stream
        self._decoders: dict[tuple[int, str], av.VideoCodecContext | av.AudioCodecContext] = {}
        self._codecs: dict[int, str] = {}
        self._samples: deque[NDArray[np.float32]] = deque()
        self._rate = 0
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Raises ValueError when the stream has no tracks."""
        self._subscription = self._bus.subscribe(self._stream)
        track = self._bus.engine.track(self._stream, Kind.VIDEO.value)
        if track is not None:
            self._bus.engine.want_keyframe(track)
        self._task = asyncio.get_running_loop().create_task(self._run(self._subscription))

    async def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, subscription: Subscription) -> None:
        async for batch in subscription:
            self._look_up()
            await asyncio.to_thread(self._decode, batch)

    def _look_up(self) -> None:
        for facts in self._bus.engine.streams([self._stream]):
            self._codecs = {track["id"]: track["codec"] for track in facts["tracks"]}

    def _decode(self, batch: Sequence[AccessUnit]) -> None:
        for unit in batch:
            name = self._codecs.get(unit.track)
            if name is None:
                continue
            decoder = self._decoders.get((unit.track, name))
            if decoder is None:
                decoder = self._decoders[(unit.track, name)] = make_decoder(name)
            try:
                payload = avcc.to_annex_b(unit.payload) if name == "H264" else unit.payload
                frames = decoder.decode(av.Packet(payload))
            except (av.FFmpegError, ParseError):
                self.seen.errors += 1
                continue
            for frame in frames:
                if isinstance(frame, av.VideoFrame):
                    self._picture(frame)
                elif isinstance(frame, av.AudioFrame):
                    self._sound(frame)

    def _picture(self, frame: av.VideoFrame) -> None:
        seen, now = self.seen, time.monotonic()
        seen.frames += 1
        seen.width, seen.height = frame.width, frame.height
        seen.stamps.append(now)
        recent = [stamp for stamp in seen.stamps if now - stamp <= 2.0]
        seen.fps = round((len(recent) - 1) / max(recent[-1] - recent[0], 1e-3), 1) if len(recent) > 1 else 0.0
        image = frame.to_ndarray(format="yuv420p").astype(np.uint8, copy=False)
        luma = seen.luma = image[: frame.height]
        seen.chroma = image[frame.height :]
        stamp = read_time_code(luma)
        if stamp is not None:
            age = ((time.time_ns() // 1_000_000) - stamp) & 0xFFFFFFFF
            seen.delay_ms = age if age < 60_000 else None

    def _sound(self, frame: av.AudioFrame) -> None:
        samples = frame.to_ndarray()
        scale = 1.0 if frame.format.name.startswith("flt") else 32767.0
        channels = frame.layout.nb_channels
        mono = samples.mean(axis=0) if frame.format.is_planar else samples.reshape(-1, channels).mean(axis=1)
        if frame.sample_rate != self._rate:
            self._rate = frame.sample_rate
            self._samples.clear()
        self.seen.sounds += 1
        self._samples.append((mono / scale).astype(np.float32))
        while sum(part.size for part in self._samples) - self._samples[0].size >= self._rate * HEARD_MS // 1000:
            self._samples.popleft()
        if self.seen.sounds % 10 == 0:
            tone, level = loudest(np.concatenate(self._samples), self._rate)
            self.seen.tone_hz = round(tone, 1) if tone is not None else None
            self.seen.level_dbfs = round(level, 1)


def make_decoder(name: str) -> av.VideoCodecContext | av.AudioCodecContext:
    """For a codec by its IANA name. A picture comes out as soon as it went in: one thread, no delay."""
    decoder = av.CodecContext.create(DECODERS[name], "r")
    if isinstance(decoder, av.VideoCodecContext):
        decoder.thread_count = 1
        return decoder
    assert isinstance(decoder, av.AudioCodecContext)
    if name != "OPUS":
        decoder.sample_rate, decoder.layout = (16_000 if name == "G722" else 8_000), "mono"
    return decoder
