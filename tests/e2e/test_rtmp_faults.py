"""What goes wrong with encoders and players, through the running daemon: who is told what, and who isn't touched."""

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from peer_ffmpeg import FfmpegPublisher, end, ffmpeg, play
from peer_players import program, rtmpdump
from recording import Played, decoded, ffprobe
from running_gateway import Gateway, key_of
from waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(120)]

SLOW = 200
# From the first byte to publish or play; adapters/rtmp/peer.py.
HURRY_S = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("gateway") / "gateway", rtmp_more='second_publisher = "take_over"')
    for name in ("endoscope-1", "returning", "taken", "busy"):
        made.encoder(name, "or-3")
    made.token("screen", "view")
    made.token("other-room", "view", more='rooms = ["elsewhere"]')
    async with made:
        yield made
    assert [line for line in made.log_lines() if line.get("level") == "error" or line["event"] == "unparsed"] == []


def encoder(gateway: Gateway, folder: Path, name: str, **more: Any) -> FfmpegPublisher:
    settings = {"name": name, **more}
    return FfmpegPublisher(gateway.publish_url(name), folder, **settings)


async def closed(gateway: Gateway, device: str | None, **more: Any) -> list[dict[str, Any]]:
    return [line for line in gateway.log_lines("session.closed") if line.get("device") == device]


async def test_who_has_the_wrong_key_is_told_so_and_nobody_else_learns_it(gateway: Gateway, tmp_path: Path) -> None:
    stranger = FfmpegPublisher(gateway.publish_url("endoscope-1", "guessed"), tmp_path, name="stranger")
    await stranger.start()
    said = await stranger.refused()
    assert "no device of this name may publish with this key" in said
    unknown = FfmpegPublisher(gateway.publish_url("no-such-device", "guessed"), tmp_path, name="unknown")
    await unknown.start()
    assert "no device of this name may publish with this key" in await unknown.refused()
    refused = gateway.log_lines("peer.refused")
    assert [line["what"] for line in refused[-2:]] == ["publish", "publish"]
    log = (gateway.folder / "log").read_text()
    assert "guessed" not in log
    assert key_of("endoscope-1") not in log


async def test_only_a_token_that_may_view_plays(gateway: Gateway, tmp_path: Path) -> None:
    async with encoder(gateway, tmp_path, "endoscope-1"):
        for url, words in (
            (gateway.play_url("endoscope-1"), "this needs the secret of a token"),
            (gateway.play_url("endoscope-1", token="wrong"), "the token's secret is wrong or no longer valid"),
            (gateway.play_url("endoscope-1", token="other-room"), "doesn't have the right to view in room or-3"),
            (gateway.play_url("taken", token="screen"), "nobody publishes taken at the moment"),
        ):
            with pytest.raises(AssertionError, match=words):
                await play(url, tmp_path / "refused.mkv", seconds=2)
        await rtmpdump(gateway.play_url("endoscope-1", token="screen"), tmp_path / "played.flv", seconds=2)
    assert len((await decoded(tmp_path / "played.flv")).sizes) > 20


async def test_an_encoder_drops_and_comes_back_and_players_stay(gateway: Gateway, tmp_path: Path) -> None:
    async with encoder(gateway, tmp_path, "returning", tone=600) as first:
        playing = asyncio.create_task(
            rtmpdump(gateway.play_url("returning", token="screen"), tmp_path / "whole.flv", seconds=10)
        )
        await asyncio.sleep(3)
        # vanishes without a word, as when its power goes
        first.process.kill()
        await first.process.wait()
        await asyncio.sleep(1)
        async with encoder(gateway, tmp_path, "returning", tone=1100, size="960x540"):
            await playing
    seen = await decoded(tmp_path / "whole.flv")
    assert [size for size, _ in itertools.groupby(seen.sizes)] == [(640, 360), (960, 540)]
    assert min(seen.tones(600, 1100)) > -30
    check_rising(await ffprobe(str(tmp_path / "whole.flv")), pause_ms=5000)
    assert (await closed(gateway, "returning"))[0]["reason"] in ("transport_failed", "remote_hangup")


async def test_another_encoder_takes_over_and_brings_new_parameter_sets(gateway: Gateway, tmp_path: Path) -> None:
    async with encoder(gateway, tmp_path, "taken", tone=600) as first:
        playing = asyncio.create_task(
            rtmpdump(gateway.play_url("taken", token="screen"), tmp_path / "whole.flv", seconds=9)
        )
        await asyncio.sleep(3)
        async with encoder(gateway, tmp_path, "taken", tone=1100, size="960x540", bframes=2):
            said = await first.refused()
            await playing
    assert "frame=" in said, "it was sending until then"
    ended = (await closed(gateway, "taken"))[0]
    assert "another publisher took over" in ended["text"]
    seen = await decoded(tmp_path / "whole.flv")
    assert [size for size, _ in itertools.groupby(seen.sizes)] == [(640, 360), (960, 540)]
    assert min(seen.tones(600, 1100)) > -30
    check_rising(await ffprobe(str(tmp_path / "whole.flv")), pause_ms=4000)


def check_rising(played: Played, *, pause_ms: float) -> None:
    for packets in (played.video, played.audio):
        steps = [after.dts_ms - before.dts_ms for before, after in itertools.pairwise(packets)]
        assert min(steps) > 0
        assert max(steps) < pause_ms
        assert sorted(steps)[-2] < 250, "one break, where the encoder was away"
    assert abs(played.skew_ms()) < 400


async def test_a_second_encoder_is_refused_where_that_is_configured(tmp_path: Path) -> None:
    made = Gateway(tmp_path / "gateway")
    made.encoder("endoscope-1", "or-3")
    async with made, encoder(made, tmp_path, "endoscope-1") as first:
        second = FfmpegPublisher(made.publish_url("endoscope-1"), tmp_path, name="second")
        await second.start()
        assert "endoscope-1 is publishing already" in await second.refused()
        assert first.is_running
        assert len(await made.sessions()) == 1
        assert made.log_lines("peer.refused")[0]["problem"] == "endoscope-1 is publishing already"


async def test_a_player_that_stalls_is_let_go_and_nobody_else_notices(gateway: Gateway, tmp_path: Path) -> None:
    """20 Mbit/s, and a player whose process stands still."""
    path = tmp_path / "noise.flv"
    make = [ffmpeg(5), "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25,noise=alls=60:allf=t"]
    make += ["-f", "lavfi", "-i", "sine=frequency=500:sample_rate=48000", "-t", "4", "-c:v", "libx264", "-preset"]
    make += ["ultrafast", "-tune", "zerolatency", "-g", "25", "-b:v", "20M", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    making = await asyncio.create_subprocess_exec(*make, str(path), stdin=asyncio.subprocess.DEVNULL)
    assert await asyncio.wait_for(making.wait(), 60) == 0
    sender = FfmpegPublisher(gateway.publish_url("busy"), tmp_path, name="busy")
    sender.command = lambda: [  # type: ignore[method-assign]
        *(ffmpeg(9), "-hide_banner", "-nostdin", "-v", "info", "-re", "-stream_loop", "-1", "-i", str(path)),
        *("-c", "copy", "-f", "flv", sender.url),
    ]
    async with sender:
        url = gateway.play_url("busy", token="screen")
        stalling = await asyncio.create_subprocess_exec(
            *(program("rtmpdump"), "-q", "-r", url, "--live", "-o", str(tmp_path / "stalled.flv")),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until("it plays", lambda: _size(tmp_path / "stalled.flv") > 100_000)
            stalling.send_signal(signal.SIGSTOP)
            before, memory = sender.sent_frames, gateway.rss_kib()
            await rtmpdump(url, tmp_path / "other.flv", seconds=6)
            await until("the stalled one is let go", lambda: gateway.log_lines("peer.stalled"), within_s=40)
        finally:
            stalling.send_signal(signal.SIGCONT)
            await end(stalling)
        assert sender.is_running
        assert sender.sent_frames > before + 100, "the encoder goes on"
        assert gateway.rss_kib() - memory < 60_000
    seen = await ffprobe(str(tmp_path / "other.flv"))
    seen.check_times(25)
    assert len(seen.video) > 0.8 * 6 * 25
    (ended,) = [line for line in await closed(gateway, None) if "took nothing" in line.get("text", "")]
    assert ended["text"] == "the player took nothing for too long"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def test_two_hundred_slow_connections_cost_little_and_go(gateway: Gateway, tmp_path: Path) -> None:
    """A byte a second each, no handshake is ever done; meanwhile an encoder and its player go on, then others come."""
    daemon = psutil.Process(gateway.process.pid)
    async with encoder(gateway, tmp_path, "endoscope-1"):
        playing = asyncio.create_task(
            rtmpdump(gateway.play_url("endoscope-1", token="screen"), tmp_path / "played.flv", seconds=HURRY_S)
        )
        await asyncio.sleep(1)
        before = daemon.memory_info().rss, daemon.num_fds()
        writers: list[asyncio.StreamWriter] = []
        readers: list[asyncio.StreamReader] = []
        for _ in range(SLOW):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.rtmp)
            readers.append(reader)
            writers.append(writer)
        for _ in range(5):
            for writer in writers:
                with contextlib.suppress(ConnectionError):
                    writer.write(b"\x03")
            await asyncio.sleep(1)
        during = daemon.memory_info().rss, daemon.num_fds()
        assert during[1] - before[1] <= SLOW + 2
        assert during[0] - before[0] < 50 * 2**20
        # the limit holds; those in excess are gone already
        status = (await gateway.api("GET", "/status"))["adapters"]["rtmp"]
        assert status["connections"] <= status["connections_limit"] == SLOW
        ends = await asyncio.wait_for(asyncio.gather(*map(_until_closed, readers)), 3 * HURRY_S)
        assert len(ends) == SLOW
        await playing
        for writer in writers:
            writer.close()
        await until("their descriptors are given back", lambda: daemon.num_fds() <= before[1] + 2)
    (await ffprobe(str(tmp_path / "played.flv"))).check_times(25)
    async with encoder(gateway, tmp_path, "endoscope-1"):
        await rtmpdump(gateway.play_url("endoscope-1", token="screen"), tmp_path / "after.flv", seconds=1)
    failed = (await gateway.api("GET", "/status"))["adapters"]["rtmp"]["failed"]
    assert failed["too_slow"] >= SLOW - 10


async def _until_closed(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass
