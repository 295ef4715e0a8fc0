"""The chunk stream: a writer of every header type and habit that peers have, and the reader that must follow it."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbridge.codecs.errors import ParseError
from orbridge.codecs.rtmp.chunk import ChunkLimits, ChunkReader, Message, serialise, serialise_media


@dataclass
class _Sent:
    """What a writer remembers of a chunk stream."""

    message: Message
    delta: int


@dataclass
class Writer:
    """Cuts messages into chunks the way that its random numbers choose, several chunk streams at a time."""

    rng: random.Random
    chunk_bytes: int = 128
    repeats_time: bool = True
    header_types: set[int] = field(default_factory=set)
    _sent: dict[int, _Sent] = field(default_factory=dict)
    _open: list[tuple[int, bytes, bytes, Message]] = field(default_factory=list)
    out: bytearray = field(default_factory=bytearray)
    finished: list[Message] = field(default_factory=list)

    def set_chunk_size(self, size: int) -> None:
        self.out += b"\x02\0\0\0\0\0\x04\x01\0\0\0\0" + size.to_bytes(4, "big")
        self.chunk_bytes = size

    def send(self, csid: int, message: Message) -> None:
        """Write all chunks of it, those of other open messages in between."""
        self._begin(csid, message)
        while any(entry[0] == csid for entry in self._open):
            self._continue(self.rng.randrange(len(self._open)))

    def begin(self, csid: int, message: Message) -> None:
        """Write its first chunk only, unless its chunk stream is busy."""
        while any(entry[0] == csid for entry in self._open):
            self._continue(self.rng.randrange(len(self._open)))
        self._begin(csid, message)

    def flush(self) -> bytes:
        while self._open:
            self._continue(self.rng.randrange(len(self._open)))
        return bytes(self.out)

    def _begin(self, csid: int, message: Message) -> None:
        while any(entry[0] == csid for entry in self._open):
            self._continue(0)
        before = self._sent.get(csid)
        allowed = [0]
        delta = message.timestamp_ms
        if before is not None and before.message.stream_id == message.stream_id:
            step = (message.timestamp_ms - before.message.timestamp_ms) % (1 << 32)
            same = len(before.message.payload) == len(message.payload) and before.message.type_id == message.type_id
            allowed += [1] + [2] * same + [3] * (same and step == before.delta and before.delta < 60_000)
            if step >= 1 << 31:
                allowed = [0]
        kind = self.rng.choice(allowed)
        self.header_types.add(kind)
        if kind:
            assert before is not None
            delta = (message.timestamp_ms - before.message.timestamp_ms) % (1 << 32)
        delta %= 1 << 32
        extended = delta.to_bytes(4, "big") if delta >= 0xFFFFFF else b""
        field_ = min(delta, 0xFFFFFF).to_bytes(3, "big")
        length = len(message.payload).to_bytes(3, "big")
        head = (b"", field_, field_ + length + bytes((message.type_id,)))[min(3 - kind, 2)]
        if kind == 0:
            head += message.stream_id.to_bytes(4, "little")
        again = extended if self.repeats_time else b""
        self.out += self._basic(kind, csid) + head + (again if kind == 3 else extended)
        self._sent[csid] = _Sent(message, delta)
        self._put(csid, message.payload, again, message)

    def _continue(self, index: int) -> None:
        csid, rest, again, message = self._open.pop(index)
        self.out += self._basic(3, csid) + again
        self._put(csid, rest, again, message)

    def _put(self, csid: int, payload: bytes, again: bytes, message: Message) -> None:
        self.out += payload[: self.chunk_bytes]
        rest = payload[self.chunk_bytes :]
        if rest:
            self._open.append((csid, rest, again, message))
        else:
            self.finished.append(message)

    @staticmethod
    def _basic(kind: int, csid: int) -> bytes:
        if csid < 64:
            return bytes((kind << 6 | csid,))
        if csid < 320:
            return bytes((kind << 6, csid - 64))
        return bytes((kind << 6 | 1, (csid - 64) & 0xFF, (csid - 64) >> 8))


def read(data: bytes, cuts: list[int] | None = None, limits: ChunkLimits | None = None) -> list[Message]:
    reader = ChunkReader(limits)
    messages: list[Message] = []
    begin = 0
    for cut in [*sorted(cuts or []), len(data)]:
        reader.receive(data[begin:cut], messages)
        begin = max(begin, cut)
    assert reader.buffered_bytes == 0
    return messages


@st.composite
def conversations(draw: st.DrawFn) -> Writer:
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    writer = Writer(rng, repeats_time=draw(st.booleans()))
    time = draw(st.sampled_from([0, 0, 0xFFFFF0, 0x1000000, 0xFFFFFF00]))
    for _ in range(draw(st.integers(1, 25))):
        if rng.random() < 0.15:
            writer.flush()
            writer.set_chunk_size(rng.choice([4, 7, 128, 129, 1000, 1024, 4096, 65536]))
        # Bytes that differ from each other and from a time, so that a repeated one is never mistaken.
        size = rng.choice([0, 1, 3, 100, 100, 128, 129, 256, 5000, 20000][: 10 if writer.chunk_bytes > 8 else 6])
        time += rng.choice([0, 10, 10, 10, 21, 33])
        message = Message(rng.choice([8, 9, 18]), rng.choice([1, 1, 1, 2]), time, b"\xaa\xab\xac" * (size // 3))
        csid = rng.choice([3, 4, 6, 63, 64, 319, 320, 65599])
        (writer.begin if rng.random() < 0.5 else writer.send)(csid, message)
    writer.flush()
    return writer


@settings(max_examples=150, deadline=None)
@given(conversations(), st.data())
def test_reads_what_was_written_however_it_is_cut(writer: Writer, data: st.DataObject) -> None:
    stream = bytes(writer.out)
    assert [m.payload for m in writer.finished] == [m.payload for m in read(stream)]
    assert read(stream) == writer.finished
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    assert read(stream, cuts) == writer.finished


@settings(max_examples=15, deadline=None)
@given(conversations())
def test_one_byte_at_a_time(writer: Writer) -> None:
    stream = bytes(writer.out)
    assert read(stream, list(range(len(stream)))) == writer.finished


def test_the_writer_uses_every_header_type() -> None:
    writer = Writer(random.Random(5))
    for index in range(200):
        writer.send(4, Message(8, 1, index * 20, b"x" * 300))
    assert writer.header_types == {0, 1, 2, 3}
    assert read(bytes(writer.out)) == writer.finished


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_arbitrary_bytes_are_read_or_refused_the_same_in_pieces(data: bytes) -> None:
    results = []
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        reader, messages, problem = ChunkReader(), [], ""
        try:
            for piece in pieces:
                reader.receive(piece, messages)
        except ParseError as error:
            problem = str(error)
        results.append((messages, problem))
    assert results[0] == results[1]


@given(
    st.sampled_from(["audio", "video", "data"]),
    st.integers(0, 1 << 33),
    st.integers(0, 3000),
    st.sampled_from([1, 128, 1000, 65536]),
)
def test_serialised_media_is_read_on_any_connection(kind: str, time: int, size: int, chunk: int) -> None:
    payload = bytes(index & 0xFF for index in range(size))
    reader = ChunkReader()
    messages: list[Message] = []
    # What the connection said before must not matter: the same chunk streams, other lengths, times and types.
    for csid in (4, 5, 6):
        reader.receive(serialise(Message(9, 7, 5, b"before"), csid, 128), messages)
    reader.receive(serialise(Message(1, 0, 0, chunk.to_bytes(4, "big")), 2, 128), messages)
    reader.receive(b"".join(serialise_media(3, kind, time, memoryview(payload), chunk)), messages)
    found = messages[-1]
    assert (found.stream_id, found.payload) == (3, payload)
    assert (found.timestamp_ms - time) % (1 << 32) == 0


def test_time_goes_on_beyond_the_wrap() -> None:
    reader, messages = ChunkReader(), []
    times = [0xFFFFFF00 + 40 * index for index in range(20)]
    for time in times:
        reader.receive(serialise_media(1, "video", time, b"v", 128)[0], messages)
    assert [m.timestamp_ms for m in messages] == times
    assert times[-1] > 1 << 32


def test_a_delta_takes_the_time_beyond_the_wrap_and_back() -> None:
    reader, messages = ChunkReader(), []
    reader.receive(serialise_media(1, "audio", 0xFFFFFFF0, b"a", 128)[0], messages)
    for delta in (40, 0xFFFFFFEC):  # 40 ms on, 20 ms back as some encoders write it
        head = b"\x44\xff\xff\xff\0\0\1\x08" if delta > 0xFFFFFF else b"\x44" + delta.to_bytes(3, "big") + b"\0\0\1\x08"
        more = delta.to_bytes(4, "big") if delta > 0xFFFFFF else b""
        reader.receive(head + more + b"a", messages)
    assert [m.timestamp_ms for m in messages] == [0xFFFFFFF0, 0xFFFFFFF0 + 40, 0xFFFFFFF0 + 20]


def test_a_jump_backwards_passes_through() -> None:
    reader, messages = ChunkReader(), []
    for time in (900_000, 0, 40):
        reader.receive(serialise_media(1, "video", time, b"v", 128)[0], messages)
    assert [m.timestamp_ms for m in messages] == [900_000, 0, 40]


def test_type_3_after_type_0_repeats_a_delta_but_never_an_hour() -> None:
    for first, then in ((23, 46), (3_600_000, 3_600_000)):  # ffmpeg's meaning, nginx-rtmp's meaning
        reader, messages = ChunkReader(), []
        reader.receive(serialise_media(1, "audio", first, b"a", 128)[0] + b"\xc4b", messages)
        assert [m.timestamp_ms for m in messages] == [first, then]


def test_librtmp_begins_a_chunk_stream_with_type_1() -> None:
    assert read(b"\x42\0\0\0\0\0\4\5\0\0\x10\0") == [Message(5, 0, 0, b"\0\0\x10\0")]


def test_abort_forgets_the_rest_of_a_message() -> None:
    begun = b"\x04\0\0\0\0\1\0\x08\1\0\0\0" + b"x" * 128
    abort = b"\x02\0\0\0\0\0\4\2\0\0\0\0" + (4).to_bytes(4, "big")
    whole = serialise_media(1, "audio", 20, b"whole", 128)[0]
    assert read(begun + abort + whole) == [Message(8, 1, 20, b"whole")]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xc4", "rtmp: chunk stream 4: its first header leaves out what only an earlier one could say"),
        (b"\x84\0\0\0", "rtmp: chunk stream 4: its first header leaves out what only an earlier one could say"),
        (
            b"\x04\0\0\0\1\0\1\x14\0\0\0\0",
            "rtmp: chunk stream 4: a message of type 20 with 65537 bytes, at most 65536 are taken",
        ),
        (
            b"\x04\0\0\0\0\1\0\x08\1\0\0\0" + b"x" * 128 + b"\x04\0\0\0\0\1\0\x08\1\0\0\0",
            "rtmp: chunk stream 4: a message begins before the one before has ended",
        ),
        (b"\x02\0\0\0\0\0\4\1\0\0\0\0\0\0\0\0", "rtmp: set chunk size: 0 isn't between 1 and 16777216"),
        (b"\x02\0\0\0\0\0\4\1\0\0\0\0\x7f\0\0\0", "rtmp: set chunk size: 2130706432 isn't between 1 and 16777216"),
        (b"\x02\0\0\0\0\0\2\1\0\0\0\0\0\0", "rtmp: set chunk size: 0 isn't between 1 and 16777216"),
    ],
)
def test_refused_in_words(data: bytes, problem: str) -> None:
    with pytest.raises(ParseError) as caught:
        ChunkReader().receive(data, [])
    assert str(caught.value) == problem


def _begun(csid: int) -> bytes:
    return bytes((0, csid - 64)) + b"\0\0\0\0\1\0\x08\1\0\0\0" + b"x" * 128


def test_unfinished_messages_are_bounded() -> None:
    with pytest.raises(ParseError, match="more than 16 messages at the same time"):
        ChunkReader().receive(b"".join(_begun(100 + index) for index in range(17)), [])
    limits = ChunkLimits(buffered_bytes=1000)
    with pytest.raises(ParseError, match="unfinished messages of more than 1000 bytes"):
        ChunkReader(limits).receive(b"".join(_begun(100 + index) for index in range(8)), [])
    small = [serialise(Message(8, 1, 0, b"x"), 4 + index, 128) for index in range(6)]
    with pytest.raises(ParseError, match="more than 5 chunk streams"):
        ChunkReader(ChunkLimits(chunk_streams=5)).receive(b"".join(small), [])


def test_one_byte_pieces_are_charged_for_what_they_cost() -> None:
    """A message of 4 kB in pieces of a byte would keep 4000 objects alive: each costs its overhead too."""
    reader = ChunkReader(ChunkLimits(buffered_bytes=20_000))
    data = b"\x04\0\0\0\0\x10\0\x08\1\0\0\0" + b"x" * 128
    reader.receive(data, [])
    reader.receive(serialise(Message(1, 0, 0, (65536).to_bytes(4, "big")), 2, 128), [])
    reader.receive(b"\xc4", [])

    def one_at_a_time() -> None:
        for _ in range(4096 - 128 - 1):
            reader.receive(b"x", [])

    with pytest.raises(ParseError, match="unfinished messages of more than 20000 bytes"):
        one_at_a_time()


def test_a_kept_piece_does_not_keep_the_block_that_it_came_in() -> None:
    reader = ChunkReader()
    block = serialise_media(1, "video", 0, b"v" * 100, 128)[0] * 50 + b"\x04\0\0\0\0\1\0\x08\1\0\0\0" + b"x" * 100
    reader.receive(block, [])
    assert all(type(part) is bytes for stream in reader._streams.values() for part in stream.parts)
    assert reader.buffered_bytes < 300
