"""The test picture carries its time through an encoder, and the encoder gives what the bus takes."""

import av
import numpy as np
import pytest

from orbridge.codecs import avcc
from orbridge.gateway.simulator.picture import background, draw, read_time_code
from orbridge.gateway.simulator.source import PictureEncoder, ToneEncoder
from orbridge.gateway.simulator.watch import loudest


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (640, 360), (352, 288), (1920, 1080)])
def test_the_time_survives_encoding(width: int, height: int) -> None:
    encoder = PictureEncoder(width, height, 30, 1500, 0)
    decoder = av.CodecContext.create("h264", "r")
    read = []
    for number, stamp in enumerate((0, 1_234_567, 2**32 - 1, 86_399_999)):
        for payload, keyframe in encoder.encode(number, stamp, keyframe=number == 2):
            assert keyframe == (number in (0, 2))
            frames = decoder.decode(av.Packet(avcc.to_annex_b(payload)))
            read += [read_time_code(frame.to_ndarray(format="yuv420p")[:height]) for frame in frames]
    read += [read_time_code(frame.to_ndarray(format="yuv420p")[:height]) for frame in decoder.decode(None)]
    assert read == [0, 1_234_567, 2**32 - 1, 86_399_999]


def test_another_picture_has_no_time() -> None:
    assert read_time_code(np.full((720, 1280), 128, np.uint8)) is None
    assert read_time_code(np.full((8, 8), 128, np.uint8)) is None


def test_the_bar_moves() -> None:
    ground = background(640, 360)
    assert not np.array_equal(draw(ground, 640, 360, 0, 1), draw(ground, 640, 360, 0, 2))


@pytest.mark.parametrize("size", [(641, 360), (128, 96), (640, 20)])
def test_a_size_that_cannot_be_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="can't be a test picture"):
        background(*size)


def test_slices_fit_a_datagram_when_asked() -> None:
    encoder = PictureEncoder(1280, 720, 30, 4000, 1100)
    for number in range(5):
        for payload, _ in encoder.encode(number, number * 33, keyframe=False):
            assert max(len(nal) for nal in avcc.split_lengths(payload)) <= 1100


def test_the_tone_is_the_tone() -> None:
    encoder = ToneEncoder(440.0)
    decoder = av.CodecContext.create("libopus", "r")
    parts = [
        frame.to_ndarray().reshape(-1, frame.layout.nb_channels)[:, 0] / 32767
        for _ in range(50)
        for payload in encoder.encode()
        for frame in decoder.decode(av.Packet(payload))
    ]
    tone, level = loudest(np.concatenate(parts).astype(np.float32)[4800:], 48_000)
    assert tone == pytest.approx(440, abs=3)
    assert level == pytest.approx(20 * np.log10(0.2 / np.sqrt(2)), abs=1.5)


def test_silence_has_no_frequency() -> None:
    assert loudest(np.zeros(4800, np.float32), 48_000) == (None, -100.0)
