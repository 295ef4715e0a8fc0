"""What new sessions stand on, taken from the configuration: certificate, STUN server, ICE servers for browsers."""

from __future__ import annotations

import re

from orbridge.adapters.webrtc.dtls import Certificates
from orbridge.adapters.webrtc.session import Ground
from orbridge.gateway.adapter import Context
from orbridge.gateway.config import IceServer

# RFC 7064 3.1 and RFC 7065 3.1: scheme, host or [IPv6], port, transport.
_ICE_URL = re.compile(r"(stuns?|turns?):(\[[0-9A-Fa-f:.]+\]|[^\s:?<>\"\[\]]+)(?::(\d{1,5}))?(?:\?transport=(udp|tcp))?")
STUN_PORT = 3478


class Grounds:
    """Makes a ``Ground`` for each session, so that a reload holds for the next one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._certificates = Certificates()

    def current(self) -> Ground:
        context = self._context
        media = context.config.media
        return Ground(context.bus, media, self._certificates.current(), stun_server(media.ice_servers), context.now_ns)

    def links(self) -> list[str]:
        """``Link`` values that tell a browser of the ICE servers (RFC 9725 4.6). Raises LocalError for a secret."""
        return [self._link(server) for server in self._context.config.media.ice_servers]

    def _link(self, server: IceServer) -> str:
        link = f'<{server.url}>; rel="ice-server"'
        if not server.username:
            return link
        credential = self._context.secret(server.credential_file) if server.credential_file else ""
        username, credential = quoted(server.username), quoted(credential)
        return f'{link}; username="{username}"; credential="{credential}"; credential-type="password"'


def quoted(text: str) -> str:
    """For the inside of a quoted-string (RFC 9110 5.6.4)."""
    return "".join("\\" + c if c in '"\\' else c for c in text if c.isprintable())


def parse_ice_url(url: str) -> tuple[str, str, int, str] | None:
    """``turn:host:3478?transport=udp`` -> (scheme, host, port, transport); None when it isn't such an address."""
    match = _ICE_URL.fullmatch(url)
    if match is None or int(match[3] or 1) not in range(1, 65536):
        return None
    secure = match[1].endswith("s")
    port = int(match[3]) if match[3] else (5349 if secure else STUN_PORT)
    return match[1], match[2].strip("[]"), port, match[4] or ("tcp" if secure else "udp")


def stun_server(servers: list[IceServer]) -> tuple[str, int] | None:
    """The first that answers a STUN binding over UDP; a TURN server does so too (RFC 8656 2)."""
    for server in servers:
        parsed = parse_ice_url(server.url)
        if parsed is not None and parsed[0] in ("stun", "turn") and parsed[3] == "udp":
            return parsed[1], parsed[2]
    return None
