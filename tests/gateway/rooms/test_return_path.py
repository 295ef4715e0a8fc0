"""What a viewer is shown and played, as tables."""

import pytest

from orbridge.codecs.media import G722, H264, OPUS, PCMA, VP8, Codec, Role, VideoLimit
from orbridge.gateway.rooms.return_path import (
    Mix,
    PassThrough,
    Picture,
    Shown,
    Silence,
    Voice,
    choose_picture,
    choose_sound,
    obstacle,
    strictest,
)

OR3 = Picture(1, "sip-1", "or-3", Role.MAIN, H264, 1280, 720, 30.0, order=1, device=True)
LI = Picture(2, "webrtc-2", "dr-li", Role.MAIN, H264, 640, 360, 30.0, order=2)
ADA = Picture(3, "webrtc-3", "dr-ada", Role.MAIN, H264, 640, 360, 30.0, order=3)
SLIDES = Picture(4, "webrtc-3", "dr-ada", Role.CONTENT, H264, 1280, 720, 5.0, order=3)
UNUSED = Picture(5, "sip-5", "or-5", Role.CONTENT, H264, order=5, device=True)
CIF = VideoLimit(396, 11880)


@pytest.mark.parametrize(
    ("case", "viewer", "kwargs", "expected"),
    [
        ("nobody else", "sip-1", {"pictures": [OR3]}, Shown(None)),
        ("never oneself", "sip-1", {"pictures": [OR3, LI]}, Shown(2, "webrtc-2")),
        ("a device before a browser", "webrtc-9", {"pictures": [LI, OR3]}, Shown(1, "sip-1")),
        ("who came first among equals", "sip-1", {"pictures": [ADA, LI]}, Shown(2, "webrtc-2")),
        ("the speaker", "sip-1", {"pictures": [LI, ADA], "speaker": "webrtc-3"}, Shown(3, "webrtc-3")),
        ("oneself speaking changes nothing", "sip-1", {"pictures": [OR3, LI, ADA], "speaker": "sip-1", "current": 3},
         Shown(3, "webrtc-3")),
        ("what is shown stays", "sip-1", {"pictures": [LI, ADA], "current": 3}, Shown(3, "webrtc-3")),
        ("a pin beats the speaker", "sip-1", {"pictures": [LI, ADA], "speaker": "webrtc-3", "pinned": "dr-li"},
         Shown(2, "webrtc-2")),
        ("content beats the speaker", "sip-1", {"pictures": [LI, ADA, SLIDES], "speaker": "webrtc-2"},
         Shown(4, "webrtc-3")),
        ("a pin beats content", "sip-1", {"pictures": [LI, SLIDES], "pinned": "dr-li"}, Shown(2, "webrtc-2")),
        ("a line for content on which nothing came shows nothing", "sip-1", {"pictures": [LI, UNUSED]},
         Shown(2, "webrtc-2")),
        ("nor on the content line", "sip-1", {"pictures": [UNUSED], "role": Role.CONTENT}, Shown(None)),
        ("content has its own line", "sip-1", {"pictures": [LI, SLIDES], "takes_content": True}, Shown(2, "webrtc-2")),
        ("the content line takes content only", "sip-1", {"pictures": [LI, SLIDES], "role": Role.CONTENT},
         Shown(4, "webrtc-3")),
    ],
)  # fmt: skip
def test_choice(case: str, viewer: str, kwargs: dict, expected: Shown) -> None:
    assert choose_picture(viewer, H264, None, **kwargs) == expected, case


def test_a_picture_too_large_is_passed_over_and_said() -> None:
    small = Picture(7, "webrtc-7", "dr-small", Role.MAIN, H264, 352, 288, 30.0, order=9)
    shown = choose_picture("sip-9", H264, CIF, [OR3, small], speaker="sip-1")
    assert shown.track == 7
    assert "1280x720" in shown.problem
    assert "396" in shown.problem


def test_no_picture_fits() -> None:
    shown = choose_picture("sip-9", H264, CIF, [OR3])
    assert shown.track is None
    assert "or-3 sends 1280x720" in shown.problem


def test_a_rate_above_the_level_is_an_obstacle() -> None:
    fast = Picture(1, "x", "cam", Role.MAIN, H264, 352, 288, 60.0)
    assert obstacle(fast, H264, CIF)
    assert not obstacle(Picture(1, "x", "cam", Role.MAIN, H264, 352, 288, 30.0), H264, CIF)


def test_another_video_codec_is_an_obstacle() -> None:
    assert obstacle(LI, VP8, None) == "dr-li sends H264, this side takes VP8"


@pytest.mark.parametrize(
    ("case", "voices", "codec", "expected"),
    [
        ("alone", [Voice(1, "sip-1", PCMA)], PCMA, Silence()),
        ("one other, same codec", [Voice(1, "sip-1", PCMA), Voice(2, "b", PCMA)], PCMA, PassThrough(2)),
        ("one other, another codec", [Voice(1, "sip-1", PCMA), Voice(2, "b", OPUS)], PCMA, Mix(frozenset({1}))),
        ("two others", [Voice(1, "sip-1", G722), Voice(2, "b", G722), Voice(3, "c", G722)], G722, Mix(frozenset({1}))),
        ("who sends nothing hears the only one", [Voice(2, "b", OPUS)], OPUS, PassThrough(2)),
        ("Opus is Opus", [Voice(2, "b", Codec("OPUS", 48000, 1))], OPUS, PassThrough(2)),
    ],
)
def test_sound(case: str, voices: list[Voice], codec: Codec, expected: object) -> None:
    assert choose_sound("sip-1", codec, voices) == expected, case


def test_strictest() -> None:
    assert strictest([]) is None
    assert strictest([VideoLimit(3600, 108000, 1920), VideoLimit(396, 245000)]) == VideoLimit(396, 108000, 1920)
