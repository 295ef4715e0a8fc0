"""An engine without media: real UDP sockets that pass STUN and DTLS up, and a record of what it was asked for.

For what can be tested without media, e.g. answers over HTTP and how connections end; everything else runs on the real
engine.
"""

import asyncio
import itertools
import os
import socket
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine


class FakeEngine:
    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._events: list[tuple[Any, ...]] = []
        self.legs: dict[int, FakeLeg] = {}
        self.published: dict[str, FakePublisher] = {}
        self.numbers = itertools.count(1)

    def fileno(self) -> int:
        return self._fd

    def push(self, *event: Any) -> None:
        self._events.append(event)
        os.eventfd_write(self._fd, 1)

    def drain(self, limit: int = 4096) -> list[tuple[Any, ...]]:
        os.eventfd_read(self._fd)
        taken, self._events = self._events, []
        return taken

    def open_leg(self, host: str, **settings: Any) -> "FakeLeg":
        leg = FakeLeg(self, host, settings)
        self.legs[leg.id] = leg
        return leg

    def publish(self, stream: str, **_settings: Any) -> "FakePublisher":
        if stream in self.published:
            raise ValueError(f"stream {stream} is taken")
        self.published[stream] = FakePublisher(self, stream)
        return self.published[stream]

    def streams(self, names: list[str] | None = None) -> list[dict[str, Any]]:
        return [
            {"name": name, "tracks": publisher.tracks}
            for name, publisher in self.published.items()
            if names is None or name in names
        ]

    def close(self) -> None:
        for leg in list(self.legs.values()):
            leg.close()
        os.close(self._fd)

    def typed(self) -> "Engine":
        return cast("Engine", self)


class FakePublisher:
    def __init__(self, engine: FakeEngine, stream: str) -> None:
        self._engine, self.stream = engine, stream
        self.tracks: list[dict[str, Any]] = []

    def add_track(self, kind: str, codec: str, *, clock_hz: int, channels: int = 1) -> int:
        track = {"id": next(self._engine.numbers), "kind": kind, "codec": codec, "clock_hz": clock_hz}
        self.tracks.append(track | {"channels": channels})
        return cast(int, track["id"])

    def close(self) -> None:
        self._engine.published.pop(self.stream, None)


class FakeSender:
    def __init__(self) -> None:
        self.selected: int | None = None

    def select(self, track: int | None) -> None:
        self.selected = track


class FakeLeg:
    def __init__(self, engine: FakeEngine, host: str, settings: dict[str, Any]) -> None:
        self.id, self._engine, self.settings = next(engine.numbers), engine, settings
        self.keys: tuple[str, bytes, bytes] | None = None
        self.peer: tuple[str, int] | None = None
        self.receivers: list[dict[str, Any]] = []
        self.senders: list[dict[str, Any]] = []
        self.closed = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((host, 0))
        self._listen()

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        data, address = self._socket.recvfrom(2048)
        if data[:1] and (data[0] < 4 or 20 <= data[0] < 64):
            self._engine.push("datagram", self.id, data, *address)

    @property
    def host(self) -> str:
        return cast(str, self._socket.getsockname()[0])

    @property
    def port(self) -> int:
        return cast(int, self._socket.getsockname()[1])

    def exchange_sockets(self, other: "FakeLeg") -> None:
        self._socket, other._socket = other._socket, self._socket
        self._listen()
        other._listen()

    def send_datagram(self, data: bytes, host: str, port: int) -> None:
        if not self.closed:
            self._socket.sendto(data, (host, port))

    def set_peer(self, host: str, port: int) -> None:
        self.peer = (host, port)

    def set_keys(self, profile: str, outbound: bytes, inbound: bytes) -> None:
        self.keys = (profile, outbound, inbound)

    def add_receiver(self, track: int, **settings: Any) -> object:
        self.receivers.append({"track": track, **settings})
        return object()

    def add_sender(self, codec: str, pt: int, **settings: Any) -> FakeSender:
        self.senders.append({"codec": codec, "pt": pt, **settings})
        return FakeSender()

    def stats(self) -> dict[str, Any]:
        return {"peer": self.peer, "receivers": [], "senders": []}

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._engine.legs.pop(self.id, None)
