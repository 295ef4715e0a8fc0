"""The routing core: who may enter which room, and the bridge that keeps each room's picture and sound flowing."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import structlog

from orbridge.codecs.media import VideoLimit
from orbridge.gateway import events
from orbridge.gateway.adapter import Admission, Refused
from orbridge.gateway.bridge import RoomBridge
from orbridge.gateway.config import Config, Device
from orbridge.gateway.converters import Converters
from orbridge.gateway.player import Player
from orbridge.gateway.rooms.model import Room, Rooms
from orbridge.gateway.session import CloseReason, Session, State
from orbridge.gateway.sound import Transcoders
from orbridge.gateway.transcode.pictures import PictureTranscoders
from orbridge.gateway.transcode.slate import Slate

if TYPE_CHECKING:
    from orbridge.gateway.bus import Bus

log = structlog.get_logger(__name__)

NAME_LIMIT = 60


def permitted_room(device: Device, wanted: str | None) -> str | None:
    """The room that a device's call goes to: what it dialled where its ``rooms`` allow, else its own; None: nowhere."""
    if wanted and any(fnmatch.fnmatchcase(wanted, pattern) for pattern in device.rooms):
        return wanted
    return device.room or None


def unique_name(wanted: str, taken: Iterable[str]) -> str:
    """``wanted`` or, when somebody has it, ``wanted-2`` and so on. Characters that divide stream names are replaced."""
    clean = "".join(c if c.isprintable() and c not in "/?#%\\" else "-" for c in wanted.strip())[:NAME_LIMIT] or "guest"
    used = set(taken)
    name, number = clean, 1
    while name in used:
        number += 1
        name = f"{clean}-{number}"
    return name


class Routing:
    """Admits sessions to rooms and drives the rooms' bridges. Implements ``adapter.Router``."""

    def __init__(self, bus: Bus, rooms: Rooms, config: Config, now_ns: Callable[[], int]) -> None:
        self.rooms = rooms
        self.sessions: dict[str, Session] = {}
        self._bus, self._config, self._now_ns = bus, config, now_ns
        self._bridges: dict[str, RoomBridge] = {}
        self._players: dict[str, Player] = {}
        media = config.media
        self._converters = Converters(
            Transcoders(bus.engine),
            PictureTranscoders(bus.engine, media.max_video_transcodes, media.max_video_kbps),
            Slate(bus.engine, now_ns),
        )
        self._converters.sound.on_change(self._track_changed)
        self._converters.pictures.on_change(self._track_changed)
        rooms.on("opened", self._opened)
        rooms.on("closed", self._closed)
        bus.on("levels", self._levels)
        bus.on("size", lambda track_id, _width, _height: self._track_changed(track_id))
        bus.on("reordered", lambda track_id, _ms: self._track_changed(track_id))
        bus.on("source_ended", lambda _sender_id, track_id: self._track_changed(track_id))
        bus.on("keyframe_wanted", self._keyframe_wanted)
        rooms.configure(config.rooms)

    def reload(self, config: Config) -> None:
        """New devices and rooms; whoever is in a room stays in it."""
        self._config = config
        self.rooms.configure(config.rooms)

    # admission

    def admit_device(self, device: Device, wanted_room: str | None) -> Admission:
        name = permitted_room(device, wanted_room)
        if name is None:
            asked = f"dialled {wanted_room}, which its rooms don't allow, and " if wanted_room else ""
            raise Refused(CloseReason.REFUSED, f"device {device.name} {asked}has no room of its own in the config")
        self._check_space(name, device.name)
        return Admission(name, device.name, device)

    def admit_guest(self, room: str, name: str) -> Admission:
        self._check_space(room, name)
        known = self.rooms.get(room)
        taken = [member.name for member in known.participants] if known else []
        return Admission(room, unique_name(name, taken + [device.name for device in self._config.devices]))

    def _check_space(self, name: str, who: str) -> None:
        room = self.rooms.get(name)
        if room is not None and room.is_full and room.by_name(who) is None:
            raise Refused(CloseReason.ROOM_FULL, f"room {name} is full ({room.max_participants} participants)")

    # sessions

    def attach(self, session: Session) -> None:
        self.sessions[session.id] = session
        session.on("media_changed", self._media_changed)
        session.on("state", lambda changed, _old, _new: self._media_changed(changed))
        session.on("closed", self._session_closed)
        # Not which key: digits are mostly PINs.
        session.on("dtmf", lambda pressed, _digit: log.debug(events.KEY_PRESSED, session=pressed.id))
        log.info(
            events.SESSION_OPENED,
            session=session.id,
            adapter=session.adapter,
            device=session.device,
            room=session.room,
            inbound=session.inbound,
            plays=session.plays,
        )
        if session.plays is None:
            self.rooms.join(session)
        else:
            self._players[session.id] = Player(self._bus.engine, self._converters, session, session.plays)
        self._media_changed(session)

    def _media_changed(self, session: Session) -> None:
        if session.state is State.CLOSED or session.id not in self.sessions:
            return
        player = self._players.get(session.id)
        if player is not None:
            self._settle(player)
            return
        self.rooms.touch(session.room)
        self._refresh(session)

    def _refresh(self, session: Session) -> None:
        """What this member sends or takes changed: its room decides again, and who plays its streams."""
        bridge = self._bridges.get(session.room)
        if bridge is not None:
            bridge.refresh()
        streams = set(session.published.values())
        for player in self._players.values():
            if player.stream in streams:
                player.refresh()
        for stream in streams:
            self._tell_owner(stream)

    def _settle(self, player: Player) -> None:
        player.refresh()
        self._tell_owner(player.stream)

    def _tell_owner(self, stream: str) -> None:
        """Whoever looks for a fault looks at who publishes the stream, not at those who can't be shown it."""
        session = next((s for s in self.sessions.values() if stream in s.published.values()), None)
        room = self.rooms.get(session.room) if session is not None else None
        member = room.members.get(session.id) if room is not None and session is not None else None
        if member is None:
            return
        reasons = [
            note.text
            for player in self._players.values()
            if player.stream == stream
            for note in player.session.notes
            if note.code == "picture_withheld"
        ]
        who = "a viewer" if len(reasons) == 1 else f"{len(reasons)} viewers"
        unseen = f"{who} can't be shown its picture as it should be: {reasons[0]}" if reasons else ""
        if unseen != member.unseen:
            member.unseen = unseen
            self.rooms.touch(member.session.room)

    def _session_closed(self, session: Session, reason: CloseReason) -> None:
        self.sessions.pop(session.id, None)
        player = self._players.pop(session.id, None)
        if player is not None:
            player.close()
            self._tell_owner(player.stream)
        else:
            bridge = self._bridges.get(session.room)
            if bridge is not None:
                bridge.left(session.id)
            self._refresh(session)
            self.rooms.leave(session)
        log.info(
            events.SESSION_CLOSED,
            session=session.id,
            adapter=session.adapter,
            device=session.device,
            room=session.room,
            reason=reason,
            text=session.reason_text,
            duration_s=round((self._now_ns() - session.opened_ns) / 1e9, 1),
        )

    # what others ask

    def room_of(self, stream: str) -> str | None:
        """The room in which this stream is to be seen; None when nobody publishes it."""
        for session in self.sessions.values():
            if stream in session.published.values():
                return session.room
        return None

    def limit_for(self, session_id: str) -> VideoLimit | None:
        """What a publisher's picture must keep to for the devices in its room."""
        session = self.sessions.get(session_id)
        bridge = self._bridges.get(session.room) if session else None
        return bridge.limit_for(session_id) if bridge else None

    def pin(self, room: Room, viewer: str, shown: str | None) -> None:
        """Raises ValueError when one of them isn't in the room."""
        self.rooms.pin(room, viewer, shown)
        self._bridges[room.name].refresh()

    def close(self) -> None:
        for bridge in self._bridges.values():
            bridge.close()
        self._converters.close()

    def source_of(self, track_id: int) -> int:
        """The track that this picture was converted from; itself when it wasn't."""
        return self._converters.pictures.source_of(track_id)

    def conversions(self) -> dict[str, Any]:
        """What is being decoded and encoded at the moment, and how often there was no room for it or it failed."""
        pictures, sound = self._converters.pictures, self._converters.sound
        return {
            kind: {
                "running": made.facts(),
                "limit": made.conversions.limit,
                "refused": made.conversions.refused,
                "failed": made.conversions.failed,
            }
            for kind, made in (("video", pictures), ("audio", sound))
        }

    # what happens

    def _opened(self, room: Room) -> None:
        self._bridges[room.name] = RoomBridge(self._bus.engine, self.rooms, room, self._now_ns, self._converters)
        log.info(events.ROOM_OPENED, room=room.name)

    def _closed(self, room: Room) -> None:
        self._bridges.pop(room.name).close()
        log.info(events.ROOM_CLOSED, room=room.name)

    def _levels(self, mixer_id: int, levels: list[tuple[int, int, bool]]) -> None:
        for bridge in self._bridges.values():
            if bridge.mixer_id == mixer_id:
                bridge.levels(levels)
                return

    def _keyframe_wanted(self, track_id: int, attempt: int) -> None:
        if self._converters.pictures.want_keyframe(track_id):
            return
        for session in self.sessions.values():
            for stream in session.published.values():
                if self._bus.engine.track(stream, "video") == track_id:
                    session.want_keyframe(track_id, attempt)
                    return

    def _track_changed(self, track_id: int) -> None:
        for bridge in self._bridges.values():
            if track_id in bridge.tracks:
                bridge.refresh()
                break
        for player in self._players.values():
            if track_id in player.tracks:
                self._settle(player)
