"""What reading RTMP's chunks costs: our reader against the barest loop that gets the same messages out of the bytes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from orbridge.codecs.rtmp.chunk import ChunkReader, Message, serialise, serialise_media
from orbridge.codecs.rtmp.client import ClientConnection
from orbridge.codecs.rtmp.events import Connected, Media, StreamReady
from orbridge.codecs.rtmp.machine import Connection
from orbridge.codecs.rtmp.server import ServerConnection
from tests.bench.figures import Figure, Result, Samples, at_most

# One stream of 6 Mbit/s, 25 pictures/s, with AAC of 128 kbit/s between them.
SECONDS, FPS, GOP = 20, 25, 50
PICTURE_BYTES, KEY_FRAME_BYTES, SOUND_BYTES = 27_000, 150_000, 341
CHUNK_BYTES = (128, 4096)
# What one read of a socket gives at the most (asyncio's own limit).
READ_BYTES = 262_144
REPEATS = 3


def messages() -> list[tuple[str, int, bytes]]:
    """(kind, ms, body) in the order of sending; sizes as a camera's encoder has them."""
    chance = random.Random(4)
    made: list[tuple[str, int, bytes]] = []
    for number in range(SECONDS * FPS):
        size = KEY_FRAME_BYTES if number % GOP == 0 else int(PICTURE_BYTES * chance.uniform(0.7, 1.3))
        made.append(("video", number * 1000 // FPS, chance.randbytes(size)))
    made += [("audio", int(n * 1024 / 48), chance.randbytes(SOUND_BYTES)) for n in range(SECONDS * 48_000 // 1024)]
    return sorted(made, key=lambda message: message[1])


def blocks(chunk_bytes: int) -> list[bytes]:
    """The messages in chunks, a read at a time."""
    whole = b"".join(part for kind, ms, body in messages() for part in serialise_media(1, kind, ms, body, chunk_bytes))
    return [whole[at : at + READ_BYTES] for at in range(0, len(whole), READ_BYTES)]


def plain(data: list[bytes], chunk_bytes: int) -> list[bytes]:
    """A loop that knows what comes, checks nothing and keeps no more than it must: whole headers, then type 3.

    One step a chunk: header, slice, and the message's parts joined at its end.
    """
    found: list[bytes] = []
    parts: list[bytes] = []
    missing, rest = 0, b""
    for block in data:
        at, block = 0, rest + block
        end = len(block)
        while at < end:
            if block[at] < 0xC0:
                if end - at < 12:
                    break
                missing = int.from_bytes(block[at + 4 : at + 7], "big")
                head = 12
            else:
                head = 1
            take = chunk_bytes if missing > chunk_bytes else missing
            if end - at < head + take:
                break
            parts.append(block[at + head : at + head + take])
            at += head + take
            missing -= take
            if not missing:
                found.append(b"".join(parts))
                parts = []
        rest = block[at:]
    return found


def ours(data: list[bytes], chunk_bytes: int) -> list[bytes]:
    reader = ChunkReader()
    found: list[Message] = []
    reader.receive(serialise(Message(1, 0, 0, chunk_bytes.to_bytes(4, "big")), 2, 128), found)
    for block in data:
        reader.receive(block, found)
    return [message.payload for message in found]


def connected(data: list[bytes], chunk_bytes: int) -> list[bytes]:
    """The same through a whole connection: acknowledgements, events."""
    server = publishing(chunk_bytes)
    found = []
    for block in data:
        server.receive_data(block, 0)
        found += [event.payload for event in server.events() if isinstance(event, Media)]
        server.data_to_send()
    return found


def publishing(chunk_bytes: int) -> ServerConnection:
    """A server's connection whose client has begun to publish with this chunk size."""
    server, client = ServerConnection(), ClientConnection(chunk_size=chunk_bytes)
    client.connect("live", "rtmp://127.0.0.1/live")
    for _ in range(12):
        for one, other in ((client, server), (server, client)):
            for buffer in one.data_to_send():
                other.receive_data(buffer, 0)
        for event in client.events():
            if isinstance(event, Connected):
                client.publish("camera")
            elif isinstance(event, StreamReady):
                assert event.stream_id == 1
        answer(server)
    return server


def answer(server: Connection) -> None:
    assert isinstance(server, ServerConnection)
    for event in server.events():
        match type(event).__name__:
            case "ConnectRequested":
                server.accept_connect()
            case "PublishRequested":
                server.accept_publish(1)


def timed(parse: Callable[[list[bytes], int], list[bytes]], data: list[bytes], chunk_bytes: int) -> float:
    """CPU seconds at best, since whatever else happens only adds."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.thread_time()
        parse(data, chunk_bytes)
        best = min(best, time.thread_time() - began)
    return best


def measure(rounds: int) -> Result:
    samples = Samples()
    expected = [body for _, _, body in messages()]
    figures: list[Figure] = []
    for chunk_bytes in CHUNK_BYTES:
        data = blocks(chunk_bytes)
        for name, parse in (("plain", plain), ("ours", ours), ("connection", connected)):
            assert parse(data, chunk_bytes) == expected, f"{name} gets other messages out of the bytes"
        megabytes = sum(map(len, data)) / 1e6
        for _ in range(rounds):
            bare, reader, whole = (timed(parse, data, chunk_bytes) for parse in (plain, ours, connected))
            samples.add(
                **{
                    f"ratio{chunk_bytes}": reader / bare,
                    f"ours{chunk_bytes}": reader * 1e6 / megabytes,
                    f"whole{chunk_bytes}": whole * 1e6 / megabytes,
                    f"bare{chunk_bytes}": bare * 1e6 / megabytes,
                }
            )
    for chunk_bytes in CHUNK_BYTES:
        figures += samples.figures(
            (f"ratio{chunk_bytes}", f"chunks of {chunk_bytes} bytes: ours / bare loop", "", at_most(1.5)),
            (f"ours{chunk_bytes}", f"chunks of {chunk_bytes} bytes: ours", "us/MB", None),
            (f"whole{chunk_bytes}", f"chunks of {chunk_bytes} bytes: ours with the whole connection", "us/MB", None),
            (f"bare{chunk_bytes}", f"chunks of {chunk_bytes} bytes: bare loop", "us/MB", None),
        )
    return Result(
        "rtmp_parse_vs_plain",
        figures,
        samples.rejected,
        {"seconds": SECONDS, "fps": FPS, "picture_bytes": PICTURE_BYTES, "read_bytes": READ_BYTES},
    )
