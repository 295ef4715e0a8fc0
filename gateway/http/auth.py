"""Who may do what over HTTP.

A token comes as ``Authorization: Bearer`` (RFC 6750 2.1) or, where a browser can't set a header, as ``?token=``. The
control socket needs none: its file's permissions decide. With no token configured everything is allowed, and the
server listens on loopback only; then a request must also name a loopback host and come from our own pages, so that
other web pages in a browser on this machine can't steer the gateway (DNS rebinding, cross-site requests).
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import ipaddress
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from orbridge.gateway import events
from orbridge.gateway.adapter import Refused
from orbridge.gateway.config import Token
from orbridge.gateway.http.problems import problem
from orbridge.gateway.http.schema import Right
from orbridge.gateway.session import CloseReason
from orbridge.gateway.throttle import Throttle
from orbridge.gateway.wrong_tokens import WrongTokens, network_of

log = structlog.get_logger(__name__)

IMPLIED: dict[Right, frozenset[Right]] = {
    "view": frozenset({"view"}),
    "publish": frozenset({"publish"}),
    "operate": frozenset({"view", "operate"}),
    "admin": frozenset({"view", "publish", "operate", "admin"}),
}
RIGHTS: tuple[Right, ...] = ("view", "publish", "operate", "admin")
GOOD_SECRET_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who proved who they are.

    Attributes:
        name: the token's name.
        rooms: patterns (``or-*``) of the rooms that the rights hold in.
        digest: SHA-256 of the secret; empty where no token was needed.
    """

    name: str
    may: frozenset[Right]
    rooms: tuple[str, ...]
    digest: bytes = b""

    def admits(self, right: Right, room: str | None) -> bool:
        """Whether this right holds in that room; None: in any room at all."""
        return right in self.may and (room is None or self.covers(room))

    def covers(self, room: str) -> bool:
        return any(fnmatch.fnmatchcase(room, pattern) for pattern in self.rooms)

    @property
    def covers_all(self) -> bool:
        """Also sees what belongs to no room."""
        return "*" in self.rooms


CONTROL = Principal("control socket", frozenset(RIGHTS), ("*",))
LOOPBACK = Principal("this machine", frozenset(RIGHTS), ("*",))


class Guard:
    """Knows the tokens and decides about requests. ``refused`` counts wrong tokens since the start."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._principals: tuple[Principal, ...] = ()
        self._hosts: frozenset[str] = frozenset()
        self._wrong = WrongTokens(clock)
        self._said = Throttle(clock)
        self.refused = 0

    def configure(self, tokens: Iterable[Token], secret: Callable[[str], str], hosts: Iterable[str] = ()) -> None:
        """Take over the config's tokens. ``hosts``: our own names beyond localhost. Raises LocalError (secret)."""
        made = []
        for token in tokens:
            text = secret(token.secret_file)
            if len(text) < GOOD_SECRET_LENGTH:
                problem_text = f"its secret has fewer than {GOOD_SECRET_LENGTH} characters: too easy to guess"
                log.warning(events.TOKEN_DOUBTED, name=token.name, problem=problem_text)
            may = frozenset[Right]().union(*(IMPLIED[right] for right in token.may))
            made.append(Principal(token.name, may, token.rooms, hashlib.sha256(text.encode()).digest()))
        self._principals = tuple(made)
        self._hosts = frozenset(host.lower() for host in hosts if host)

    @property
    def is_open(self) -> bool:
        """No token is configured: loopback only."""
        return not self._principals

    def authorise(self, request: web.Request, right: str, room: str | None) -> str:
        """The name of who asks, for adapters. Raises HTTPUnauthorized, HTTPForbidden, HTTPTooManyRequests."""
        return self.require(request, right, room).name

    def require(self, request: web.Request, right: str, room: str | None) -> Principal:
        """Who asks, when that one holds the right in the room (None: in any). Raises as ``authorise``."""
        wanted: Right = next(known for known in RIGHTS if known == right)
        principal = self.identify(request)
        if principal.admits(wanted, room):
            return principal
        where = f" in room {room}" if room else ""
        what = f"the token {principal.name} doesn't have the right to {wanted}{where}"
        raise problem(403, "forbidden", what, "ask the person who gave you the link for one that may")

    def identify(self, request: web.Request) -> Principal:
        """Who asks. Raises HTTPUnauthorized, HTTPTooManyRequests; HTTPForbidden for other sites' requests."""
        if is_control(request):
            return CONTROL
        if self.is_open:
            self._check_own(request)
            return LOOPBACK
        text = token_of(request)
        if not text:
            what = "this needs an access token"
            do = "open the link that was given to you, or send the token as `Authorization: Bearer TOKEN`"
            raise problem(401, "token_missing", what, do, {"WWW-Authenticate": "Bearer"})
        found = self._try(text, request.remote or "")
        if isinstance(found, float):
            what = "too many wrong tokens came from your address"
            raise problem(
                429, "slow_down", what, f"wait {found:.0f} s", {"Retry-After": str(max(1, round(found + 0.5)))}
            )
        if found is None:
            what = "the access token is wrong or no longer valid"
            do = "ask the person who gave you the link for a new one"
            raise problem(401, "token_wrong", what, do, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return found

    def authorise_secret(self, text: str, remote: str, right: str, room: str | None) -> str:
        """As ``authorise`` where there is no HTTP: by the token's secret and the peer's address. Raises Refused."""
        wanted: Right = next(known for known in RIGHTS if known == right)
        if self.is_open:
            if not is_loopback_name(remote):
                raise Refused(
                    CloseReason.REFUSED, "no token is configured, so only this machine may: configure [[tokens]]"
                )
            return LOOPBACK.name
        if not text:
            raise Refused(CloseReason.REFUSED, "this needs the secret of a token")
        found = self._try(text, remote)
        if isinstance(found, float):
            raise Refused(CloseReason.REFUSED, f"too many wrong tokens came from this address: wait {found:.0f} s")
        if found is None:
            raise Refused(CloseReason.REFUSED, "the token's secret is wrong or no longer valid")
        if not found.admits(wanted, room):
            where = f" in room {room}" if room else ""
            raise Refused(CloseReason.REFUSED, f"the token {found.name} doesn't have the right to {right}{where}")
        return found.name

    def _try(self, text: str, remote: str) -> Principal | float | None:
        """Whose secret this is; None: nobody's, and it is counted; a float: this address must wait so many seconds."""
        address = network_of(remote)
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        wait_s = self._wrong.wait_s(address, digest)
        if wait_s:
            return wait_s
        found = self.find(digest)
        if found is None:
            self._wrong.wrong(address)
            self._count_refused(address)
        else:
            self._wrong.right(address, digest)
        return found

    def find(self, digest: bytes) -> Principal | None:
        """Compares with every token, so that the time taken tells nothing."""
        found = None
        for principal in self._principals:
            if hmac.compare_digest(principal.digest, digest):
                found = principal
        return found

    def still_admits(self, principal: Principal, right: Right, room: str | None) -> bool:
        """After a reload: whether what was allowed to somebody still is."""
        if principal is CONTROL:
            return True
        now = LOOPBACK if self.is_open else self.find(principal.digest) if principal.digest else None
        return now is not None and now.admits(right, room)

    def _check_own(self, request: web.Request) -> None:
        here = request.transport.get_extra_info("sockname") if request.transport else None
        if here is None or not is_loopback_name(here[0]):
            what = "no token is configured, so this answers on loopback addresses only"
            raise problem(403, "not_local", what, "configure [[tokens]]")
        host = host_of(request.host)
        if not is_loopback_name(host) and host not in self._hosts:
            what = f"no token is configured, so this answers to localhost only, not to {host or 'an unnamed host'}"
            raise problem(403, "not_local", what, "configure [[tokens]], or open http://localhost")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != request.host.lower():
            what = "a page of another web site may not do this"
            raise problem(403, "other_origin", what, "configure [[tokens]], or use the gateway's own page")

    def _count_refused(self, address: str) -> None:
        self.refused += 1
        if count := self._said.take():
            log.warning(events.TOKEN_REFUSED, remote=address, count=count)


def token_of(request: web.Request) -> str:
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return rest.strip()
    return request.query.get("token", "")


def is_control(request: web.Request) -> bool:
    """Whether it came over the control socket."""
    raw = request.transport.get_extra_info("socket") if request.transport else None
    return raw is not None and raw.family == socket.AF_UNIX


def host_of(authority: str) -> str:
    """The host of a Host header, lower case, without port and brackets; empty when it is none."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").lower()
    except ValueError:
        return ""


def is_loopback_name(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
