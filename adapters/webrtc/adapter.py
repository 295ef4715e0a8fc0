"""The WebRTC adapter: WHIP and WHEP in the gateway's HTTP server, a peer connection a session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from orbridge.adapters.webrtc import whep, whip
from orbridge.adapters.webrtc.ground import Grounds, parse_ice_url
from orbridge.adapters.webrtc.registry import MAX_SESSIONS, Registry
from orbridge.codecs.errors import LocalError
from orbridge.gateway.adapter import Context, Refused
from orbridge.gateway.config import Config, Device
from orbridge.gateway.session import CloseReason, Session


class WebRtcAdapter:
    """Browsers and other WHIP and WHEP clients. Implements ``gateway.adapter.Adapter``."""

    name = "webrtc"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._registry = Registry()
        self._grounds = Grounds(context)
        self._whip = whip.Whip(context, self._grounds, self._registry)
        self._whep = whep.Whep(context, self._grounds, self._registry)

    async def start(self) -> None:
        """Try what each session will need: the media addresses, the ICE servers, a certificate."""
        media = self._context.config.media
        for host in dict.fromkeys([media.host, *media.hosts]):
            try:
                self._context.bus.engine.open_leg(host, secure=True, label="trial").close()
            except OSError as exc:
                raise LocalError(
                    f"media address {host} can't be used ({exc.strerror or exc}): "
                    "media.host and media.hosts must be addresses of this machine, and media.udp_ports free"
                ) from exc
        for server in media.ice_servers:
            if parse_ice_url(server.url) is None:
                raise LocalError(
                    f"media.ice_servers: {server.url!r} isn't of the form stun:HOST:PORT or "
                    "turn:HOST:PORT?transport=udp (or stuns:, turns:, tcp)"
                )
        self._grounds.links()
        self._grounds.current()

    async def stop(self, deadline_s: float) -> None:
        sessions = self._registry.all()
        if sessions:
            hangups = [asyncio.ensure_future(session.hangup(CloseReason.SHUTDOWN)) for session in sessions]
            await asyncio.wait(hangups, timeout=deadline_s)

    async def reload(self, config: Config) -> None:
        """Nothing is kept of the configuration: the next session takes the new one."""

    async def dial(self, target: Device | str, room: str) -> Session:
        who = target if isinstance(target, str) else target.name
        raise Refused(
            CloseReason.REFUSED, f"{who} can't be called over WebRTC: browsers call the gateway, by the room's page"
        )

    def sessions(self) -> Iterable[Session]:
        return self._registry.all()

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.route("*", whip.PATH, self._whip.endpoint),
            web.route("*", f"{whip.PATH}/{{key}}", self._whip.resource),
            web.route("*", whep.PATH, self._whep.endpoint),
            web.route("*", f"{whep.PATH}/{{key}}", self._whep.resource),
        ]

    def status(self) -> dict[str, Any]:
        return {
            "sessions": len(self._registry),
            "connecting": self._registry.connecting,
            "limit": MAX_SESSIONS,
            "opened": self._registry.opened,
        }


def create(context: Context) -> WebRtcAdapter:
    return WebRtcAdapter(context)
