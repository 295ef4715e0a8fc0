"""RTMP's chunk stream: messages cut into chunks and put together again (Adobe RTMP 1.0, 5.3 and 5.4).

``ChunkReader`` is where every byte of an inbound stream passes, so it works on whole chunks: what is complete is cut
out of the received block once, and a run of chunks of one message, the usual case, is taken in one step whatever its
chunk size. Set Chunk Size and Abort (5.4.1, 5.4.2) act in the middle of a block and are obeyed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from orbridge.codecs.errors import ParseError

DEFAULT_CHUNK_BYTES = 128
_EXTENDED = 0xFFFFFF
_WRAP = 1 << 32
_HALF = 1 << 31

SET_CHUNK_SIZE, ABORT = 1, 2
AUDIO, VIDEO, DATA_AMF3, DATA, AGGREGATE = 8, 9, 15, 18, 22
_MEDIA = frozenset({AUDIO, VIDEO, DATA_AMF3, DATA, AGGREGATE})
_LARGE = frozenset({AUDIO, VIDEO, AGGREGATE})

# A part of an unfinished message costs this besides its bytes (the object, its place in a list).
_PART_OVERHEAD_BYTES = 64

# nginx-rtmp sends type 3 for "the time of the message before", where the document (5.3.1.2.4) and ffmpeg mean the time
# of the type 0 before once more as a delta. Nobody's messages are a minute apart.
_MAX_REPEATED_MS = 60_000


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """What a peer may make us keep.

    Attributes:
        media_bytes: of an audio, video or aggregate message.
        message_bytes: of any other.
        chunk_bytes: chunk size that it may set.
        chunk_streams: that it may use.
        partial_messages: begun and not finished at a time.
        buffered_bytes: of all unfinished messages together.
    """

    media_bytes: int = 16 << 20
    message_bytes: int = 64 << 10
    chunk_bytes: int = 16 << 20
    chunk_streams: int = 64
    partial_messages: int = 16
    buffered_bytes: int = 32 << 20


class Message(NamedTuple):
    """One RTMP message.

    Attributes:
        type_id: 7.1's number, e.g. 9 for video.
        stream_id: message stream, 0 for the connection itself.
        timestamp_ms: unwrapped: goes on beyond 2**32; below 0 when a source jumps back to before its beginning.
        payload: its body.
    """

    type_id: int
    stream_id: int
    timestamp_ms: int
    payload: bytes


class _ChunkStream:
    """What the next header on a chunk stream may leave out, and the message that isn't finished."""

    __slots__ = (
        "absolute",
        "delta",
        "extended",
        "id",
        "length",
        "missing",
        "parts",
        "stream_id",
        "timestamp",
        "type_id",
    )

    def __init__(self, csid: int) -> None:
        self.id = csid
        self.timestamp = self.delta = 0
        self.absolute = False
        self.length = self.type_id = self.stream_id = 0
        self.extended: bytes | None = None
        self.parts: list[bytes | bytearray] = []
        self.missing = 0


class ChunkReader:
    """Bytes to messages."""

    def __init__(self, limits: ChunkLimits | None = None) -> None:
        self._limits = limits if limits is not None else ChunkLimits()
        self._streams: dict[int, _ChunkStream] = {}
        self._chunk_bytes = DEFAULT_CHUNK_BYTES
        self._head = b""  # a header that isn't whole yet
        self._current: _ChunkStream | None = None  # inside a chunk of it
        self._left = 0  # bytes of that chunk that are still to come
        self._partial = 0
        self._buffered = 0
        self._clock: int | None = None  # the last media message's time, unwrapped

    @property
    def chunk_bytes(self) -> int:
        """Chunk size that the peer has set."""
        return self._chunk_bytes

    @property
    def buffered_bytes(self) -> int:
        """What unfinished messages cost."""
        return self._buffered

    def receive(self, data: bytes, messages: list[Message]) -> None:
        """Take bytes and append what they complete to ``messages``, also when it ends in an error.

        Raises:
            ParseError: a header makes no sense or asks for more than the limits. The reader is of no use afterwards.
        """
        if self._head:
            data, self._head = self._head + data, b""
        at, end = 0, len(data)
        while at < end:
            stream = self._current
            if stream is None:
                begins = at
                head = data[at]
                csid = head & 0x3F
                known = self._streams.get(csid)
                if head >= 0xC0 and known is not None and known.missing and known.extended is None and csid > 1:
                    stream = known
                    at += 1
                    size = self._chunk_bytes
                    if stream.missing > size and end - at > size:
                        at = self._take_run(stream, data, begins)
                        continue
                    self._left = size if size < stream.missing else stream.missing
                else:
                    parsed = self._header(data, at)
                    if parsed is None:
                        self._head = data[begins:]
                        return
                    stream, at = parsed
                    self._left = min(self._chunk_bytes, stream.missing)
                    if self._left == stream.length and end - at >= self._left:
                        at += self._left
                        self._finish(stream, data[at - self._left : at], messages)
                        continue
            take = self._left if self._left < end - at else end - at
            if take:
                self._keep(stream, data[at : at + take])
                at += take
                self._left -= take
            self._current = stream if self._left else None
            if not stream.missing:
                payload = b"".join(stream.parts)
                self._release(stream)
                self._finish(stream, payload, messages)

    def _take_run(self, stream: _ChunkStream, data: bytes, at: int) -> int:
        """Take the whole chunks of one message that follow each other from the header at ``at``; where they end.

        Every header in the run is the same single byte, so that one slice shows all of them and one deletion takes them
        out.
        """
        size, step = self._chunk_bytes, self._chunk_bytes + 1
        count = min((stream.missing - 1) // size, (len(data) - at) // step)
        head = data[at : at + 1]
        heads = data[at : at + count * step : step]
        count -= len(heads.lstrip(head))
        if count < 4:
            self._keep(stream, data[at + 1 : at + step])
            return at + step
        run = bytearray(data[at : at + count * step])
        del run[::step]
        self._keep(stream, run)
        return at + count * step

    def _keep(self, stream: _ChunkStream, part: bytes | bytearray) -> None:
        if not stream.parts:
            self._partial += 1
            if self._partial > self._limits.partial_messages:
                raise self._fail(stream.id, f"more than {self._limits.partial_messages} messages at the same time")
        stream.parts.append(part)
        stream.missing -= len(part)
        self._buffered += len(part) + _PART_OVERHEAD_BYTES
        if self._buffered > self._limits.buffered_bytes:
            raise self._fail(stream.id, f"unfinished messages of more than {self._limits.buffered_bytes} bytes")

    def _release(self, stream: _ChunkStream) -> None:
        if stream.parts:
            self._partial -= 1
            self._buffered -= sum(map(len, stream.parts)) + _PART_OVERHEAD_BYTES * len(stream.parts)
            stream.parts = []
        stream.missing = 0

    def _finish(self, stream: _ChunkStream, payload: bytes, messages: list[Message]) -> None:
        stream.missing = 0
        self._current = None
        type_id = stream.type_id
        time = stream.timestamp
        if self._clock is not None:
            time = self._clock + ((time - self._clock + _HALF) % _WRAP) - _HALF
        if type_id in _MEDIA:
            self._clock = time
        elif type_id == SET_CHUNK_SIZE:
            self._set_chunk_size(payload)
            return
        elif type_id == ABORT:
            self._abort(payload)
            return
        messages.append(Message(type_id, stream.stream_id, time, payload))

    def _set_chunk_size(self, payload: bytes) -> None:
        size = int.from_bytes(payload[:4], "big") if len(payload) >= 4 else 0
        if not 1 <= size <= self._limits.chunk_bytes:
            raise ParseError("rtmp", "set chunk size", f"{size} isn't between 1 and {self._limits.chunk_bytes}")
        self._chunk_bytes = size

    def _abort(self, payload: bytes) -> None:
        stream = self._streams.get(int.from_bytes(payload[:4], "big")) if len(payload) >= 4 else None
        if stream is not None:
            self._release(stream)

    def _fail(self, csid: int, problem: str) -> ParseError:
        return ParseError("rtmp", f"chunk stream {csid}", problem)

    def _header(self, data: bytes, at: int) -> tuple[_ChunkStream, int] | None:
        """Read the chunk header at ``at``: its chunk stream and where the payload begins; None: not whole yet."""
        end = len(data)
        kind = data[at] >> 6
        csid = data[at] & 0x3F
        at += 1
        if csid < 2:  # 5.3.1.1: the number follows in one byte or two
            more = csid + 1
            if end < at + more:
                return None
            csid = int.from_bytes(data[at : at + more], "little") + 64
            at += more
        stream = self._streams.get(csid)
        begun = stream is not None and stream.missing > 0
        if kind == 3:
            if stream is None:
                raise self._fail(csid, "its first header leaves out what only an earlier one could say")
            at_or_none = self._skip_repeated_time(stream, data, at)
            if at_or_none is None:
                return None
            if not begun:
                again = stream.absolute and stream.delta > _MAX_REPEATED_MS
                self._begin(stream, 0 if again else stream.delta)
            return stream, at_or_none
        length = (11, 7, 3)[kind]
        if end < at + length:
            return None
        if begun:
            raise self._fail(csid, "a message begins before the one before has ended")
        if stream is None:
            if kind == 2:
                raise self._fail(csid, "its first header leaves out what only an earlier one could say")
            stream = self._open(csid)
        header, at = data[at : at + length], at + length
        time = int.from_bytes(header[:3], "big")
        extended: bytes | None = None
        if time == _EXTENDED:
            if end < at + 4:
                return None
            extended, at = data[at : at + 4], at + 4
            time = int.from_bytes(extended, "big")
        stream.extended = extended
        if kind < 2:
            stream.length = int.from_bytes(header[3:6], "big")
            stream.type_id = header[6]
        if kind == 0:
            stream.stream_id = int.from_bytes(header[7:11], "little")
            stream.timestamp = 0
        stream.absolute = kind == 0
        stream.delta = time
        self._begin(stream, time)
        return stream, at

    def _open(self, csid: int) -> _ChunkStream:
        """A chunk stream's first header; librtmp begins some with type 1, from time 0 on message stream 0."""
        if len(self._streams) >= self._limits.chunk_streams:
            raise self._fail(csid, f"more than {self._limits.chunk_streams} chunk streams")
        stream = self._streams[csid] = _ChunkStream(csid)
        return stream

    def _begin(self, stream: _ChunkStream, delta: int) -> None:
        limits = self._limits
        most = limits.media_bytes if stream.type_id in _LARGE else limits.message_bytes
        if stream.length > most:
            raise self._fail(
                stream.id, f"a message of type {stream.type_id} with {stream.length} bytes, at most {most} are taken"
            )
        stream.timestamp = (stream.timestamp + delta) % _WRAP
        stream.missing = stream.length

    def _skip_repeated_time(self, stream: _ChunkStream, data: bytes, at: int) -> int | None:
        """Where a type 3 chunk's payload begins; None: cannot be said yet.

        Adobe, ffmpeg and OBS repeat the extended timestamp in type 3 chunks (5.3.1.3), other encoders don't. Who
        doesn't has payload there, which is another number.
        """
        if stream.extended is None:
            return at
        seen = data[at : at + 4]
        if seen == stream.extended:
            return at + 4
        return None if stream.extended.startswith(seen) else at


def serialise(message: Message, csid: int, chunk_bytes: int) -> bytes:
    """One message as chunks on chunk stream ``csid``, 2 to 63, the extended timestamp repeated in each.

    It leaves nothing out that earlier chunks would have to say, so the bytes are right on every connection that has
    announced ``chunk_bytes``.
    """
    return _serialise(*message, csid, chunk_bytes)


def _serialise(
    type_id: int, stream_id: int, timestamp_ms: int, payload: bytes | memoryview, csid: int, chunk_bytes: int
) -> bytes:
    """A whole header (type 0), then type 3."""
    assert 2 <= csid <= 63, "one byte of basic header"
    timestamp = timestamp_ms % _WRAP
    extended = timestamp.to_bytes(4, "big") if timestamp >= _EXTENDED else b""
    length = len(payload)
    head = b"".join(
        (
            bytes((csid,)),
            min(timestamp, _EXTENDED).to_bytes(3, "big"),
            length.to_bytes(3, "big"),
            bytes((type_id,)),
            stream_id.to_bytes(4, "little"),
            extended,
        )
    )
    if length <= chunk_bytes:
        return b"".join((head, payload))
    again = bytes((0xC0 | csid,)) + extended
    view = memoryview(payload)
    pieces: list[bytes | memoryview] = [head, view[:chunk_bytes]]
    for at in range(chunk_bytes, length, chunk_bytes):
        pieces += (again, view[at : at + chunk_bytes])
    return b"".join(pieces)


# Type and chunk stream by kind. Chunk streams of their own for sound, picture and data, as everybody has them.
MEDIA_TYPES = {"audio": AUDIO, "video": VIDEO, "data": DATA}
_MEDIA_CHUNK_STREAMS = {"audio": 4, "video": 6, "data": 5}


def serialise_media(
    stream_id: int, kind: str, timestamp_ms: int, payload: bytes | memoryview, chunk_size: int
) -> list[bytes]:
    """Audio, video or data for every connection whose outgoing chunk size is ``chunk_size``, whatever it sent before.

    For one stream with many players: made once, given to ``Connection.send_raw`` of each. ``payload``: of 16777215
    bytes at most. The message stream is part of it; players that we serve have the same, because each connection's
    first is 1.
    """
    return [_serialise(MEDIA_TYPES[kind], stream_id, timestamp_ms, payload, _MEDIA_CHUNK_STREAMS[kind], chunk_size)]
