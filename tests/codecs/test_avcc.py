"""AVCDecoderConfigurationRecord and NAL units in every form that encoders send."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbridge.codecs import avcc
from orbridge.codecs.avcc import AvcConfig
from orbridge.codecs.errors import ParseError

SPS, PPS = bytes.fromhex("6742c00dda05067e7c04"), bytes.fromhex("68ce3c80")
units = st.lists(st.binary(min_size=2, max_size=60).map(lambda nal: b"\x41" + nal + b"\x80"), min_size=1, max_size=8)


@given(
    st.binary(min_size=3, max_size=3),
    st.sampled_from([1, 2, 4]),
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=31),
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=255),
    st.binary(max_size=8),
)
def test_record_round_trip(head: bytes, size: int, sps: list[bytes], pps: list[bytes], extension: bytes) -> None:
    config = AvcConfig(*head, size, tuple(sps), tuple(pps), extension)
    assert avcc.parse(config.serialise()) == config


@settings(max_examples=300)
@given(st.binary(max_size=80), st.sampled_from([1, 2, 4]))
def test_arbitrary_bytes(data: bytes, size: int) -> None:
    for read in (
        avcc.parse,
        lambda body: avcc.to_lengths(body, size),
        lambda body: list(avcc.split_lengths(body, size)),
    ):
        try:
            read(data)
        except ParseError as error:
            assert error.what in ("avcC", "h264")  # noqa: PT017  that it is a ParseError is the test


@given(units, st.sampled_from([1, 2, 4]))
def test_lengths_of_every_size_become_four_bytes(nals: list[bytes], size: int) -> None:
    data = b"".join(len(nal).to_bytes(size, "big") + nal for nal in nals)
    converted = avcc.to_lengths(data, size)
    assert [bytes(nal) for nal in avcc.split_lengths(converted)] == nals
    assert converted == avcc.join_lengths(nals)


@given(units.map(lambda nals: [nal.replace(b"\0", b"\1") for nal in nals]), st.sampled_from([b"\0\0\1", b"\0\0\0\1"]))
def test_start_codes_become_lengths(nals: list[bytes], code: bytes) -> None:
    data = b"".join(code + nal for nal in nals)
    assert list(avcc.split_annex_b(data)) == nals
    assert avcc.to_lengths(data, 4) == avcc.join_lengths(nals)


def test_a_sequence_header_with_start_codes() -> None:
    config = avcc.parse(b"\0\0\0\1" + SPS + b"\0\0\1" + PPS)
    assert (config.profile_idc, config.constraints, config.level_idc, config.length_bytes) == (0x42, 0xC0, 13, 4)
    assert (config.sps, config.pps) == ((SPS,), (PPS,))
    assert avcc.parse(config.serialise()) == config


def test_as_ffmpeg_writes_it() -> None:
    record = b"\x01B\xc0\r\xff\xe1\x00\x0a" + SPS + b"\x01\x00\x04" + PPS
    assert avcc.from_parameter_sets([PPS, SPS]).serialise() == record


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x01\x42", "the record is cut off"),
        (b"\x00\x42\xc0\x0d\xff\xe1", "version 0 is unknown, 1 is taken"),
        (b"\x01\x42\xc0\x0d\xfe\xe1", "lengths of 3 bytes don't exist"),
        (b"\x01\x42\xc0\x0d\xff\xe1\x00\x0a\x67", "a parameter set is cut off"),
        (b"\x01\x42\xc0\x0d\xff\xe0\x00", "no sequence parameter set"),
        (b"\x01\x42\xc0\x0d\xff\xe1\x00\x01\x67", "no picture parameter set"),
        (b"\0\0\0\1" + SPS, "no sequence or picture parameter set"),
    ],
)
def test_refused_in_words(data: bytes, problem: str) -> None:
    with pytest.raises(ParseError) as caught:
        avcc.parse(data)
    assert caught.value.problem == problem


def test_a_picture_that_is_cut_off() -> None:
    with pytest.raises(ParseError, match="a NAL unit is cut off"):
        avcc.to_lengths(b"\0\0\0\x09abc", 4)


def test_start_codes_there_and_back() -> None:
    stream = b"\0\0\0\1\x67abc\0\0\1\x68d\0\0\0\1\x65efg\0"
    nals = [b"\x67abc", b"\x68d", b"\x65efg"]
    assert list(avcc.split_annex_b(stream)) == nals, "zeros before a start code and at the end are none of theirs (B.1)"
    assert list(avcc.split_annex_b(avcc.to_annex_b(avcc.join_lengths(nals)))) == nals
    with pytest.raises(ParseError, match="a NAL unit is cut off"):
        avcc.to_annex_b(b"\0\0\0\x09abc")


def test_parameter_sets_in_front_of_a_picture() -> None:
    sets, slices = [b"\x09\xf0", SPS, PPS], [b"\x65" + bytes(9), b"\x65\x88"]
    picture = avcc.join_lengths(sets + slices)
    found, at = avcc.leading_sets(picture)
    assert found == sets
    assert picture[at:] == avcc.join_lengths(slices)
    assert avcc.leading_sets(picture[at:]) == ([], 0)
