"""One peer connection: an ICE session over the engine's sockets, DTLS on it, SRTP keys in the engine's leg.

Knows no library: ``ice.py`` has aioice, ``dtls.py`` has aiortc.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Literal

import structlog

from orbridge.adapters.webrtc.description import Local, Setup, Transport
from orbridge.adapters.webrtc.dtls import Certificate, Dtls
from orbridge.adapters.webrtc.ice import Generation, Socket
from orbridge.gateway import events
from orbridge.gateway.adapter import Engines
from orbridge.gateway.session import CloseReason

if TYPE_CHECKING:
    from orbridge.codecs._engine import Event, Leg

log = structlog.get_logger(__name__)

ICE_TIMEOUT_S = DTLS_TIMEOUT_S = 15.0


class Peer:
    """One bundled connection, from candidates to SRTP keys in the engine.

    Callbacks: ``on_connected()`` once, when keys are set on ``leg``; ``on_closed(reason, text)`` at most once, when it
    ended other than by ``close``; ``on_event(event)`` for a leg's other events.
    """

    def __init__(
        self,
        bus: Engines,
        hosts: Sequence[str],
        certificate: Certificate,
        *,
        on_connected: Callable[[], None],
        on_closed: Callable[[CloseReason, str], None],
        on_event: Callable[[Event], None],
        label: str = "",
        dscp: int = 0,
        stun_server: tuple[str, int] | None = None,
        controlling: bool = False,
    ) -> None:
        self._bus, self._hosts, self._certificate = bus, list(hosts), certificate
        self._on_connected, self._on_closed, self._on_event = on_connected, on_closed, on_event
        self._label, self._dscp, self._stun_server, self._controlling = label, dscp, stun_server, controlling
        self.sockets: list[Socket] = []
        self.moves = 0
        self._media: Socket | None = None
        self._current: Generation | None = None
        # A restart's session until it has a pair; then it is the current one.
        self._next: Generation | None = None
        self._active: Generation | None = None
        self._path = asyncio.Event()
        self._lost = False
        self._dtls = Dtls(certificate, self._said_goodbye)
        self._strangers = 0
        self._keyed = self._closing = self._reported = False
        self._tasks: set[asyncio.Task[None]] = set()

    # signalling

    @property
    def leg(self) -> Leg:
        """The leg that carries the media. Only after ``on_connected``."""
        assert self._media is not None
        return self._media.leg

    @property
    def connected(self) -> bool:
        return self._keyed and not self._closing

    async def gather(self, setup: Setup) -> Local:
        """Open the sockets and describe our side of the first ICE session. Raises OSError when no port is free."""
        for place, host in enumerate(self._hosts):
            self.sockets.append(Socket(self, self._bus, host, f"{self._label}/{place}", self._dscp))
        self._current = await self._generation()
        return self._local(self._current, setup)

    def connect(self, remote: Transport) -> None:
        """Start ICE, then DTLS in the role ``remote.setup`` (ours)."""
        assert self._current is not None
        self._spawn(self._find_path(self._current, remote))
        self._spawn(self._secure(remote))

    async def restart(self, setup: Setup) -> Local:
        """Another ICE session for the same DTLS association (RFC 8445 2.6); one still under way is given up."""
        given_up, self._next = self._next, None
        if given_up is not None:
            await given_up.close()
        self._next = await self._generation()
        return self._local(self._next, setup)

    def reconnect(self, remote: Transport) -> None:
        """The other side's part of the restart is known: start checking."""
        assert self._next is not None
        self._spawn(self._find_path(self._next, remote))

    async def add_candidates(self, candidates: Sequence[str]) -> None:
        generation = self._next or self._current
        assert generation is not None
        await generation.add(candidates)

    async def close(self) -> None:
        """Say goodbye (DTLS close_notify) and free everything. Idempotent. The caller bounds the time."""
        if self._closing:
            return
        self._closing = self._reported = True
        try:
            for task in self._tasks:
                task.cancel()
            await self._dtls.close()
            for generation in (self._next, self._current):
                if generation is not None:
                    await generation.close()
        finally:
            for socket in self.sockets:
                socket.close()

    def facts(self) -> dict[str, Any]:
        """For status: the pair in use, DTLS version, cipher and SRTP profile, what was dropped."""
        return {
            "ice": (self._current.facts() if self._current else {}) | {"moves": self.moves},
            "dtls": self._dtls.facts(),
            "malformed": sum(socket.malformed for socket in self.sockets),
            "strangers": self._strangers,
        }

    # what the sockets and generations report

    def leg_event(self, socket: Socket, event: Event) -> None:
        if event[0] == "fault":
            self._ended(CloseReason.FAULT, "a fault in the engine closed the media; it is in the log")
        if socket is not self._media:
            return
        if event[0] in ("silent", "heard"):
            generation = self._current
            if generation is not None:
                generation.hurry(event[0] == "silent")
        self._on_event(event)

    def dtls_received(self, data: bytes, address: tuple[str, int]) -> None:
        if any(g is not None and address in g.proven for g in (self._current, self._next)):
            self._dtls.link.feed(data)
        else:
            self._strangers += 1

    def nominated(self, generation: Generation, socket: Socket, address: tuple[str, int]) -> None:
        superseded = generation is not self._next and self._active is self._next is not None
        if self._closing or superseded or generation not in (self._current, self._next):
            return
        self._active = generation
        self._dtls.link.send = generation.send
        if self._media is not socket:
            self._move(socket)
        socket.leg.set_peer(*address)
        self.moves += 1

    def consent_lost(self, generation: Generation) -> None:
        if generation is self._current:
            self._lost = True
            if self._next is None:
                self._ended(CloseReason.EXPIRED, "the browser no longer answers: it was closed or lost its network")

    # inside

    async def _generation(self) -> Generation:
        generation = Generation(self, controlling=self._controlling, stun_server=self._stun_server)
        try:
            await generation.gather_candidates()
        except BaseException:
            await generation.close()
            raise
        return generation

    def _local(self, generation: Generation, setup: Setup) -> Local:
        return Local(
            generation.local_username,
            generation.local_password,
            tuple(candidate.to_sdp() for candidate in generation.local_candidates),
            self._certificate.fingerprint,
            setup,
        )

    async def _find_path(self, generation: Generation, remote: Transport) -> None:
        if await self._ice(generation, remote):
            if generation is self._next:
                before, self._current, self._next, self._lost = self._current, generation, None, False
                if before is not None:
                    await before.close()
            self._path.set()
        elif generation is self._next:
            # The session before the restart goes on while it can (RFC 9429 4.1.18); its consent says for how long.
            self._next = None
            await generation.close()
            if self._lost or not self._path.is_set():
                self._unreachable()
        elif generation is self._current and self._next is None:
            self._unreachable()

    def _unreachable(self) -> None:
        self._ended(CloseReason.UNREACHABLE, f"no network path to the browser within {ICE_TIMEOUT_S:.0f} s (ICE)")

    async def _secure(self, remote: Transport) -> None:
        await self._path.wait()
        role: Literal["server", "client"] = "server" if remote.setup == "passive" else "client"
        try:
            async with asyncio.timeout(DTLS_TIMEOUT_S):
                secured = await self._dtls.handshake(role, remote.fingerprints)
        except TimeoutError:
            self._ended(CloseReason.TRANSPORT_FAILED, f"no DTLS handshake within {DTLS_TIMEOUT_S:.0f} s")
            return
        if not secured:
            text = "the DTLS handshake failed: wrong fingerprint or no common profile"
            self._ended(CloseReason.TRANSPORT_FAILED, text)
            return
        assert self._media is not None
        self._media.leg.set_keys(*self._dtls.keys())
        self._keyed = True
        self._on_connected()

    async def _ice(self, generation: Generation, remote: Transport) -> bool:
        generation.remote_username, generation.remote_password = remote.ufrag, remote.password
        generation.remote_is_lite = remote.ice_lite
        await generation.add(remote.candidates)
        try:
            async with asyncio.timeout(ICE_TIMEOUT_S):
                await generation.connect()
        except (TimeoutError, ConnectionError):
            return False
        return True

    def _move(self, socket: Socket) -> None:
        """The media's local address changes. Before there are keys nothing is bound to a leg yet."""
        before, self._media = self._media, socket
        if self._keyed and before is not None:
            # Never the same keys on a second leg: its counters would repeat the first's (RFC 3711 9.1).
            before.exchange(socket)

    def _said_goodbye(self) -> None:
        self._ended(CloseReason.REMOTE_HANGUP, "the browser closed the connection")

    def _ended(self, reason: CloseReason, text: str) -> None:
        if not self._reported:
            self._reported = True
            self._on_closed(reason, text)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.error(events.HANDLER_FAILED, what="peer", leg=self._label, exc_info=problem)
            self._ended(CloseReason.FAULT, "a fault while connecting; it is in the log")
