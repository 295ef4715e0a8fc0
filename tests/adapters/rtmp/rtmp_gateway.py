"""The RTMP adapter with the real engine and routing core, in this process; keys and tokens as small as they can be."""

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from orbridge.adapters.rtmp.adapter import RtmpAdapter, create
from orbridge.codecs._engine import Engine
from orbridge.codecs.errors import LocalError
from orbridge.gateway.adapter import Context
from orbridge.gateway.bus import Bus
from orbridge.gateway.config import Config, Device, Media, Room, Rtmp, Token
from orbridge.gateway.http.auth import Guard
from orbridge.gateway.rooms.model import Rooms
from orbridge.gateway.routing import Routing
from orbridge.gateway.session import Session

KEY = "key-of-the-tower"
TOKEN = "viewer-token-0123456789"
ADMIN = "admin-token-0123456789"
ELSEWHERE = "token-for-another-room"
SECRETS = {"keys/tower": KEY, "keys/viewer": TOKEN, "keys/admin": ADMIN, "keys/elsewhere": ELSEWHERE}
TOKENS = [
    Token(name="nurse", secret_file="keys/viewer", rooms=("or-*",)),
    Token(name="boss", secret_file="keys/admin", may=("admin",)),
    Token(name="stranger", secret_file="keys/elsewhere", rooms=("elsewhere",)),
]
TOWER = Device(name="tower", adapter="rtmp", key_file="keys/tower", room="or-3")
STREAM = "tower/main"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def secret(reference: str) -> str:
    try:
        return SECRETS[reference]
    except KeyError as exc:
        raise LocalError(f"secret {reference} can't be read") from exc


def refuse_http(_request: web.Request, _right: str, _room: str | None) -> str:
    raise web.HTTPUnauthorized


class Gateway:
    """A running one. ``port``: where it listens."""

    def __init__(self, bus: Bus, config: Config) -> None:
        numbers = itertools.count(1)
        self.bus, self.config = bus, config
        self.port = int(config.rtmp.listen.rpartition(":")[2]) if config.rtmp.listen else 0
        self.rooms = Rooms()
        self.routing = Routing(bus, self.rooms, config, time.monotonic_ns)
        guard = Guard()
        guard.configure(config.tokens, secret)
        self.context = Context(
            config,
            bus,
            self.routing,
            lambda kind: f"{kind}-{next(numbers)}",
            time.monotonic_ns,
            secret,
            refuse_http,
            guard.authorise_secret,
        )
        self.adapter: RtmpAdapter = create(self.context)

    @property
    def sessions(self) -> list[Session]:
        return list(self.adapter.sessions())

    def url(self, path: str) -> str:
        return f"rtmp://127.0.0.1:{self.port}/{path}"

    def counted(self, what: str) -> int:
        status = self.adapter.status()
        return int({**status["refused"], **status["failed"]}.get(what, 0))

    async def reload(self, **changes: Any) -> None:
        self.config = self.context.config = msgspec.structs.replace(self.config, **changes)
        self.routing.reload(self.config)
        await self.adapter.reload(self.config)


@asynccontextmanager
async def rtmp_gateway(
    rtmp: Rtmp | None = None, media: Media | None = None, devices: list[Device] | None = None, **more: Any
) -> AsyncIterator[Gateway]:
    """``more``: further sections of the config. Every session is ended afterwards, and nothing may be left."""
    rtmp = rtmp or Rtmp()
    if not rtmp.listen:
        rtmp = msgspec.structs.replace(rtmp, listen=f"127.0.0.1:{free_port()}")
    config = Config(
        rtmp=rtmp, media=media or Media(), devices=[TOWER] if devices is None else devices, tokens=TOKENS, **more
    )
    engine = Engine(udp_ports=(46_300, 46_390))
    bus = Bus(engine)
    bus.start()
    gateway = Gateway(bus, config)
    await gateway.adapter.start()
    try:
        yield gateway
    finally:
        await gateway.adapter.stop(5)
        assert gateway.sessions == []
        gateway.routing.close()
        assert gateway.adapter.status()["feeds"] == 0
        await until("no stream is left", lambda: engine.stats()["streams"] == 0)
        bus.close()


def room(name: str, address: str = "", key_file: str = "") -> Room:
    return Room(name=name, backend="rtmp" if address else "embedded", address=address, key_file=key_file)


async def until(what: str, probe: Callable[[], Any], within_s: float = 10.0) -> Any:
    """The first truthy value of ``probe``."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + within_s
    while True:
        value = probe()
        if value:
            return value
        assert loop.time() < ends, f"{what}: not within {within_s} s, last {value!r}"
        await asyncio.sleep(0.02)
