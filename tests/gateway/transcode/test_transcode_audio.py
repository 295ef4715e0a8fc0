"""Sound between codecs: tones, levels, timing, what encoders put in front, garbage."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from media_made import SOUND_SOURCES, T0_NS, Sound, decode_sound, encode_sound, level_at, sample_rate, sound_unit, tone

from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import AAC, G722, OPUS, PCMA, AccessUnit, Codec
from orbridge.gateway.transcode.audio import AudioConverter
from orbridge.gateway.transcode.made import Made, TranscodeFailed


def convert(converter: AudioConverter, units: Sequence[AccessUnit]) -> list[Made]:
    return [made for unit in units for made in converter.feed(unit)]


def heard(converter: AudioConverter, made: Sequence[Made]) -> Sound:
    return decode_sound([one.payload for one in made], converter.target.name, converter.channels)


@pytest.mark.parametrize("target", [OPUS, AAC], ids=["to Opus", "to AAC"])
@pytest.mark.parametrize("source", SOUND_SOURCES.values(), ids=SOUND_SOURCES.keys())
def test_a_tone_stays_the_tone(source: Codec, target: Codec) -> None:
    converter = AudioConverter(source, target)
    units = encode_sound(tone(1000, 3.0, sample_rate(source), source.channels), source)
    made = convert(converter, units)
    sound = heard(converter, made)
    assert sound.shape[1] == pytest.approx(3 * 48_000, abs=9600)
    middle = sound[:, 48_000:96_000]
    for channel in middle:
        level = level_at(channel, 1000)
        assert level == pytest.approx(0.3, abs=0.015)
        rest = np.mean(channel**2) - level**2 / 2
        assert rest < 0.3**2 / 2 * 0.02, "nothing but the tone"
    size = 960 if target is OPUS else 1024
    assert {later.pts - one.pts for one, later in itertools.pairwise(made)} == {size}
    assert converter.counters.units_in == len(units)
    assert converter.counters.broken == 0


def test_stereo_stays_stereo() -> None:
    left, right = tone(500, 2.0, 48_000, 1), tone(900, 2.0, 48_000, 1)
    converter = AudioConverter(AAC, OPUS)
    sound = heard(converter, convert(converter, encode_sound(np.concatenate((left, right)), AAC)))[:, 24_000:72_000]
    assert [level_at(sound[0], 500), level_at(sound[1], 900)] == pytest.approx([0.3, 0.3], abs=0.015)
    assert max(level_at(sound[0], 900), level_at(sound[1], 500)) < 0.01


@pytest.mark.parametrize("target", [OPUS, AAC], ids=["to Opus", "to AAC"])
@pytest.mark.parametrize("source", [AAC, Codec("AAC", 44_100, 2), PCMA, G722], ids=str)
def test_sound_keeps_its_moment(source: Codec, target: Codec) -> None:
    """A tone begins one second after the first sample; it is heard one second after it, by the capture times."""
    rate = sample_rate(source)
    silent = np.zeros((source.channels, rate), np.float32)
    units = encode_sound(np.concatenate((silent, tone(1000, 1.0, rate, source.channels)), axis=1), source)
    converter = AudioConverter(source, target)
    made = convert(converter, units)
    sound = np.abs(heard(converter, made)[0])
    begins = int(np.argmax(sound > 0.15))
    # A decoder gives a frame's samples from the frame's own moment on.
    moment_ns = made[0].capture_ns + begins * 1_000_000_000 // 48_000
    assert (moment_ns - T0_NS) / 1e6 == pytest.approx(1000.0, abs=4.0)


def test_ten_minutes_at_200_ppm() -> None:
    """The same second of a tone over and over, its clock slow by 200 ppm."""
    hz = 48_000 / 1024 * 9
    (unit,) = encode_sound(tone(hz, 1.0, 48_000), AAC)[20:21]
    converter = AudioConverter(AAC, OPUS)
    made: list[Made] = []
    frames = 600 * 48_000 // 1024
    for number in range(frames):
        capture_ns = T0_NS + round(number * 1024 / 48_000 * 1e9 * (1 + 200e-6))
        made += converter.feed(sound_unit(number * 1024, capture_ns, unit.payload))
    assert made[-1].pts - made[0].pts == pytest.approx(600 * (1 + 200e-6) * 48_000, abs=3500)
    lag_ns = [one.capture_ns - T0_NS - (one.pts - made[0].pts) * 1e9 / 48_000 for one in made]
    assert max(lag_ns) - min(lag_ns) < 32e6, "the samples keep to our clock"
    sound = heard(converter, made[-500:])[0, 4800:]
    shifted = hz / (1 + 200e-6)
    assert level_at(sound[:48_000], shifted) == pytest.approx(0.3, abs=0.02)
    steepest = 0.3 * 2 * np.pi * hz / 48_000
    assert np.abs(np.diff(sound)).max() < steepest * 1.15, "no click"
    assert converter.counters.silence_ms == 0


def test_lost_frames_become_silence_of_the_same_length() -> None:
    units = encode_sound(tone(440, 4.0, 48_000), AAC)
    lost = range(60, 70)
    kept = [unit for number, unit in enumerate(units) if number not in lost]
    kept[60] = sound_unit(kept[60].pts, kept[60].capture_ns, kept[60].payload, contiguous=False)
    converter = AudioConverter(AAC, OPUS)
    made = convert(converter, kept)
    assert converter.counters.silence_ms == pytest.approx(213, abs=2)
    assert made[-1].capture_ns - made[0].capture_ns == pytest.approx(
        (made[-1].pts - made[0].pts) * 1e9 / 48_000, abs=2e6
    )
    steepest = 0.3 * 2 * np.pi * 440 / 48_000
    assert np.abs(np.diff(heard(converter, made)[0])).max() < steepest * 1.3


def test_a_stall_is_filled_and_sound_goes_on() -> None:
    units = encode_sound(tone(440, 2.0, 48_000), AAC)
    converter = AudioConverter(AAC, OPUS)
    made = convert(converter, units[:40])
    until = units[39].capture_ns + 500_000_000
    filled = converter.fill(until)
    assert len(filled) == pytest.approx(25, abs=3)
    made += filled + convert(converter, units[40:])
    assert {later.pts - one.pts for one, later in itertools.pairwise(made)} == {960}


def test_garbage_is_counted_and_too_much_of_it_is_the_end() -> None:
    units = encode_sound(tone(440, 1.0, 48_000), AAC)
    converter = AudioConverter(AAC, OPUS)
    convert(converter, units[:20])
    bad = [
        sound_unit(unit.pts, unit.capture_ns, bytes([0xFF, number]) * 40) for number, unit in enumerate(units[20:25])
    ]
    convert(converter, bad)
    assert converter.counters.broken > 0
    made = convert(converter, units[25:])
    assert made
    garbage = [sound_unit(n * 1024, T0_NS + n * 21_333_333, b"\xff\x00" * 30) for n in range(400)]
    with pytest.raises(TranscodeFailed, match="100 frames in a row can't be decoded as AAC"):
        convert(converter, garbage)


def test_an_empty_frame_is_no_fault_of_ours() -> None:
    converter = AudioConverter(AAC, OPUS)
    assert converter.feed(sound_unit(0, T0_NS, b"")) == []


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        (Codec("L16", 48_000, 2), OPUS, "L16 can't be decoded, only AAC, G722, OPUS, PCMA, PCMU"),
        (AAC, PCMA, "sound can't be encoded as PCMA here, only as AAC, OPUS"),
        (Codec("AAC", 48_000, 7), OPUS, "AAC with 7 channels can't be decoded"),
    ],
)
def test_what_cannot_be_converted_is_said(source: Codec, target: Codec, says: str) -> None:
    with pytest.raises(LocalError, match=says):
        AudioConverter(source, target)


def test_six_channels_become_two() -> None:
    codec = Codec("AAC", 48_000, 6)
    center = np.zeros((6, 96_000), np.float32)
    center[2] = tone(700, 2.0, 48_000, 1)[0]
    converter = AudioConverter(codec, OPUS)
    sound = heard(converter, convert(converter, encode_sound(center, codec)))[:, 24_000:72_000]
    left, right = level_at(sound[0], 700), level_at(sound[1], 700)
    assert left == pytest.approx(right, abs=0.01)
    assert 0.05 < left < 0.3
