"""The WebRTC adapter in an HTTP server of its own: tokens, rooms and routing as small as they can be."""

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from orbridge.adapters.webrtc.adapter import WebRtcAdapter, create
from orbridge.gateway.adapter import Admission, Context, Refused
from orbridge.gateway.bus import Bus
from orbridge.gateway.config import Config, Device, IceServer, Media
from orbridge.gateway.http.problems import in_words
from orbridge.gateway.rooms.model import Rooms
from orbridge.gateway.routing import Routing, unique_name
from orbridge.gateway.session import CloseReason, Session, State

# token -> (name, rights, room or * )
TOKENS = {
    "publisher": ("dr-li", {"publish", "view"}, "*"),
    "viewer": ("nurse", {"view"}, "*"),
    "other": ("dr-wu", {"publish", "view"}, "*"),
    "elsewhere": ("dr-ma", {"publish", "view"}, "or-9"),
}


class OpenRooms:
    """Admits everybody up to a number and keeps what was attached."""

    def __init__(self) -> None:
        self.attached: list[Session] = []
        self.full = False

    @property
    def present(self) -> list[Session]:
        return [session for session in self.attached if session.state is not State.CLOSED]

    def admit_device(self, device: Device, wanted_room: str | None) -> Admission:
        raise AssertionError("no device comes over WebRTC")

    def admit_guest(self, room: str, name: str) -> Admission:
        if self.full:
            raise Refused(CloseReason.ROOM_FULL, f"room {room} is full")
        return Admission(room, unique_name(name, [session.name for session in self.present]))

    def room_of(self, stream: str) -> str | None:
        return next((s.room for s in self.present if stream in s.published.values()), None)

    def attach(self, session: Session) -> None:
        self.attached.append(session)


def authorise(request: web.Request, need: str, room: str | None) -> str:
    token = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.query.get("token", "")
    if token not in TOKENS:
        raise web.HTTPUnauthorized
    name, rights, rooms = TOKENS[token]
    if need not in rights or rooms not in ("*", room):
        raise web.HTTPForbidden
    return name


class Gateway:
    def __init__(self, bus: Bus, media: Media | None = None, *, routed: bool = False) -> None:
        numbers = itertools.count(1)
        config = Config(media=media or Media())
        self.router = OpenRooms()
        self.routing = Routing(bus, Rooms(), config, time.monotonic_ns) if routed else None
        self.context = Context(
            config,
            bus,
            self.routing or self.router,
            lambda kind: f"{kind}-{next(numbers)}",
            time.monotonic_ns,
            lambda reference: f'secret of "{reference}"',
            authorise,
        )
        self.adapter: WebRtcAdapter = create(self.context)
        self.http: TestClient[Any, Any]

    @property
    def sessions(self) -> list[Session]:
        return list(self.adapter.sessions())


async def _blank(_request: web.Request) -> web.Response:
    """A page for a browser to stand on: same origin, a secure context on loopback."""
    return web.Response(text="<!doctype html><title>blank</title>", content_type="text/html")


@asynccontextmanager
async def web_gateway(bus: Bus, media: Media | None = None, *, routed: bool = False) -> AsyncIterator[Gateway]:
    """A running one; every session is ended afterwards. ``routed``: with the real routing core, so that media flows."""
    gateway = Gateway(bus, media, routed=routed)
    await gateway.adapter.start()
    application = web.Application(middlewares=[in_words])
    application.add_routes(list(gateway.adapter.routes()))
    application.router.add_get("/blank", _blank)
    async with TestClient(TestServer(application)) as client:
        gateway.http = client
        try:
            yield gateway
        finally:
            await gateway.adapter.stop(5)
            if gateway.routing is not None:
                gateway.routing.close()


ICE_SERVERS = [
    IceServer(url="stun:127.0.0.1:9"),
    IceServer(url="turn:turn.example.net:3478?transport=udp", username='us"er', credential_file="turn"),
]
