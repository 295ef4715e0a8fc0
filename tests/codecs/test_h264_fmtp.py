"""H.264 in SDP: profile-level-id, limits, answers to configurations, parameter sets (RFC 6184)."""

import pytest

from orbridge.codecs import h264, sdp
from orbridge.codecs.h264 import Profile, ProfileLevel
from orbridge.codecs.media import VideoLimit

FULL_HD = VideoLimit(8192, 245760, 4000)


def limit(text: str, line_kbps: int = 0) -> VideoLimit | None:
    return h264.read_limit(sdp.read_parameters(text), line_kbps)


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        ("42e01f", Profile.CONSTRAINED_BASELINE),
        ("42C01E", Profile.CONSTRAINED_BASELINE),
        ("42801f", Profile.BASELINE),
        ("420016", Profile.BASELINE),
        ("420816", Profile.BASELINE),
        ("4D0014", Profile.MAIN),
        ("4d801f", Profile.CONSTRAINED_BASELINE),
        ("58a01f", Profile.EXTENDED),
        ("58c01f", Profile.CONSTRAINED_BASELINE),
        ("64001f", Profile.HIGH),
        ("640c1f", Profile.CONSTRAINED_HIGH),
        ("53e01f", Profile.OTHER),
        ("7a001f", Profile.OTHER),
    ],
)
def test_profiles(text: str, profile: Profile) -> None:
    known = h264.read_profile_level({"profile-level-id": text})
    assert known is not None
    assert known.profile is profile
    assert str(known) == text.lower()


@pytest.mark.parametrize("text", ["", "42801", "42801f0", "4280zz", "0x42801f", "42 80 1f", "428000", "４２８０１ｆ"])
def test_malformed_profile_level_id_counts_as_absent(text: str) -> None:
    assert h264.read_profile_level({"profile-level-id": text}) is None


def test_quotes_around_it_are_tolerated() -> None:
    assert h264.read_profile_level({"profile-level-id": '"42801f"'}) == ProfileLevel(0x42, 0x80, 0x1F)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("profile-level-id=42e01f", VideoLimit(3600, 108000, 14000)),
        # Polycom VSX 6000A: below the level's own bit rate max-br can't lower, above it raises
        ("profile-level-id=42800c; max-mbps=10000; max-br=625", VideoLimit(396, 10000, 625)),
        # Tandberg C20: 1080p through max-fs and max-mbps at level 2.2
        ("profile-level-id=428016;max-mbps=245000;max-fs=9000", VideoLimit(9000, 245000, 4000)),
        ("profile-level-id=42800d;max-br=906;max-mbps=40500;max-fs=1344", VideoLimit(1344, 40500, 906)),
        # values below the level's don't lower it (RFC 6184 8.1)
        ("profile-level-id=42801f;max-fs=99;max-mbps=99;max-br=9", VideoLimit(3600, 108000, 14000)),
        # 1b in both spellings, and what the plain 1.1 is
        ("profile-level-id=42100b", VideoLimit(99, 1485, 128)),
        ("profile-level-id=640009", VideoLimit(99, 1485, 128)),
        ("profile-level-id=42000b", VideoLimit(396, 3000, 192)),
        # a level between two rows counts as the lower one
        ("profile-level-id=420019", VideoLimit(1620, 20250, 4000)),
        ("profile-level-id=420001", VideoLimit(99, 1485, 128)),
        ("profile-level-id=4200ff", VideoLimit(139264, 16711680, 800000)),
        # no usable profile-level-id: unknown, unless max-fs says something
        ("packetization-mode=1", None),
        ("profile-level-id=xyz", None),
        ("max-fs=3600", VideoLimit(3600, 54000, 64)),
        ("profile-level-id=42801f;max-fs=99999999999999999999", VideoLimit(3600, 108000, 14000)),
    ],
)
def test_decoder_limits(text: str, expected: VideoLimit | None) -> None:
    assert limit(text) == expected


def test_the_line_s_bandwidth_lowers_the_limit_and_never_raises_it() -> None:
    assert limit("profile-level-id=42801f", 1920) == VideoLimit(3600, 108000, 1920)
    assert limit("profile-level-id=42800d", 50_000) == VideoLimit(396, 11880, 768)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", 0),
        ("packetization-mode=0", 0),
        ("packetization-mode=1", 1),
        ("packetization-mode=2", 2),
        ("packetization-mode=7", 0),
        ("packetization-mode=", 0),
    ],
)
def test_packetization_mode(text: str, mode: int) -> None:
    assert h264.packetization_mode(sdp.read_parameters(text)) == mode


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        # the same level, with what we take above it; mode only where the offer names one
        ("profile-level-id=42801F", "profile-level-id=42801f;max-mbps=245760;max-fs=8192"),
        (
            "profile-level-id=42800d;packetization-mode=1",
            "profile-level-id=42800d;packetization-mode=1;max-mbps=245760;max-fs=8192;max-br=4000",
        ),
        # asymmetry: our own level
        (
            "profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1",
            "profile-level-id=42e028;level-asymmetry-allowed=1;packetization-mode=1",
        ),
        # asymmetry from 1b: the constraint bit that means 1b goes
        (
            "profile-level-id=42f00b;level-asymmetry-allowed=1",
            "profile-level-id=42e028;level-asymmetry-allowed=1",
        ),
        # a high level is kept: what passes through needs no lower one
        ("profile-level-id=640033;packetization-mode=0", "profile-level-id=640033;packetization-mode=0"),
        ("", "profile-level-id=42e01f;max-mbps=245760;max-fs=8192"),
        (
            "profile-level-id=bad;packetization-mode=1",
            "profile-level-id=42e01f;packetization-mode=1;max-mbps=245760;max-fs=8192",
        ),
    ],
)
def test_answers_keep_profile_and_mode_and_obey_the_level_rules(offered: str, answered: str) -> None:
    assert h264.answer_parameters(sdp.read_parameters(offered), FULL_HD) == sdp.read_parameters(answered)


def test_offer_names_a_low_level_and_1080p_above_it() -> None:
    parameters = h264.offer_parameters(h264.CONSTRAINED_BASELINE_31, 1, FULL_HD)
    assert parameters == sdp.read_parameters(
        "profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1;max-mbps=245760;max-fs=8192"
    )
    assert h264.read_limit(parameters) == VideoLimit(8192, 245760, 14000)


def test_level_for_a_limit() -> None:
    assert h264.level_for(VideoLimit(99, 1485)) == 10
    assert h264.level_for(VideoLimit(3600, 108000)) == 31
    assert h264.level_for(VideoLimit(8192, 245760)) == 40
    assert h264.level_for(VideoLimit(8192, 500000)) == 42
    assert h264.level_for(VideoLimit(10**9, 1)) == 62


def test_parameter_sets_of_an_axis_camera() -> None:
    sets = h264.read_parameter_sets({"sprop-parameter-sets": "Z0IAKeKQCgDLYC3AQEBpB4kRUA==,aM48gA=="})
    assert [nal[0] & 0x1F for nal in sets] == [7, 8]
    assert sets[0][1:4] == bytes.fromhex("420029")
    assert sets[1] == bytes.fromhex("68ce3c80")


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("aM48gA==,Z0IAKeKQCgDLYC3AQEBpB4kRUA==", [7, 8]),  # PPS first
        ("Z0IAKeKQCgDLYC3AQEBpB4kRUA, aM48gA", [7, 8]),  # without padding, space after the comma
        ("Z0IAKeKQCgDLYC3AQEBpB4kRUA==", [7]),  # one set missing
        ("aM48gA==,aM48gA==", [8]),  # twice the same
        ("!!!,aM48gA==,", [8]),
        ("AAAA,QUFB", []),  # neither SPS nor PPS
        ("é", []),
        ("", []),
    ],
)
def test_parameter_sets_are_read_tolerantly(text: str, types: list[int]) -> None:
    assert [nal[0] & 0x1F for nal in h264.read_parameter_sets({"sprop-parameter-sets": text})] == types
