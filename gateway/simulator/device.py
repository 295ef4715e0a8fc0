"""The simulated device: the SIP adapter on its own, with a test source instead of a camera and a watcher as screen.

It is a user agent like any room system: what it is told in signalling it does, what it gets it decodes and judges.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from orbridge.codecs._engine import Engine
from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import OPUS, Kind, Role
from orbridge.gateway import adapters_found
from orbridge.gateway.adapter import Adapter, Admission, Context
from orbridge.gateway.bus import Bus
from orbridge.gateway.config import Config, Device, Media, Sip
from orbridge.gateway.config_load import Loaded, split_ports
from orbridge.gateway.session import Session, State
from orbridge.gateway.simulator.source import TestSource
from orbridge.gateway.simulator.watch import Watcher
from orbridge.gateway.sound import Transcoders

log = structlog.get_logger(__name__)

PEER = "gateway"
OWN = "simulated/main"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the device is like.

    Attributes:
        name: user part of its own address.
        listen: transport:host:port of its SIP listener.
        target: SIP address to call; empty: wait for a call.
        max_nal_bytes: slices that fit into one packet, as devices in packetization-mode 0 send them; 0: one slice.
    """

    name: str = "theatre"
    listen: str = "udp:127.0.0.1:5070"
    target: str = ""
    host: str = "127.0.0.1"
    udp_ports: str = "40000-40999"
    width: int = 1280
    height: int = 720
    fps: int = 30
    kbps: int = 1500
    tone_hz: float = 440.0
    max_nal_bytes: int = 0
    audio_codecs: tuple[str, ...] = ("G722", "PCMA", "PCMU", "OPUS")
    srtp: str = "optional"

    def config(self) -> Config:
        """Of the SIP adapter inside: it knows one device, the gateway, from wherever it calls."""
        peer = Device(
            name=PEER,
            adapter="sip",
            address=self.target or f"sip:{self.name}@{self.host}",
            room="here",
            rooms=["*"],
            audio_codecs=self.audio_codecs,
            srtp=self.srtp,  # type: ignore[arg-type]  # checked by the command line's own Literal
        )
        return Config(
            sip=Sip(listen=[self.listen], domain=self.name, max_calls=4, user_agent="orbridge-simulated-device"),
            media=Media(host=self.host, udp_ports=self.udp_ports),
            devices=[peer],
        )


class Screen:
    """The routing core of one device: shows the source to every sink, watches what arrives. An ``adapter.Router``."""

    def __init__(self, bus: Bus) -> None:
        self.session: Session | None = None
        self.watcher: Watcher | None = None
        self.ended = asyncio.Event()
        self._bus = bus
        self._transcoders = Transcoders(bus.engine)

    def admit_device(self, device: Device, wanted_room: str | None) -> Admission:
        return Admission(device.room, device.name, device)

    def admit_guest(self, room: str, name: str) -> Admission:
        raise LocalError("a simulated device takes calls only")

    def room_of(self, stream: str) -> str | None:
        return None

    def attach(self, session: Session) -> None:
        self.session = session
        self.ended.clear()
        session.on("media_changed", lambda changed: self._connect(changed))
        session.on("state", lambda changed, _old, _new: self._connect(changed))
        session.on("closed", self._closed)
        self._connect(session)

    def close(self) -> None:
        self._transcoders.close()

    def _connect(self, session: Session) -> None:
        if session.state not in (State.ACTIVE, State.CONNECTING):
            return
        for sink in session.sinks:
            track = self._bus.engine.track(OWN, sink.kind.value)
            if track is not None and sink.kind is Kind.AUDIO and sink.codec.name != "OPUS":
                track = self._transcoders.use(session.id, track, OPUS, sink.codec)
            if sink.sender.selected != track:
                sink.select(track)
        stream = session.published.get(Role.MAIN)
        if self.watcher is None and stream is not None and self._bus.engine.streams([stream]):
            self.watcher = Watcher(self._bus, stream)
            self.watcher.start()

    def _closed(self, session: Session, _reason: object) -> None:
        self._transcoders.release(session.id)
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            asyncio.get_running_loop().create_task(watcher.close())
        if self.session is session:
            self.session = None
            self.ended.set()


class SimulatedDevice:
    """``async with`` it; ``facts`` says at any time what it does and sees."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        config = settings.config()
        self._loaded = Loaded(config, Path.cwd(), "simulated device")
        self.bus = Bus(Engine(udp_ports=split_ports(settings.udp_ports)))
        self.screen = Screen(self.bus)
        self.source = TestSource(
            self.bus,
            OWN,
            width=settings.width,
            height=settings.height,
            fps=settings.fps,
            kbps=settings.kbps,
            tone_hz=settings.tone_hz,
            max_nal_bytes=settings.max_nal_bytes,
        )
        numbers = itertools.count(1)
        context = Context(
            config=config,
            bus=self.bus,
            router=self.screen,
            next_id=lambda kind: f"{kind}-{next(numbers)}",
            now_ns=time.monotonic_ns,
            secret=self._loaded.secret,
            authorise=_nobody,
        )
        self.adapter: Adapter = adapters_found.one("sip", context)

    async def __aenter__(self) -> SimulatedDevice:
        self.bus.start()
        await self.adapter.start()
        self.source.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.adapter.stop(3.0)
        await self.source.close()
        self.screen.close()
        self.bus.close()

    async def call(self) -> Session:
        """Call ``settings.target``. Raises Refused."""
        return await self.adapter.dial(self._loaded.config.devices[0], "here")

    def facts(self) -> dict[str, Any]:
        """State of the call, what is sent and what is seen; for JSON."""
        session, watcher = self.screen.session, self.screen.watcher
        return {
            "name": self.settings.name,
            "state": session.state if session else "idle",
            "notes": [note.text for note in session.notes] if session else [],
            "sent_pictures": self.source.pictures,
            "seen": watcher.seen.facts() if watcher else None,
        }


def _nobody(_request: web.Request, _need: str, _room: str | None) -> str:
    raise web.HTTPForbidden


async def keep_called(device: SimulatedDevice, on_problem: Callable[[str], None], retry_s: float = 2.0) -> None:
    """Call the target and, whenever the call ended, again; for a demo that shall survive its gateway's restart."""
    while True:
        try:
            await device.call()
            await device.screen.ended.wait()
        except LocalError as exc:
            on_problem(str(exc))
        await asyncio.sleep(retry_s)
