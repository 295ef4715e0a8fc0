"""RTMP's chunk stream: messages cut into chunks and put together again (Adobe RTMP 1.0, 5.3 and 5.4).

``ChunkReader`` is where every byte of an inbound stream passes, so it works on whole chunks: what is complete is cut
out of the received block once, and a run of chunks of one message, the usual case, is taken in one step whatever its
chunk size. Set Chunk Size and Abort (5.4.1, 5.4.2) act in the middle of a block and are obeyed here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from orbridge.codecs.errors import ParseError

DEFAULT_CHUNK_BYTES = 128
_EXTENDED = 0xFFFFFF
_TWO_WORDS = struct.Struct(">II")
_WRAP = 1 << 32
_HALF = 1 << 31

SET_CHUNK_SIZE, ABORT = 1, 2
AUDIO, VIDEO, DATA, AGGREGATE = 8, 9, 18, 22
# They may be large, and they carry the time; data and commands often say 0.
_MEDIA = frozenset({AUDIO, VIDEO, AGGREGATE})

# What a block left of an unfinished message costs besides its bytes (the object, its place in a list).
_PART_OVERHEAD_BYTES = 64

# Up to here a copy without the headers is cheaper than a view for each chunk (measured: 128 and 4096 bytes).
_SMALL_CHUNK_BYTES = 1024

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
        "borrowed",
        "cost",
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
        self.parts: list[bytes | memoryview] = []
        self.borrowed = 0  # parts at the end of them that came in the block that is being read
        self.cost = 0
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
        self._borrowing: list[_ChunkStream] = []
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
        self._take_all(data, messages)
        for stream in self._borrowing:
            self._own(stream)
        self._borrowing.clear()

    def _take_all(self, data: bytes, messages: list[Message]) -> None:
        at, end = 0, len(data)
        view = memoryview(data)
        streams = self._streams
        while at < end:
            stream = self._current
            if stream is None:
                head = data[at]
                known = streams.get(head & 0x3F)
                if known is not None and head >= 0xC0 and known.missing and known.extended is None:
                    # The usual next chunk: one byte, and more of a message that has begun.
                    stream, size = known, self._chunk_bytes
                    if stream.missing > size and end - at > size:
                        at = self._take_run(stream, data, view, at)
                        continue
                    at += 1
                    self._left = size if size < stream.missing else stream.missing
                else:
                    begins = self._usual_header(known, data, at) if known is not None and head < 0x80 else 0
                    if known is not None and begins:
                        stream, at = known, begins
                    else:
                        parsed = self._header(data, at)
                        if parsed is None:
                            self._head = data[at:]
                            return
                        stream, at = parsed
                    length = stream.missing
                    if length == stream.length:
                        stop = self._whole(stream, data, at)
                        if stop:
                            self._finish(stream, self._without_headers(data, view, at, stop), messages)
                            at = stop
                            continue
                    self._left = min(self._chunk_bytes, length)
            take = self._left if self._left < end - at else end - at
            if take:
                self._keep(stream, view[at : at + take])
                at += take
                self._left -= take
            self._current = stream if self._left else None
            if not stream.missing:
                payload = b"".join(stream.parts)
                self._release(stream)
                self._finish(stream, payload, messages)

    def _whole(self, stream: _ChunkStream, data: bytes, at: int) -> int:
        """Where the message whose first chunk's payload begins at ``at`` ends; 0: not in this block, or not in a row.

        Every header in the row is the same single byte, so that one slice shows all of them.
        """
        size, more = self._chunk_bytes, (stream.length - 1) // self._chunk_bytes
        if more <= 0:
            stop = at + stream.length
            return stop if stop <= len(data) else 0
        stop = at + stream.length + more
        if stop > len(data) or stream.extended is not None or stream.id > 63:
            return 0
        return stop if data[at + size : stop : size + 1] == bytes((0xC0 | stream.id,)) * more else 0

    def _without_headers(self, data: bytes, view: memoryview, at: int, stop: int) -> bytes:
        """Payload of the chunks of one message in a row, from the first's payload on."""
        size = self._chunk_bytes
        if stop - at <= size:
            return data[at:stop]
        if size <= _SMALL_CHUNK_BYTES:
            run = bytearray(view[at:stop])
            del run[size :: size + 1]
            return bytes(run)
        row = view[at:stop]
        return b"".join([row[begin : begin + size] for begin in range(0, stop - at, size + 1)])

    def _take_run(self, stream: _ChunkStream, data: bytes, view: memoryview, at: int) -> int:
        """Take the whole chunks of one message that follow each other from the header at ``at``; where they end."""
        size, step = self._chunk_bytes, self._chunk_bytes + 1
        count = min((stream.missing - 1) // size, (len(data) - at) // step)
        heads = data[at : at + count * step : step]
        count -= len(heads.lstrip(data[at : at + 1]))
        stop = at + count * step
        if count == 1:
            self._keep(stream, view[at + 1 : stop])
        else:
            self._keep(stream, self._without_headers(data, view, at + 1, stop))
        return stop

    def _keep(self, stream: _ChunkStream, part: memoryview | bytes) -> None:
        if not stream.parts:
            self._partial += 1
            if self._partial > self._limits.partial_messages:
                raise self._fail(stream.id, f"more than {self._limits.partial_messages} messages at the same time")
        if stream.borrowed == 0:
            self._borrowing.append(stream)
        length = len(part)
        stream.parts.append(part)
        stream.borrowed += 1
        stream.missing -= length
        stream.cost += length
        self._buffered += length
        if self._buffered > self._limits.buffered_bytes:
            raise self._fail(stream.id, f"unfinished messages of more than {self._limits.buffered_bytes} bytes")

    def _own(self, stream: _ChunkStream) -> None:
        """Copy what is still a view of a received block, so that nothing keeps the block alive."""
        if stream.borrowed:
            first = len(stream.parts) - stream.borrowed
            stream.parts[first:] = [b"".join(stream.parts[first:])]
            stream.borrowed = 0
            stream.cost += _PART_OVERHEAD_BYTES
            self._buffered += _PART_OVERHEAD_BYTES

    def _release(self, stream: _ChunkStream) -> None:
        if stream.parts:
            self._partial -= 1
            self._buffered -= stream.cost
            stream.parts = []
            stream.borrowed = stream.cost = 0
        stream.missing = 0

    def _finish(self, stream: _ChunkStream, payload: bytes, messages: list[Message]) -> None:
        stream.missing = 0
        self._current = None
        type_id = stream.type_id
        time = stream.timestamp
        if self._clock is not None and not 0 <= time - self._clock < _HALF:
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

    def _usual_header(self, stream: _ChunkStream, data: bytes, at: int) -> int:
        """Where the payload begins behind a header of type 0 or 1 of one byte's chunk stream; 0: not the usual case."""
        if stream.missing or len(data) - at < 12:
            return 0
        first, second = _TWO_WORDS.unpack_from(data, at)
        time = first & 0xFFFFFF
        if time == _EXTENDED:
            return 0
        stream.extended = None
        stream.length, stream.type_id = second >> 8, second & 0xFF
        stream.delta = time
        if data[at] < 0x40:
            stream.stream_id = int.from_bytes(data[at + 8 : at + 12], "little")
            stream.timestamp = 0
            stream.absolute = True
            at += 12
        else:
            stream.absolute = False
            at += 8
        self._begin(stream, time)
        return at

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
        most = limits.media_bytes if stream.type_id in _MEDIA else limits.message_bytes
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
