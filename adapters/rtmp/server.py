"""Listeners for RTMP and RTMPS, and the connections that they took."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import structlog

from orbridge.adapters.rtmp.peer import Peer
from orbridge.codecs.errors import LocalError
from orbridge.gateway import events
from orbridge.gateway.config import Rtmp
from orbridge.gateway.config_load import split_listen

if TYPE_CHECKING:
    from orbridge.adapters.rtmp.ground import Ground

log = structlog.get_logger(__name__)

TICK_S = 1.0
BACKLOG = 128
TLS_HANDSHAKE_S = 10.0
TLS_SHUTDOWN_S = 2.0


class Server:
    """Takes connections up to a number and lets go of those that take too long."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._servers: list[asyncio.Server] = []
        self._peers: set[Peer] = set()
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, config: Rtmp) -> None:
        """Raises LocalError when an address or a certificate can't be used."""
        if config.listen:
            await self._listen(config.listen, None, "rtmp.listen")
        if config.tls_listen:
            await self._listen(config.tls_listen, _tls(config), "rtmp.tls_listen")
        if self._servers:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def stop(self) -> None:
        """Close the listeners and what is still connected. Idempotent."""
        for server in self._servers:
            server.close()
        self._servers = []
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
            self._ticking = None
        for peer in list(self._peers):
            peer.wire.abort()

    @property
    def connections(self) -> int:
        return len(self._peers)

    def status(self) -> list[dict[str, Any]]:
        return [
            {"address": f"{name[0]}:{name[1]}"}
            for server in self._servers
            for raw in server.sockets
            if (name := raw.getsockname())
        ]

    async def _listen(self, address: str, tls: ssl.SSLContext | None, key: str) -> None:
        _, host, port = split_listen(address)
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lambda: Peer(self._ground, self._peers).wire,
                host,
                port,
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=TLS_HANDSHAKE_S if tls else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_S if tls else None,
            )
        except OSError as exc:
            raise LocalError(
                f"{key} {address} can't be opened ({exc.strerror or exc}): "
                "is the address this machine's and the port free?"
            ) from exc
        self._servers.append(server)
        log.info(events.LISTENER_OPENED, address=address, transport="rtmps" if tls else "rtmp")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now_s = self._ground.now_s()
            for peer in list(self._peers):
                peer.tick(now_s)


def _tls(config: Rtmp) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key)
    except (OSError, ssl.SSLError) as exc:
        raise LocalError(
            f"rtmp.tls_certificate {config.tls_certificate} with rtmp.tls_key {config.tls_key} can't be used: {exc}"
        ) from exc
    return context
