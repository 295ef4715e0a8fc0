"""The API's JSON, as types: what is sent, what is taken, and (through ``openapi``) what is documented.

Times are seconds since 1970 (``*_at``) or since the thing began (``*_s``); rates and sizes carry their unit.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Right = Literal["view", "publish", "operate", "admin"]


class Problem(msgspec.Struct, frozen=True):
    """Why a request failed: a code for programs, a sentence, and what helps."""

    error: str
    what: str
    do: str = ""


class NoteState(msgspec.Struct, frozen=True):
    """Something a person should know about a live session, e.g. why it has sound only."""

    code: str
    text: str


class DeviceState(msgspec.Struct, frozen=True):
    """A configured device. ``since_at``: since when it is in ``state``; ``reason``: why, in words."""

    name: str
    adapter: str
    room: str
    state: Literal["connected", "connecting", "registered", "failed", "unknown"]
    session: str | None = None
    since_at: float | None = None
    reason: str = ""


class ParticipantState(msgspec.Struct, frozen=True):
    """Somebody in a room. ``streams``: role (main, content) -> name of the stream to play.

    ``kind`` ``output``: nobody whom people meet, but where the room is shown besides: a push, a recorder.
    """

    id: str
    name: str
    kind: Literal["device", "guest", "output"]
    state: str
    streams: dict[str, str]
    audio: bool
    video: bool
    speaking: bool
    notes: list[NoteState]


class RoomState(msgspec.Struct, frozen=True):
    """A room with who is in it.

    ``open`` is false for a room that nobody has entered yet. ``devices``: those whose own room it is, connected or
    not. ``pins``: viewer's name -> whom it is always shown. ``speaker``: participant id of who speaks.
    """

    name: str
    title: str
    backend: str
    open: bool
    full: bool
    max_participants: int
    participants: list[ParticipantState]
    devices: list[DeviceState]
    speaker: str | None
    pins: dict[str, str]


class TrackState(msgspec.Struct, frozen=True):
    """One track as it arrives here. ``loss_percent``, ``jitter_ms``, ``rtt_ms``: between its sender and here."""

    kind: Literal["audio", "video"]
    codec: str
    bitrate_bps: int
    lost_units: int
    width: int = 0
    height: int = 0
    fps: float = 0.0
    loss_percent: float | None = None
    jitter_ms: float | None = None
    rtt_ms: float | None = None


class StreamState(msgspec.Struct, frozen=True):
    """A stream on the bus. ``participant``: id of whose it is; None for what the gateway makes itself (mixes)."""

    name: str
    room: str | None
    participant: str | None
    age_s: float
    subscribers: int
    tracks: list[TrackState]


class SessionState(msgspec.Struct, frozen=True):
    """One signalling relationship: a call, a browser's connection. ``plays``: the stream a pure viewer asked for."""

    id: str
    adapter: str
    name: str
    device: str | None
    room: str
    state: str
    inbound: bool
    remote: str
    up_s: float
    plays: str | None
    streams: dict[str, str]
    notes: list[NoteState]


class SessionDetail(SessionState, frozen=True):
    """With the engine's counters; their members are explained in the engine's manual and may grow."""

    stats: dict[str, Any]


class CallRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``target``: a device's name, or an address (``sip:room@host``, with the right ``admin``). An empty ``room``
    means the device's own."""

    target: str
    room: str = ""


class CallStarted(msgspec.Struct, frozen=True):
    """The session that is being set up; how it goes on is at ``/api/v1/sessions/{session}``."""

    session: str
    room: str


class PinRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``device``: name of who is to see; ``participant``: name of whom, null for the active speaker again."""

    device: str
    participant: str | None = None


class DtmfRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys to press towards a peer, one after the other, e.g. a meeting's PIN."""

    digits: Annotated[str, msgspec.Meta(pattern="^[0-9*#A-Da-d]{1,64}$")]


class Reloaded(msgspec.Struct, frozen=True):
    """``needs_restart``: sections of the file that changed but are only read at the start."""

    needs_restart: list[str]


class IceServerState(msgspec.Struct, frozen=True):
    """As in RTCIceServer."""

    urls: list[str]
    username: str = ""
    credential: str = ""


class LimitState(msgspec.Struct, frozen=True):
    """What a publisher must keep to so that every device in the room can decode its picture (RFC 6184 8.1).

    ``max_fs``: macroblocks (16 x 16) a picture; ``max_mbps``: macroblocks a second; ``max_kbps``: 0 when unknown.
    """

    max_fs: int
    max_mbps: int
    max_kbps: int


class You(msgspec.Struct, frozen=True):
    """Whom the server takes the asker for, and what that one may do in this room."""

    name: str
    may: list[Right]


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message of a room's events. ``instance`` changes when the gateway was started anew: every session before
    it is gone then."""

    instance: str
    version: str
    you: You
    ice_servers: list[IceServerState]
    room: RoomState
    limit: LimitState | None


class RoomChanged(msgspec.Struct, frozen=True, tag="room"):
    """The whole room again; replaces what was known."""

    room: RoomState


class SpeakerChanged(msgspec.Struct, frozen=True, tag="speaker"):
    """``participant``: id of who speaks now."""

    participant: str | None


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """Once a second. ``sees``: participant id of a device -> participant id of whose picture it is shown."""

    streams: list[StreamState]
    sees: dict[str, str | None]


class LimitChanged(msgspec.Struct, frozen=True, tag="limit"):
    """Null: nothing limits a publisher's picture."""

    limit: LimitState | None


RoomEvent = Hello | RoomChanged | SpeakerChanged | Stats | LimitChanged


class Publishing(msgspec.Struct, frozen=True, tag="publishing", forbid_unknown_fields=True):
    """From the page: this session is mine, its own decoder doesn't limit it. Null: not any more."""

    session: str | None
