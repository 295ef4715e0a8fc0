"""AudioSpecificConfig: there and back, configs that encoders send, what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbridge.codecs import aac
from orbridge.codecs.aac import AudioSpecificConfig
from orbridge.codecs.errors import ParseError

rates = st.sampled_from(aac.SAMPLE_RATES_HZ) | st.integers(1000, 192_000)


@given(
    st.sampled_from([1, 2, 3, 4]),
    rates,
    st.sampled_from([1, 2, 3, 4, 5, 6, 8]),
    st.sampled_from([1024, 960]),
    st.none() | rates,
    st.booleans(),
    st.booleans(),
)
def test_round_trip(
    kind: int, rate: int, channels: int, length: int, sbr: int | None, ps: bool, explicit: bool
) -> None:
    config = AudioSpecificConfig(
        kind, rate, channels, length, sbr or 0, ps and sbr is not None, explicit and sbr is not None
    )
    assert aac.parse(config.serialise()) == config


@settings(max_examples=300)
@given(st.binary(max_size=20))
def test_arbitrary_bytes(data: bytes) -> None:
    try:
        config = aac.parse(data)
    except ParseError as error:
        assert error.what == "aac config"  # noqa: PT017  that it is a ParseError is the test
    else:
        assert aac.parse(config.serialise()) == config


@pytest.mark.parametrize(
    ("data", "config"),
    [
        ("1190", AudioSpecificConfig(2, 48000, 2)),
        ("1210", AudioSpecificConfig(2, 44100, 2)),
        ("118856e500", AudioSpecificConfig(2, 48000, 1)),  # ffmpeg: the extension says that there is no SBR
        ("2b098800", AudioSpecificConfig(2, 24000, 1, 1024, 48000, False, True)),
        ("131056e598", AudioSpecificConfig(2, 24000, 2, 1024, 48000)),
    ],
)
def test_known_configs(data: str, config: AudioSpecificConfig) -> None:
    assert aac.parse(bytes.fromhex(data)) == config


def test_what_comes_out_of_he_aac() -> None:
    config = AudioSpecificConfig(2, 24000, 1, 1024, 48000, True, True)
    assert (config.output_rate_hz, config.output_channels, config.samples_per_frame) == (48000, 2, 2048)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("", "it is cut off"),
        ("11", "it is cut off"),
        ("1680", "rate number 13 is reserved"),
        ("1180", "channel configuration 0: the channels are in a program config element, which isn't taken"),
        ("11f8", "channel configuration 15: unknown channels, which isn't taken"),
        ("f8e640", "object type 39 isn't taken, only AAC Main, LC, SSR and LTP with SBR and PS"),
        ("1780000008", "a rate of 0 Hz"),
    ],
)
def test_refused_in_words(data: str, problem: str) -> None:
    with pytest.raises(ParseError) as caught:
        aac.parse(bytes.fromhex(data))
    assert caught.value.problem == problem
