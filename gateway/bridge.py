"""The running instance of a room's routes: carries decisions of ``rooms.return_path`` to the sinks.

Knows no protocol: sessions say what they publish and what they can be shown; everything else is a property of tracks.
Work is coalesced: many changes in one turn of the loop cost one round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import structlog

from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import AAC, H264, OPUS, Codec, Kind, Role, VideoLimit
from orbridge.gateway import events
from orbridge.gateway.converters import Converters, Round, converted
from orbridge.gateway.rooms.model import Participant, Room, Rooms
from orbridge.gateway.rooms.return_path import (
    Convert,
    Mix,
    PassThrough,
    Picture,
    Voice,
    choose_picture,
    choose_sound,
    strictest,
    voices_to_convert,
)
from orbridge.gateway.rooms.speaker import ActiveSpeaker
from orbridge.gateway.session import Note, Session, Sink, State
from orbridge.gateway.sound import CARRYING_BPS, MIX_CODECS, RoomSound
from orbridge.gateway.sound import wanted as wanted_sound
from orbridge.gateway.tracks import select, tracks_of

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

    def __init__(
        self, engine: Engine, rooms: Rooms, room: Room, now_ns: Callable[[], int], converters: Converters
    ) -> None:
        self.room = room
        self._engine, self._rooms, self._now_ns, self._converters = engine, rooms, now_ns, converters
        self._sound = RoomSound(engine, room.name)
        self._speaker = ActiveSpeaker()
        self._owners: dict[int, str] = {}
        self._users: set[str] = set()
        self.tracks: frozenset[int] = frozenset()
        self._handle: asyncio.Handle | None = None

    def refresh(self) -> None:
        """Something changed: decide again, once, at the end of this turn of the loop."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._decide)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._release(Round())
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
        self._handle = None
        round_ = Round()
        members = [member for member in self.room.participants if sendable(member.session)]
        pictures, voices = tracks_of(self._engine, members)
        self.tracks = frozenset(voice.track for voice in voices) | {picture.track for picture in pictures}
        listen = len(voices) >= SPEAKERS_FROM
        mixable = self._mixable(members, voices, listen, round_)
        self._owners = {voice.track: voice.owner for voice in mixable}
        problems: dict[str, str] = {}
        for member in members:
            takes_content = any(s.kind is Kind.VIDEO and s.role is Role.CONTENT for s in member.session.sinks)
            for sink in member.session.sinks:
                if sink.kind is Kind.VIDEO:
                    problem = self._show(member, sink, pictures, takes_content, round_)
                    problems[member.id] = problem or problems.get(member.id, "")
                else:
                    self._play(member, sink, voices, mixable, round_)
        for member in members:
            told = (problems.get(member.id, ""), tuple(round_.remarks[member.id]))
            if told != (member.problem, member.remarks):
                member.problem, member.remarks = told
                self._rooms.touch(self.room.name)
        inputs = (voice.track for voice in mixable if voice.codec.name in MIX_CODECS)
        self._sound.settle(inputs, listen=listen)
        self._release(round_)

    def _release(self, used: Round) -> None:
        """Let go of what was used in the round before and isn't in this one."""
        users = set(used.sounds) | set(used.pictures) | used.slates
        for user in self._users | users:
            self._converters.sound.release(user, keep=used.sounds.get(user, ()))
            self._converters.pictures.release(user, keep=used.pictures.get(user, ()))
            if user not in used.slates:
                self._converters.slate.release(user)
        self._users = users

    def _show(self, member: Participant, sink: Sink, pictures: list[Picture], takes_content: bool, used: Round) -> str:
        """Returns why it isn't as it should be, in words."""
        converts = self._converters.pictures
        selected = sink.sender.selected
        refused: dict[int, str] | None = {} if sink.codec.name == H264.name else None
        track: int | None = None
        while True:
            shown = choose_picture(
                member.id,
                sink.codec,
                sink.limit,
                pictures,
                speaker=self.room.speaker,
                pinned=self.room.pinned(member.name),
                current=None if selected is None else converts.source_of(selected),
                role=sink.role,
                takes_content=takes_content,
                reorders=sink.reorders,
                refused=refused,
            )
            track = shown.track
            if not shown.why or track is None or refused is None:
                break
            picture = next(picture for picture in pictures if picture.track == track)
            wanted = converts.wanted(picture, sink.limit)
            try:
                track = converts.use(member.id, wanted, picture)
            except LocalError as exc:
                refused[picture.track] = str(exc)
                continue
            used.pictures[member.id].add(wanted)
            used.remarks[member.id].append(converted(shown.why, converts.note_of(track)))
            break
        if track is None and member.session.watches and sink.codec.name == H264.name:
            track = self._converters.slate.video(member.id)
            used.slates.add(member.id)
        select(sink, track, room=self.room.name, viewer=member.name)
        return shown.problem

    def _mixable(self, members: list[Participant], voices: list[Voice], listen: bool, used: Round) -> list[Voice]:
        """The voices with AAC replaced by what it is converted to, where that is needed; what can't be is left out."""
        listeners = [
            (member.id, sink.codec) for member in members for sink in member.session.sinks if sink.kind is Kind.AUDIO
        ]
        foreign = voices_to_convert(listeners, voices, listen=listen)
        room = f"room:{self.room.name}"
        made: list[Voice] = []
        for voice in voices:
            if voice.track not in foreign:
                made.append(voice)
                continue
            try:
                track = self._converters.sound.use(room, voice.track, voice.codec, OPUS)
            except LocalError as exc:
                used.remarks[voice.owner].append(Note("sound_withheld", f"its sound isn't heard in the room: {exc}"))
                continue
            used.sounds[room].add(wanted_sound(voice.track, voice.codec, OPUS))
            made.append(Voice(track, voice.owner, OPUS))
        return made

    def _play(self, member: Participant, sink: Sink, voices: list[Voice], mixable: list[Voice], used: Round) -> None:
        heard = choose_sound(member.id, sink.codec, voices if sink.codec.name == AAC.name else mixable)
        track: int | None = None
        try:
            if isinstance(heard, PassThrough):
                track = heard.track
            elif isinstance(heard, Convert):
                source = next(voice.codec for voice in voices if voice.track == heard.track)
                track = self._convert(member, heard.track, source, sink.codec, used)
            elif isinstance(heard, Mix) and sink.codec.name in MIX_CODECS:
                track = self._sound.use(sink.codec, heard.exclude)
            elif isinstance(heard, Mix):
                own = frozenset(voice.track for voice in mixable if voice.owner == member.id)
                mixed = self._sound.use(OPUS, own, bitrate_bps=CARRYING_BPS)
                track = self._convert(member, mixed, OPUS, sink.codec, used)
        except LocalError as exc:
            used.remarks[member.id].append(Note("sound_withheld", f"it is played no sound: {exc}"))
        if track is None and member.session.watches and sink.codec.name == AAC.name:
            track = self._converters.slate.audio(member.id)
            used.slates.add(member.id)
        select(sink, track, room=self.room.name, viewer=member.name)

    def _convert(self, member: Participant, track: int, source: Codec, codec: Codec, used: Round) -> int:
        made = self._converters.sound.use(member.id, track, source, codec)
        used.sounds[member.id].add(wanted_sound(track, source, codec))
        return made
