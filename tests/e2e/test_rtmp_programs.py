"""Other people's RTMP programs publish to the running daemon and play from it; their media is decoded and looked at."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from certificates import self_made_certificate
from peer_ffmpeg import FfmpegPublisher, Version, play
from peer_players import GstreamerPublisher, gstreamer_play, rtmpdump
from recording import Decoded, decoded, ffprobe
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(120)]

SECONDS = 4.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    made = Gateway(folder / "gateway", certificate=self_made_certificate(folder))
    for name in ("five", "nine", "tower", "hevc", "vp9", "av1", "secure", "late", "mute", "deaf"):
        made.encoder(name, "or-3")
    async with made:
        yield made
    assert [line for line in made.log_lines() if line.get("level") == "error" or line["event"] == "unparsed"] == []


def check(seen: Decoded, tone: float, size: tuple[int, int] = (640, 360), seconds: float = SECONDS) -> None:
    """Nearly as many pictures as were sent in the time, and the tone."""
    assert set(seen.sizes) == {size}
    assert len(seen.sizes) > 0.6 * seconds * 25
    heard, level = seen.tone()
    assert heard == pytest.approx(tone, abs=5)
    assert level > -30


async def has_both(gateway: Gateway, device: str) -> bool:
    sessions = [session for session in await gateway.sessions() if session["device"] == device]
    if not sessions:
        return False
    facts = await gateway.api("GET", f"/sessions/{sessions[0]['id']}")
    return len(facts["stats"]["rtmp"]["tracks"]) == 2


async def play_with_all(url: str, folder: Path) -> list[Path]:
    """Every program plays at the same time."""
    files = [folder / name for name in ("ffmpeg-5.mkv", "ffmpeg-9.mkv", "rtmpdump.flv", "gstreamer.flv")]
    *warnings, _ = await asyncio.gather(
        play(url, files[0], version=5, seconds=SECONDS),
        play(url, files[1], version=9, seconds=SECONDS),
        rtmpdump(url, files[2], seconds=SECONDS),
        gstreamer_play(url, files[3], seconds=SECONDS),
    )
    for said in warnings:
        assert "monoton" not in said, said
    return files


@pytest.mark.parametrize(("name", "version", "bframes"), [("five", 5, 2), ("nine", 9, 0)])
async def test_ffmpeg_publishes_and_everybody_plays(
    gateway: Gateway, tmp_path: Path, name: str, version: Version, bframes: int
) -> None:
    publisher = FfmpegPublisher(gateway.publish_url(name), tmp_path, version=version, tone=1000, bframes=bframes)
    async with publisher:
        await until("picture and sound have begun", lambda: has_both(gateway, name))
        url = gateway.play_url(name)
        probing = asyncio.create_task(ffprobe(url, seconds=SECONDS))
        files = await play_with_all(url, tmp_path)
        probed = await probing
    assert probed.codecs == {"video": "h264", "audio": "aac"}
    probed.check_times(25)
    assert any(packet.pts_ms != packet.dts_ms for packet in probed.video) == bool(bframes), "composition times as sent"
    for file in files:
        check(await decoded(file), 1000)
    # byte for byte what went over the wire
    (await ffprobe(str(files[2]))).check_times(25)


async def test_gstreamer_publishes_and_everybody_plays(gateway: Gateway, tmp_path: Path) -> None:
    async with GstreamerPublisher(gateway.publish_url("tower"), tmp_path):
        await until("picture and sound have begun", lambda: has_both(gateway, "tower"))
        files = await play_with_all(gateway.play_url("tower"), tmp_path)
    for file in files:
        check(await decoded(file), 300)


async def test_hevc_and_opus_by_enhanced_rtmp_both_ways(gateway: Gateway, tmp_path: Path) -> None:
    publisher = FfmpegPublisher(gateway.publish_url("hevc"), tmp_path, codec="hevc", audio="opus", tone=800)
    async with publisher:
        await until("picture and sound have begun", lambda: has_both(gateway, "hevc"))
        await asyncio.gather(
            play(gateway.play_url("hevc"), tmp_path / "nine.mkv", version=9, seconds=SECONDS),
            play(gateway.play_url("hevc"), tmp_path / "five.mkv", version=5, seconds=SECONDS),
        )
    nine = await ffprobe(str(tmp_path / "nine.mkv"))
    assert nine.codecs == {"video": "hevc", "audio": "opus"}, "who knows the codecs gets them as they are"
    nine.check_times(25, audio_frame_ms=20)
    check(await decoded(tmp_path / "nine.mkv"), 800)
    assert (await ffprobe(str(tmp_path / "five.mkv"))).codecs == {"video": "h264", "audio": "aac"}, (
        "who doesn't, what it knows"
    )
    check(await decoded(tmp_path / "five.mkv"), 800)


@pytest.mark.parametrize("codec", ["vp9", "av1"])
async def test_other_codecs_of_enhanced_rtmp_pass_through(gateway: Gateway, tmp_path: Path, codec: str) -> None:
    publisher = FfmpegPublisher(gateway.publish_url(codec), tmp_path, codec=codec, size="320x176", tone=800)
    async with publisher:
        await until("picture and sound have begun", lambda: has_both(gateway, codec))
        await play(gateway.play_url(codec), tmp_path / "played.mkv", seconds=SECONDS)
    played = await ffprobe(str(tmp_path / "played.mkv"))
    assert played.codecs == {"video": codec, "audio": "aac"}
    played.check_times(25)
    check(await decoded(tmp_path / "played.mkv"), 800, (320, 176))


async def test_rtmps(gateway: Gateway, tmp_path: Path) -> None:
    async with FfmpegPublisher(gateway.publish_url("secure", secure=True), tmp_path, version=5):
        url = gateway.play_url("secure", secure=True)
        assert gateway.certificate is not None
        trust = ("-tls_verify", "1", "-ca_file", str(gateway.certificate))
        await asyncio.gather(
            play(url, tmp_path / "five.mkv", version=5, seconds=SECONDS, more=trust),
            play(url, tmp_path / "nine.mkv", version=9, seconds=SECONDS, more=trust),
            gstreamer_play(url, tmp_path / "gstreamer.flv", seconds=SECONDS),
        )
    for name in ("five.mkv", "nine.mkv", "gstreamer.flv"):
        check(await decoded(tmp_path / name), 1000)


async def test_sound_late_missing_and_alone(gateway: Gateway, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        for name, more in (
            ("late", {"audio_late_s": 3.0}),
            ("mute", {"audio": ""}),
            ("deaf", {"codec": ""}),
        ):
            publisher = FfmpegPublisher(gateway.publish_url(name), tmp_path, name=name, **more)  # type: ignore[arg-type]
            await stack.enter_async_context(publisher)
        await asyncio.gather(
            *(
                rtmpdump(gateway.play_url(name), tmp_path / f"{name}.flv", seconds=SECONDS + 2)
                for name in ("late", "mute", "deaf")
            )
        )
    late, mute, deaf = [await ffprobe(str(tmp_path / f"{name}.flv")) for name in ("late", "mute", "deaf")]
    assert late.codecs == {"video": "h264", "audio": "aac"}
    late.check_times(25)
    assert late.audio[0].dts_ms > late.video[0].dts_ms + 1000, "the sound begins when the encoder's does"
    assert abs(late.skew_ms()) < 300
    check(await decoded(tmp_path / "late.flv"), 1000)
    assert (mute.codecs, len(mute.audio)) == ({"video": "h264"}, 0)
    mute.check_times(25)
    assert (deaf.codecs, len(deaf.video)) == ({"audio": "aac"}, 0)
    deaf.check_times(25)
    assert (await decoded(tmp_path / "deaf.flv")).tone()[0] == pytest.approx(1000, abs=5)


async def test_everybody_is_gone_at_the_end(gateway: Gateway) -> None:
    async def empty() -> bool:
        status = (await gateway.api("GET", "/status"))["adapters"]["rtmp"]
        return not await gateway.sessions() and status["connections"] == 0

    await until("no session and no connection is left", empty)
