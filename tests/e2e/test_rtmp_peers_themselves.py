"""The RTMP stand-ins are what we think they are: they publish to and play from nginx without us."""

import asyncio
from pathlib import Path

import pytest
from peer_ffmpeg import FfmpegPublisher, Version, play
from peer_nginx import NginxRtmp
from peer_players import GstreamerPublisher, gstreamer_play, rtmpdump
from ports import free_port
from recording import decoded, ffprobe

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


@pytest.mark.parametrize("version", [5, 9])
async def test_ffmpeg_publishes_and_everybody_plays(tmp_path: Path, version: Version) -> None:
    async with (
        NginxRtmp(tmp_path / "nginx") as server,
        FfmpegPublisher(server.url("a"), tmp_path, version=version, tone=1000, bframes=2 if version == 5 else 0),
    ):
        names = ("ffmpeg-5.mkv", "ffmpeg-9.mkv", "rtmpdump.flv", "gstreamer.flv")
        files = [tmp_path / name for name in names]
        _, _, _, _, probed = await asyncio.gather(
            play(server.url("a"), files[0], version=5, seconds=3),
            play(server.url("a"), files[1], version=9, seconds=3),
            rtmpdump(server.url("a"), files[2], seconds=3),
            gstreamer_play(server.url("a"), files[3], seconds=3),
            ffprobe(server.url("a"), seconds=3),
        )
    probed.check_times(25)
    assert probed.codecs == {"video": "h264", "audio": "aac"}
    for file in files:
        seen = await decoded(file)
        assert len(seen.sizes) > 40, file
        assert set(seen.sizes) == {(640, 360)}
        tone, level = seen.tone()
        assert tone == pytest.approx(1000, abs=5), file
        assert level > -30


async def test_gstreamer_publishes(tmp_path: Path) -> None:
    async with NginxRtmp(tmp_path / "nginx") as server, GstreamerPublisher(server.url("g"), tmp_path):
        await rtmpdump(server.url("g"), tmp_path / "g.flv", seconds=3)
    seen = await decoded(tmp_path / "g.flv")
    assert len(seen.sizes) > 40
    assert seen.tone()[0] == pytest.approx(300, abs=5)


async def test_ffmpeg_9_publishes_hevc_and_opus(tmp_path: Path) -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/live/h"
    listening = asyncio.create_task(play(url, tmp_path / "h.mkv", seconds=3, more=("-listen", "1")))
    await asyncio.sleep(1)
    publisher = FfmpegPublisher(url, tmp_path, codec="hevc", audio="opus", tone=800)
    async with publisher:
        await listening
    seen = await ffprobe(str(tmp_path / "h.mkv"))
    assert seen.codecs == {"video": "hevc", "audio": "opus"}
    seen.check_times(25, audio_frame_ms=20)
    shown = await decoded(tmp_path / "h.mkv")
    assert len(shown.sizes) > 40
    assert shown.tone()[0] == pytest.approx(800, abs=5)
