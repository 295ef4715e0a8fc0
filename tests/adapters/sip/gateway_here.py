"""The SIP adapter in this process, with a routing core that only keeps books."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from orbridge.adapters.sip.adapter import SipAdapter, create
from orbridge.adapters.sip.session import SipSession
from orbridge.codecs._engine import Engine
from orbridge.gateway.adapter import Admission, Context, Refused
from orbridge.gateway.bus import Bus
from orbridge.gateway.config import Config, Device
from orbridge.gateway.session import CloseReason, Session, State

PORT = 21500


class Books:
    """Implements ``gateway.adapter.Router``."""

    def __init__(self) -> None:
        self.sessions: list[SipSession] = []
        self.digits: list[str] = []
        self.changes = 0
        self.refusal: Refused | None = None

    def admit_device(self, device: Device, wanted_room: str | None) -> Admission:
        if self.refusal is not None:
            raise self.refusal
        room = wanted_room if wanted_room in device.rooms else device.room
        if not room:
            raise Refused(CloseReason.REFUSED, f"device {device.name} has no room")
        return Admission(room, device.name, device)

    def admit_guest(self, room: str, name: str) -> Admission:
        return Admission(room, name)

    def attach(self, session: Session) -> None:
        assert isinstance(session, SipSession)
        self.sessions.append(session)
        session.on("dtmf", lambda _session, digit: self.digits.append(digit))
        session.on("media_changed", self._changed)

    def _changed(self, _session: Session) -> None:
        self.changes += 1

    @property
    def last(self) -> SipSession:
        return self.sessions[-1]


class Gateway:
    """An adapter that is started, its books and its bus."""

    def __init__(self, adapter: SipAdapter, books: Books, bus: Bus, context: Context) -> None:
        self.adapter, self.books, self.bus, self.context = adapter, books, bus, context

    async def until(self, claim: Callable[[], Any], within: float = 3.0) -> None:
        """Wait until something is true. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while not claim():
                await asyncio.sleep(0.01)

    async def active(self, within: float = 3.0) -> SipSession:
        await self.until(lambda: self.books.sessions and self.books.last.state is State.ACTIVE, within)
        return self.books.last

    async def closed(self, session: SipSession, within: float = 4.0) -> CloseReason:
        await self.until(lambda: session.state is State.CLOSED, within)
        assert session.reason is not None
        return session.reason

    def leftovers(self) -> dict[str, int]:
        """What must all be 0 when no call is left."""
        return {
            "sessions": len(list(self.adapter.sessions())),
            "streams": len(self.bus.engine.streams()),
            "legs": self.bus.engine.stats()["legs"],
        }


def config(text: dict[str, Any], port: int = PORT) -> Config:
    """A configuration with one UDP listener and whatever else is given."""
    made: dict[str, Any] = {
        "sip": {"listen": [f"udp:127.0.0.1:{port}"]},
        "media": {"host": "127.0.0.1", "udp_ports": "41500-41599"},
        **text,
    }
    if "sip" in text:
        made["sip"] = {"listen": [f"udp:127.0.0.1:{port}"], **text["sip"]}
    if "media" in text:
        made["media"] = {"host": "127.0.0.1", "udp_ports": "41500-41599", **text["media"]}
    return msgspec.convert(made, Config)


OR3 = {
    "name": "or-3",
    "adapter": "sip",
    "address": "sip:or3@127.0.0.1:21510",
    "room": "or-3",
    "rooms": ["tumour-board"],
}


@asynccontextmanager
async def gateway(settings: Config, secrets: dict[str, str] | None = None) -> AsyncIterator[Gateway]:
    """Start the adapter on the running loop; everything is taken down and checked at the end."""
    low, high = settings.media.udp_ports.split("-")
    bus = Bus(Engine(udp_ports=(int(low), int(high))))
    bus.start()
    books, numbers = Books(), itertools.count(1)
    context = Context(
        config=settings,
        bus=bus,
        router=books,
        next_id=lambda kind: f"{kind}-{next(numbers)}",
        now_ns=time.monotonic_ns,
        secret=lambda name: (secrets or {})[name],
        authorise=lambda _request, _may, _room: "",
    )
    adapter = create(context)
    try:
        await adapter.start()
        yield Gateway(adapter, books, bus, context)
    finally:
        await adapter.stop(0.3)
        bus.close()
