"""The HTTP server: puts the parts together, listens on TCP (with TLS where configured) and on the control socket."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import ipaddress
import os
import secrets
import socket
import ssl
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog
from aiohttp import web

from orbridge.codecs.errors import LocalError
from orbridge.gateway import events, places
from orbridge.gateway.config import Config
from orbridge.gateway.config_load import Loaded, split_listen
from orbridge.gateway.http import certificate, openapi
from orbridge.gateway.http.api import PREFIX, Api
from orbridge.gateway.http.auth import Guard, host_of
from orbridge.gateway.http.certificate import Certificate
from orbridge.gateway.http.connections import Connections
from orbridge.gateway.http.facade import Gateway
from orbridge.gateway.http.health import Health
from orbridge.gateway.http.metrics import Metrics
from orbridge.gateway.http.pages import Pages
from orbridge.gateway.http.problems import in_words
from orbridge.gateway.http.room_events import RoomEvents
from orbridge.gateway.http.room_view import View
from orbridge.gateway.http.schema import IceServerState

log = structlog.get_logger(__name__)

CONNECTIONS_LIMIT = 2000
BODY_LIMIT_BYTES = 256 * 1024
KEEPALIVE_S = 75.0
BACKLOG = 256
HANDSHAKE_S = 10.0
STOP_S = 1.5
CONTROL_MODE = 0o660

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "media-src 'self' blob: mediastream:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), geolocation=()",
}


class Server:
    """Everything that answers over HTTP.

    Attributes:
        urls: addresses of the operator's page, most public first; empty until started.
        certificate: what TLS is done with; None without.
    """

    def __init__(self, gateway: Gateway, loaded: Loaded) -> None:
        self._gateway, self._loaded = gateway, loaded
        self._guard = Guard()
        self._view = View(gateway, time.monotonic_ns)
        self._connections = Connections(CONNECTIONS_LIMIT)
        self._room_events = RoomEvents(gateway, self._view, self._guard, secrets.token_hex(8), self._ice_servers)
        self._metrics = Metrics(gateway, self._view, self._guard, self._room_events, self._connections)
        self._pages = Pages(self._guard)
        self._runner: web.AppRunner | None = None
        self._listening: list[asyncio.Server] = []
        self._control: Path | None = None
        self._tls: ssl.SSLContext | None = None
        self.certificate: Certificate | None = None
        self.urls: list[str] = []
        self._take_tokens(loaded)

    def authorise(self, request: web.Request, right: str, room: str | None) -> str:
        """For adapters (``adapter.Context``)."""
        return self._guard.authorise(request, right, room)

    def authorise_secret(self, secret: str, remote: str, right: str, room: str | None) -> str:
        """For adapters (``adapter.Context``)."""
        return self._guard.authorise_secret(secret, remote, right, room)

    async def start(self, routes: Iterable[web.RouteDef] = ()) -> None:
        """Open the listeners, with the adapters' routes beside our own. Raises LocalError with what to do."""
        self._runner = web.AppRunner(
            self._application(routes),
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=STOP_S,
            handler_cancellation=True,
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._connections.serve(self._runner.server)
        try:
            self._tls = self._prepare_tls()
            await self._listen_tcp()
            await self._listen_control()
        except LocalError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close pages, listeners and connections within two seconds. Idempotent."""
        for server in self._listening:
            server.close()
        self._listening.clear()
        if self._control is not None:
            self._control.unlink(missing_ok=True)
            self._control = None
        runner, self._runner = self._runner, None
        if runner is not None:
            await self._room_events.close()
            await runner.cleanup()

    def reload(self, loaded: Loaded) -> None:
        """Tokens, and a renewed certificate. Raises LocalError; then the old ones stay."""
        self._take_tokens(loaded)
        self._loaded = loaded
        self._view.history.forget_others(loaded.config.devices)
        self._room_events.reloaded()
        if self._tls is not None:
            try:
                self.certificate = self._find_certificate()
                self.certificate.load_into(self._tls)
            except LocalError as exc:
                log.error(events.CERTIFICATE_REFUSED, problem=str(exc))

    # inside

    def _take_tokens(self, loaded: Loaded) -> None:
        http = loaded.config.http
        hosts = [host_of(http.public_url.partition("//")[2])]
        self._guard.configure(loaded.config.tokens, loaded.secret, hosts)

    def _application(self, routes: Iterable[web.RouteDef]) -> web.Application:
        application = web.Application(
            middlewares=[self._metrics.middleware(), self._connections.middleware(), in_words],
            client_max_size=BODY_LIMIT_BYTES,
        )
        application.on_response_prepare.append(add_headers)
        health = Health(self._gateway)
        api = Api(self._gateway, self._view, self._guard, self._document)
        application.router.add_routes(
            [
                web.get("/", self._pages.operator),
                web.get("/rooms/{room}", self._pages.room),
                web.get("/static/{name}", self._pages.static),
                web.get("/healthz", health.alive),
                web.get("/readyz", health.ready),
                web.get("/metrics", self._metrics.handle),
                web.get(PREFIX + "/rooms/{room}/events", self._room_events.handle),
                *api.routes(),
                *routes,
            ]
        )
        return application

    def _document(self) -> bytes:
        version = str(self._gateway.status().get("version", ""))
        return msgspec.json.encode(openapi.document(version))

    def _ice_servers(self) -> list[IceServerState]:
        """The config's STUN and TURN servers for a page. One whose credential can't be read is left out."""
        found = []
        for server in self._gateway.config.media.ice_servers:
            credential = ""
            if server.credential_file:
                try:
                    credential = self._loaded.secret(server.credential_file)
                except LocalError:
                    continue
            found.append(IceServerState([server.url], server.username, credential))
        return found

    def _prepare_tls(self) -> ssl.SSLContext | None:
        if not self._loaded.config.http.tls_certificate:
            return None
        self.certificate = self._find_certificate()
        return self.certificate.context()

    def _find_certificate(self) -> Certificate:
        config = self._loaded.config
        now = datetime.datetime.now(datetime.UTC)
        if config.http.tls_certificate != "auto":
            folder = self._loaded.folder
            return certificate.configured(
                folder / config.http.tls_certificate, folder / (config.http.tls_key or config.http.tls_certificate), now
            )
        public = host_of(config.http.public_url.partition("//")[2].partition("/")[0])
        _, host, _ = split_listen(config.http.listen)
        names = certificate.names_here(host, config.media.host, *config.media.hosts, public)
        return certificate.self_made(places.state_folder(), names, now)

    async def _listen_tcp(self) -> None:
        config = self._loaded.config
        _, host, port = split_listen(config.http.listen)
        if self._guard.is_open and not ipaddress.ip_address(host).is_loopback:
            raise LocalError(
                f"http.listen is {config.http.listen}, which others can reach, but no [[tokens]] is configured: "
                "add a token, or listen on 127.0.0.1"
            )
        loop = asyncio.get_running_loop()
        wait_s = HANDSHAKE_S if self._tls is not None else None
        try:
            server = await loop.create_server(
                self._connections, host, port, backlog=BACKLOG, ssl=self._tls, ssl_handshake_timeout=wait_s
            )
        except OSError as exc:
            raise LocalError(cannot_listen(config.http.listen, exc)) from exc
        self._listening.append(server)
        actual = server.sockets[0].getsockname()[1]
        self.urls = addresses(config, host, actual, secure=self._tls is not None)
        log.info(events.SERVER_OPENED, urls=self.urls, tokens=len(config.tokens), problem=self._pages.missing or None)

    async def _listen_control(self) -> None:
        path = places.control_socket(self._loaded.config.control.socket)
        try:
            places.private(path.parent)
            await remove_stale(path)
            server = await asyncio.get_running_loop().create_unix_server(self._connections, path, backlog=16)
            os.chmod(path, CONTROL_MODE)
        except OSError as exc:
            raise LocalError(
                f"the control socket {path} can't be opened: {exc.strerror or exc}; is another gateway running, "
                "or may its folder not be written? control.socket names another place"
            ) from exc
        self._control = path
        self._listening.append(server)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")


def cannot_listen(where: str, exc: OSError) -> str:
    """One clear line."""
    if exc.errno == errno.EADDRINUSE:
        return f"http.listen {where} is in use: another gateway or program listens there already"
    if exc.errno == errno.EADDRNOTAVAIL:
        return f"http.listen {where}: this host has no such address"
    if exc.errno == errno.EACCES:
        return f"http.listen {where}: ports below 1024 need the right CAP_NET_BIND_SERVICE (see the systemd unit)"
    return f"http.listen {where} can't be opened: {exc.strerror or exc}"


def addresses(config: Config, host: str, port: int, *, secure: bool) -> list[str]:
    """Where the operator's page is to be found."""
    scheme = "https" if secure else "http"
    address = ipaddress.ip_address(host)
    names = [str(config.media.host), socket.gethostname()] if address.is_unspecified else [host]
    found = [config.http.public_url.rstrip("/") + "/"] if config.http.public_url else []
    return found + [f"{scheme}://[{name}]:{port}/" if ":" in name else f"{scheme}://{name}:{port}/" for name in names]


async def remove_stale(path: Path) -> None:
    """Remove the socket of a gateway that died. Raises OSError when one still answers there."""
    if not path.is_socket():
        return
    with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
        _, writer = await asyncio.open_unix_connection(path)
        writer.close()
        raise OSError(errno.EADDRINUSE, "another gateway answers there")
    path.unlink(missing_ok=True)
