"""Which codecs a peer is offered of a stream, also when the stream's tracks come one after the other."""

from dataclasses import dataclass

import pytest

from orbridge.adapters.rtmp.session import suit
from orbridge.codecs.media import AAC, G722, H264, H265, OPUS, VP8, Codec, Kind, Role
from orbridge.gateway.session import Sink

CD = Codec("AAC", 44_100, 2)
ALL = frozenset({"hvc1", "Opus"})


@dataclass
class Line:
    selected: int | None = None

    def select(self, track_id: int | None) -> None:
        self.selected = track_id


def sinks() -> tuple[Sink, Sink]:
    return (
        Sink(Kind.VIDEO, Role.MAIN, H264, Line(), reorders=True),
        Sink(Kind.AUDIO, Role.MAIN, AAC, Line(), reorders=True),
    )


@pytest.mark.parametrize(
    ("codecs", "four_ccs", "given"),
    [
        ([H265, OPUS], ALL, (H265, OPUS)),
        ([H265, OPUS], frozenset({"*"}), (H265, OPUS)),
        ([H265, OPUS], frozenset({"hvc1"}), (H265, AAC)),
        ([H265, OPUS], frozenset(), (H264, AAC)),
        ([H264, CD], frozenset(), (H264, CD)),
        ([VP8, G722], ALL, (H264, AAC)),
        ([H265], ALL, (H265, AAC)),
        ([], ALL, (H264, AAC)),
    ],
)
def test_what_is_taken_as_it_is(codecs: list[Codec], four_ccs: frozenset[str], given: tuple[Codec, Codec]) -> None:
    video, audio = sinks()
    suit([video, audio], codecs, four_ccs)
    assert (video.codec, audio.codec) == given


def test_sound_that_comes_later_is_given_as_it_is_too() -> None:
    video, audio = sinks()
    suit([video, audio], [H265], ALL)
    video.select(1)
    suit([video, audio], [H265, OPUS], ALL)
    assert (video.codec, audio.codec) == (H265, OPUS)


def test_what_is_being_sent_stays() -> None:
    video, audio = sinks()
    audio.select(1)
    suit([video, audio], [H265, OPUS], ALL)
    assert (video.codec, audio.codec) == (H265, AAC)
    suit([video, audio], [H265, OPUS], ALL, has_begun=False)
    assert audio.codec == OPUS
