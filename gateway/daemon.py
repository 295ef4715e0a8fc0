"""The daemon: creates everything, hands it to each other, and takes it down again in time."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import os
import platform
import signal
import time
from importlib import metadata
from typing import Any

import structlog
import uvloop

from orbridge.codecs._engine import Engine, build_info
from orbridge.codecs.errors import LocalError, OrbridgeError
from orbridge.codecs.media import VideoLimit
from orbridge.gateway import adapters_found, events
from orbridge.gateway.adapter import Adapter, Context, Refused
from orbridge.gateway.bus import Bus
from orbridge.gateway.config import Config, Device
from orbridge.gateway.config_load import ConfigError, Loaded, load, split_ports
from orbridge.gateway.dialler import Dialler
from orbridge.gateway.http.server import Server
from orbridge.gateway.notify import notify, watchdog_interval_s
from orbridge.gateway.rooms.model import Rooms
from orbridge.gateway.routing import Routing
from orbridge.gateway.session import CloseReason, Session

log = structlog.get_logger(__name__)

STOP_WITHIN_S = 4.0
HEARTBEAT_S = 0.25
STALL_S = 0.3
STATUS_EVERY_S = 5.0
# Sections that a running daemon takes over on SIGHUP; a change of another needs a restart.
RELOADABLE = ("devices", "rooms", "tokens", "pushes")


def version() -> str:
    try:
        return metadata.version("orbridge")
    except metadata.PackageNotFoundError:
        return "unpackaged"


class Daemon:
    """The whole gateway in one process. ``run`` does everything; tests may ``start`` and ``stop`` it themselves."""

    def __init__(self, loaded: Loaded) -> None:
        for problem in loaded.unreadable_secrets():
            log.error(events.SECRET_MISSED, problem=f"{problem}; its owner is locked out")
        loaded = dataclasses.replace(loaded, locked=True)
        self.loaded = loaded
        self.config: Config = loaded.config
        self.ready = False
        self._started_ns = time.monotonic_ns()
        self._numbers: dict[str, itertools.count[int]] = {}
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        engine = Engine(udp_ports=split_ports(self.config.media.udp_ports))
        self.bus = Bus(engine)
        self.rooms = Rooms()
        self.routing = Routing(self.bus, self.rooms, self.config, time.monotonic_ns)
        self.server = Server(self, loaded)
        self.context = Context(
            config=self.config,
            bus=self.bus,
            router=self.routing,
            next_id=self._next_id,
            now_ns=time.monotonic_ns,
            secret=lambda reference: self.loaded.secret(reference),
            authorise=self.server.authorise,
            authorise_secret=self.server.authorise_secret,
        )
        self.adapters: dict[str, Adapter] = {}
        self.dialler = Dialler(self.call, self.device_session)

    # life

    async def run(self) -> None:
        """Start, wait for SIGTERM or SIGINT, stop. Raises LocalError when it can't start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._spawn_reload)
        try:
            await self.start()
            await self._stopping.wait()
        finally:
            await self.stop()

    async def start(self) -> None:
        """Open everything. Raises LocalError with a sentence when something can't be opened."""
        build = build_info()
        python = platform.python_version()
        log.info(events.DAEMON_STARTED, version=version(), python=python, pid=os.getpid(), engine=build)
        self.bus.start()
        self.adapters = adapters_found.find(self.context)
        for name, adapter in self.adapters.items():
            await adapter.start()
            log.info(events.ADAPTER_STARTED, adapter=name, status=adapter.status())
        await self.server.start([route for adapter in self.adapters.values() for route in adapter.routes()])
        self._spawn(self._heartbeat())
        self.dialler.configure(self.config.devices)
        # What was made so far stays: the collector needn't look through it again and again (some 30 ms each time).
        gc.collect()
        gc.freeze()
        self.ready = True
        ready_ms = round((time.monotonic_ns() - self._started_ns) / 1e6)
        log.info(events.DAEMON_READY, ready_ms=ready_ms, urls=self.server.urls, config=self.loaded.path)
        notify("READY=1", "STATUS=ready, no calls")

    async def stop(self) -> None:
        """End calls in their protocols' way and close everything, within five seconds. Idempotent."""
        was_ready, self.ready = self.ready, False
        notify("STOPPING=1")
        await self.dialler.close()
        for task in self._tasks:
            task.cancel()
        stops = {name: adapter.stop(STOP_WITHIN_S - 1) for name, adapter in self.adapters.items()}
        self.adapters = {}
        results = await asyncio.gather(
            *(asyncio.wait_for(stop, STOP_WITHIN_S) for stop in stops.values()), return_exceptions=True
        )
        for name, result in zip(stops, results, strict=True):
            if isinstance(result, BaseException):
                log.error(events.ADAPTER_FAILED, adapter=name, problem=repr(result))
        await self.server.stop()
        self.routing.close()
        self.bus.close()
        if was_ready:
            log.info(events.DAEMON_STOPPED, up_s=round((time.monotonic_ns() - self._started_ns) / 1e9, 1))

    async def reload(self) -> list[str]:
        """Take over devices, rooms and tokens from the file; running sessions stay.

        Returns sections that changed but need a restart. Raises ConfigError; then everything stays as it was.
        """
        loaded = load(self.loaded.folder / os.path.basename(self.loaded.path))
        if problems := loaded.unreadable_secrets():
            raise ConfigError(loaded.path, problems)
        new = loaded.config
        needs_restart = [
            name
            for name in Config.__struct_fields__
            if name not in RELOADABLE and getattr(new, name) != getattr(self.config, name)
        ]
        self.server.reload(loaded)
        self.loaded, self.config, self.context.config = loaded, new, new
        self.routing.reload(new)
        for adapter in self.adapters.values():
            await adapter.reload(new)
        self.dialler.configure(new.devices)
        log.info(
            events.CONFIG_RELOADED,
            devices=len(new.devices),
            rooms=len(new.rooms),
            tokens=len(new.tokens),
            needs_restart=needs_restart,
        )
        return needs_restart

    # what the HTTP side and the command line ask

    def sessions(self) -> list[Session]:
        return list(self.routing.sessions.values())

    async def call(self, target: str, room: str) -> Session:
        """Call a device by name, or an address. Raises Refused or LocalError with a sentence."""
        device = next((device for device in self.config.devices if device.name == target), None)
        if device is None and ":" not in target:
            raise Refused(
                CloseReason.REFUSED, f"no device is called {target}, and it isn't an address such as sip:room@host"
            )
        kind = device.adapter if device else target.partition(":")[0].removesuffix("s")
        adapter = self.adapters.get(kind)
        if adapter is None:
            raise Refused(CloseReason.REFUSED, f"nothing here can call {kind} addresses")
        where = room or (device.room if device else "")
        if not where:
            raise Refused(CloseReason.REFUSED, f"{target} has no room of its own: name one")
        session = await adapter.dial(device or target, where)
        log.info(events.DEVICE_DIALLED, session=session.id, device=session.device, room=where)
        return session

    async def hangup(self, session_id: str) -> bool:
        """False when there is no such session."""
        session = self.routing.sessions.get(session_id)
        if session is None:
            return False
        await session.hangup(CloseReason.LOCAL_HANGUP)
        return True

    def limit_for(self, session_id: str) -> VideoLimit | None:
        return self.routing.limit_for(session_id)

    def device_session(self, device: Device) -> Session | None:
        return next((session for session in self.routing.sessions.values() if session.device == device.name), None)

    def status(self) -> dict[str, Any]:
        """Totals for `orbridge status`, /metrics and the operator's page."""
        return {
            "version": version(),
            "ready": self.ready,
            "pid": os.getpid(),
            "up_s": round((time.monotonic_ns() - self._started_ns) / 1e9, 1),
            "config": self.loaded.path,
            "urls": self.server.urls,
            "sessions": len(self.routing.sessions),
            "rooms": len(self.rooms.all()),
            "engine": {**build_info(), **self.bus.engine.stats()},
            "conversions": self.routing.conversions(),
            "adapters": {name: adapter.status() for name, adapter in self.adapters.items()},
        }

    # inside

    def _next_id(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers.setdefault(kind, itertools.count(1)))}"

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _spawn_reload(self) -> None:
        self._spawn(self._reload_said())

    async def _reload_said(self) -> None:
        try:
            await self.reload()
        except (ConfigError, LocalError) as exc:
            log.error(events.CONFIG_REFUSED, problem=str(exc))

    async def _heartbeat(self) -> None:
        """Tell systemd that the loop turns, and the log when it stood still."""
        every = watchdog_interval_s()
        loop = asyncio.get_running_loop()
        watched = said = loop.time()
        while True:
            before = loop.time()
            await asyncio.sleep(HEARTBEAT_S)
            now = loop.time()
            if now - before > HEARTBEAT_S + STALL_S:
                log.warning(events.DAEMON_STALLED, stalled_ms=round((now - before - HEARTBEAT_S) * 1000))
            if every is not None and now - watched >= min(every, STATUS_EVERY_S):
                watched = now
                notify("WATCHDOG=1")
            if now - said >= STATUS_EVERY_S:
                said = now
                notify(f"STATUS={len(self.routing.sessions)} sessions in {len(self.rooms.all())} rooms")


def serve(loaded: Loaded) -> int:
    """Run until a signal. Returns the exit status."""

    async def main() -> None:
        await Daemon(loaded).run()

    try:
        uvloop.run(main())
    except OrbridgeError as exc:
        log.error(events.DAEMON_STOPPED, problem=str(exc))
        return 1
    return 0
