"""What goes to peers: messages that are put into bytes once, in batches that all peers get alike."""

from __future__ import annotations

from collections.abc import Sequence

from orbridge.codecs.media import Kind
from orbridge.codecs.rtmp.chunk import serialise_media

# The same towards everybody, so that the same bytes fit everybody. A picture is mostly one chunk.
CHUNK_BYTES = 65_536


class Timeline:
    """Where time 0 of a peer's timestamps lies on this host's clock; set with the first unit that it is sent.

    Peers on one timeline can change from one feed to another without a break.
    """

    __slots__ = ("_has_changed", "_header", "epoch_ns")

    def __init__(self) -> None:
        self.epoch_ns: int | None = None
        self._header: bytes | None = None
        self._has_changed = False

    def changes_sets(self, header: bytes) -> bool:
        """Whether its peers have been sent another sequence header than this, ever.

        Then parameter sets stay in the pictures as well, because ffmpeg's parser heeds the first header only.
        """
        if self._header is None:
            self._header = header
        elif header != self._header:
            self._has_changed = True
        return self._has_changed

    def ms(self, host_ns: int) -> int:
        """Never negative: what is older than the beginning is at the beginning."""
        if self.epoch_ns is None:
            self.epoch_ns = host_ns
        return max(0, (host_ns - self.epoch_ns) // 1_000_000)


class Message:
    """One message as FLV has it.

    Attributes:
        kind: None: metadata.
        body: with the FLV tag's header bytes.
        is_header: a sequence header, not media.
        is_keyframe: of video.
        track, ticks: the unit that it was made of: its track and its decoding time there.
    """

    __slots__ = ("_chunks", "_chunks_for", "body", "is_header", "is_keyframe", "kind", "ticks", "timestamp_ms", "track")

    def __init__(
        self,
        kind: Kind | None,
        timestamp_ms: int,
        body: bytes,
        *,
        is_header: bool = False,
        is_keyframe: bool = False,
        track: int = 0,
        ticks: int = 0,
    ) -> None:
        self.kind, self.timestamp_ms, self.body = kind, timestamp_ms, body
        self.is_header, self.is_keyframe, self.track, self.ticks = is_header, is_keyframe, track, ticks
        self._chunks: list[bytes] = []
        self._chunks_for = -1

    def chunks(self, stream_id: int) -> list[bytes]:
        """Its bytes for peers on this message stream (1 nearly always)."""
        if self._chunks_for != stream_id:
            self._chunks = serialise_media(stream_id, self.kind or "data", self.timestamp_ms, self.body, CHUNK_BYTES)
            self._chunks_for = stream_id
        return self._chunks

    def at(self, timestamp_ms: int) -> Message:
        """The same at another time."""
        return Message(
            self.kind,
            timestamp_ms,
            self.body,
            is_header=self.is_header,
            is_keyframe=self.is_keyframe,
            track=self.track,
            ticks=self.ticks,
        )


class Batch:
    """Messages that came together.

    Attributes:
        begins_at: index of the last key frame's first message (its header, if it has a new one), or -1.
        last: the last unit of each kind.
    """

    __slots__ = ("_joined", "_joined_for", "begins_at", "has_headers", "last", "messages", "size")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.begins_at = -1
        self.has_headers = False
        self.last: dict[Kind, Message] = {}
        self.size = 0
        for index, message in enumerate(messages):
            self.size += len(message.body)
            if message.is_header:
                self.has_headers = True
            elif message.kind is not None:
                self.last[message.kind] = message
                if message.is_keyframe:
                    self.begins_at = index
        self._joined = b""
        self._joined_for = -1

    @property
    def begins(self) -> bool:
        """There is a key frame in it."""
        return self.begins_at >= 0

    def chunks(self, stream_id: int) -> bytes:
        """All of it in one piece."""
        if self._joined_for != stream_id:
            self._joined = b"".join([chunk for message in self.messages for chunk in message.chunks(stream_id)])
            self._joined_for = stream_id
        return self._joined
