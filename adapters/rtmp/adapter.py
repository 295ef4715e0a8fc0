"""The RTMP adapter: the server, what is pushed by configuration, and what is dialled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import structlog
from aiohttp import web

from orbridge.adapters.rtmp.address import Address, parse_address
from orbridge.adapters.rtmp.client import ClientSession, PullSession, PushSession
from orbridge.adapters.rtmp.feed import Feeds
from orbridge.adapters.rtmp.gate import Gate, device_stream
from orbridge.adapters.rtmp.ground import Ground
from orbridge.adapters.rtmp.server import Server
from orbridge.adapters.rtmp.session import PlaySession, PublishSession
from orbridge.adapters.rtmp.to_bus import ToBus
from orbridge.codecs.errors import LocalError
from orbridge.gateway import events
from orbridge.gateway.adapter import Context, Refused
from orbridge.gateway.config import Config, Device
from orbridge.gateway.session import CloseReason, Session

log = structlog.get_logger(__name__)


class RtmpAdapter:
    """Implements ``gateway.adapter.Adapter``."""

    name = "rtmp"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ground = Ground(context, Feeds(context.bus.engine), Gate(context))
        self._server = Server(self._ground)
        # by what they were made of, so that a reload leaves alone what didn't change
        self._pushes: dict[tuple[str, str, str, str], PushSession] = {}
        self._is_stopping = False

    async def start(self) -> None:
        await self._server.start(self._context.config.rtmp)
        self._doubt_keys()
        await self._settle_pushes(self._context.config)

    async def stop(self, deadline_s: float) -> None:
        self._is_stopping = True
        self._pushes.clear()
        hangups = [session.hangup(CloseReason.SHUTDOWN) for session in self._ground.registry.all()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await asyncio.gather(*hangups, return_exceptions=True)
        await self._server.stop()
        self._ground.feeds.close()
        self._ground.pacer.close()

    async def reload(self, config: Config) -> None:
        """Pushes and rooms that are sent out changed; devices and their keys are looked up when somebody comes."""
        self._doubt_keys()
        await self._settle_pushes(config)

    async def dial(self, target: Device | str, room: str) -> Session:
        """A device: fetch its stream into the room. An address: send the room's picture and sound there."""
        if self._is_stopping:
            raise Refused(CloseReason.SHUTDOWN, "the gateway is stopping")
        if isinstance(target, Device):
            return self._pull(target, room)
        return self._push(_parsed(target, ""), room, None)

    def sessions(self) -> Iterable[Session]:
        return self._ground.registry.all()

    def routes(self) -> Iterable[web.RouteDef]:
        return ()

    def status(self) -> dict[str, Any]:
        sessions = self._ground.registry.all()
        return {
            "listeners": self._server.status(),
            "connections": self._server.connections,
            "connections_limit": self._context.config.rtmp.max_connections,
            "publishers": sum(isinstance(session, PublishSession) for session in sessions),
            "players": sum(isinstance(session, PlaySession) for session in sessions),
            "links": [
                {"session": session.id, "remote": session.remote, "state": session.doing, "attempts": session.attempts}
                for session in sessions
                if isinstance(session, ClientSession)
            ],
            "feeds": len(self._ground.feeds.stats()),
            "opened": self._ground.registry.opened,
            "refused": dict(self._ground.gate.counts),
            "failed": dict(self._ground.failed),
        }

    def _doubt_keys(self) -> None:
        for device, problem in self._ground.gate.doubts():
            log.warning(events.KEY_DOUBTED, device=device, problem=problem)

    # what is sent out by configuration

    async def _settle_pushes(self, config: Config) -> None:
        """Make what is configured run, and nothing else. What can't is said and left out."""
        wanted = {
            **{("room", room.name, room.address, room.key_file): "" for room in config.rooms if room.backend == "rtmp"},
            **{("push", push.name, push.address, push.key_file): push.stream for push in config.pushes},
        }
        for made, session in list(self._pushes.items()):
            if made not in wanted or (session.plays or "") != wanted[made]:
                del self._pushes[made]
                await session.hangup(CloseReason.LOCAL_HANGUP, "it is no longer configured")
        for made, stream in wanted.items():
            kind, name, address, key_file = made
            if made in self._pushes:
                continue
            try:
                key = self._context.secret(key_file) if key_file else ""
                room = name if kind == "room" else self._ground.gate.home(stream)
                self._pushes[made] = self._push(_parsed(address, key), room, stream or None, name)
            except LocalError as exc:
                log.error(events.PUSH_FAILED, name=name, problem=str(exc))

    def _push(self, address: Address, room: str, stream: str | None, name: str = "") -> PushSession:
        session = PushSession(self._ground, address, name=name or address.host, room=room, plays=stream)
        session.start()
        return session

    def _pull(self, device: Device, room: str) -> PullSession:
        """Raises Refused."""
        if not device.address:
            raise Refused(
                CloseReason.REFUSED, f"{device.name} publishes to us by itself: it has no address to fetch from"
            )
        for other in self._ground.registry.of_device(device.name):
            raise Refused(CloseReason.BUSY, f"{device.name} is here already, as {other.id}")
        try:
            key = self._context.secret(device.key_file) if device.key_file else ""
        except LocalError as exc:
            raise Refused(CloseReason.REFUSED, f"{device.name}: {exc}") from exc
        address = _parsed(device.address, key)
        stream = device_stream(device)
        try:
            to_bus = ToBus(self._context.bus.engine, stream, self._context.now_ns, video=device.video)
        except ValueError as exc:
            raise Refused(CloseReason.BUSY, f"somebody publishes {stream} already") from exc
        session = PullSession(self._ground, address, name=device.name, room=room, device=device.name, to_bus=to_bus)
        session.start()
        return session


def _parsed(address: str, key: str) -> Address:
    try:
        return parse_address(address, key)
    except LocalError as exc:
        raise Refused(CloseReason.REFUSED, str(exc)) from exc


def create(context: Context) -> RtmpAdapter:
    return RtmpAdapter(context)
