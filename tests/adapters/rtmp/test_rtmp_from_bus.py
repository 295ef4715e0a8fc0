"""Access units as FLV messages, and how a peer changes from one feed to another: tables, no sockets."""

import itertools

import pytest
from rtmp_peer import recording

from orbridge.adapters.rtmp.from_bus import FromBus, TrackFacts, Unit
from orbridge.adapters.rtmp.message import CHUNK_BYTES, Batch, Message, Timeline
from orbridge.codecs import aac, avcc, flv, opus
from orbridge.codecs.media import H264, OPUS, PCMA, Codec, Kind
from orbridge.codecs.rtmp.chunk import ChunkReader
from orbridge.codecs.rtmp.chunk import Message as Chunked

MS = 1_000_000
START_NS = 5_000_000 * MS
VIDEO, AUDIO = 7, 8
AAC = Codec("AAC", 48_000, 2)


def picture(
    number: int, *, width: int = 320, key: bool | None = None, late_ms: int = 0, composition_ms: int = 0
) -> Unit:
    made = recording() if width == 320 else recording(10, 10, 64, 48)
    keyframe, payload = made.pictures[number % len(made.pictures)]
    config = avcc.parse(made.header)
    if keyframe:
        payload = avcc.join_lengths([*config.sps, *config.pps]) + payload
    dts = 900_000 + number * 3600
    at_ns = START_NS + (number * 40 + late_ms) * MS
    pts = dts + composition_ms * 90
    return VIDEO, pts, dts, keyframe if key is None else key, True, at_ns + composition_ms * MS, at_ns, payload


def frame(number: int) -> Unit:
    at_ns = START_NS + number * 1024 * 1000 * MS // 48_000
    return AUDIO, number * 1024, number * 1024, True, True, at_ns, at_ns, b"frame"


def mapper(*, audio: Codec = AAC, timeline: Timeline | None = None) -> FromBus:
    facts = {Kind.VIDEO: TrackFacts(VIDEO, H264, 25.0, 320, 240), Kind.AUDIO: TrackFacts(AUDIO, audio)}
    return FromBus(facts, timeline or Timeline())


def test_a_sequence_header_comes_before_the_first_key_frame_and_when_it_changes() -> None:
    made = mapper()
    messages = made.messages([picture(0), picture(1), picture(25), picture(30, width=64)])
    kinds = [(message.is_header, message.is_keyframe) for message in messages]
    assert kinds == [(True, False), (False, True), (False, False), (False, True), (True, False), (False, True)]
    tag = flv.parse_video(messages[0].body)
    assert avcc.parse(tag.body) == avcc.parse(recording().header)
    assert bytes(flv.parse_video(messages[1].body).body) == recording().pictures[0][1]
    # After a change they stand in the picture too.
    last = [nal[0] & 0x1F for nal in avcc.split_lengths(flv.parse_video(messages[5].body).body)]
    assert last[:2] == [7, 8]
    assert [message.body for message in made.headers() if message.kind is Kind.VIDEO] == [messages[4].body]


def test_timestamps_are_those_of_capture_and_only_rise() -> None:
    made = mapper()
    units = [unit for number in range(50) for unit in (picture(number), frame(number * 2), frame(number * 2 + 1))]
    messages = made.messages(units)
    for kind, step in ((Kind.VIDEO, {40}), (Kind.AUDIO, {21, 22})):
        times = [message.timestamp_ms for message in messages if message.kind is kind and not message.is_header]
        assert times[0] == 0
        assert {after - before for before, after in itertools.pairwise(times)} == step


def test_a_group_that_was_kept_begins_at_nothing() -> None:
    messages = mapper().messages([frame(100), picture(0), picture(1)])
    times = [message.timestamp_ms for message in messages if not message.is_header]
    assert times == [2133, 0, 40]


def test_composition_times_are_kept() -> None:
    messages = mapper().messages([picture(0, composition_ms=80), picture(1, composition_ms=160), picture(2)])
    tags = [(message.timestamp_ms, flv.parse_video(message.body).composition_ms) for message in messages[1:]]
    assert tags == [(0, 80), (40, 160), (80, 0)]


@pytest.mark.parametrize(
    ("codec", "body"),
    [
        (AAC, aac.AudioSpecificConfig(aac.AAC_LC, 48_000, 2).serialise()),
        (Codec("AAC", 22_050, 1), aac.AudioSpecificConfig(aac.AAC_LC, 22_050, 1).serialise()),
        (OPUS, opus.head(2)),
    ],
)
def test_sound_has_its_header(codec: Codec, body: bytes) -> None:
    (header,) = mapper(audio=codec).headers()
    tag = flv.parse_audio(header.body)
    assert (tag.codec, tag.packet, bytes(tag.body)) == (codec.name, "sequence_header", body)


def test_telephone_sound_has_none() -> None:
    assert mapper(audio=PCMA).headers() == []
    (message,) = mapper(audio=PCMA).messages([(AUDIO, 0, 0, True, True, START_NS, START_NS, bytes(160))])
    assert flv.parse_audio(message.body).codec == "PCMA"


def test_metadata_says_what_is_known() -> None:
    members = flv.parse_metadata(mapper().metadata(set_data_frame=True).body)
    assert members is not None
    assert {name: members[name] for name in ("width", "height", "framerate", "videocodecid", "encoder")} == {
        "width": 320,
        "height": 240,
        "framerate": 25,
        "videocodecid": 7,
        "encoder": "orbridge",
    }


def test_a_key_frame_with_a_broken_set_is_sent_as_it_is() -> None:
    broken = avcc.join_lengths([b"\x67", b"\x68", b"\x65picture"])
    unit: Unit = (VIDEO, 0, 0, True, True, START_NS, START_NS, broken)
    (message,) = mapper().messages([unit])
    assert bytes(flv.parse_video(message.body).body) == broken


def test_a_batch_is_the_chunks_of_its_messages() -> None:
    messages = mapper().messages([picture(0), frame(0), frame(1), picture(1)])
    large = Message(Kind.VIDEO, 2**24 + 5, bytes(CHUNK_BYTES + 100))
    batch = Batch([*messages, large])
    assert (batch.begins_at, batch.has_headers, batch.size) == (1, True, sum(len(m.body) for m in batch.messages))
    reader, got = ChunkReader(), list[Chunked]()
    reader.receive(b"\x02\0\0\0\0\0\4\1\0\0\0\0" + CHUNK_BYTES.to_bytes(4, "big"), got)
    reader.receive(batch.chunks(1), got)
    assert [(message.timestamp_ms, message.payload) for message in got] == [
        (message.timestamp_ms, message.body) for message in batch.messages
    ]


def test_two_feeds_on_one_timeline_agree_about_time() -> None:
    timeline = Timeline()
    one, other = mapper(timeline=timeline), mapper(timeline=timeline)
    first = one.messages([picture(number) for number in range(30)])
    second = other.messages([picture(number) for number in range(25, 60)])
    times = {message.ticks: message.timestamp_ms for message in first if not message.is_header}
    assert all(abs(times[message.ticks] - message.timestamp_ms) <= 1 for message in second if message.ticks in times)
