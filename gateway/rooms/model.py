"""Rooms and who is in them. Values and events only: what is shown to whom is decided in ``return_path``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pyee.base import EventEmitter

from orbridge.codecs.media import Role
from orbridge.gateway import config
from orbridge.gateway.session import Note, Session, State


@dataclass(slots=True)
class Participant:
    """A member of a room: a device, or a guest who publishes from a browser.

    Attributes:
        id: the id of the session behind it.
        order: counts who came first.
        problem: why it is shown no picture or not the one asked for, in words; empty when all is well.
        unseen: why somebody who plays its stream can't be shown the picture as it should be, in words; empty: nobody.
        remarks: what else people should know of what it is shown and played, and of what others make of its sound.
    """

    session: Session
    order: int
    speaking: bool = False
    problem: str = ""
    remarks: tuple[Note, ...] = ()
    unseen: str = ""

    @property
    def id(self) -> str:
        return self.session.id

    @property
    def session_id(self) -> str:
        return self.session.id

    @property
    def name(self) -> str:
        return self.session.name

    @property
    def kind(self) -> Literal["device", "guest", "output"]:
        if self.session.watches:
            return "output"
        return "guest" if self.session.device is None else "device"

    @property
    def streams(self) -> dict[Role, str]:
        return self.session.published

    @property
    def notes(self) -> list[Note]:
        withheld = [Note("picture_withheld", self.problem)] if self.problem else []
        unseen = [Note("picture_unseen", self.unseen)] if self.unseen else []
        return [*self.session.notes, *withheld, *unseen, *self.remarks]

    @property
    def state(self) -> State:
        return self.session.state


@dataclass(slots=True)
class Room:
    """A meeting.

    Attributes:
        pins: viewer's participant name -> name of the participant it shall always see. Names, so that a pin survives
            a call that drops and comes back.
        speaker: participant id of the active speaker.
        permanent: named in the config, so it stays when the last member leaves.
    """

    name: str
    title: str
    max_participants: int
    backend: str = "embedded"
    permanent: bool = False
    members: dict[str, Participant] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    speaker: str | None = None

    @property
    def participants(self) -> list[Participant]:
        return sorted(self.members.values(), key=lambda member: member.order)

    @property
    def is_full(self) -> bool:
        return len([m for m in self.members.values() if not m.session.watches]) >= self.max_participants

    def pinned(self, viewer: str) -> str | None:
        return self.pins.get(viewer)

    def by_name(self, name: str) -> Participant | None:
        return next((member for member in self.members.values() if member.name == name), None)


class Rooms(EventEmitter):
    """Every room.

    Events (pyee): ``opened(room)``, ``closed(room)``, ``changed(room_name)`` when members, streams, notes or pins
    changed, ``speaker(room_name, participant_id | None)``.
    """

    LIMIT = 1000

    def __init__(self) -> None:
        super().__init__()
        self._rooms: dict[str, Room] = {}
        self._defaults = config.Room(name="default")
        self._order = 0

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._rooms.values()))

    def all(self) -> list[Room]:
        return list(self._rooms.values())

    def get(self, name: str) -> Room | None:
        return self._rooms.get(name)

    def configure(self, rooms: Iterable[config.Room]) -> None:
        """Take over the config's rooms. A room that is no longer named goes when its last member leaves."""
        named = {room.name: room for room in rooms}
        for name, wanted in named.items():
            room = self._rooms.get(name)
            if room is None:
                room = self._open(name)
            room.title, room.max_participants = wanted.title or name, wanted.max_participants
            room.backend, room.permanent = wanted.backend, True
        for room in self.all():
            if room.name not in named:
                room.permanent = False
                self._close_if_empty(room)

    def ensure(self, name: str) -> Room:
        """The room of this name, opened when it isn't there. Raises ValueError when there are too many."""
        room = self._rooms.get(name)
        if room is None:
            if len(self._rooms) >= self.LIMIT:
                raise ValueError(f"there are {self.LIMIT} rooms open already")
            room = self._open(name)
        return room

    def join(self, session: Session) -> Participant:
        room = self.ensure(session.room)
        self._order += 1
        member = room.members[session.id] = Participant(session, self._order)
        self.emit("changed", room.name)
        return member

    def leave(self, session: Session) -> None:
        """Idempotent."""
        room = self._rooms.get(session.room)
        if room is None or room.members.pop(session.id, None) is None:
            return
        if room.speaker == session.id:
            self.set_speaker(room, None)
        self.emit("changed", room.name)
        self._close_if_empty(room)

    def touch(self, room_name: str) -> None:
        """Something about a member changed that people look at."""
        if room_name in self._rooms:
            self.emit("changed", room_name)

    def set_speaker(self, room: Room, participant_id: str | None) -> None:
        if room.speaker != participant_id:
            room.speaker = participant_id
            self.emit("speaker", room.name, participant_id)

    def pin(self, room: Room, viewer: str, shown: str | None) -> None:
        """Show ``viewer`` always ``shown`` (names); None: the active speaker again. Raises ValueError (unknown)."""
        for name in (viewer, shown):
            if name is not None and room.by_name(name) is None:
                raise ValueError(f"nobody called {name} is in room {room.name}")
        if shown is None:
            room.pins.pop(viewer, None)
        else:
            room.pins[viewer] = shown
        self.emit("changed", room.name)

    def _open(self, name: str) -> Room:
        room = self._rooms[name] = Room(name, name, self._defaults.max_participants)
        self.emit("opened", room)
        return room

    def _close_if_empty(self, room: Room) -> None:
        if not room.members and not room.permanent and self._rooms.pop(room.name, None) is not None:
            self.emit("closed", room)
