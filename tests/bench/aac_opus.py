"""What a second of an encoder's AAC costs to be Opus for a room: in the converter, beside ffmpeg on its own."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from orbridge.codecs.media import OPUS, AccessUnit, Codec
from orbridge.gateway.transcode import audio
from orbridge.gateway.transcode.audio import AudioConverter
from tests.bench.figures import Result, Samples, at_most
from tests.bench.programs import BUILD
from tests.bench.rtmp_camera import messages

SECONDS = 60
RATES_HZ = (48_000, 44_100)
NS = 1_000_000_000
# The converter's own settings (gateway/transcode/audio.py), for ffmpeg.
OPUS_ENCODER = (
    f"-c:a libopus -b:a {audio.OPUS_BPS_STEREO} -compression_level {audio.OPUS_COMPLEXITY} -frame_duration 20"
)


def recording(rate_hz: int) -> Path:
    """A minute of stereo at 128 kbit/s, noise and tones in both channels; made once."""
    path = BUILD / f"sound-{rate_hz}.flv"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        left = f"aevalsrc=0.2*sin(2*PI*440*t)+0.05*random(0):s={rate_hz}"
        right = f"aevalsrc=0.2*sin(2*PI*(300+100*sin(t))*t)+0.05*random(1):s={rate_hz}"
        command = (
            f"ffmpeg -nostdin -v error -y -f lavfi -i {left} -f lavfi -i {right} -filter_complex amerge=inputs=2 "
            f"-t {SECONDS} -c:a aac -b:a 128k"
        )
        unfinished = path.with_suffix(".part.flv")
        subprocess.run([*command.split(), str(unfinished)], check=True, timeout=120)
        unfinished.rename(path)
    return path


def units(path: Path, rate_hz: int) -> list[AccessUnit]:
    """Its frames as the bus carries them."""
    frames = [m.body[2:] for m in messages(path) if m.kind == "audio" and not m.is_header]
    times = [NS + number * 1024 * NS // rate_hz for number in range(len(frames))]
    return [
        AccessUnit(1, number * 1024, number * 1024, True, True, at_ns, at_ns, body)
        for number, (at_ns, body) in enumerate(zip(times, frames, strict=True))
    ]


def ours_ms(given: Iterable[AccessUnit], source: Codec) -> float:
    """CPU ms a second of sound."""
    converter = AudioConverter(source, OPUS)
    before = time.thread_time_ns()
    for unit in given:
        converter.feed(unit)
    return (time.thread_time_ns() - before) / 1e6 / SECONDS


def ffmpeg_ms(path: Path) -> float:
    """CPU ms a second of sound, start of the program included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = f"ffmpeg -nostdin -v error -threads 1 -i {path} -ar 48000 -threads 1 {OPUS_ENCODER} -f null -"
    subprocess.run(command.split(), check=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000 / SECONDS


def measure(rounds: int) -> Result:
    samples = Samples()
    for rate_hz in RATES_HZ:
        path = recording(rate_hz)
        given, source = units(path, rate_hz), Codec("AAC", rate_hz, 2)
        for _ in range(rounds):
            ours = ours_ms(given, source)
            theirs = ffmpeg_ms(path)
            samples.add(
                **{f"ours{rate_hz}": ours, f"theirs{rate_hz}": theirs, f"ratio{rate_hz}": ours / theirs},
            )
    figures = [
        figure
        for rate_hz in RATES_HZ
        for figure in samples.figures(
            (f"ratio{rate_hz}", f"{rate_hz} Hz stereo: the converter / ffmpeg", "", at_most(2)),
            (f"ours{rate_hz}", f"{rate_hz} Hz stereo: the converter", "ms/s", None),
            (f"theirs{rate_hz}", f"{rate_hz} Hz stereo: ffmpeg alone", "ms/s", None),
        )
    ]
    return Result(
        "aac_opus_ms_per_s",
        figures,
        samples.rejected,
        {"seconds": SECONDS, "kbps_in": 128, "kbps_out": audio.OPUS_BPS_STEREO // 1000},
    )
