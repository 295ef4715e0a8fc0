"""What comes out of a connection, and how much a peer may ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from orbridge.codecs.errors import RemoteError
from orbridge.codecs.rtmp.chunk import ChunkLimits

MediaKind = Literal["audio", "video", "data"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a peer may make us keep or do.

    Attributes:
        chunks: sizes of messages and chunks, and what may be unfinished.
        message_streams: that a client may create.
        amf_depth: objects inside objects in a command.
        amf_values: values in a command.
        text_bytes: of a name, an address or a query.
    """

    chunks: ChunkLimits = field(default_factory=ChunkLimits)
    message_streams: int = 16
    amf_depth: int = 16
    amf_values: int = 1024
    text_bytes: int = 4096


@dataclass(frozen=True, slots=True)
class ConnectRequested:
    """A client asks for an application; ``accept_connect`` or ``reject_connect`` answers. Server only.

    Attributes:
        app: application without its query and slashes, e.g. ``live``.
        tc_url: the address that the client wrote, as it came.
        query: parameters after ``?`` in the address and in the application; the application's win.
        object_encoding: 0 or 3; we answer 0.
        four_ccs: what it decodes, from ``fourCcList`` and the info maps of enhanced RTMP; ``*`` stands for everything.
        flash_version: its program, e.g. ``FMLE/3.0 (compatible; Lavf59.27.100)``.
        caps_ex: enhanced RTMP v2's capabilities as a bit mask: 1 reconnect, 2 multitrack, 4 ModEx, 8 nanosecond offset.
    """

    app: str
    tc_url: str
    query: dict[str, str]
    object_encoding: int
    four_ccs: frozenset[str]
    flash_version: str
    caps_ex: int = 0


@dataclass(frozen=True, slots=True)
class PublishRequested:
    """A client wants to publish; ``accept_publish`` or ``reject_publish`` answers. Server only.

    Encoders in a hurry send media before the answer: its ``Media`` events follow, and what becomes of them until the
    answer is given is the caller's to say.

    Attributes:
        name: without its query and leading slashes.
        query: parameters of the name, of the address and of the application; the name's win.
        kind: ``live``, ``record`` or ``append`` as the client wrote it.
    """

    stream_id: int
    name: str
    query: dict[str, str]
    kind: str


@dataclass(frozen=True, slots=True)
class PlayRequested:
    """A client wants to play; ``accept_play`` or ``reject_play`` answers. Server only.

    Attributes:
        start: as it came: below 0 live (-2 and -1 in 7.2.2.1; ffmpeg and librtmp send thousands of these), else an
            offset into a recording.
        duration_ms: -1000 until it ends.
    """

    stream_id: int
    name: str
    query: dict[str, str]
    start: float
    duration_ms: float


@dataclass(frozen=True, slots=True)
class PlayPaused:
    """A player paused, or goes on; it was answered, to send nothing meanwhile is the caller's. Server only."""

    stream_id: int
    paused: bool


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The peer deleted or closed a message stream, or unpublished; what it published or played has ended."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Media:
    """Audio, video (an FLV tag's body, see ``flv.py``) or data (AMF0).

    Attributes:
        timestamp_ms: decoding time, unwrapped beyond 2**32. May jump, also backwards, and below 0 after such a jump.
    """

    stream_id: int
    kind: MediaKind
    timestamp_ms: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Connected:
    """The server took us. Client only.

    Attributes:
        four_ccs: what it says that it takes by enhanced RTMP; empty: it says nothing.
    """

    four_ccs: frozenset[str]


@dataclass(frozen=True, slots=True)
class StreamReady:
    """A message stream exists; publish or play has been asked for on it. Client only."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class PublishStarted:
    """The server takes media on this stream now. Client only."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class PlayStarted:
    """The server plays; media follows. Client only."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Status:
    """An ``onStatus`` that is none of the other events. Client only."""

    stream_id: int
    level: str
    code: str
    description: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The server refused the connection (``stream_id`` 0), a publisher or a player. Client only."""

    code: str
    description: str
    stream_id: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The peer broke the protocol. The last event; close the transport."""

    error: RemoteError


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection ended: the peer closed it, or we did. The last event.

    Attributes:
        expected: false when a publisher or player was still there, or nothing had begun.
    """

    expected: bool


Event: TypeAlias = (
    ConnectRequested
    | PublishRequested
    | PlayRequested
    | PlayPaused
    | StreamClosed
    | Media
    | Connected
    | StreamReady
    | PublishStarted
    | PlayStarted
    | Status
    | Rejected
    | Failed
    | Closed
)
