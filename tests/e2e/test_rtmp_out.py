"""Streams and rooms go out to somebody else's server (nginx) and to players, and a device is fetched from one."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from peer_ffmpeg import FfmpegPublisher, play
from peer_nginx import NginxRtmp
from peer_players import rtmpdump
from recording import decoded, ffprobe
from running_gateway import Gateway, key_of
from waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]


def encoder(gateway: Gateway, folder: Path, name: str, **more: Any) -> FfmpegPublisher:
    return FfmpegPublisher(gateway.publish_url(name), folder, name=name, **more)


async def links(gateway: Gateway) -> dict[str, str]:
    """What the links to other servers do, by session."""
    status = (await gateway.api("GET", "/status"))["adapters"]["rtmp"]
    return {link["session"]: link["state"] for link in status["links"]}


async def test_a_stream_is_pushed_and_a_device_fetched_and_both_outlive_the_server(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        nginx = await stack.enter_async_context(NginxRtmp(tmp_path / "nginx"))
        gateway = Gateway(tmp_path / "gateway")
        gateway.encoder("endoscope-1", "or-3")
        gateway.encoder("fetched", "or-4", f'address = "{nginx.url("camera-{key}")}"\nauto_dial = true')
        gateway.more = (
            f'[[pushes]]\nname = "archive"\nstream = "endoscope-1/main"\naddress = "{nginx.url("")}"\n'
            'key_file = "archive-key"\n'
        )
        gateway.folder.mkdir()
        (gateway.folder / "archive-key").write_text("archive-s3cret\n")
        await stack.enter_async_context(gateway)
        await stack.enter_async_context(encoder(gateway, tmp_path, "endoscope-1", tone=900))

        async def check(when: str) -> None:
            camera = FfmpegPublisher(nginx.url(f"camera-{key_of('fetched')}"), tmp_path, name="camera", tone=600)
            async with camera:
                await until("both links have a connection", lambda: is_up(gateway, 2), within_s=20)
                await asyncio.gather(
                    until_plays(nginx.url("archive-s3cret"), tmp_path / f"archive-{when}.flv"),
                    until_plays(gateway.play_url("fetched"), tmp_path / f"fetched-{when}.flv"),
                )
            for name, tone in (("archive", 900), ("fetched", 600)):
                path = tmp_path / f"{name}-{when}.flv"
                seen = await decoded(path)
                assert len(seen.sizes) > 40
                assert set(seen.sizes) == {(640, 360)}
                assert seen.tone()[0] == pytest.approx(tone, abs=5)
                (await ffprobe(str(path))).check_times(25)

        await check("before")
        before = await links(gateway)
        await nginx.stop()
        await until("both links notice", lambda: is_up(gateway, 0))
        await nginx.start()
        await check("after")
        assert (await links(gateway)).keys() == before.keys(), "the same sessions go on"
        assert "archive-s3cret" not in (gateway.folder / "log").read_text()


async def is_up(gateway: Gateway, wanted: int) -> bool:
    """Whether so many links have a connection."""
    return sum(state in ("sending", "receiving") for state in (await links(gateway)).values()) == wanted


async def until_plays(url: str, path: Path) -> None:
    """What isn't there yet is tried again."""
    for _ in range(10):
        try:
            await rtmpdump(url, path, seconds=3)
            return
        except AssertionError:
            await asyncio.sleep(1)
    await rtmpdump(url, path, seconds=3)


async def test_a_room_goes_out_as_one_stream_through_every_change(tmp_path: Path) -> None:
    """Nobody, one encoder, another one, nobody again: the player at the server sees one stream without a break."""
    async with AsyncExitStack() as stack:
        nginx = await stack.enter_async_context(NginxRtmp(tmp_path / "nginx"))
        gateway = Gateway(tmp_path / "gateway")
        gateway.encoder("endoscope-1", "or-3")
        gateway.encoder("tower", "or-3")
        gateway.more = f'[[rooms]]\nname = "or-3"\nbackend = "rtmp"\naddress = "{nginx.url("out")}"\n'
        await stack.enter_async_context(gateway)
        away = asyncio.create_task(play_until_stopped(nginx.url("out"), tmp_path / "out.flv", 24))
        here = asyncio.create_task(play_until_stopped(gateway.play_url("or-3", app="rooms"), tmp_path / "room.flv", 24))
        await asyncio.sleep(5)
        async with encoder(gateway, tmp_path, "endoscope-1", size="854x480", tone=900, seconds=60):
            await asyncio.sleep(6)
            async with encoder(gateway, tmp_path, "tower", size="640x360", tone=1400, fps=30, seconds=60):
                await asyncio.sleep(5)
                (room,) = await gateway.api("GET", "/rooms")
                assert {member["kind"] for member in room["participants"]} >= {"device"}
            await asyncio.sleep(3)
        await asyncio.gather(away, here)
    for name in ("out", "room"):
        await check_output(await ffprobe(str(tmp_path / f"{name}.flv")), tmp_path / f"{name}.flv")


async def play_until_stopped(url: str, path: Path, seconds: float) -> None:
    for _ in range(8):
        try:
            await rtmpdump(url, path, seconds=seconds)
            return
        except AssertionError:
            await asyncio.sleep(0.5)
    raise AssertionError(f"{path.name}: nothing to play")


async def check_output(probed: Any, path: Path) -> None:
    assert probed.codecs == {"video": "h264", "audio": "aac"}
    for packets, at_most_ms in ((probed.video, 400), (probed.audio, 300)):
        steps = [b.dts_ms - a.dts_ms for a, b in itertools.pairwise(packets)]
        assert min(steps) > 0, f"{path.name}: timestamps fall back"
        assert max(steps) < at_most_ms, f"{path.name}: a break of {max(steps)} ms"
    assert abs(probed.skew_ms()) < 400
    seen = await decoded(path)
    order = [size for size, _ in itertools.groupby(seen.sizes)]
    assert (854, 480) in order, f"{path.name}: the encoder's picture, of {order}"
    assert order[0] not in ((854, 480), (640, 360)), f"{path.name}: begins with the slate"
    assert order[-1] == order[0], f"{path.name}: ends with the slate"
    first, second, nothing = seen.tones(900, 1400, 3000)
    assert min(first, second) > -30, f"{path.name}: both tones are in it"
    assert nothing < -50


async def test_players_of_a_room_join_and_see_who_is_there(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        gateway = Gateway(tmp_path / "gateway")
        gateway.encoder("endoscope-1", "or-3")
        gateway.token("screen", "view")
        await stack.enter_async_context(gateway)
        await stack.enter_async_context(encoder(gateway, tmp_path, "endoscope-1", tone=900))
        url = gateway.play_url("or-3", app="rooms", token="screen")
        await asyncio.gather(
            play(url, tmp_path / "five.mkv", version=5, seconds=4), play(url, tmp_path / "nine.mkv", seconds=4)
        )
        for name in ("five.mkv", "nine.mkv"):
            seen = await decoded(tmp_path / name)
            assert (640, 360) in seen.sizes
            assert seen.tone(begin_s=1.5)[0] == pytest.approx(900, abs=5)
        sessions = await gateway.sessions()
        assert [session["device"] for session in sessions] == ["endoscope-1"], "the players are gone"
