"""Fuzzing of the running daemon over RTMP: an encoder with the right key sends what no encoder should; others go on.

What it sends is real (H.264 with B-frames and AAC, HEVC and Opus, recorded from ffmpeg) and then mutated: in its media,
in its messages, in its bytes. It goes all the way: onto the bus, through the transcoders, out of its room to a player.

Oracle: the daemon lives and answers in time, none of its log lines is a fault, the healthy stream has every picture,
and when all is over nothing is left of what the fuzzer opened. Cases are made from their numbers alone (see
``test_daemon_fuzz``).
"""

import asyncio
import contextlib
import itertools
import os
import random
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from peer_ffmpeg import FfmpegPublisher, end, ffmpeg
from peer_players import program, rtmpdump
from recording import ffprobe
from running_gateway import Gateway, key_of
from waiting import until

from orbridge.codecs.rtmp.chunk import serialise_media
from orbridge.codecs.rtmp.client import ClientConnection
from orbridge.codecs.rtmp.events import Connected, ConnectRequested, PublishRequested
from orbridge.codecs.rtmp.server import ServerConnection

pytestmark = [pytest.mark.e2e]

SECONDS = float(os.environ.get("ORBRIDGE_FUZZ_SECONDS", "7"))
FIRST = int(os.environ.get("ORBRIDGE_FUZZ_FIRST", "0"))
CHUNK_BYTES = 4096
# What one case costs at most when the daemon waits for more.
CASE_S = 0.15
GROWTH_BYTES = 100 * 2**20

Message = tuple[str, int, bytes]
KINDS = {8: "audio", 9: "video", 18: "data"}


def recorded(folder: Path, name: str, codecs: str) -> list[Message]:
    """(kind, ms, body) of a second and a half of an encoder's stream."""
    path = folder / f"{name}.flv"
    command = (
        f"{ffmpeg(9)} -v error -f lavfi -i testsrc2=size=320x176:rate=25 -f lavfi -i sine=sample_rate=48000 -t 1.5 "
        f"{codecs} -g 12 -pix_fmt yuv420p -b:v 300k -f flv {path}"
    )
    subprocess.run(command.split(), check=True, timeout=30)
    data, at, found = path.read_bytes(), 13, []
    while at + 11 < len(data):
        length = int.from_bytes(data[at + 1 : at + 4], "big")
        found.append((KINDS[data[at]], int.from_bytes(data[at + 4 : at + 7], "big"), data[at + 11 : at + 11 + length]))
        at += 11 + length + 4
    return found


def opening(name: str) -> list[bytes]:
    """What a client sends until it publishes, in pieces."""
    client, server = ClientConnection(chunk_size=CHUNK_BYTES), ServerConnection()
    client.connect("live", "rtmp://127.0.0.1/live", ["hvc1", "Opus"])
    pieces: list[bytes] = []
    for _ in range(8):
        for piece in client.data_to_send():
            pieces.append(piece)
            server.receive_data(piece, 0)
        for event in server.events():
            match event:
                case ConnectRequested():
                    server.accept_connect()
                case PublishRequested():
                    server.accept_publish(event.stream_id)
                case _:
                    pass
        for piece in server.data_to_send():
            client.receive_data(piece, 0)
        for happened in client.events():
            if isinstance(happened, Connected):
                client.publish(f"{name}?key={key_of(name)}")
    return pieces


def broken(data: bytes, rng: random.Random) -> bytes:
    """A few edits of bytes, mostly near the beginning, where headers are."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not made:
            break
        at = min(int(rng.expovariate(0.08)), len(made) - 1) if rng.random() < 0.7 else rng.randrange(len(made))
        match rng.randrange(4):
            case 0:
                made[at] = rng.randrange(256)
            case 1:
                made[at] ^= 1 << rng.randrange(8)
            case 2:
                del made[at : at + rng.choice((1, 3, 50, 5000))]
            case _:
                made[at:at] = rng.randbytes(rng.choice((1, 4, 60)))
    return bytes(made)


def case(number: int, first: list[bytes], streams: list[list[Message]]) -> list[bytes]:
    """What one connection sends."""
    rng = random.Random(number)
    messages = list(rng.choice(streams))
    where = rng.randrange(4)
    if where == 0:
        # in the media: parsers of FLV, H.264, HEVC, AAC, Opus, and decoders behind them
        for _ in range(rng.choice((1, 3, 20))):
            index = rng.randrange(len(messages))
            kind, at_ms, body = messages[index]
            messages[index] = kind, at_ms, broken(body, rng)
    elif where == 1:
        # in the order and the times
        for _ in range(rng.choice((1, 3, 20))):
            index, other = rng.randrange(len(messages)), rng.randrange(len(messages))
            kind, at_ms, body = messages[index]
            jump = rng.choice((-(10**6), -50, 0, 50, 10**6, 2**31, 2**32 - 1))
            messages[index], messages[other] = messages[other], (kind, max(0, at_ms + jump), body)
        if rng.random() < 0.3:
            messages += rng.choice(streams)
    pieces = list(first)
    media = [b"".join(serialise_media(1, kind, at_ms, body, CHUNK_BYTES)) for kind, at_ms, body in messages if body]
    if where == 2:
        index = rng.randrange(len(pieces))
        pieces[index] = broken(pieces[index], rng)
    elif where == 3:
        index = rng.randrange(len(media))
        media[index] = broken(media[index], rng)
    return pieces + media


@asynccontextmanager
async def healthy_stream(tmp_path: Path) -> AsyncIterator[Gateway]:
    """An encoder and its player, which must have every picture, and a player of the fuzzer's room."""
    gateway = Gateway(tmp_path / "gateway", rtmp_more='second_publisher = "take_over"')
    gateway.encoder("healthy", "theatre")
    gateway.encoder("fuzzer", "elsewhere")
    healthy = FfmpegPublisher(
        gateway.publish_url("healthy"), tmp_path, name="healthy", size="320x176", seconds=SECONDS + 120
    )
    async with gateway, healthy:
        playing = asyncio.create_task(
            rtmpdump(gateway.play_url("healthy"), tmp_path / "healthy.flv", seconds=SECONDS + 1)
        )
        with (tmp_path / "fuzzed.log").open("wb") as log:
            watching = await asyncio.create_subprocess_exec(
                *(program("rtmpdump"), "-r", gateway.play_url("elsewhere", app="rooms"), "--live", "-o", "/dev/null"),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=log,
            )
        try:
            yield gateway
            assert watching.returncode is None, "who plays the fuzzer's room goes on"
            await playing
        finally:
            await end(watching)

        async def alone() -> bool:
            return {session["device"] for session in await gateway.sessions()} == {"healthy"}

        await until("nothing is left of the fuzzer", alone, within_s=20)
        for line in gateway.log_lines():
            assert line.get("level") != "error", line
            assert line["event"] != "unparsed", line
    played = await ffprobe(str(tmp_path / "healthy.flv"))
    for packets in (played.video, played.audio):
        assert all(after.dts_ms > before.dts_ms for before, after in itertools.pairwise(packets))
    assert len(played.video) > 0.9 * SECONDS * 25


async def test_rtmp(tmp_path: Path) -> None:
    h264 = "-c:v libx264 -preset ultrafast -bf 2 -c:a aac"
    hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=none -c:a libopus"
    streams = [
        await asyncio.to_thread(recorded, tmp_path, name, codecs) for name, codecs in (("h264", h264), ("hevc", hevc))
    ]
    first = opening("fuzzer")
    async with healthy_stream(tmp_path) as gateway:
        daemon = psutil.Process(gateway.process.pid)
        await attack(gateway, first + [m for s in streams[:1] for m in whole(s)])
        before = daemon.memory_info().rss, daemon.num_fds()
        number, published, stop = FIRST, 0, time.monotonic() + SECONDS
        while time.monotonic() < stop:
            await attack(gateway, case(number, first, streams))
            number += 1
            if number % 10 == 0:
                assert gateway.process.returncode is None, f"the daemon died; the last cases end before {number}"
                began = time.monotonic()
                status = (await gateway.api("GET", "/status"))["adapters"]["rtmp"]
                assert time.monotonic() - began < 2, f"a status takes long; the last cases end before {number}"
                published = status["opened"]
        assert published > 5, "most cases come as far as publishing"
        assert number - FIRST > SECONDS
        assert daemon.memory_info().rss - before[0] < GROWTH_BYTES + 2**20 * SECONDS / 10
        assert daemon.num_fds() - before[1] < 40


def whole(stream: list[Message]) -> list[bytes]:
    return [b"".join(serialise_media(1, kind, at_ms, body, CHUNK_BYTES)) for kind, at_ms, body in stream if body]


async def attack(gateway: Gateway, pieces: list[bytes]) -> None:
    """One connection: everything at once, then a moment for the daemon to see what it has got."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.rtmp)
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(5):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        async with asyncio.timeout(CASE_S):
            while await reader.read(65536):
                pass
    writer.transport.abort()
