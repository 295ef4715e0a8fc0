"""Sessions that we open: a push to another server, and a stream that is fetched from one. Both try again for ever."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

from orbridge.adapters.rtmp.address import Address
from orbridge.adapters.rtmp.link import Link, LinkFailed
from orbridge.adapters.rtmp.outlet import Outlet
from orbridge.adapters.rtmp.session import RtmpSession, sinks_of, suit
from orbridge.adapters.rtmp.to_bus import ToBus
from orbridge.codecs.media import Codec, Role
from orbridge.codecs.rtmp.events import MediaKind
from orbridge.gateway import events
from orbridge.gateway.backoff import Backoff
from orbridge.gateway.session import CloseReason, State

if TYPE_CHECKING:
    from orbridge.adapters.rtmp.ground import Ground

log = structlog.get_logger(__name__)

# Between two attempts.
LONGEST_WAIT_S = 30.0
# A push goes on without media so long, for a stream that comes back at once.
LINGER_S = 10.0
# A stream that we fetch and that brings nothing for so long is asked for anew.
NO_MEDIA_S = 10.0
STALLED = "the server takes the stream too slowly"
INTERRUPTED = "interrupted"
WAITING = "waiting"


class ClientSession(RtmpSession, ABC):
    """Tries to be connected until it is hung up.

    Attributes:
        doing: what it is at, in words.
        attempts: connections tried since the beginning.
    """

    def __init__(
        self,
        ground: Ground,
        address: Address,
        *,
        name: str,
        room: str,
        device: str | None = None,
        plays: str | None = None,
        watches: bool = False,
    ) -> None:
        super().__init__(
            ground.context.next_id("rtmp"),
            name=name,
            room=room,
            remote=address.shown,
            inbound=False,
            opened_ns=ground.context.now_ns(),
            device=device,
            plays=plays,
            watches=watches,
        )
        self.doing = "beginning"
        self.attempts = 0
        self._ground, self._address = ground, address
        self._backoff = Backoff(LONGEST_WAIT_S)
        self._enhanced = True
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open it towards the routing core and begin."""
        self._ground.registry.add(self)
        self.move(State.CONNECTING)
        self._ground.context.router.attach(self)
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._done)

    async def hangup(self, reason: CloseReason, text: str = "") -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.over(reason, text)

    def stats(self) -> dict[str, Any]:
        return {
            "legs": [],
            "rtmp": {"doing": self.doing, "attempts": self.attempts, "failures": self._backoff.failures},
        }

    def _done(self, task: asyncio.Task[None]) -> None:
        """It tries for ever, so it ends when it is hung up, or by a fault of ours."""
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error(events.LINK_FAILED, session=self.id, remote=self.remote, problem=repr(fault), exc_info=fault)
            self.over(CloseReason.FAULT)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted()
            self.attempts += 1
            self.doing = "connecting"
            link = self._link()
            began = loop.time()
            try:
                stream_id = await link.open()
                began = loop.time()
                if self.state is State.CONNECTING:
                    self.move(State.ACTIVE)
                self._said(INTERRUPTED, "")
                problem = await self._use(link, stream_id)
                lasted = loop.time() - began
            except LinkFailed as exc:
                problem, lasted = str(exc), 0.0
                # A server from before enhanced RTMP may break over what we announce: be plain the next time.
                self._enhanced = link.is_connected or not self._enhanced
            finally:
                await link.close()
            if problem:
                await self._wait(problem, lasted)

    async def _wait(self, problem: str, lasted_s: float) -> None:
        wait_s = self._backoff.wait_s(lasted_s)
        self._ground.failed["link"] += 1
        self.doing = f"waiting {wait_s:.0f} s after a failure: {problem}"
        self._said(INTERRUPTED, f"{self.remote}: {problem}; it is tried again and again")
        log.warning(events.LINK_FAILED, session=self.id, remote=self.remote, problem=problem, wait_s=round(wait_s, 1))
        await asyncio.sleep(wait_s)

    def _said(self, code: str, text: str) -> None:
        if self.note(code, text):
            self.emit("media_changed", self)

    # what the two do differently

    @abstractmethod
    def _link(self) -> Link:
        """A connection that isn't open yet."""

    async def _wanted(self) -> None:
        """Wait until a connection is needed: at once, unless told otherwise."""

    @abstractmethod
    async def _use(self, link: Link, stream_id: int) -> str:
        """Use a connection until it is over. Returns the problem in words, empty for none."""


class PushSession(ClientSession):
    """Sends a stream, or a room's picture and sound, to another server while there is something to send."""

    def __init__(self, ground: Ground, address: Address, *, name: str, room: str, plays: str | None = None) -> None:
        super().__init__(ground, address, name=name, room=room, plays=plays, watches=plays is None)
        self._changed = asyncio.Event()
        self.outlet = Outlet(ground.feeds, ground.now_s, self._selected, publishes=True)
        self._four_ccs: frozenset[str] = frozenset()
        self.sinks = sinks_of(self.outlet)

    def offered(self, codecs: Sequence[Codec]) -> None:
        suit(self.sinks, codecs, self._four_ccs)

    def free(self) -> None:
        self.outlet.close()

    def stats(self) -> dict[str, Any]:
        return {"legs": [], "rtmp": {**super().stats()["rtmp"], **self.outlet.stats()}}

    def _link(self) -> Link:
        return Link(self._ground, self._address, enhanced=self._enhanced)

    def _selected(self) -> None:
        self._changed.set()

    async def _wanted(self) -> None:
        while not self.outlet.selected:
            what = self.plays if self.plays is not None else f"somebody in room {self.room}"
            self.doing = f"waiting for {what}"
            self._said(WAITING, f"nothing is sent to {self.remote}: waiting for {what}")
            self._changed.clear()
            await self._changed.wait()
        self._said(WAITING, "")

    async def _use(self, link: Link, stream_id: int) -> str:
        stalled = False

        def on_stalled() -> None:
            nonlocal stalled
            stalled = True
            link.abort()

        self.doing = "sending"
        self._suit(link)
        self.outlet.open(stream_id, link.wire.send, link.wire.buffered, on_stalled)
        over = asyncio.ensure_future(link.over())
        try:
            while not over.done():
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                linger = LINGER_S if not self.outlet.selected else None
                done, _ = await asyncio.wait({over, changed}, timeout=linger, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if not done and not self.outlet.selected:
                    return ""
            return STALLED if stalled else over.result()
        finally:
            over.cancel()
            self.outlet.close()

    def _suit(self, link: Link) -> None:
        """What the server takes as it is needs no transcoding."""
        self._four_ccs = link.four_ccs
        streams = self._ground.context.bus.engine.streams([self.plays]) if self.plays is not None else []
        tracks = streams[0]["tracks"] if streams else []
        before = [sink.codec for sink in self.sinks]
        codecs = [Codec(track["codec"], track["clock_hz"], track["channels"]) for track in tracks]
        suit(self.sinks, codecs, link.four_ccs, has_begun=False)
        if before != [sink.codec for sink in self.sinks]:
            self.emit("media_changed", self)


class PullSession(ClientSession):
    """Fetches a device's stream from another server. Its place on the bus stays while the connection is away."""

    def __init__(self, ground: Ground, address: Address, *, name: str, room: str, device: str, to_bus: ToBus) -> None:
        super().__init__(ground, address, name=name, room=room, device=device)
        self.to_bus = to_bus
        self.published = {Role.MAIN: to_bus.stream}
        to_bus.on_changed = self._changed

    def free(self) -> None:
        self.to_bus.close()

    def stats(self) -> dict[str, Any]:
        return {"legs": [], "rtmp": {**super().stats()["rtmp"], **self.to_bus.stats()}}

    def _link(self) -> Link:
        return Link(self._ground, self._address, self._media, enhanced=self._enhanced)

    def _media(self, kind: MediaKind, timestamp_ms: int, payload: bytes) -> None:
        self.to_bus.media(kind, timestamp_ms, payload)

    async def _use(self, link: Link, stream_id: int) -> str:
        self.doing = "receiving"
        began_ns = self._ground.context.now_ns()
        try:
            while True:
                try:
                    async with asyncio.timeout(1.0):
                        return await link.over()
                except TimeoutError:
                    self.to_bus.look()
                    now_ns = self._ground.context.now_ns()
                    if min(self.to_bus.silent_s(now_ns), (now_ns - began_ns) / 1e9) > NO_MEDIA_S:
                        return f"nothing came for {NO_MEDIA_S:.0f} s"
        finally:
            self.to_bus.interrupted()

    def _changed(self) -> None:
        ours = [note for note in self.notes if note.code in (INTERRUPTED, WAITING)]
        self.notes = [*ours, *self.to_bus.notes()]
        if self.state in (State.ACTIVE, State.CONNECTING):
            self.emit("media_changed", self)
