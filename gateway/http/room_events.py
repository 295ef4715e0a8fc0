"""A room's events over a websocket: who is in, who speaks, how the streams do, what a publisher must keep to.

Every message replaces what was known of its kind, so a watcher's queue holds one message of each kind at most: a slow
page misses steps, never the present. A page that takes nothing for ``SEND_TIMEOUT_S`` is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from orbridge.gateway import events
from orbridge.gateway.http.auth import RIGHTS, Guard, Principal
from orbridge.gateway.http.facade import Gateway
from orbridge.gateway.http.problems import problem
from orbridge.gateway.http.room_view import View
from orbridge.gateway.http.schema import (
    Hello,
    IceServerState,
    LimitChanged,
    LimitState,
    Publishing,
    RoomChanged,
    RoomEvent,
    SpeakerChanged,
    Stats,
    You,
)

log = structlog.get_logger(__name__)

STATS_EVERY_S = 1.0
# Between two snapshots of a room, so that several voices that come and go don't flood the pages.
ROOM_EVERY_S = 0.15
HEARTBEAT_S = 15.0
SEND_TIMEOUT_S = 10.0
WATCHERS_LIMIT = 200
MESSAGE_LIMIT_BYTES = 1024
# Close codes of our own (RFC 6455 7.4.2: 4000-4999 are private).
TOKEN_WITHDRAWN = 4401


@dataclass(slots=True, eq=False)
class Watcher:
    """One page. ``pending``: kind of message -> the newest of it that wasn't sent yet."""

    principal: Principal
    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    pending: dict[str, bytes] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    session: str | None = None
    limit: LimitState | None = None

    def put(self, kind: str, message: bytes) -> None:
        self.pending.pop(kind, None)
        self.pending[kind] = message
        self.wake.set()


@dataclass(slots=True, eq=False)
class Watched:
    """A room that pages look at."""

    watchers: set[Watcher] = field(default_factory=set)
    ticker: asyncio.Task[None] | None = None
    next_at: float = 0.0
    due: asyncio.TimerHandle | None = None


class RoomEvents:
    """All rooms' watchers.

    ``instance`` names this run of the gateway, so that pages see that their sessions are gone.
    """

    def __init__(
        self,
        gateway: Gateway,
        view: View,
        guard: Guard,
        instance: str,
        ice_servers: Callable[[], list[IceServerState]],
    ) -> None:
        self._gateway, self._view, self._guard = gateway, view, guard
        self._instance, self._ice_servers = instance, ice_servers
        self._rooms: dict[str, Watched] = {}
        self._closing = False
        self._goodbyes: set[asyncio.Task[bool]] = set()
        gateway.rooms.on("changed", self._changed)
        gateway.rooms.on("closed", lambda room: self._changed(room.name))
        gateway.rooms.on("opened", lambda room: self._changed(room.name))
        gateway.rooms.on("speaker", self._speaker)

    @property
    def watchers(self) -> int:
        return sum(len(watched.watchers) for watched in self._rooms.values())

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """GET /api/v1/rooms/{room}/events."""
        name = request.match_info["room"]
        principal = self._guard.require(request, "view", name)
        if self._closing:
            raise problem(503, "shutdown", "the gateway is stopping", "try again in a few seconds")
        if len(self._rooms.get(name, Watched()).watchers) >= WATCHERS_LIMIT:
            what = f"{WATCHERS_LIMIT} pages look at room {name} already"
            raise problem(503, "too_many_watchers", what, "close one of them", {"Retry-After": "5"})
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_LIMIT_BYTES, compress=False)
        if not socket.can_prepare(request):
            raise problem(400, "not_a_websocket", "this address speaks websocket only", "open it with a websocket")
        await socket.prepare(request)
        await self._attend(name, Watcher(principal, socket, request.transport))
        return socket

    def reloaded(self) -> None:
        """Tokens changed: close pages that may no longer look."""
        for name, watched in self._rooms.items():
            for watcher in watched.watchers:
                if not self._guard.still_admits(watcher.principal, "view", name):
                    self._end(watcher, TOKEN_WITHDRAWN, b"the token is no longer valid")
            self._changed(name)

    async def close(self) -> None:
        """Say goodbye to every page; bounded in time."""
        self._closing = True
        sockets = [watcher.socket for watched in self._rooms.values() for watcher in watched.watchers]
        goodbyes = [
            asyncio.create_task(socket.close(code=WSCloseCode.GOING_AWAY, message=b"the gateway is stopping"))
            for socket in sockets
        ]
        if goodbyes:
            _, late = await asyncio.wait(goodbyes, timeout=1.0)
            for goodbye in late:
                goodbye.cancel()

    # one watcher

    async def _attend(self, name: str, watcher: Watcher) -> None:
        watched = self._enter(name, watcher)
        sender = asyncio.create_task(self._send(name, watcher))
        try:
            async for message in watcher.socket:
                if message.type is not WSMsgType.TEXT or not self._heard(name, watcher, message.data):
                    await watcher.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"not understood")
        finally:
            sender.cancel()
            watched.watchers.discard(watcher)
            self._leave_if_empty(name, watched)
            await asyncio.gather(sender, return_exceptions=True)

    def _enter(self, name: str, watcher: Watcher) -> Watched:
        watched = self._rooms.setdefault(name, Watched())
        watched.watchers.add(watcher)
        if watched.ticker is None:
            watched.ticker = asyncio.create_task(self._tick(name, watched))
        watcher.limit = self._view.limit(name, None)
        watcher.put(
            "hello",
            msgspec.json.encode(
                Hello(
                    instance=self._instance,
                    version=str(self._gateway.status().get("version", "")),
                    you=you(watcher.principal, name),
                    ice_servers=self._ice_servers(),
                    room=self._view.room(name),
                    limit=watcher.limit,
                )
            ),
        )
        return watched

    def _leave_if_empty(self, name: str, watched: Watched) -> None:
        if watched.watchers:
            return
        if watched.ticker is not None:
            watched.ticker.cancel()
        if watched.due is not None:
            watched.due.cancel()
        self._rooms.pop(name, None)

    async def _send(self, name: str, watcher: Watcher) -> None:
        try:
            while not watcher.socket.closed:
                await watcher.wake.wait()
                watcher.wake.clear()
                while watcher.pending:
                    kind = next(iter(watcher.pending))
                    text = watcher.pending.pop(kind).decode()
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await watcher.socket.send_str(text)
        except TimeoutError:
            log.warning(events.WATCHER_DROPPED, room=name, cause=f"took nothing for {SEND_TIMEOUT_S:.0f} s")
            if watcher.transport is not None:
                watcher.transport.abort()
        except ConnectionError:
            # It went away; its receiving side ends by itself.
            return

    def _heard(self, name: str, watcher: Watcher, text: str) -> bool:
        """A message from the page. False when it isn't one that we know."""
        try:
            message = msgspec.json.decode(text, type=Publishing)
        except msgspec.DecodeError:
            return False
        watcher.session = message.session
        self._limit(name, watcher)
        return True

    def _limit(self, name: str, watcher: Watcher) -> None:
        limit = self._view.limit(name, watcher.session)
        if limit != watcher.limit:
            watcher.limit = limit
            watcher.put("limit", msgspec.json.encode(LimitChanged(limit)))

    def _end(self, watcher: Watcher, code: int, message: bytes) -> None:
        task = asyncio.create_task(watcher.socket.close(code=code, message=message))
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    # one room

    def _changed(self, name: str) -> None:
        watched = self._rooms.get(name)
        if watched is None or watched.due is not None:
            return
        loop = asyncio.get_running_loop()
        watched.due = loop.call_at(max(loop.time(), watched.next_at), self._show, name, watched)

    def _show(self, name: str, watched: Watched) -> None:
        watched.due = None
        watched.next_at = asyncio.get_running_loop().time() + ROOM_EVERY_S
        self._tell(watched.watchers, "room", RoomChanged(self._view.room(name)))
        for watcher in watched.watchers:
            self._limit(name, watcher)

    def _speaker(self, name: str, participant: str | None) -> None:
        watched = self._rooms.get(name)
        if watched is not None:
            self._tell(watched.watchers, "speaker", SpeakerChanged(participant))

    async def _tick(self, name: str, watched: Watched) -> None:
        shown: object = None
        while True:
            try:
                shown = self._look(name, watched, shown)
            except Exception:
                log.exception(events.HANDLER_FAILED, what="room_events", room=name)
            await asyncio.sleep(STATS_EVERY_S)

    def _look(self, name: str, watched: Watched, shown: object) -> object:
        """Send the figures. Returns what else is to be seen of the room: when that changed, the room is shown anew."""
        room = self._gateway.rooms.get(name)
        facts = self._view.facts(room) if room is not None else {}
        if room is not None:
            self._tell(
                watched.watchers, "stats", Stats(self._view.streams_of(room, facts), self._view.sees(room, facts))
            )
        for watcher in watched.watchers:
            self._limit(name, watcher)
        # A track that came or a device that registered is no change of the room's members.
        tracks = {stream: [track["kind"] for track in known["tracks"]] for stream, known in facts.items()}
        now = (tracks, self._view.devices_of(name))
        if shown is not None and now != shown:
            self._changed(name)
        return now

    @staticmethod
    def _tell(watchers: Iterable[Watcher], kind: str, event: RoomEvent) -> None:
        message = msgspec.json.encode(event)
        for watcher in watchers:
            watcher.put(kind, message)


def you(principal: Principal, room: str) -> You:
    return You(principal.name, [right for right in RIGHTS if principal.admits(right, room)])
