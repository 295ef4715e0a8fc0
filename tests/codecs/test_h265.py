"""HEVCDecoderConfigurationRecord and key frames, also as ffmpeg 9 sends them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbridge.codecs import avcc, flv, h265
from orbridge.codecs.errors import ParseError
from orbridge.codecs.h265 import HevcConfig
from orbridge.codecs.rtmp.chunk import VIDEO, ChunkReader, Message
from orbridge.codecs.rtmp.handshake import PACKET_BYTES

VPS = bytes.fromhex("40010c01ffff016000000300900000030000030 03c959409".replace(" ", ""))
SPS = bytes.fromhex("420101016000000300900000030000030 03ca00a080b".replace(" ", ""))
PPS = bytes.fromhex("4401c172b46240")

nals = st.lists(st.binary(min_size=2, max_size=30), min_size=1, max_size=4).map(tuple)


@given(
    st.binary(min_size=20, max_size=20),
    st.sampled_from([1, 2, 4]),
    st.tuples(nals, nals, nals),
    st.lists(st.tuples(st.sampled_from([39, 40]), st.booleans(), nals), max_size=2),
    st.integers(0, 15),
)
def test_record_round_trip(
    general: bytes,
    size: int,
    sets: tuple[tuple[bytes, ...], ...],
    more: list[tuple[int, bool, tuple[bytes, ...]]],
    layers: int,
) -> None:
    arrays = [(kind, True, found) for kind, found in zip((32, 33, 34), sets, strict=True)] + more
    config = HevcConfig(general, size, tuple(arrays), layers)
    assert h265.parse(config.serialise()) == config
    assert (config.vps, config.sps, config.pps) == sets


@settings(max_examples=300)
@given(st.binary(max_size=100))
def test_arbitrary_bytes(data: bytes) -> None:
    for read in (h265.parse, h265.is_keyframe, lambda body: h265.parse(b"\0\0\1" + body)):
        try:
            read(data)
        except ParseError as error:
            assert error.problem  # noqa: PT017  that it is a ParseError with a sentence is the test


def test_a_record_from_parameter_sets() -> None:
    config = h265.parse(b"".join(b"\0\0\0\1" + nal for nal in (VPS, SPS, PPS)))
    assert (config.vps, config.sps, config.pps) == ((VPS,), (SPS,), (PPS,))
    assert (config.profile_idc, config.level_idc, config.length_bytes) == (1, 60, 4)
    assert h265.parse(config.serialise()) == config


def test_as_ffmpeg_9_writes_it() -> None:
    recording = (Path(__file__).parents[1] / "data" / "rtmp" / "ffmpeg_9_publish_hevc_opus.bin").read_bytes()
    messages: list[Message] = []
    ChunkReader().receive(recording[1 + 2 * PACKET_BYTES :], messages)
    tags = [flv.parse_video(message.payload) for message in messages if message.type_id == VIDEO]
    (record,) = [bytes(tag.body) for tag in tags if tag.packet == "sequence_header"]
    config = h265.parse(record)
    assert config.length_bytes == 4
    assert [h265.nal_type(nal) for nal in (*config.vps, *config.sps, *config.pps)] == [32, 33, 34]
    ours = h265.from_parameter_sets((*config.vps, *config.sps, *config.pps))
    assert (ours.profile_idc, ours.level_idc, ours.general[:12]) == (
        config.profile_idc,
        config.level_idc,
        config.general[:12],
    )
    assert config.serialise() == record
    pictures = [tag for tag in tags if tag.packet == "coded_frames"]
    assert [h265.is_keyframe(tag.body) for tag in pictures] == [tag.keyframe for tag in pictures]


@pytest.mark.parametrize(("kind", "key"), [(1, False), (16, True), (19, True), (20, True), (21, True), (32, False)])
def test_key_frames(kind: int, key: bool) -> None:
    assert h265.is_keyframe(avcc.join_lengths([b"\x46\x01\x50", bytes((kind << 1, 1, 0))])) is key


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x01" * 10, "the record is cut off"),
        (b"\x02" + bytes(22), "version 2 is unknown, 1 is taken"),
        (b"\x01" + bytes(20) + b"\x02\x00", "lengths of 3 bytes don't exist"),
        (b"\x01" + bytes(20) + b"\x03\x00", "a video, sequence or picture parameter set is missing"),
        (b"\x01" + bytes(20) + b"\x03\x01\x20", "an array is cut off"),
        (b"\x01" + bytes(20) + b"\x03\x01\x20\x00\x01\x00\x05ab", "a parameter set is cut off"),
    ],
)
def test_refused_in_words(data: bytes, problem: str) -> None:
    with pytest.raises(ParseError) as caught:
        h265.parse(data)
    assert caught.value.problem == problem
