"""The running instance of a room's routes: carries decisions of ``rooms.return_path`` to the sinks.

Knows no protocol: sessions say what they publish and what they can be shown; everything else is a property of tracks.
Work is coalesced: many changes in one turn of the loop cost one round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import Codec, Kind, Role, VideoLimit
from orbridge.gateway import events
from orbridge.gateway.rooms.model import Participant, Room, Rooms
from orbridge.gateway.rooms.return_path import (
    Mix,
    PassThrough,
    Picture,
    Voice,
    choose_picture,
    choose_sound,
    same_audio,
    strictest,
)
from orbridge.gateway.rooms.speaker import ActiveSpeaker
from orbridge.gateway.session import Session, Sink, State
from orbridge.gateway.sound import RoomSound, Transcoders

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine

log = structlog.get_logger(__name__)

# Levels are worth decoding for when there is somebody to choose between.
SPEAKERS_FROM = 3


def sendable(session: Session) -> bool:
    return session.state in (State.ACTIVE, State.HELD, State.CONNECTING)


class RoomBridge:
    """Who in one room is shown and played what.

    Attributes:
        tracks: ids of the tracks that the members sent when last looked at.
    """

    def __init__(self, engine: Engine, rooms: Rooms, room: Room, now_ns: Callable[[], int]) -> None:
        self.room = room
        self._engine, self._rooms, self._now_ns = engine, rooms, now_ns
        self._sound = RoomSound(engine, room.name)
        self._speaker = ActiveSpeaker()
        self._owners: dict[int, str] = {}
        self.tracks: frozenset[int] = frozenset()
        self._round: asyncio.Handle | None = None

    def refresh(self) -> None:
        """Something changed: decide again, once, at the end of this turn of the loop."""
        if self._round is None:
            self._round = asyncio.get_running_loop().call_soon(self._decide)

    def close(self) -> None:
        if self._round is not None:
            self._round.cancel()
            self._round = None
        self._sound.close()

    @property
    def mixer_id(self) -> int | None:
        return self._sound.mixer_id

    def limit_for(self, publisher: str) -> VideoLimit | None:
        """What this participant's picture must keep to so that every device in the room can decode it."""
        return strictest(
            [
                sink.limit
                for member in self.room.participants
                if member.id != publisher
                for sink in member.session.sinks
                if sink.kind is Kind.VIDEO and sink.limit is not None
            ]
        )

    def levels(self, levels: Iterable[tuple[int, int, bool]]) -> None:
        """Loudness of the mixer's inputs: (track, dBov, active)."""
        heard = [(owner, level, active) for track, level, active in levels if (owner := self._owners.get(track))]
        for owner, _, active in heard:
            member = self.room.members.get(owner)
            if member is not None and member.speaking != active:
                member.speaking = active
                self._rooms.touch(self.room.name)
        if self._speaker.feed(heard, self._now_ns() // 1_000_000):
            self._rooms.set_speaker(self.room, self._speaker.current)
            member = self.room.members.get(self._speaker.current or "")
            log.debug(events.SPEAKER_CHANGED, room=self.room.name, participant=member.name if member else None)
            self.refresh()

    def left(self, participant: str) -> None:
        self._speaker.forget(participant)
        self.refresh()

    def _decide(self) -> None:
        self._round = None
        members = [member for member in self.room.participants if sendable(member.session)]
        pictures, voices = tracks_of(self._engine, members)
        self._owners = {voice.track: voice.owner for voice in voices}
        self.tracks = frozenset(self._owners) | {picture.track for picture in pictures}
        for member in members:
            problem = ""
            takes_content = any(s.kind is Kind.VIDEO and s.role is Role.CONTENT for s in member.session.sinks)
            for sink in member.session.sinks:
                if sink.kind is Kind.VIDEO:
                    problem = self._show(member, sink, pictures, takes_content) or problem
                else:
                    self._play(member, sink, voices)
            if problem != member.problem:
                member.problem = problem
                self._rooms.touch(self.room.name)
        self._sound.settle((voice.track for voice in voices), listen=len(voices) >= SPEAKERS_FROM)

    def _show(self, member: Participant, sink: Sink, pictures: list[Picture], takes_content: bool) -> str:
        shown = choose_picture(
            member.id,
            sink.codec,
            sink.limit,
            pictures,
            speaker=self.room.speaker,
            pinned=self.room.pinned(member.name),
            current=sink.sender.selected,
            role=sink.role,
            takes_content=takes_content,
        )
        select(sink, shown.track, room=self.room.name, viewer=member.name)
        return shown.problem

    def _play(self, member: Participant, sink: Sink, voices: list[Voice]) -> None:
        heard = choose_sound(member.id, sink.codec, voices)
        track = None
        if isinstance(heard, PassThrough):
            track = heard.track
        elif isinstance(heard, Mix):
            track = self._sound.use(sink.codec, heard.exclude)
        select(sink, track, room=self.room.name, viewer=member.name)


class Player:
    """A session that plays one stream (WHEP): its picture as it is, its sound in the player's codec."""

    def __init__(self, engine: Engine, transcoders: Transcoders, session: Session, stream: str) -> None:
        self.session, self.stream = session, stream
        self._engine, self._transcoders = engine, transcoders

    def refresh(self) -> None:
        """The stream's tracks or the session's sinks may have changed."""
        facts = stream_facts(self._engine, [self.stream]).get(self.stream)
        kept: tuple[int, str] | None = None
        for sink in self.session.sinks:
            track = self._engine.track(self.stream, sink.kind.value)
            codec = track_codec(facts, track)
            if track is None or codec is None:
                select(sink, None, room=self.session.room, viewer=self.session.name)
            elif sink.kind is Kind.VIDEO:
                fits = codec.name == sink.codec.name
                select(sink, track if fits else None, room=self.session.room, viewer=self.session.name)
            elif same_audio(codec, sink.codec):
                select(sink, track, room=self.session.room, viewer=self.session.name)
            else:
                kept = (track, sink.codec.name)
                made = self._transcoders.use(self.session.id, track, sink.codec)
                select(sink, made, room=self.session.room, viewer=self.session.name)
        self._transcoders.release(self.session.id, but=kept)

    def close(self) -> None:
        self._transcoders.release(self.session.id)


def select(sink: Sink, track: int | None, *, room: str, viewer: str) -> None:
    """Put a track on a sink when it isn't there already. A source that vanished meanwhile leaves the sink empty."""
    if sink.sender.selected == track:
        return
    try:
        sink.select(track)
    except (ValueError, LocalError) as exc:
        log.warning(events.ROUTE_CHANGED, room=room, viewer=viewer, kind=sink.kind, problem=str(exc))
        sink.select(None)
        return
    log.debug(events.ROUTE_CHANGED, room=room, viewer=viewer, kind=sink.kind, role=sink.role, track=track)


def stream_facts(engine: Engine, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those of the named streams that exist, by name."""
    return {facts["name"]: facts for facts in engine.streams(names)}


def track_codec(facts: dict[str, Any] | None, track: int | None) -> Codec | None:
    for known in facts["tracks"] if facts else ():
        if known["id"] == track:
            return Codec(known["codec"], known["clock_hz"], known["channels"])
    return None


def tracks_of(engine: Engine, members: Sequence[Participant]) -> tuple[list[Picture], list[Voice]]:
    """What the members send at the moment. A member on hold sends nothing that is worth showing."""
    facts = stream_facts(engine, [stream for member in members for stream in member.streams.values()])
    pictures: list[Picture] = []
    voices: list[Voice] = []
    for member in members:
        if member.session.state is State.HELD:
            continue
        for role, stream in member.streams.items():
            for known in facts.get(stream, {"tracks": ()})["tracks"]:
                codec = Codec(known["codec"], known["clock_hz"], known["channels"])
                if known["kind"] == Kind.AUDIO:
                    voices.append(Voice(known["id"], member.id, codec))
                else:
                    pictures.append(
                        Picture(
                            known["id"],
                            member.id,
                            member.name,
                            role,
                            codec,
                            known["width"] or 0,
                            known["height"] or 0,
                            known["fps"] or 0.0,
                            member.order,
                            member.kind == "device",
                        )
                    )
    return pictures, voices
