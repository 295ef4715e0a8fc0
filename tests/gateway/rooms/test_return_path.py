"""What a viewer is shown and played, as tables."""

import pytest

from orbridge.codecs.media import AAC, G722, H264, H265, OPUS, PCMA, VP8, Codec, Role, VideoLimit
from orbridge.gateway.rooms.return_path import (
    Convert,
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
    voices_to_convert,
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


TOWER = Picture(11, "rtmp-1", "tower", Role.MAIN, H265, 1920, 1080, 30.0, order=1, device=True)
SCOPE = Picture(12, "rtmp-2", "scope", Role.MAIN, H264, 1280, 720, 30.0, order=2, device=True, reordered=True)
H265_WHY = "tower sends H265, this side takes H264"
B_WHY = "scope sends B-pictures, which this side doesn't put in order"


@pytest.mark.parametrize(
    ("case", "kwargs", "expected"),
    [
        ("another codec is converted", {"pictures": [TOWER], "refused": {}}, Shown(11, "rtmp-1", "", H265_WHY)),
        ("B-pictures are converted", {"pictures": [SCOPE], "refused": {}}, Shown(12, "rtmp-2", "", B_WHY)),
        ("but not for who reorders", {"pictures": [SCOPE], "refused": {}, "reorders": True}, Shown(12, "rtmp-2")),
        ("who passes comes first among equals", {"pictures": [TOWER, SCOPE, LI], "refused": {}}, Shown(2, "webrtc-2")),
        ("the speaker is worth a conversion", {"pictures": [TOWER, LI], "refused": {}, "speaker": "rtmp-1"},
         Shown(11, "rtmp-1", "", H265_WHY)),
        ("so is a pin", {"pictures": [TOWER, LI], "refused": {}, "pinned": "tower", "speaker": "webrtc-2"},
         Shown(11, "rtmp-1", "", H265_WHY)),
        ("and what is shown stays", {"pictures": [TOWER, LI], "refused": {}, "current": 11},
         Shown(11, "rtmp-1", "", H265_WHY)),
        ("refused: the next, and why", {"pictures": [TOWER, LI], "refused": {11: "it is full"}, "speaker": "rtmp-1"},
         Shown(2, "webrtc-2", f"{H265_WHY}, and it is full")),
        ("refused: nothing, and why", {"pictures": [TOWER], "refused": {11: "it is full"}},
         Shown(None, None, f"{H265_WHY}, and it is full")),
        ("refused B-pictures are better than nothing", {"pictures": [SCOPE], "refused": {12: "it is full"}},
         Shown(12, "rtmp-2", f"{B_WHY}, and it is full")),
        ("nothing is converted for who takes what nobody encodes", {"pictures": [TOWER], "refused": None},
         Shown(None, None, H265_WHY)),
    ],
)  # fmt: skip
def test_what_is_converted(case: str, kwargs: dict, expected: Shown) -> None:
    assert choose_picture("webrtc-9", H264, None, **{"reorders": False, **kwargs}) == expected, case


def test_what_is_converted_is_made_to_fit() -> None:
    assert choose_picture("sip-9", H264, CIF, [TOWER], reorders=False, refused={}).track == 11
    refused = choose_picture("sip-9", H264, CIF, [SCOPE], reorders=False, refused={12: "it is full"})
    assert refused == Shown(None, None, f"{B_WHY}, and it is full"), "as it is it would be too large"


@pytest.mark.parametrize(
    ("case", "voices", "codec", "expected"),
    [
        ("alone", [Voice(1, "sip-1", PCMA)], PCMA, Silence()),
        ("one other, same codec", [Voice(1, "sip-1", PCMA), Voice(2, "b", PCMA)], PCMA, PassThrough(2)),
        ("one other, another codec", [Voice(1, "sip-1", PCMA), Voice(2, "b", OPUS)], PCMA, Mix(frozenset({1}))),
        ("two others", [Voice(1, "sip-1", G722), Voice(2, "b", G722), Voice(3, "c", G722)], G722, Mix(frozenset({1}))),
        ("who sends nothing hears the only one", [Voice(2, "b", OPUS)], OPUS, PassThrough(2)),
        ("Opus is Opus", [Voice(2, "b", Codec("OPUS", 48000, 1))], OPUS, PassThrough(2)),
        ("AAC as it is", [Voice(2, "b", AAC)], AAC, PassThrough(2)),
        ("AAC at another rate", [Voice(2, "b", Codec("AAC", 44100, 2))], AAC, Convert(2)),
        ("AAC with one channel", [Voice(2, "b", Codec("AAC", 48000, 1))], AAC, Convert(2)),
        ("one voice becomes AAC without a mixer", [Voice(2, "b", G722)], AAC, Convert(2)),
        ("two voices for AAC", [Voice(2, "b", AAC), Voice(3, "c", OPUS)], AAC, Mix(frozenset())),
    ],
)
def test_sound(case: str, voices: list[Voice], codec: Codec, expected: object) -> None:
    assert choose_sound("sip-1", codec, voices) == expected, case


@pytest.mark.parametrize(
    ("case", "listeners", "listen", "expected"),
    [
        ("nobody listens", [], False, set()),
        ("a browser", [("b", OPUS)], False, {1, 2}),
        ("not for the one who sends it", [("a", OPUS)], False, {2}),
        ("an output hears two of them as a mix", [("out", AAC)], False, {1, 2}),
        ("who must be told apart by loudness", [], True, {1, 2}),
    ],
)
def test_which_aac_must_become_opus(
    case: str, listeners: list[tuple[str, Codec]], listen: bool, expected: set[int]
) -> None:
    voices = [Voice(1, "a", AAC), Voice(2, "c", Codec("AAC", 44100, 2)), Voice(3, "b", OPUS)]
    assert voices_to_convert(listeners, voices, listen=listen) == expected, case


def test_an_output_that_gets_aac_as_it_is_needs_no_opus() -> None:
    assert voices_to_convert([("out", AAC)], [Voice(1, "a", AAC)], listen=False) == frozenset()


def test_strictest() -> None:
    assert strictest([]) is None
    assert strictest([VideoLimit(3600, 108000, 1920), VideoLimit(396, 245000)]) == VideoLimit(396, 108000, 1920)
