"""The socket under a connection: bytes in, bytes out, nothing decided. The protocol is ``codecs.rtmp``."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, cast

from orbridge.adapters.rtmp.pacer import LARGE_BYTES, Pacer
from orbridge.codecs.rtmp.connection import Connection
from orbridge.codecs.rtmp.events import Event

# A peer that sends commands and takes no answers must not make us keep them for ever. Media has a lower bound.
UNREAD_BYTES = 16_777_216
KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


class Owner(Protocol):
    """Whose connection it is."""

    def made(self) -> None:
        """The socket is open."""

    def event(self, event: Event) -> None:
        """Something came out of the machine."""

    def lost(self, text: str) -> None:
        """The socket is gone; ``text`` in words when it failed. Once, and last."""


class Wire(asyncio.Protocol):
    """Feeds a connection's machine, hands its events up, sends what it has to say.

    Attributes:
        remote: the peer's address, without port.
        pacer: set once media comes all the time.
    """

    def __init__(self, connection: Connection, now_ns: Callable[[], int], owner: Owner) -> None:
        self.connection = connection
        self.remote = ""
        self.bytes_out = 0
        self.pacer: Pacer | None = None
        self._now_ns, self._owner = now_ns, owner
        self._transport: asyncio.Transport | None = None

    def buffered(self) -> int:
        """Bytes that wait for the peer to take them."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            for level, option, value in KEEPALIVE:
                raw.setsockopt(level, option, value)
        self.remote = (transport.get_extra_info("peername") or ("",))[0]
        self._owner.made()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.connection.receive_data(data, self._now_ns() // 1_000_000)
        self._drain()
        if self.pacer is not None and self._transport is not None and len(data) < LARGE_BYTES:
            self.pacer.hold(self._transport)

    def eof_received(self) -> None:
        self.connection.receive_eof()
        self._drain()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._owner.lost(str(exc) if exc is not None else "")

    def _drain(self) -> None:
        # an answer can bring more: a peer that doesn't wait for answers has sent what comes after them already
        while events := self.connection.events():
            for event in events:
                self._owner.event(event)
        self.flush()

    def flush(self) -> None:
        """Send what the machine has to say."""
        data = self.connection.data_to_send()
        transport = self._transport
        if transport is None or not data:
            return
        self.bytes_out += sum(map(len, data))
        if len(data) == 1:
            transport.write(data[0])
        else:
            transport.writelines(data)
        if transport.get_write_buffer_size() > UNREAD_BYTES:
            transport.abort()

    def send(self, chunks: bytes) -> None:
        """Media that was put into chunks elsewhere. Nothing of the machine's waits here: it is flushed whenever it has
        been called.
        """
        if self._transport is not None and not self.connection.ended:
            self.bytes_out += len(chunks)
            self._transport.write(chunks)

    def close(self) -> None:
        """After what is on its way; ``abort`` doesn't wait for a peer that takes nothing."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
