"""Keeps devices with ``auto_dial`` in their rooms: calls them, and again whenever a call ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from orbridge.codecs.errors import OrbridgeError
from orbridge.gateway import events
from orbridge.gateway.backoff import Backoff
from orbridge.gateway.config import Device
from orbridge.gateway.session import Session, State

log = structlog.get_logger(__name__)

LONGEST_S = 60.0


class Dialler:
    """One task a device; ``configure`` again after a reload."""

    def __init__(
        self,
        dial: Callable[[str, str], Awaitable[Session]],
        current: Callable[[Device], Session | None],
    ) -> None:
        """``dial(device name, "")`` calls; ``current(device)`` is its session, whoever began it."""
        self._dial, self._current = dial, current
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def configure(self, devices: Iterable[Device]) -> None:
        wanted = {device.name: device for device in devices if device.auto_dial}
        for name in [name for name in self._tasks if name not in wanted]:
            self._tasks.pop(name).cancel()
        for name, device in wanted.items():
            if name not in self._tasks:
                self._tasks[name] = asyncio.get_running_loop().create_task(self._keep(device))

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, device: Device) -> None:
        backoff = Backoff(LONGEST_S)
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            session = self._current(device)
            if session is None:
                try:
                    session = await self._dial(device.name, "")
                except OrbridgeError as exc:
                    log.warning(
                        events.DEVICE_FAILED, device=device.name, problem=str(exc), attempt=backoff.failures + 1
                    )
            if session is not None:
                await ended(session)
            await asyncio.sleep(backoff.wait_s(loop.time() - started))


async def ended(session: Session) -> None:
    """Wait until a session is over."""
    over = asyncio.Event()
    session.on("closed", lambda *_: over.set())
    if session.state is not State.CLOSED:
        await over.wait()
