"""``/healthz``: the process answers. ``/readyz``: calls are taken. Neither needs a token nor tells more than that."""

from __future__ import annotations

from aiohttp import web

from orbridge.gateway.http.facade import Gateway
from orbridge.gateway.http.problems import problem


class Health:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def alive(self, request: web.Request) -> web.Response:
        """GET /healthz: always 200 while the event loop turns."""
        return web.json_response({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """GET /readyz: 503 while starting or stopping."""
        if not self._gateway.ready:
            what = "the gateway is starting or stopping and takes no calls"
            raise problem(503, "not_ready", what, "try again in a few seconds", {"Retry-After": "1"})
        return web.json_response({"status": "ready"})
