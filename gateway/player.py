"""Who plays one stream instead of being in a room: WHEP, an RTMP player, a push."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import AAC, H264, Kind, Role
from orbridge.gateway.converters import Converters, Round, converted
from orbridge.gateway.rooms.return_path import mismatch, same_audio
from orbridge.gateway.session import Note, Session, Sink
from orbridge.gateway.sound import wanted
from orbridge.gateway.tracks import codec_of, picture_of, select, stream_facts

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine

# Codes of the notes that a session gets from here.
NOTES = frozenset({"picture_withheld", "picture_converted", "sound_withheld"})


class Player:
    """A session that plays one stream: its picture as it is where it can be, its sound in the player's codec.

    Attributes:
        tracks: ids of the stream's tracks when last looked at.
    """

    def __init__(self, engine: Engine, converters: Converters, session: Session, stream: str) -> None:
        self.session, self.stream = session, stream
        self.tracks: frozenset[int] = frozenset()
        self._engine, self._converters = engine, converters

    def refresh(self) -> None:
        """The stream's tracks or the session's sinks may have changed."""
        facts = stream_facts(self._engine, [self.stream]).get(self.stream)
        self.tracks = frozenset(track["id"] for track in facts["tracks"]) if facts else frozenset()
        if facts:
            self.session.offered([codec_of(track) for track in facts["tracks"]])
        used = Round()
        for sink in self.session.sinks:
            known = next((track for track in facts["tracks"] if track["kind"] == sink.kind), None) if facts else None
            track = None
            if known is not None:
                try:
                    track = (
                        self._picture(sink, known, used) if sink.kind is Kind.VIDEO else self._sound(sink, known, used)
                    )
                except LocalError as exc:
                    code = "picture_withheld" if sink.kind is Kind.VIDEO else "sound_withheld"
                    used.remarks[self.session.id].append(Note(code, str(exc)))
            select(sink, track, room=self.session.room, viewer=self.session.name)
        user = self.session.id
        self._converters.sound.release(user, keep=used.sounds[user])
        self._converters.pictures.release(user, keep=used.pictures[user])
        others = [note for note in self.session.notes if note.code not in NOTES]
        self.session.notes = [*others, *used.remarks[user]]

    def close(self) -> None:
        self._converters.sound.release(self.session.id)
        self._converters.pictures.release(self.session.id)

    def _picture(self, sink: Sink, known: dict[str, Any], used: Round) -> int | None:
        """The track to show. Raises LocalError when it can't be converted and isn't worth showing as it is."""
        picture = picture_of(known, self.session.id, self.stream, Role.MAIN)
        why = mismatch(picture, sink.codec, sink.reorders)
        if not why:
            return picture.track
        if sink.codec.name != H264.name:
            raise LocalError(why)
        converts, user = self._converters.pictures, self.session.id
        needed = converts.wanted(picture, sink.limit)
        try:
            track = converts.use(user, needed, picture)
        except LocalError as exc:
            if picture.codec.name != sink.codec.name:
                raise LocalError(f"{why}, and {exc}") from exc
            used.remarks[user].append(Note("picture_withheld", f"{why}, and {exc}"))
            return picture.track
        used.pictures[user].add(needed)
        used.remarks[user].append(converted(why, converts.note_of(track)))
        return track

    def _sound(self, sink: Sink, known: dict[str, Any], used: Round) -> int:
        """The track to play. Raises LocalError when it can't be converted."""
        codec = codec_of(known)
        # One stream's AAC stays what it is, so whatever its rate, a player of AAC takes it.
        if same_audio(codec, sink.codec) or codec.name == sink.codec.name == AAC.name:
            return int(known["id"])
        used.sounds[self.session.id].add(wanted(known["id"], codec, sink.codec))
        return self._converters.sound.use(self.session.id, known["id"], codec, sink.codec)
