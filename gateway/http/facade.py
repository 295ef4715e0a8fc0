"""What the HTTP side asks of the gateway. ``gateway/daemon.py`` fulfils it; tests put a small one in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from orbridge.gateway.config import Config
    from orbridge.gateway.rooms.model import Room, Rooms
    from orbridge.gateway.session import Session


class Engine(Protocol):
    """The engine's counters (``codecs/_engine.pyi``)."""

    def streams(self, names: Sequence[str] | None = None) -> list[dict[str, Any]]: ...
    def stats(self) -> dict[str, Any]: ...


class Bus(Protocol):
    @property
    def engine(self) -> Engine: ...


class Routing(Protocol):
    def pin(self, room: Room, viewer: str, shown: str | None) -> None:
        """Names of participants. Raises ValueError when one of them isn't in the room."""
        ...

    def source_of(self, track_id: int) -> int:
        """The track that this picture was converted from; itself when it wasn't."""
        ...


class HasStatus(Protocol):
    """As much of an adapter as is looked at here."""

    def status(self) -> dict[str, Any]: ...


class Gateway(Protocol):
    """The running gateway.

    Attributes:
        config: replaced on reload.
        ready: every listener is open and nothing is being stopped.
        adapters: by name; ``status()["bindings"]`` names the ``device`` of each registration that it holds.
    """

    @property
    def config(self) -> Config: ...
    @property
    def ready(self) -> bool: ...
    @property
    def rooms(self) -> Rooms: ...
    @property
    def routing(self) -> Routing: ...
    @property
    def bus(self) -> Bus: ...
    @property
    def adapters(self) -> Mapping[str, HasStatus]: ...

    def status(self) -> dict[str, Any]:
        """Totals; at least ``version``, ``ready``, ``up_s``; ``conversions``: ``Routing.conversions``."""
        ...

    def sessions(self) -> Iterable[Session]: ...

    async def call(self, target: str, room: str) -> Session:
        """Call a device by name, or an address; an empty room means the device's own. Raises Refused, LocalError."""
        ...

    async def hangup(self, session_id: str) -> bool:
        """False when there is no such session."""
        ...

    async def reload(self) -> list[str]:
        """Sections that changed but need a restart. Raises ConfigError; then everything stays as it was."""
        ...
