"""Publishers and players of one RTMP server, whichever it is: sends in its own time, and checks every byte that comes.

``python -m tests.bench.rtmp_traffic FILE CHUNK_BYTES PLAYERS PUBLISH_URL,PLAY_URL...``: says ``{"ready": true}``
when everybody is connected, and after a line on its input sends everything once and says what came.
"""

from __future__ import annotations

import asyncio
import sys
import time
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orbridge.codecs.rtmp.chunk import serialise_media
from orbridge.codecs.rtmp.client import ClientConnection
from orbridge.codecs.rtmp.events import Connected, Event, Failed, Media, PlayStarted, PublishStarted, Rejected
from tests.bench.programs import Lines
from tests.bench.rtmp_camera import CameraMessage, messages

# After the last message is sent, everything must be there within this.
DELIVERY_S = 3.0
# A message later than this on its way out: the traffic's own machine was too slow.
LATE_S = 0.25


class Client(asyncio.Protocol):
    """One connection that publishes or plays. ``begun`` is set when the server has said that it may."""

    def __init__(self, url: str, chunk_bytes: int = 4096, *, publishes: bool = False) -> None:
        parts = urlsplit(url)
        app, _, self._name = (parts.path + (f"?{parts.query}" if parts.query else "")).strip("/").partition("/")
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 1935
        self._publishes = publishes
        self.machine = ClientConnection(chunk_size=chunk_bytes)
        self.machine.connect(app, f"rtmp://{self.host}:{self.port}/{app}")
        self.begun = asyncio.Event()
        self.stream_id = 1
        self.problem = ""
        self.transport: asyncio.Transport | None = None

    async def open(self) -> None:
        """Raises RuntimeError when the server doesn't take it."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, self.host, self.port)
        async with asyncio.timeout(10):
            await self.begun.wait()
        if self.problem:
            raise RuntimeError(self.problem)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.machine.receive_data(data, time.monotonic_ns() // 1_000_000)
        for event in self.machine.events():
            self.event(event)
        self.flush()

    def event(self, event: Event) -> None:
        match event:
            case Connected():
                if self._publishes:
                    self.machine.publish(self._name)
                else:
                    self.machine.play(self._name)
            case PublishStarted() | PlayStarted():
                self.stream_id = event.stream_id
                self.begun.set()
            case Rejected() | Failed():
                self.problem = str(event)
                self.begun.set()
            case _:
                pass

    def connection_lost(self, exc: Exception | None) -> None:
        self.problem = self.problem or f"the connection was lost: {exc}"
        self.begun.set()

    def flush(self) -> None:
        if self.transport is not None:
            self.transport.writelines(self.machine.data_to_send())


class Player(Client):
    """Sums up what it is sent.

    Attributes:
        media: kind -> (messages, bytes, checksum over their bodies in this order), without headers.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.media = {"audio": (0, 0, 0), "video": (0, 0, 0)}

    def event(self, event: Event) -> None:
        if not isinstance(event, Media):
            super().event(event)
        elif event.kind != "data" and event.payload[1] != 0:
            add(self.media, event.kind, event.payload)


def add(media: dict[str, tuple[int, int, int]], kind: str, body: bytes) -> None:
    count, size, checksum = media[kind]
    media[kind] = count + 1, size + len(body), zlib.crc32(body, checksum)


async def publish(client: Client, sent: list[CameraMessage], chunk_bytes: int, began: float, shift_s: float) -> float:
    """Everything in its own time; the most that it was late in seconds."""
    latest = 0.0
    for message in sent:
        due = began + shift_s + message.at_ms / 1000
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        else:
            latest = max(latest, -wait)
        client.machine.send_raw(
            serialise_media(client.stream_id, message.kind, message.at_ms, message.body, chunk_bytes)
        )
        client.flush()
    return latest


async def main(arguments: list[str]) -> None:
    path, chunk_bytes, players_each = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    everything = messages(path)
    headers = [message for message in everything if message.is_header]
    sent = [message for message in everything if not message.is_header]
    expected = {"audio": (0, 0, 0), "video": (0, 0, 0)}
    for message in sent:
        add(expected, message.kind, message.body)

    publishers, players = [], []
    for urls in arguments[3:]:
        publish_url, _, play_url = urls.partition(",")
        publisher = Client(publish_url, chunk_bytes, publishes=True)
        await publisher.open()
        await publish(publisher, headers, chunk_bytes, time.monotonic() - 1, 0)
        publishers.append(publisher)
        await asyncio.sleep(0.3)
        for _ in range(players_each):
            player = Player(play_url)
            await player.open()
            players.append(player)
    Lines.say({"ready": True})
    await asyncio.to_thread(sys.stdin.readline)

    began = time.monotonic() + 0.1
    late = await asyncio.gather(
        *(publish(p, sent, chunk_bytes, began, n / len(publishers) / 25) for n, p in enumerate(publishers))
    )
    deadline = time.monotonic() + DELIVERY_S
    while time.monotonic() < deadline and any(player.media != expected for player in players):
        await asyncio.sleep(0.02)
    faults = [
        f"player {n}: {player.media} of {expected} (messages, bytes, checksum); {player.problem}"
        for n, player in enumerate(players)
        if player.media != expected
    ]
    if max(late) > LATE_S:
        faults.append(f"the traffic itself was {max(late) * 1000:.0f} ms late")
    answer: dict[str, Any] = {
        "delivered_bytes": sum(size for player in players for _, size, _ in player.media.values()),
        "faults": faults,
    }
    Lines.say(answer)
    for client in [*players, *publishers]:
        if client.transport is not None:
            client.transport.abort()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
