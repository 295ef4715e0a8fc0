"""Pictures of every codec as H.264: decoded, sizes and order checked, late and broken ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import av
import numpy as np
import pytest
from media_made import T0_NS, decode_pictures, encode_pictures

from orbridge.codecs import avcc
from orbridge.codecs._engine import h264_sps
from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import H264, AccessUnit, Codec, VideoLimit
from orbridge.gateway.simulator.picture import read_time_code
from orbridge.gateway.transcode.made import Made, TranscodeFailed
from orbridge.gateway.transcode.video import Bounds, VideoConverter, encoded, fit, macroblocks

FREELY = Bounds(4000)


def convert(converter: VideoConverter, units: Sequence[AccessUnit]) -> list[Made]:
    """Each unit at the moment of its arrival."""
    return [made for unit in units for made in converter.feed(unit, unit.arrival_ns)]


def codes(made: Sequence[Made]) -> list[int | None]:
    """What the time codes of the decoded pictures say: the picture's number times 33."""
    return [
        read_time_code(image[: image.shape[0] * 2 // 3]) for image in decode_pictures([one.payload for one in made])
    ]


def nal_types(unit: Made) -> list[int]:
    return [nal[0] & 0x1F for nal in avcc.split_lengths(unit.payload)]


@pytest.mark.parametrize("name", ["H265", "B", "VP8", "VP9", "AV1"])
def test_every_codec_comes_out_in_order(name: str) -> None:
    units = encode_pictures(name, 90)
    converter = VideoConverter(H264 if name == "B" else Codec(name, 90_000), FREELY)
    made = convert(converter, units)
    assert len(made) >= 86, "a decoder keeps what its reordering needs, no more"
    assert codes(made) == [number * 33 for number in range(len(made))]
    assert [one.pts for one in made] == [90_000 + number * 3000 for number in range(len(made))]
    assert all(one.dts == one.pts for one in made)
    assert [one.capture_ns for one in made] == [T0_NS + number * 100_000_000 // 3 for number in range(len(made))]
    assert [number for number, one in enumerate(made) if one.keyframe] == [0, 60], "a key frame every two seconds"
    assert (converter.counters.width, converter.counters.height) == (640, 360)


def test_what_comes_out_is_for_every_decoder() -> None:
    made = convert(VideoConverter(Codec("H265", 90_000), FREELY), encode_pictures("H265", 40))
    assert nal_types(made[0])[:2] == [7, 8], "parameter sets come with the key frame"
    assert {kind for one in made for kind in nal_types(one)} == {1, 5, 7, 8}
    sps = next(bytes(nal) for nal in avcc.split_lengths(made[0].payload) if nal[0] & 0x1F == 7)
    facts = h264_sps(sps)
    assert (facts["width"], facts["height"], facts["profile_idc"]) == (640, 360, 66)
    assert facts["constraint_flags"] & 0x40, "constrained baseline"
    assert facts["max_reorder_frames"] == 0


def test_a_key_frame_comes_when_it_is_wanted() -> None:
    units = encode_pictures("VP8", 30)
    converter = VideoConverter(Codec("VP8", 90_000), FREELY)
    convert(converter, units[:10])
    converter.want_keyframe()
    assert [one.keyframe for one in convert(converter, units[10:13])] == [True, False, False]


@pytest.mark.parametrize(
    ("limit", "size"),
    [(VideoLimit(396, 11_880), (416, 234)), (VideoLimit(1620, 40_500), (840, 472)), (VideoLimit(3600, 108_000), None)],
)
def test_a_decoders_limit_is_kept(limit: VideoLimit, size: tuple[int, int] | None) -> None:
    units = encode_pictures("H265", 60, 1280, 720)
    made = convert(VideoConverter(Codec("H265", 90_000), Bounds(384, limit)), units)
    images = decode_pictures([one.payload for one in made])
    width, height = images[0].shape[1], images[0].shape[0] * 2 // 3
    assert limit.admits(width, height)
    assert abs(width / height - 16 / 9) < 0.02
    assert (width, height) == (size or (1280, 720))
    seconds = (made[-1].pts - made[0].pts) / 90_000
    assert (len(made) - 1) / seconds * macroblocks(width, height) <= limit.max_mbps * 1.12
    assert sum(len(one.payload) for one in made) * 8 / seconds < 384_000 * 1.3


def test_fewer_pictures_where_the_decoder_takes_fewer() -> None:
    made = convert(
        VideoConverter(Codec("VP8", 90_000), Bounds(4000, VideoLimit(920, 13_800))), encode_pictures("VP8", 60)
    )
    assert len(made) == 30, "640x360 are 920 macroblocks: 15 a second"


def test_a_change_of_size_begins_with_a_key_frame() -> None:
    small, large = encode_pictures("H265", 20), encode_pictures("H265", 20, 960, 540)
    later = [unit_later(unit, 60_000 + 90_000) for unit in large]
    converter = VideoConverter(Codec("H265", 90_000), FREELY)
    made = convert(converter, small + later)
    shapes = [image.shape[1] for image in decode_pictures([one.payload for one in made])]
    change = shapes.index(960)
    assert made[change].keyframe
    assert set(shapes[:change]) == {640}
    assert set(shapes[change:]) == {960}


def unit_later(unit: AccessUnit, ticks: int) -> AccessUnit:
    shift_ns = ticks * 100_000 // 9
    return AccessUnit(
        unit.track,
        unit.pts + ticks,
        unit.dts + ticks,
        unit.keyframe,
        unit.contiguous,
        unit.capture_ns + shift_ns,
        unit.arrival_ns + shift_ns,
        unit.payload,
    )


def test_who_is_late_leaves_pictures_out_but_stays_lively() -> None:
    units = encode_pictures("VP8", 90)
    converter = VideoConverter(Codec("VP8", 90_000), FREELY)
    made = [one for unit in units for one in converter.feed(unit, unit.arrival_ns + 400_000_000)]
    assert converter.counters.left_out > 50
    gaps = {later.pts - one.pts for one, later in itertools.pairwise(made)}
    assert max(gaps) <= 7 * 3000, "at least about five pictures a second"


def test_who_is_hopelessly_late_waits_for_a_key_frame_and_says_so() -> None:
    units = encode_pictures("VP8", 300, group=150)
    converter = VideoConverter(Codec("VP8", 90_000), FREELY)
    convert(converter, units[:200])
    assert not converter.needs_keyframe
    assert converter.feed(units[200], units[200].arrival_ns + 1_500_000_000) == []
    assert converter.needs_keyframe
    assert "can't keep up" in converter.note
    assert convert(converter, units[201:210]) == []
    key = unit_later(units[150], units[210].pts - units[150].pts)
    assert convert(converter, [key])
    assert not converter.needs_keyframe
    assert converter.note
    minute_later = unit_later(key, 60 * 90_000)
    converter.feed(minute_later, minute_later.arrival_ns)
    assert converter.note == "", "it is forgiven"


def test_nothing_is_decoded_before_a_key_frame() -> None:
    units = encode_pictures("VP8", 40)
    converter = VideoConverter(Codec("VP8", 90_000), FREELY)
    assert convert(converter, units[5:30]) == []
    assert converter.needs_keyframe
    assert codes(convert(converter, units[30:])) == [number * 33 for number in range(30, 40)]


def test_garbage_is_counted_and_too_much_of_it_is_the_end() -> None:
    converter = VideoConverter(Codec("H265", 90_000), FREELY)
    rubbish = (50).to_bytes(4, "big") + bytes(range(50))
    units = [AccessUnit(1, n * 3000, n * 3000, n == 0, True, 1, T0_NS, rubbish) for n in range(400)]
    with pytest.raises(TranscodeFailed, match="150 pictures in a row can't be decoded as H265"):
        convert(converter, units)
    assert converter.counters.units_in == 150


def test_lengths_that_lead_out_of_a_picture_are_refused() -> None:
    with pytest.raises(TranscodeFailed, match="a picture can't be read: h264: byte 0: a NAL unit is cut off"):
        VideoConverter(H264, FREELY).feed(AccessUnit(1, 0, 0, True, True, 0, T0_NS, b"\0\0\0\x09abc"), T0_NS)
    packet = av.Packet(b"\0\0\0\1\x67a\0\0\1\x06sei\0\0\0\1\x65b")
    assert encoded(packet) == b"\0\0\0\2\x67a\0\0\0\2\x65b", "supplemental information stays here"


def test_what_cannot_be_decoded_is_said() -> None:
    with pytest.raises(LocalError, match="H263 can't be decoded, only AV1, H264, H265, VP8, VP9"):
        VideoConverter(Codec("H263", 90_000), FREELY)


@pytest.mark.parametrize("size", [(1920, 1080), (640, 480), (720, 1280), (17, 4000), (2, 2)])
@pytest.mark.parametrize("max_fs", [1, 99, 396, 3600, 8192])
def test_fitting_keeps_shape_and_limit(size: tuple[int, int], max_fs: int) -> None:
    width, height = fit(*size, VideoLimit(max_fs, max_fs * 30))
    assert macroblocks(width, height) <= max_fs
    assert width % 2 == height % 2 == 0
    if min(width, height) > 100:
        assert width / height == pytest.approx(size[0] / size[1], rel=0.03)


def test_ten_bit_and_other_chroma_become_what_everybody_shows() -> None:
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 320, 240, "yuv422p10le"
    encoder.options = {"preset": "ultrafast", "x265-params": "log-level=none:bframes=0"}
    converter = VideoConverter(Codec("H265", 90_000), FREELY)
    made: list[Made] = []
    packets = []
    for number in range(12):
        frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 120, np.uint8), format="rgb24")
        frame = frame.reformat(format="yuv422p10le")
        frame.pts = number
        packets += encoder.encode(frame)
    for packet in packets + encoder.encode(None):
        nals = avcc.join_lengths(avcc.split_annex_b(bytes(packet)))
        pts = packet.pts * 3000
        made += converter.feed(AccessUnit(1, pts, pts, packet.is_keyframe, True, 0, T0_NS, nals), T0_NS)
    image = decode_pictures([one.payload for one in made])[-1]
    assert image.shape == (360, 320)
    assert image[:240].mean() == pytest.approx(16 + 120 / 255 * 219, abs=4)
