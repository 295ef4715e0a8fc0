"""Records and sizes of codecs that only pass through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbridge.codecs import av1, opus, vp9
from orbridge.codecs.errors import ParseError

# SVT-AV1, 320x240: a temporal delimiter, a sequence header (10 bytes), a frame.
HEADER = bytes.fromhex("0a0a00000002a7fdfe57fb01")
UNIT = bytes.fromhex("1200") + HEADER + bytes.fromhex("3203aabbcc")


def test_a_sequence_header_is_found_and_recorded() -> None:
    header = av1.sequence_header(UNIT)
    assert header == HEADER
    record = av1.config_record(header)
    assert record == bytes((0x81, 0x00, 0x0C, 0x00)) + HEADER


def test_a_unit_without_one_has_none() -> None:
    assert av1.sequence_header(bytes.fromhex("12003203aabbcc")) is None
    assert av1.sequence_header(b"") is None


def test_an_obu_without_size_reaches_to_the_end() -> None:
    assert av1.sequence_header(bytes((0x08,)) + HEADER[2:]) == HEADER


def test_a_level_with_a_tier() -> None:
    # profile 0, level 8 (4.0), tier 1: 3+1+1+1+1+5+12 bits, then 01000 1
    body = (8 << 11 | 1 << 10).to_bytes(5, "big")
    assert av1.config_record(bytes((0x0A, 5)) + body)[:4] == bytes((0x81, 8, 0x8C, 0))


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05\x00", b"\x0a\x80", b"\x12\x00" * 300])
def test_cut_off_obus_are_refused(data: bytes) -> None:
    with pytest.raises(ParseError):
        av1.sequence_header(data)


def test_a_short_header_is_refused() -> None:
    with pytest.raises(ParseError, match="cut off"):
        av1.config_record(bytes((0x0A, 2, 0, 0)))


@pytest.mark.parametrize(("first", "profile", "bits"), [(0x82, 0, 0x82), (0xA2, 1, 0x86), (0x92, 2, 0xA2)])
def test_vp9_says_its_profile(first: int, profile: int, bits: int) -> None:
    record = vp9.config_record(bytes((first,)))
    assert (record[4], record[6], len(record)) == (profile, bits, 12)


@pytest.mark.parametrize("data", [b"", b"\x02"])
def test_what_is_no_vp9_is_refused(data: bytes) -> None:
    with pytest.raises(ParseError):
        vp9.config_record(data)


@pytest.mark.parametrize(
    ("packet", "length"),
    [
        (b"\xf8", 960),  # CELT, 20 ms, one frame
        (b"\xf9", 1920),  # two
        (b"\xe0", 120),  # 2.5 ms
        (b"\x18", 2880),  # SILK, 60 ms
        (b"\x60", 480),  # hybrid, 10 ms
        (b"\xfb\x03", 2880),  # code 3: three frames
    ],
)
def test_how_long_an_opus_packet_lasts(packet: bytes, length: int) -> None:
    assert opus.samples(packet) == length


@pytest.mark.parametrize("packet", [b"", b"\xfb", b"\xfb\x00", b"\xfb\x3f"])
def test_what_is_no_opus_is_refused(packet: bytes) -> None:
    with pytest.raises(ParseError):
        opus.samples(packet)


def test_an_opus_head() -> None:
    assert opus.head(2) == b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"


@given(st.binary(max_size=200))
def test_anything_is_read_or_refused(data: bytes) -> None:
    for read in (av1.sequence_header, vp9.config_record, opus.samples, av1.config_record):
        try:
            read(data)
        except ParseError:
            continue
