"""From the gateway's own nouns to the API's: rooms, participants, sessions, streams, devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orbridge.codecs.media import VIDEO_NAMES, Kind, Role, VideoLimit
from orbridge.gateway.config import Device
from orbridge.gateway.config import Room as RoomConfig
from orbridge.gateway.devices import DeviceHistory
from orbridge.gateway.http.facade import Gateway
from orbridge.gateway.http.schema import (
    DeviceState,
    LimitState,
    NoteState,
    ParticipantState,
    RoomState,
    SessionState,
    StreamState,
    TrackState,
)
from orbridge.gateway.rooms.model import Participant, Room
from orbridge.gateway.rooms.return_path import strictest
from orbridge.gateway.session import Note, Session

Facts = dict[str, Any]


class View:
    """Looks at the gateway through the API's eyes. Reads only; keeps nothing but the devices' history."""

    def __init__(self, gateway: Gateway, now_ns: Any) -> None:
        self._gateway, self._now_ns = gateway, now_ns
        self.history = DeviceHistory(gateway.rooms)

    # devices

    def devices(self) -> list[DeviceState]:
        return self._devices(self._gateway.config.devices)

    def devices_of(self, room: str) -> list[DeviceState]:
        """Those whose own room it is."""
        return self._devices([device for device in self._gateway.config.devices if device.room == room])

    def _devices(self, devices: Sequence[Device]) -> list[DeviceState]:
        sessions = {session.device: session for session in self._gateway.sessions() if session.device}
        bound = {
            name: {binding["device"] for binding in adapter.status().get("bindings", ())}
            for name, adapter in self._gateway.adapters.items()
            if any(device.adapter == name for device in devices)
        }
        return [self._device(device, sessions.get(device.name), bound.get(device.adapter)) for device in devices]

    def _device(self, device: Device, session: Session | None, bound: set[str] | None) -> DeviceState:
        """``bound``: devices registered with its adapter; None: there is no such adapter."""
        if bound is None:
            what = f"nothing here speaks {device.adapter}: its adapter didn't start, see the log"
            return DeviceState(device.name, device.adapter, device.room, "failed", reason=what)
        found = self.history.status(device, session, registered=device.name in bound)
        room = session.room if session is not None else device.room
        return DeviceState(
            device.name, device.adapter, room, found.standing, found.session, found.since_at, found.reason
        )

    # rooms

    def is_known(self, name: str) -> bool:
        """The room is open, or the config names it."""
        config = self._gateway.config
        return (
            self._gateway.rooms.get(name) is not None
            or any(room.name == name for room in config.rooms)
            or any(device.room == name for device in config.devices)
        )

    def room(self, name: str) -> RoomState:
        """The room, or how it will be when somebody enters it."""
        room = self._gateway.rooms.get(name)
        if room is None:
            planned = next((known for known in self._gateway.config.rooms if known.name == name), RoomConfig(name=name))
            room = Room(name, planned.title or name, planned.max_participants, planned.backend)
            is_open = False
        else:
            is_open = True
        facts = self.facts(room)
        return RoomState(
            name=room.name,
            title=room.title,
            backend=room.backend,
            open=is_open,
            full=room.is_full,
            max_participants=room.max_participants,
            participants=[participant_state(member, facts) for member in room.participants],
            devices=self.devices_of(name),
            speaker=room.speaker,
            pins=dict(room.pins),
        )

    def rooms(self) -> list[RoomState]:
        """Every room that is open or named in the config, in the alphabet's order."""
        config = self._gateway.config
        names = {room.name for room in self._gateway.rooms.all()}
        names |= {room.name for room in config.rooms} | {device.room for device in config.devices if device.room}
        return [self.room(name) for name in sorted(names)]

    def facts(self, room: Room) -> dict[str, Facts]:
        """The engine's counters of the members' streams, by stream name."""
        names = [stream for member in room.participants for stream in member.streams.values()]
        return {facts["name"]: facts for facts in self._gateway.bus.engine.streams(names)} if names else {}

    def limit(self, room_name: str, publisher: str | None) -> LimitState | None:
        """What a picture must keep to so that every device in the room but the publisher itself can decode it."""
        room = self._gateway.rooms.get(room_name)
        limits = [
            sink.limit
            for member in (room.participants if room else ())
            if member.id != publisher
            for sink in member.session.sinks
            if sink.kind is Kind.VIDEO and sink.limit is not None
        ]
        return limit_state(strictest(limits))

    def sees(self, room: Room, facts: Mapping[str, Facts]) -> dict[str, str | None]:
        """Participant id -> whose picture it is shown, for those whom the room chooses a picture for."""
        source_of = self._gateway.routing.source_of
        owners = {
            track["id"]: member.id
            for member in room.participants
            for stream in member.streams.values()
            for track in facts.get(stream, {"tracks": ()})["tracks"]
        }
        return {
            member.id: owners.get(source_of(selected)) if (selected := sink.sender.selected) is not None else None
            for member in room.participants
            for sink in member.session.sinks
            if sink.kind is Kind.VIDEO and sink.role is Role.MAIN
        }

    # streams and sessions

    def streams_of(self, room: Room, facts: Mapping[str, Facts]) -> list[StreamState]:
        return [
            stream_state(facts[stream], room.name, member.id, network_facts(member.session, role))
            for member in room.participants
            for role, stream in member.streams.items()
            if stream in facts
        ]

    def streams(self) -> list[StreamState]:
        """Every stream on the bus, with whom it belongs to."""
        owners = {
            stream: (session, role)
            for session in self._gateway.sessions()
            for role, stream in session.published.items()
        }
        found = []
        for facts in self._gateway.bus.engine.streams():
            session, role = owners.get(facts["name"], (None, Role.MAIN))
            if session is None:
                found.append(stream_state(facts, None, None, {}))
            else:
                found.append(stream_state(facts, session.room, session.id, network_facts(session, role)))
        return sorted(found, key=lambda stream: stream.name)

    def session(self, session: Session) -> SessionState:
        return SessionState(
            id=session.id,
            adapter=session.adapter,
            name=session.name,
            device=session.device,
            room=session.room,
            state=str(session.state),
            inbound=session.inbound,
            remote=session.remote,
            up_s=round((self._now_ns() - session.opened_ns) / 1e9, 1),
            plays=session.plays,
            streams={str(role): stream for role, stream in session.published.items()},
            notes=note_states(session.notes),
        )


def note_states(notes: Sequence[Note]) -> list[NoteState]:
    return [NoteState(note.code, note.text) for note in notes]


def participant_state(member: Participant, facts: Mapping[str, Facts]) -> ParticipantState:
    kinds = {
        track["kind"] for stream in member.streams.values() for track in facts.get(stream, {"tracks": ()})["tracks"]
    }
    return ParticipantState(
        id=member.id,
        name=member.name,
        kind=member.kind,
        state=str(member.state),
        streams={str(role): stream for role, stream in member.streams.items()},
        audio=Kind.AUDIO in kinds,
        video=Kind.VIDEO in kinds,
        speaking=member.speaking,
        notes=note_states(member.notes),
    )


def limit_state(limit: VideoLimit | None) -> LimitState | None:
    return LimitState(limit.max_fs, limit.max_mbps, limit.max_kbps) if limit is not None else None


def stream_state(facts: Facts, room: str | None, participant: str | None, network: Mapping[str, Facts]) -> StreamState:
    """One stream from the engine's counters (``Engine.streams``) and, by track kind, what ``network_facts`` found."""
    return StreamState(
        name=facts["name"],
        room=room,
        participant=participant,
        age_s=round(facts["age_ms"] / 1000, 1),
        subscribers=facts["subscribers"],
        tracks=[track_state(track, network.get(track["kind"], {})) for track in facts["tracks"]],
    )


def track_state(track: Facts, network: Facts) -> TrackState:
    return TrackState(
        kind=track["kind"],
        codec=track["codec"],
        bitrate_bps=int(track["bitrate_bps"] or 0),
        lost_units=track["lost_units"],
        width=track["width"] or 0,
        height=track["height"] or 0,
        fps=round(track["fps"] or 0.0, 1),
        loss_percent=rounded(network.get("loss_percent")),
        jitter_ms=rounded(network.get("jitter_ms")),
        rtt_ms=rounded(network.get("rtt_ms")),
    )


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def network_facts(session: Session, role: Role) -> dict[str, Facts]:
    """Loss, jitter and round-trip time between a peer and us, by track kind, from the session's legs.

    ``Session.stats`` gives ``legs``: the engine's ``Leg.stats`` each, with ``line`` (``video/content``) where the
    session has legs for more than the main picture and sound.
    """
    found: dict[str, Facts] = {}
    for leg, receiver in receivers_of(session.stats()):
        kind = Kind.VIDEO if str(receiver.get("codec")).upper() in VIDEO_NAMES else Kind.AUDIO
        if str(leg.get("line", f"{kind}/{Role.MAIN}")) == f"{kind}/{role}":
            found[str(kind)] = {
                "loss_percent": receiver.get("loss_percent"),
                "jitter_ms": receiver.get("jitter_ms"),
                "rtt_ms": leg.get("rtt_ms"),
            }
    return found


def receivers_of(stats: Mapping[str, Any]) -> Iterator[tuple[Facts, Facts]]:
    """(leg, receiver) pairs of a session's counters."""
    for leg in stats.get("legs", ()):
        for receiver in leg.get("receivers", ()):
            yield leg, receiver
