"""What a player got, as Debian's ffprobe and ffmpeg see it: timestamps, sizes of the pictures, tones in the sound."""

import asyncio
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peer_ffmpeg import end

RATE_HZ = 48_000


@dataclass(frozen=True)
class Packet:
    """One picture or sound frame of a file or stream; times in ms."""

    dts_ms: float
    pts_ms: float
    size: int
    keyframe: bool


@dataclass(frozen=True)
class Played:
    """Packets by kind, in the order in which they came.

    Attributes:
        codecs: by kind, ffmpeg's names: ``h264``, ``hevc``, ``aac``, ``opus``.
    """

    codecs: dict[str, str]
    video: list[Packet]
    audio: list[Packet]

    def check_times(self, fps: float, *, audio_frame_ms: float = 21.4, video_gap_frames: float = 2.0) -> None:
        """Decoding times rise strictly, without a gap of more than two pictures or sound frames."""
        for what, packets, step_ms, frames in (
            ("video", self.video, 1000 / fps, video_gap_frames),
            ("audio", self.audio, audio_frame_ms, 2.0),
        ):
            for before, after in itertools.pairwise(packets):
                gap_ms = after.dts_ms - before.dts_ms
                assert gap_ms > 0, f"{what}: dts {after.dts_ms} after {before.dts_ms}"
                # timestamps are whole milliseconds
                assert gap_ms <= frames * step_ms + 2, f"{what}: a gap of {gap_ms} ms at {before.dts_ms}"

    def skew_ms(self) -> float:
        """How much later the sound's last frame is than the picture's."""
        return self.audio[-1].pts_ms - self.video[-1].pts_ms


def _played(streams: list[tuple[int, str, str]], packets: list[tuple[int, Packet]]) -> Played:
    kinds = {index: kind for index, kind, _ in streams}
    return Played(
        {kind: codec for _, kind, codec in streams},
        [packet for index, packet in packets if kinds.get(index) == "video"],
        [packet for index, packet in packets if kinds.get(index) == "audio"],
    )


async def ffprobe(url: str, *, seconds: float | None = None) -> Played:
    """What Debian's ffprobe says of a stream, for so many seconds of it, or of a whole file."""
    window = ["-read_intervals", f"%+{seconds}"] if seconds else []
    command = ["/usr/bin/ffprobe", "-v", "error", "-show_streams", "-show_packets", "-of", "json", *window, url]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, said = await asyncio.wait_for(process.communicate(), (seconds or 0) * 3 + 30)
    finally:
        await end(process)
    assert process.returncode == 0, f"ffprobe of {url.partition('?')[0]}: {said.decode()[-2000:]}"
    found: dict[str, Any] = json.loads(out)
    return _played(
        [(s["index"], s["codec_type"], s["codec_name"]) for s in found["streams"]],
        [
            (
                p["stream_index"],
                Packet(
                    float(p["dts_time"]) * 1000,
                    float(p.get("pts_time", p["dts_time"])) * 1000,
                    int(p["size"]),
                    "K" in p["flags"],
                ),
            )
            for p in found.get("packets", [])
        ],
    )


@dataclass(frozen=True)
class Decoded:
    """What is seen and heard.

    Attributes:
        sizes: of each picture in the order of showing, as width and height.
        sound: one channel, -1 to 1.
    """

    sizes: list[tuple[int, int]]
    sound: "np.ndarray[Any, np.dtype[np.float64]]"
    rate_hz: int

    def tone(self, begin_s: float = 0.5, end_s: float | None = None) -> tuple[float, float]:
        """(strongest frequency in Hz, level in dBFS)."""
        return loudest(
            self.sound[int(begin_s * self.rate_hz) : int(end_s * self.rate_hz) if end_s else None], self.rate_hz
        )

    def tones(self, *wanted_hz: float, begin_s: float = 0.5) -> list[float]:
        """Level in dBFS of each of these frequencies, wherever in it they are."""
        return [level_at(self.sound[int(begin_s * self.rate_hz) :], self.rate_hz, hz) for hz in wanted_hz]


async def decoded(path: Path) -> Decoded:
    """Everything in a file, decoded by Debian's ffmpeg. Fails when a picture or sound frame can't be decoded."""
    frames = ["/usr/bin/ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=width,height"]
    sound = ["/usr/bin/ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-vn", "-ac", "1", "-ar", str(RATE_HZ)]
    seen, heard = await asyncio.gather(
        _output([*frames, "-of", "csv=p=0", str(path)]),
        _output([*sound, "-f", "f32le", "-"], may_fail=True),
    )
    sizes = [(int(width), int(height)) for width, height in (line.split(",")[:2] for line in seen.decode().split())]
    return Decoded(sizes, np.frombuffer(heard, np.float32).astype(np.float64), RATE_HZ)


async def _output(command: list[str], *, may_fail: bool = False) -> bytes:
    """What a program writes. ``may_fail``: as ffmpeg does where there is no sound at all."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        await end(process)
    text = said.decode("utf-8", "replace")
    assert "decod" not in text.lower(), f"{command}: {text[-2000:]}"
    assert may_fail or process.returncode == 0, f"{command}: {text[-2000:]}"
    return out


def loudest(samples: "np.ndarray[Any, np.dtype[np.float64]]", rate_hz: int) -> tuple[float, float]:
    """(strongest frequency in Hz, level in dBFS) of at least a quarter of a second."""
    assert samples.size > rate_hz // 4, f"only {samples.size / rate_hz:.2f} s of sound"
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    tone = (int(np.argmax(spectrum[1:])) + 1) * rate_hz / samples.size
    return tone, 20 * float(np.log10(max(float(np.sqrt(np.mean(samples**2))), 1e-6)))


def level_at(samples: "np.ndarray[Any, np.dtype[np.float64]]", rate_hz: int, hz: float) -> float:
    """Level of one frequency in dBFS, in windows of a tenth of a second (Goertzel): of the loudest tenth."""
    window = rate_hz // 10
    count = samples.size // window
    assert count >= 3, f"only {samples.size / rate_hz:.2f} s of sound"
    wave = np.exp(-2j * np.pi * hz / rate_hz * np.arange(window)) * np.hanning(window)
    amplitudes = np.abs(samples[: count * window].reshape(count, window) @ wave) * 4 / window
    return 20 * float(np.log10(max(float(np.quantile(amplitudes, 0.9)), 1e-6)))
