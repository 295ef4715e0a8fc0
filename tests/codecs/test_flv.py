"""FLV tag bodies in both forms: there and back, known bytes, what is refused, arbitrary bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbridge.codecs import amf0, flv
from orbridge.codecs.errors import ParseError


@given(
    st.sampled_from(["H264", "H265", "VP9", "AV1"]),
    st.sampled_from(["sequence_header", "coded_frames", "sequence_end"]),
    st.binary(max_size=40),
    st.booleans(),
    st.integers(-(1 << 23), (1 << 23) - 1),
    st.booleans(),
)
def test_video_round_trip(
    codec: str, packet: flv.VideoPacket, body: bytes, keyframe: bool, composition_ms: int, enhanced: bool
) -> None:
    enhanced = enhanced or codec in ("VP9", "AV1")
    written = flv.serialise_video(
        codec, packet, body, keyframe=keyframe, composition_ms=composition_ms, enhanced=enhanced
    )
    tag = flv.parse_video(written)
    assert (tag.codec, tag.packet, bytes(tag.body), tag.enhanced) == (codec, packet, body, enhanced)
    assert tag.keyframe is (keyframe or packet != "coded_frames")
    composed = packet == "coded_frames" and codec in ("H264", "H265")
    assert tag.composition_ms == (composition_ms if composed else 0)


@given(
    st.sampled_from(["AAC", "OPUS", "MP3", "PCMA", "PCMU", "FLAC"]),
    st.sampled_from(["sequence_header", "frames"]),
    st.binary(max_size=40),
    st.booleans(),
)
def test_audio_round_trip(codec: str, packet: flv.AudioPacket, body: bytes, enhanced: bool) -> None:
    if codec in ("PCMA", "PCMU"):
        enhanced = False
    if codec in ("MP3", "PCMA", "PCMU"):
        packet = "frames"
    enhanced = enhanced or codec in ("OPUS", "FLAC")
    tag = flv.parse_audio(flv.serialise_audio(codec, packet, body, enhanced=enhanced))
    assert (tag.codec, tag.packet, bytes(tag.body), tag.enhanced) == (codec, packet, body, enhanced)


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_arbitrary_bytes(data: bytes) -> None:
    for parse in (flv.parse_video, flv.parse_audio, flv.parse_metadata):
        try:
            parse(data)
        except ParseError as error:
            assert error.problem  # noqa: PT017  that it is a ParseError with a sentence is the test


@pytest.mark.parametrize(
    ("codec", "enhanced", "begins"),
    [
        ("H264", None, b"\x17\x01\0\0\x28body"),
        ("H264", True, b"\x91avc1\0\0\x28body"),
        ("H265", None, b"\x91hvc1\0\0\x28body"),
        ("H265", False, b"\x1c\x01\0\0\x28body"),
        ("AV1", None, b"\x91av01body"),
    ],
)
def test_video_as_ffmpeg_writes_it(codec: str, enhanced: bool | None, begins: bytes) -> None:
    tag = flv.serialise_video(codec, "coded_frames", b"body", keyframe=True, composition_ms=40, enhanced=enhanced)
    assert tag == begins


def test_no_composition_time_takes_no_bytes() -> None:
    assert flv.serialise_video("H265", "coded_frames", b"body") == b"\xa3hvc1body"


def test_audio_as_ffmpeg_writes_it() -> None:
    assert flv.serialise_audio("AAC", "sequence_header", b"\x11\x90") == b"\xaf\x00\x11\x90"
    assert flv.serialise_audio("AAC", "frames", b"frame") == b"\xaf\x01frame"
    assert flv.serialise_audio("OPUS", "sequence_header", b"OpusHead") == b"\x90OpusOpusHead"
    assert flv.serialise_audio("PCMA", "frames", b"x", channels=1, rate_hz=8000)[0] >> 4 == 7
    assert flv.parse_audio(b"\x72x").rate_hz == 8000


def test_modex_is_read_over() -> None:
    # Size 3 (minus 1), three bytes of nanoseconds, then kind 0 and the packet type behind it (Enhanced RTMP v2).
    tag = flv.parse_video(b"\x97\x02abc\x01hvc1\xff\xff\xd8body")
    assert (tag.codec, tag.packet, tag.composition_ms, bytes(tag.body)) == ("H265", "coded_frames", -40, b"body")
    long = b"\x97\xff\x01\x00" + bytes(257) + b"\x01Opusbody"
    sound = flv.parse_audio(long)
    assert (sound.codec, sound.packet, bytes(sound.body)) == ("OPUS", "frames", b"body")


@pytest.mark.parametrize(
    ("parse", "data", "problem"),
    [
        (flv.parse_video, b"", "the message is empty"),
        (flv.parse_video, b"\x17\x01\0", "the header is cut off"),
        (flv.parse_video, b"\x17\x09\0\0\0", "packet type 9 is unknown"),
        (flv.parse_video, b"\x96\x00hvc1", "several tracks in one message (multitrack), which isn't taken here"),
        (flv.parse_video, b"\x90hv", "the FourCC is cut off"),
        (flv.parse_video, b"\x91hvc1\0", "the composition time is cut off"),
        (flv.parse_video, b"\x97\x02ab", "a ModEx prefix is cut off"),
        (flv.parse_video, b"\x97" + b"\0x\x07" * 9, "more than 8 ModEx prefixes"),
        (flv.parse_audio, b"\xaf", "the header is cut off"),
        (flv.parse_audio, b"\x95\x00Opus", "several tracks in one message (multitrack), which isn't taken here"),
        (flv.parse_audio, b"\x9eOpus", "packet type 14 of enhanced audio isn't taken here"),
    ],
)
def test_refused_in_words(parse: object, data: bytes, problem: str) -> None:
    assert callable(parse)
    with pytest.raises(ParseError) as caught:
        parse(data)
    assert caught.value.problem == problem


def test_commands_and_unknown_codecs_are_named() -> None:
    assert flv.parse_video(b"\x57\x00").packet == "command"
    assert flv.parse_video(b"\x29x").codec == "9"
    assert flv.parse_video(b"\x90xyzw").codec == "xyzw"
    assert flv.parse_audio(b"\xb2x").codec == "SPEEX"


@pytest.mark.parametrize("publishing", [False, True])
def test_metadata_round_trip(publishing: bool) -> None:
    members: dict[str, amf0.Value] = {
        "width": 1920.0,
        "height": 1080.0,
        "videocodecid": flv.video_codec_id("H265"),
        "audiocodecid": flv.audio_codec_id("AAC"),
    }
    data = flv.serialise_metadata(members, set_data_frame=publishing)
    read = flv.parse_metadata(data)
    assert read == members
    assert flv.video_codec_named(read["videocodecid"]) == "H265"
    assert flv.audio_codec_named(read["audiocodecid"]) == "AAC"
    assert amf0.parse(data)[0] == ("@setDataFrame" if publishing else "onMetaData")


def test_metadata_of_other_kinds() -> None:
    assert flv.parse_metadata(amf0.serialise("onTextData", {})) is None
    assert flv.parse_metadata(amf0.serialise("onMetaData")) == {}
    assert flv.video_codec_named("avc1") == "H264"
    assert flv.video_codec_named(True) == flv.video_codec_named(1e300) == flv.video_codec_named(None) == ""
