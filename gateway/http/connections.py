"""Connections of the HTTP server: how many there may be, and how long one may say nothing."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

# Who connects and sends no whole request in this time is let go.
FIRST_REQUEST_S = 15.0
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Retry-After: 5\r\nConnection: close\r\n\r\n%s"
)
FULL_BODY = b'{"error":"too_many_connections","what":"too many connections are open","do":"try again in a few seconds"}'


class Connections:
    """Makes aiohttp's protocol object for each connection, or turns the connection away.

    Attributes:
        refused: how many were turned away because ``limit`` were open.
        silent: how many were closed because they asked nothing in time.
    """

    def __init__(self, limit: int, first_request_s: float = FIRST_REQUEST_S) -> None:
        self.limit, self.first_request_s = limit, first_request_s
        self.refused = 0
        self.silent = 0
        self._server: web.Server | None = None
        self._waiting: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def serve(self, server: web.Server) -> None:
        self._server = server

    @property
    def open(self) -> int:
        return len(self._server.connections) if self._server is not None else 0

    def __call__(self) -> asyncio.BaseProtocol:
        """Protocol factory for ``loop.create_server``."""
        assert self._server is not None
        if self.open >= self.limit:
            self.refused += 1
            return TurnedAway()
        protocol = self._server()
        loop = asyncio.get_running_loop()
        self._waiting[protocol] = loop.call_later(self.first_request_s, self._let_go, protocol)
        return protocol

    def _let_go(self, protocol: web.RequestHandler) -> None:
        del self._waiting[protocol]
        if protocol.transport is not None:
            self.silent += 1
            protocol.transport.abort()

    def middleware(self) -> Middleware:
        """Notes which connections asked something."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            waiting = self._waiting.pop(request.protocol, None)
            if waiting is not None:
                waiting.cancel()
            return await handler(request)

        return note


class TurnedAway(asyncio.Protocol):
    """Says that the server is full, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(FULL % (len(FULL_BODY), FULL_BODY))
        transport.close()
