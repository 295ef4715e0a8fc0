"""The configured devices with their state in words: connected, registered, or why not and since when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from orbridge.gateway.config import Device
from orbridge.gateway.rooms.model import Rooms
from orbridge.gateway.session import CloseReason, Session, State

Standing = Literal["connected", "connecting", "registered", "failed", "unknown"]

# A call that ended so is nobody's fault and nothing to look into.
NORMAL_ENDS = frozenset({CloseReason.LOCAL_HANGUP, CloseReason.REMOTE_HANGUP, CloseReason.SHUTDOWN})


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """How a device stands.

    Attributes:
        session: id of its session, None when there is none.
        since_at: since when, seconds since 1970; None when unknown.
        reason: why it isn't connected, or what limits it; empty when there is nothing to say.
    """

    device: Device
    standing: Standing
    session: str | None = None
    since_at: float | None = None
    reason: str = ""


@dataclass(slots=True)
class _Past:
    """What is remembered of a device between calls."""

    since_at: float
    failed: bool
    reason: str


class DeviceHistory:
    """Remembers how each device's last session ended. Bounded by the number of configured devices."""

    def __init__(self, rooms: Rooms, wallclock: Callable[[], float] = time.time) -> None:
        self._rooms, self._wallclock = rooms, wallclock
        self._followed: dict[str, float] = {}
        self._past: dict[str, _Past] = {}
        rooms.on("changed", self._changed)

    def forget_others(self, devices: Iterable[Device]) -> None:
        """After a reload: only these exist."""
        names = {device.name for device in devices}
        self._past = {name: past for name, past in self._past.items() if name in names}

    def status(self, device: Device, session: Session | None, *, registered: bool) -> DeviceStatus:
        """How it stands. ``session``: the device's, None when it has none; ``registered``: we know where to call it."""
        if session is not None and session.state is not State.CLOSED:
            up = session.state in (State.ACTIVE, State.HELD)
            room = self._rooms.get(session.room)
            member = room.members.get(session.id) if room else None
            notes = member.notes if member else session.notes
            reason = "on hold" if session.state is State.HELD else "; ".join(note.text for note in notes)
            since_at = self._followed.get(session.id)
            return DeviceStatus(device, "connected" if up else "connecting", session.id, since_at, reason)
        past = self._past.get(device.name)
        if past is None:
            if registered:
                return DeviceStatus(device, "registered", reason="registered, not in a call")
            return DeviceStatus(device, "unknown", reason="nothing has come from it yet")
        standing: Standing = "registered" if registered else "failed" if past.failed else "unknown"
        return DeviceStatus(device, standing, None, past.since_at, past.reason)

    def _changed(self, room_name: str) -> None:
        room = self._rooms.get(room_name)
        for member in room.participants if room else ():
            session = member.session
            if session.device is not None and session.id not in self._followed:
                self._followed[session.id] = self._wallclock()
                session.on("closed", self._closed)

    def _closed(self, session: Session, reason: CloseReason) -> None:
        self._followed.pop(session.id, None)
        if session.device is not None:
            failed = reason not in NORMAL_ENDS
            self._past[session.device] = _Past(self._wallclock(), failed, session.reason_text)
