"""A small gateway to put behind the real HTTP server: real rooms and sessions, counters that tests write themselves."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from orbridge.codecs.media import H264, Kind, Role, VideoLimit
from orbridge.gateway.adapter import Refused
from orbridge.gateway.config import Config
from orbridge.gateway.config_load import Loaded, parse
from orbridge.gateway.http.server import Server
from orbridge.gateway.rooms.model import Room, Rooms
from orbridge.gateway.session import CloseReason, Session, Sink, State

TOKENS = {
    "viewer": ("view-secret-0123456789", ["or-*"], ["view"]),
    "guest": ("guest-secret-0123456789", ["or-*"], ["view", "publish"]),
    "nurse": ("nurse-secret-0123456789", ["or-3"], ["operate"]),
    "desk": ("desk-secret-0123456789", ["*"], ["operate"]),
    "chief": ("chief-secret-0123456789", ["*"], ["admin"]),
}


class FakeSession(Session):
    """A session whose legs are what the test says."""

    adapter = "fake"
    legs: list[dict[str, Any]]

    async def hangup(self, reason: CloseReason, text: str = "") -> None:
        self.ended(reason, text)

    def stats(self) -> dict[str, Any]:
        return {"legs": self.legs}


class FakeEngine:
    def __init__(self) -> None:
        self.facts: dict[str, dict[str, Any]] = {}
        self.track_ids = itertools.count(1)

    def streams(self, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        return [facts for name, facts in self.facts.items() if names is None or name in names]

    def stats(self) -> dict[str, Any]:
        return {
            "packets_in": 7,
            "packets_out": 8,
            "rejected": {"rtp": 2, "rtcp": 1},
            "cpu_ns": 2_000_000_000,
            "legs": 2,
        }

    def put(self, stream: str, *, video: bool = True, audio: bool = True) -> dict[str, Any]:
        track = {"units": 1, "bytes": 1, "keyframes": 1, "lost_units": 3}
        tracks = []
        if audio:
            tracks.append(
                {**track, "id": next(self.track_ids), "kind": "audio", "codec": "G722", "bitrate_bps": 64000}
                | {"clock_hz": 8000, "channels": 1, "fps": None, "width": None, "height": None}
            )
        if video:
            tracks.append(
                {**track, "id": next(self.track_ids), "kind": "video", "codec": "H264", "bitrate_bps": 1_500_000}
                | {"clock_hz": 90000, "channels": 1, "fps": 29.97, "width": 1280, "height": 720}
            )
        self.facts[stream] = {"name": stream, "age_ms": 12_345, "subscribers": 1, "tracks": tracks}
        return self.facts[stream]


@dataclass
class FakeGateway:
    """What ``facade.Gateway`` asks for. ``calls`` remembers what was dialled."""

    loaded: Loaded
    ready: bool = True
    rooms: Rooms = field(default_factory=Rooms)
    engine: FakeEngine = field(default_factory=FakeEngine)
    calls: list[tuple[str, str]] = field(default_factory=list)
    bound: list[str] = field(default_factory=list)
    known: dict[str, Session] = field(default_factory=dict)
    reloaded: Callable[[], list[str]] = list

    def __post_init__(self) -> None:
        self.config: Config = self.loaded.config
        self.rooms.configure(self.config.rooms)
        self.bus = SimpleNamespace(engine=self.engine)
        self.routing = self
        self.adapters = {"sip": SimpleNamespace(status=lambda: {"bindings": [{"device": name} for name in self.bound]})}
        self._numbers = itertools.count(1)

    def status(self) -> dict[str, Any]:
        conversions = {"video": {"running": [{"backlog_ms": 40}], "limit": 2, "refused": 3, "failed": 1}}
        return {
            "version": "1.2.3",
            "ready": self.ready,
            "up_s": 12.5,
            "sessions": len(self.known),
            "rooms": 1,
            "conversions": conversions,
        }

    def source_of(self, track_id: int) -> int:
        return track_id

    def sessions(self) -> list[Session]:
        return list(self.known.values())

    def pin(self, room: Room, viewer: str, shown: str | None) -> None:
        self.rooms.pin(room, viewer, shown)

    async def call(self, target: str, room: str) -> Session:
        if target == "or-9":
            raise Refused(CloseReason.UNREACHABLE, "or-9 doesn't answer at 10.0.0.9")
        self.calls.append((target, room))
        return self.join("fake", room or target, device=target)

    async def hangup(self, session_id: str) -> bool:
        session = self.known.get(session_id)
        if session is not None:
            await session.hangup(CloseReason.LOCAL_HANGUP)
        return session is not None

    async def reload(self) -> list[str]:
        return self.reloaded()

    def join(
        self,
        kind: str,
        room: str,
        *,
        name: str = "",
        device: str | None = None,
        video: bool = True,
        limit: VideoLimit | None = None,
    ) -> FakeSession:
        """Somebody enters and sends sound and, if wanted, a picture."""
        session = FakeSession(
            f"{kind}-{next(self._numbers)}",
            name=name or device or "somebody",
            room=room,
            remote="10.0.0.1:5060",
            inbound=True,
            opened_ns=time.monotonic_ns(),
            device=device,
        )
        session.move(State.CONNECTING)
        session.move(State.ACTIVE)
        stream = f"{room}/main" if device else f"{room}/{session.name}/main"
        session.published = {Role.MAIN: stream}
        session.sinks = [Sink(Kind.VIDEO, Role.MAIN, H264, SimpleNamespace(selected=None), limit)]  # type: ignore[arg-type]
        receivers = [{"codec": "H264", "loss_percent": 1.26, "jitter_ms": 4.0}] if video else []
        session.legs = [
            {"rtt_ms": 8.0, "receivers": [{"codec": "G722", "loss_percent": 0.0, "jitter_ms": 2.0}]},
            {"rtt_ms": 9.0, "receivers": receivers},
        ]
        self.engine.put(stream, video=video)
        self.known[session.id] = session
        session.on("closed", self._closed)
        self.rooms.join(session)
        return session

    def _closed(self, session: Session, reason: CloseReason) -> None:
        del self.known[session.id]
        for stream in session.published.values():
            self.engine.facts.pop(stream, None)
        self.rooms.leave(session)


CONFIG = """
[http]
listen = "{listen}"
{http}
[control]
socket = "{folder}/run/control.sock"
[[devices]]
name = "or-3"
adapter = "sip"
address = "sip:or3@127.0.0.1:5070"
room = "or-3"
[[devices]]
name = "or-9"
adapter = "sip"
address = "sip:or9@127.0.0.1:5079"
room = "or-9"
[[rooms]]
name = "or-3"
title = "Theatre 3"
"""


def configured(folder: Path, *, tokens: bool = True, http: str = "", listen: str = "127.0.0.1:0") -> Loaded:
    """A configuration with or without tokens, secrets in files beside it."""
    text = CONFIG.format(listen=listen, http=http, folder=folder)
    for name, (secret, rooms, may) in TOKENS.items() if tokens else ():
        (folder / name).write_text(secret)
        text += f'[[tokens]]\nname = "{name}"\nsecret_file = "{name}"\nrooms = {rooms}\nmay = {may}\n'
    return parse(text, folder / "orbridge.toml", {})


@dataclass
class Running:
    """A server with its small gateway, and a client that asks it."""

    gateway: FakeGateway
    server: Server
    client: aiohttp.ClientSession
    loaded: Loaded

    @property
    def url(self) -> str:
        return self.server.urls[-1].rstrip("/")

    async def ask(
        self, method: str, path: str, who: str | None = None, **more: Any
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        """Status, body (JSON where it is), response."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {secret_of(who)}"
        async with self.client.request(method, self.url + path, headers=headers, **more) as response:
            text = await response.text()
            is_json = response.content_type == "application/json" and text
            return response.status, (await response.json() if is_json else text), response


def secret_of(who: str) -> str:
    return TOKENS[who][0] if who in TOKENS else who


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts servers and stops them in the end: ``await start(tokens=False, http='...', routes=[...])``."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    running: list[Running] = []

    async def begin(*, routes: Any = (), **how: Any) -> Running:
        loaded = configured(tmp_path, **how)
        gateway = FakeGateway(loaded)
        server = Server(gateway, loaded)
        await server.start(routes)
        client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False))
        running.append(Running(gateway, server, client, loaded))
        return running[-1]

    yield begin
    for each in running:
        await each.client.close()
        await each.server.stop()
