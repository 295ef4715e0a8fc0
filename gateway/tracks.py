"""Tracks as the routing sees them: what is known of them on the bus, and how they are put on a sink."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import Codec, Kind, Role
from orbridge.gateway import events
from orbridge.gateway.rooms.model import Participant
from orbridge.gateway.rooms.return_path import Picture, Voice
from orbridge.gateway.session import Sink, State

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine

log = structlog.get_logger(__name__)


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


def codec_of(known: dict[str, Any]) -> Codec:
    return Codec(known["codec"], known["clock_hz"], known["channels"])


def picture_of(
    known: dict[str, Any], owner: str, name: str, role: Role, order: int = 0, device: bool = False
) -> Picture:
    """A video track from the engine's facts of it."""
    return Picture(
        known["id"],
        owner,
        name,
        role,
        codec_of(known),
        known["width"] or 0,
        known["height"] or 0,
        known["fps"] or 0.0,
        order,
        device,
        known.get("reordered", 0) > 0,
    )


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
                if known["kind"] == Kind.AUDIO:
                    voices.append(Voice(known["id"], member.id, codec_of(known)))
                else:
                    device = member.kind == "device"
                    pictures.append(picture_of(known, member.id, member.name, role, member.order, device))
    return pictures, voices
