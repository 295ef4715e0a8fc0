"""The contract between the daemon and an adapter.

Adapters are found by name (entry ``orbridge.adapters.NAME:create``), so that a host without pjsua2 runs the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from orbridge.codecs.errors import LocalError
from orbridge.gateway.config import Config, Device
from orbridge.gateway.session import CloseReason, Session

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine, Event


class Refused(LocalError):
    """Admission was denied. ``text`` is for the log and, where the asker is known, for the asker."""

    def __init__(self, reason: CloseReason, text: str) -> None:
        super().__init__(reason, text)
        self.reason, self.text = reason, text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Admission:
    """What the routing core decided about somebody who wants in."""

    room: str
    name: str
    device: Device | None = None


def nobody(_secret: str, _remote: str, right: str, _room: str | None) -> str:
    """Who has no tokens to look at refuses everybody."""
    raise Refused(CloseReason.REFUSED, f"nobody has the right to {right} here")


class Router(Protocol):
    """What an adapter may ask of the routing core (``gateway/routing.py``, ``gateway/bridge.py``)."""

    def admit_device(self, device: Device, wanted_room: str | None) -> Admission:
        """A configured device calls. ``wanted_room``: the user part it dialled, or None. Raises Refused."""
        ...

    def admit_guest(self, room: str, name: str) -> Admission:
        """A browser with a valid token wants to join and publish under a name. Raises Refused (full, name taken)."""
        ...

    def room_of(self, stream: str) -> str | None:
        """The room in which a stream is to be seen; None when nobody publishes it."""
        ...

    def attach(self, session: Session) -> None:
        """A session opened; from now on the core follows its events and drives its sinks until ``closed``."""
        ...


class Engines(Protocol):
    """The engine, with its events handed to whom they are about (``gateway/bus.py``)."""

    engine: Engine

    def on_leg(self, leg_id: int, handler: Callable[[Event], None]) -> None: ...
    def off_leg(self, leg_id: int) -> None: ...
    def on_track(self, track_id: int, handler: Callable[[Event], None]) -> None: ...
    def off_track(self, track_id: int) -> None: ...


@dataclass(slots=True)
class Context:
    """What the daemon gives every adapter. ``config`` is replaced on reload.

    ``next_id("sip")`` gives ``sip-17``; ``now_ns`` is CLOCK_MONOTONIC; ``secret`` reads a secret by file reference
    (relative to the config file, or a systemd credential) and raises LocalError with a sentence.
    """

    config: Config
    bus: Engines
    router: Router
    next_id: Callable[[str], str]
    now_ns: Callable[[], int]
    secret: Callable[[str], str]
    # (request, one of view/publish/operate/admin, room or None) -> the token's name; raises HTTPUnauthorized/Forbidden
    authorise: Callable[[web.Request, str, str | None], str]
    # The same for protocols without HTTP: (secret, the peer's address, right, room or None) -> the token's name; wrong
    # ones are counted against the address, and too many end in a pause. Raises Refused.
    authorise_secret: Callable[[str, str, str, str | None], str] = nobody


class Adapter(Protocol):
    """One protocol. Made by ``create(context)``; nothing is opened before ``start``."""

    name: str

    async def start(self) -> None:
        """Open listeners. Raises LocalError with a sentence that says what to do."""
        ...

    async def stop(self, deadline_s: float) -> None:
        """End every session in the protocol's way within the deadline, close listeners. Idempotent."""
        ...

    async def reload(self, config: Config) -> None:
        """Devices, rooms or tokens changed; running sessions stay."""
        ...

    async def dial(self, target: Device | str, room: str) -> Session:
        """Call a device or address into a room. Returns when the session exists (not yet answered). Raises Refused."""
        ...

    def sessions(self) -> Iterable[Session]: ...

    def routes(self) -> Iterable[web.RouteDef]:
        """HTTP routes to be put into the gateway's server."""
        ...

    def status(self) -> dict[str, Any]:
        """For `orbridge status`, /metrics and the pages: listeners, registrations, build, counters."""
        ...
