"""A session: our side of one signalling relationship, as the routing core sees it.

Adapters subclass ``Session``. The core never asks which protocol is behind it: what it needs to know is said with
``published`` (streams that the peer feeds) and ``sinks`` (what the peer can be shown).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pyee.base import EventEmitter

from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import Codec, Kind, Role, VideoLimit


class State(enum.StrEnum):
    NEW = "new"
    RINGING = "ringing"
    CONNECTING = "connecting"
    ACTIVE = "active"
    HELD = "held"
    CLOSING = "closing"
    CLOSED = "closed"


# The diagram in ARCHITECTURE.md is generated from this table.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.RINGING, State.CONNECTING, State.CLOSING, State.CLOSED}),
    State.RINGING: frozenset({State.CONNECTING, State.ACTIVE, State.CLOSING, State.CLOSED}),
    State.CONNECTING: frozenset({State.ACTIVE, State.CLOSING, State.CLOSED}),
    State.ACTIVE: frozenset({State.HELD, State.CLOSING, State.CLOSED}),
    State.HELD: frozenset({State.ACTIVE, State.CLOSING, State.CLOSED}),
    State.CLOSING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
}


class CloseReason(enum.StrEnum):
    """The finite list of ways a session ends; ``SENTENCES`` has the sentence for each."""

    LOCAL_HANGUP = "local_hangup"
    REMOTE_HANGUP = "remote_hangup"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    NO_COMMON_CODEC = "no_common_codec"
    SILENT = "silent"
    EXPIRED = "expired"
    TRANSPORT_FAILED = "transport_failed"
    PROTOCOL_ERROR = "protocol_error"
    ROOM_FULL = "room_full"
    SHUTDOWN = "shutdown"
    FAULT = "fault"


SENTENCES: dict[CloseReason, str] = {
    CloseReason.LOCAL_HANGUP: "ended from our side",
    CloseReason.REMOTE_HANGUP: "the peer hung up",
    CloseReason.CANCELLED: "the caller gave up before the call was answered",
    CloseReason.REJECTED: "the peer declined",
    CloseReason.BUSY: "the peer is busy",
    CloseReason.NO_ANSWER: "the peer didn't answer in time",
    CloseReason.UNREACHABLE: "the peer can't be reached",
    CloseReason.REFUSED: "refused by our policy",
    CloseReason.NO_COMMON_CODEC: "the two sides have no codec in common",
    CloseReason.SILENT: "no media arrived for too long",
    CloseReason.EXPIRED: "the session timer ran out: the peer vanished",
    CloseReason.TRANSPORT_FAILED: "the connection under it failed",
    CloseReason.PROTOCOL_ERROR: "the peer broke the protocol",
    CloseReason.ROOM_FULL: "the room is full",
    CloseReason.SHUTDOWN: "the gateway is stopping",
    CloseReason.FAULT: "a fault in the gateway ended it",
}


class Line(Protocol):
    """What carries one track at a time to a peer: the engine's ``Sender`` for RTP, an adapter's own else."""

    @property
    def selected(self) -> int | None: ...

    def select(self, track_id: int | None) -> None:
        """As ``Sender.select``: from the next key frame on, the old one until then; None: nothing."""


@dataclass(slots=True)
class Sink:
    """One line that a peer can be shown or played: what carries it and what the peer said it takes.

    Attributes:
        role: main picture and sound, or the content line beside them.
        codec: negotiated; a track of another codec is transcoded (audio) or not sent (video).
        limit: what the peer's decoder takes; None when it named none.
        reorders: shows pictures in presentation order where decoding order differs (B-frames). Browsers and room
            systems don't when it comes as RTP: they show what they decode at once.
    """

    kind: Kind
    role: Role
    codec: Codec
    sender: Line
    limit: VideoLimit | None = None
    reorders: bool = False

    def select(self, track_id: int | None) -> None:
        self.sender.select(track_id)


@dataclass(frozen=True, slots=True)
class Note:
    """Something a person should know about a live session, e.g. why it has sound only. Shown in status and the page."""

    code: str
    text: str


class Session(EventEmitter):
    """One signalling relationship.

    Events (pyee): ``state(session, old, new)``; ``media_changed(session)`` when published streams, sinks or notes
    changed; ``dtmf(session, digit)``; ``closed(session, reason)`` exactly once.

    Attributes:
        id: short and unique in the life of the daemon, e.g. ``sip-17``; what `orbridge hangup` takes.
        device: name of the configured device, or None (a browser).
        name: who takes part, for people: the device's name, a browser user's name.
        remote: the peer's address, redacted where it names a person.
        room: name of the room it is in or wants to be in.
        inbound: the peer opened it.
        published: role -> name of the bus stream that the peer feeds.
        sinks: what can be sent to the peer at the moment.
        plays: name of the one stream a pure viewer asked for (WHEP, an RTMP player); None: the room decides.
        watches: it is no member that people meet: it only carries the room's picture and sound elsewhere.
    """

    adapter: ClassVar[str] = ""

    def __init__(
        self,
        session_id: str,
        *,
        name: str,
        room: str,
        remote: str,
        inbound: bool,
        opened_ns: int,
        device: str | None = None,
        plays: str | None = None,
        watches: bool = False,
    ) -> None:
        super().__init__()
        self.id, self.name, self.room, self.remote = session_id, name, room, remote
        self.inbound, self.opened_ns, self.device, self.plays = inbound, opened_ns, device, plays
        self.watches = watches
        self.state = State.NEW
        self.published: dict[Role, str] = {}
        self.sinks: list[Sink] = []
        self.notes: list[Note] = []
        self.reason: CloseReason | None = None
        self.reason_text = ""

    def move(self, new: State) -> None:
        """Go to another state. Raises LocalError when the table has no such transition."""
        old = self.state
        if new is old:
            return
        if new not in TRANSITIONS[old]:
            raise LocalError(f"session {self.id} can't go from {old} to {new}")
        self.state = new
        self.emit("state", self, old, new)

    def ended(self, reason: CloseReason, text: str = "") -> None:
        """Say that it is over; the first reason stays. Idempotent."""
        if self.state is State.CLOSED:
            return
        self.reason, self.reason_text = reason, text or SENTENCES[reason]
        self.move(State.CLOSED)
        self.emit("closed", self, reason)

    async def hangup(self, reason: CloseReason, text: str = "") -> None:
        """End it towards the peer in its protocol's way, bounded in time, and free everything. Idempotent."""
        raise NotImplementedError

    def hold(self) -> None:
        """Take nothing from the peer for a while and tell it so. Raises LocalError where the protocol has no hold."""
        raise LocalError(f"{self.id} can't be put on hold: only calls can")

    def resume(self) -> None:
        """End our hold. Raises LocalError as ``hold``."""
        raise LocalError(f"{self.id} can't be on hold: only calls can")

    def send_dtmf(self, digits: str) -> None:
        """Press keys towards the peer: 1 to 64 of 0-9, *, #, A-D, one after the other. Raises LocalError."""
        raise LocalError(f"{self.id} takes no keys: only calls do")

    def offered(self, codecs: Sequence[Codec]) -> None:
        """The stream that it plays has tracks in these codecs now.

        What it takes of them as they are needs no conversion, so it may change the codecs of sinks that nothing has
        been selected for.
        """

    def want_keyframe(self, track_id: int, attempt: int) -> None:
        """A key frame of one of our published tracks is wanted and RTCP alone may not do (SIP INFO goes here)."""

    def stats(self) -> dict[str, Any]:
        """``legs``: the engine's ``Leg.stats`` of each leg, in the order in which the lines were negotiated."""
        return {}
