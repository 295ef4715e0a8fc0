"""ffmpeg and ffprobe as peers of the adapter in this process: codecs, timestamps, gaps, enhanced RTMP."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg  # type: ignore[import-untyped]
import pytest
from peer_ffmpeg import FfmpegPublisher
from rtmp_gateway import KEY, STREAM, TOKEN, Gateway, rtmp_gateway, until

from orbridge.gateway.config import Media

pytestmark = pytest.mark.e2e
PUBLISH = f"live/tower?key={KEY}"
PLAY = f"live/tower?token={TOKEN}"


@dataclass
class Probed:
    """What ffprobe found: streams by kind, (pts, dts) of packets by kind in ms."""

    streams: dict[str, dict[str, Any]]
    packets: dict[str, list[tuple[int, int]]]

    def check_rising(self, kind: str, gap_ms: int) -> None:
        times = [dts for _, dts in self.packets[kind]]
        assert len(times) > 20
        assert all(after - before > 0 for before, after in itertools.pairwise(times)), times
        assert all(after - before <= gap_ms for before, after in itertools.pairwise(times)), times


async def probe(url: str, seconds: int = 4) -> Probed:
    process = await asyncio.create_subprocess_exec(
        *f"ffprobe -v error -of json -show_streams -show_packets -read_intervals %+{seconds}".split(),
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, err
    found = json.loads(out)
    packets: dict[str, list[tuple[int, int]]] = {"audio": [], "video": []}
    for packet in found["packets"]:
        packets[packet["codec_type"]].append((packet["pts"], packet["dts"]))
    return Probed({stream["codec_type"]: stream for stream in found["streams"]}, packets)


@asynccontextmanager
async def publishing(gateway: Gateway, folder: Path, **more: Any) -> AsyncIterator[None]:
    async with FfmpegPublisher(gateway.url(PUBLISH), folder, **more):
        await until("it publishes", lambda: gateway.bus.engine.streams([STREAM]))
        yield
    await until("it is gone", lambda: not gateway.sessions)


@pytest.mark.parametrize("version", [5, 9])
async def test_published_and_played(tmp_path: Path, version: Any) -> None:
    async with rtmp_gateway() as gateway, publishing(gateway, tmp_path, version=version, rate_hz=44_100):
        await asyncio.sleep(1.5)
        found = await probe(gateway.url(PLAY))
        video, audio = found.streams["video"], found.streams["audio"]
        assert (video["codec_name"], video["width"], video["height"]) == ("h264", 640, 360)
        assert (audio["codec_name"], audio["sample_rate"], audio["channels"]) == ("aac", "44100", 2)
        found.check_rising("video", 80)
        found.check_rising("audio", 30)
        # Both begin together.
        assert abs(found.packets["video"][0][1] - found.packets["audio"][0][1]) < 100
        tower = gateway.sessions[0].stats()["rtmp"]
        assert tower["keyframe_interval_ms"] == 1000
        assert tower["timestamp_jumps"] == 0
        assert tower["dropped"] == {}


async def test_pictures_in_another_order_keep_it(tmp_path: Path) -> None:
    async with rtmp_gateway() as gateway, publishing(gateway, tmp_path, bframes=2):
        await until("it is said", lambda: any(note.code == "reordered" for note in gateway.sessions[0].notes))
        found = await probe(gateway.url(PLAY))
        found.check_rising("video", 80)
        assert any(pts > dts for pts, dts in found.packets["video"])
        assert int(found.streams["video"]["has_b_frames"]) > 0
        shown = sorted(pts for pts, _ in found.packets["video"])
        assert all(after - before <= 81 for before, after in itertools.pairwise(shown[:-4])), shown


async def test_hevc_and_opus_by_enhanced_rtmp(tmp_path: Path) -> None:
    async with (
        rtmp_gateway(media=Media(max_video_transcodes=0)) as gateway,
        publishing(gateway, tmp_path, codec="hevc", audio="opus"),
    ):
        await until("both are there", lambda: len(gateway.bus.engine.streams([STREAM])[0]["tracks"]) == 2)
        path = tmp_path / "played.mkv"
        process = await asyncio.create_subprocess_exec(
            imageio_ffmpeg.get_ffmpeg_exe(),
            *["-v", "error", "-y", "-rtmp_enhanced_codecs", "hvc1,av01,vp09,Opus", "-i"],
            gateway.url(PLAY),
            *f"-t 3 -c copy {path}".split(),
        )
        assert await asyncio.wait_for(process.wait(), 30) == 0
        found = await probe(str(path), 10)
        assert {kind: stream["codec_name"] for kind, stream in found.streams.items()} == {
            "video": "hevc",
            "audio": "opus",
        }
        assert len(found.packets["video"]) > 50
        assert len(found.packets["audio"]) > 100


PICTURES = "-f lavfi -re -i testsrc2=size=320x240:rate=25 -g 25 -pix_fmt yuv420p -b:v 500k"


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("vp9", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
        ("av1", "-c:v libaom-av1 -usage realtime -cpu-used 8 -lag-in-frames 0"),
    ],
)
async def test_other_codecs_by_enhanced_rtmp(tmp_path: Path, codec: str, options: str) -> None:
    enhanced = "-rtmp_enhanced_codecs hvc1,av01,vp09,Opus"
    async with rtmp_gateway(media=Media(max_video_transcodes=0)) as gateway:
        program = imageio_ffmpeg.get_ffmpeg_exe()
        encoder = await asyncio.create_subprocess_exec(
            program, *f"-v error {PICTURES} {options} {enhanced} -f flv".split(), gateway.url(PUBLISH)
        )
        facts = gateway.bus.engine.streams
        await until(
            "its pictures", lambda: (s := facts([STREAM])) and s[0]["tracks"] and s[0]["tracks"][0]["units"], 30
        )
        path = tmp_path / "played.mkv"
        process = await asyncio.create_subprocess_exec(
            program, *f"-v error -y {enhanced} -i".split(), gateway.url(PLAY), *f"-t 3 -c copy {path}".split()
        )
        assert await asyncio.wait_for(process.wait(), 30) == 0
        encoder.terminate()
        await encoder.wait()
        found = await probe(str(path), 10)
        assert (found.streams["video"]["codec_name"], found.streams["video"]["width"]) == (codec, 320)
        # Every picture can be decoded.
        process = await asyncio.create_subprocess_exec(
            *f"{program} -v error -xerror -i {path} -fps_mode passthrough -enc_time_base 1:90000 -f null -".split(),
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, err) == (0, b"")
        assert len(found.packets["video"]) > 40


async def test_a_wrong_key_ends_ffmpeg_with_our_words(tmp_path: Path) -> None:
    async with rtmp_gateway() as gateway:
        process = await asyncio.create_subprocess_exec(
            *["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=440", "-c:a", "aac", "-f", "flv"],
            gateway.url("live/tower?key=wrong"),
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode != 0
        assert b"no device of this name may publish with this key" in err
