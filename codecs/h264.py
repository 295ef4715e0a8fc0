"""H.264 in SDP (RFC 6184 8.1, 8.2): profile-level-id, packetization mode, decoder limits, parameter sets.

Levels are those of ITU-T H.264 table A-1. Not implemented: interleaved mode (packetization-mode 2) and its parameters,
``max-dpb`` and ``max-cpb`` (nothing here depends on a decoder's buffer), ``use-level-src-parameter-sets``.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from orbridge.codecs.media import VideoLimit

_PROFILE_LEVEL = re.compile(r"[0-9A-Fa-f]{6}")
_MAX_SPROP_SETS = 32
_MAX_SET_BYTES = 1_024


class Level(NamedTuple):
    """A row of table A-1: macroblocks per second and per picture, kbit/s (for profiles below High)."""

    max_mbps: int
    max_fs: int
    max_kbps: int


# Key: level_idc; 9 is level 1b as High and above write it.
LEVELS: dict[int, Level] = {
    9: Level(1_485, 99, 128),
    10: Level(1_485, 99, 64),
    11: Level(3_000, 396, 192),
    12: Level(6_000, 396, 384),
    13: Level(11_880, 396, 768),
    20: Level(11_880, 396, 2_000),
    21: Level(19_800, 792, 4_000),
    22: Level(20_250, 1_620, 4_000),
    30: Level(40_500, 1_620, 10_000),
    31: Level(108_000, 3_600, 14_000),
    32: Level(216_000, 5_120, 20_000),
    40: Level(245_760, 8_192, 20_000),
    41: Level(245_760, 8_192, 50_000),
    42: Level(522_240, 8_704, 50_000),
    50: Level(589_824, 22_080, 135_000),
    51: Level(983_040, 36_864, 240_000),
    52: Level(2_073_600, 36_864, 240_000),
    60: Level(4_177_920, 139_264, 240_000),
    61: Level(8_355_840, 139_264, 480_000),
    62: Level(16_711_680, 139_264, 800_000),
}
_LEVEL_NUMBERS = sorted(LEVELS)


class Profile(StrEnum):
    """What a decoder must know, as far as it matters to who may show it (RFC 6184 table 5)."""

    CONSTRAINED_BASELINE = "constrained baseline"
    BASELINE = "baseline"
    MAIN = "main"
    EXTENDED = "extended"
    CONSTRAINED_HIGH = "constrained high"
    HIGH = "high"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ProfileLevel:
    """A profile-level-id: three bytes of the sequence parameter set."""

    profile_idc: int
    constraints: int
    level_idc: int

    @property
    def profile(self) -> Profile:
        idc, bits = self.profile_idc, self.constraints
        if idc == 0x42:
            return Profile.CONSTRAINED_BASELINE if bits & 0x40 else Profile.BASELINE
        if idc == 0x4D:
            return Profile.CONSTRAINED_BASELINE if bits & 0x80 else Profile.MAIN
        if idc == 0x58:
            return Profile.CONSTRAINED_BASELINE if bits & 0xC0 == 0xC0 else Profile.EXTENDED
        if idc == 0x64:
            return Profile.CONSTRAINED_HIGH if bits & 0x0C == 0x0C else Profile.HIGH
        return Profile.OTHER

    @property
    def is_1b(self) -> bool:
        """Level 1b: level_idc 9, or 11 with constraint_set3_flag in Baseline, Main and Extended (H.264 A.3.1)."""
        low = self.profile_idc in (0x42, 0x4D, 0x58)
        return self.level_idc == 9 or (low and self.level_idc == 11 and bool(self.constraints & 0x10))

    @property
    def level(self) -> Level:
        """Its row; of a level_idc that isn't in the table, the next lower row's."""
        if self.is_1b:
            return LEVELS[9]
        at = bisect_right(_LEVEL_NUMBERS, self.level_idc)
        return LEVELS[_LEVEL_NUMBERS[max(at, 1) - 1]]

    def with_level(self, level_idc: int) -> ProfileLevel:
        """The same profile at another level; the bit that means 1b goes."""
        constraints = self.constraints & ~0x10 if self.is_1b else self.constraints
        return ProfileLevel(self.profile_idc, constraints, level_idc)

    def __str__(self) -> str:
        return f"{self.profile_idc:02x}{self.constraints:02x}{self.level_idc:02x}"


# What every browser decodes, and what we offer.
CONSTRAINED_BASELINE_31 = ProfileLevel(0x42, 0xE0, 0x1F)


def read_profile_level(parameters: Mapping[str, str]) -> ProfileLevel | None:
    """The profile-level-id; None when it is absent or malformed (wrong length, not hexadecimal, level 0).

    RFC 6184 8.1 takes an absent one for Baseline at level 1; devices that leave it out decode far more, so the caller
    decides.
    """
    text = parameters.get("profile-level-id", "").strip("\"'")
    if _PROFILE_LEVEL.fullmatch(text) is None:
        return None
    number = int(text, 16)
    if number & 0xFF == 0:
        return None
    return ProfileLevel(number >> 16, (number >> 8) & 0xFF, number & 0xFF)


def packetization_mode(parameters: Mapping[str, str]) -> int:
    """0, 1 or 2; absent means 0 (RFC 6184 8.1), and so does what isn't a mode."""
    text = parameters.get("packetization-mode", "0").strip()
    return int(text) if text in ("0", "1", "2") else 0


def level_asymmetry_allowed(parameters: Mapping[str, str]) -> bool:
    return parameters.get("level-asymmetry-allowed", "0").strip() == "1"


def read_number(parameters: Mapping[str, str], name: str) -> int:
    """A whole number parameter, 0 when absent or malformed."""
    text = parameters.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0


def read_limit(parameters: Mapping[str, str], line_kbps: int = 0) -> VideoLimit | None:
    """What the decoder behind an fmtp takes: its level, raised by max-fs, max-mbps and max-br (RFC 6184 8.1).

    Room systems name a low level and reach 720p or 1080p through these. ``line_kbps``: bandwidth of the m-line, 0
    unknown; the lower of the two counts. None when there is neither a readable profile-level-id nor a max-fs.
    """
    known = read_profile_level(parameters)
    max_fs, max_mbps = read_number(parameters, "max-fs"), read_number(parameters, "max-mbps")
    if known is None and not max_fs:
        return None
    level = known.level if known is not None else LEVELS[10]
    max_fs = max(level.max_fs, max_fs)
    # A larger picture without a higher rate is possible, but who names max-fs alone means "at the usual rate".
    max_mbps = max(level.max_mbps, max_mbps or (max_fs * 15 if max_fs > level.max_fs else 0))
    max_kbps = max(level.max_kbps, read_number(parameters, "max-br"))
    return VideoLimit(max_fs, max_mbps, min(max_kbps, line_kbps) if line_kbps else max_kbps)


def level_for(limit: VideoLimit) -> int:
    """The lowest level_idc whose pictures and rate cover a limit."""
    for number in _LEVEL_NUMBERS[1:]:
        if LEVELS[number].max_fs >= limit.max_fs and LEVELS[number].max_mbps >= limit.max_mbps:
            return number
    return _LEVEL_NUMBERS[-1]


def offer_parameters(profile_level: ProfileLevel, mode: int, ours: VideoLimit) -> dict[str, str]:
    """Parameters of an offer: a low level that every peer admits, with what we take on top of it."""
    parameters = {"profile-level-id": str(profile_level), "level-asymmetry-allowed": "1"}
    parameters["packetization-mode"] = str(mode)
    return parameters | _above_level(profile_level, ours)


def answer_parameters(offered: Mapping[str, str], ours: VideoLimit) -> dict[str, str]:
    """Parameters of the answer to an offered configuration (RFC 6184 8.2.2).

    Profile and packetization mode are the offer's. The level is ours where the offer allows asymmetry, else the
    offer's: we pass pictures through and need no lower one, and a higher one isn't allowed. What we take above the
    level is said by max-mbps, max-fs and max-br, which each side declares for itself. An offer without a readable
    profile-level-id is answered with Constrained Baseline 3.1.
    """
    answered = read_profile_level(offered) or CONSTRAINED_BASELINE_31
    asymmetric = level_asymmetry_allowed(offered)
    if asymmetric:
        answered = answered.with_level(level_for(ours))
    parameters = {"profile-level-id": str(answered)}
    if asymmetric:
        parameters["level-asymmetry-allowed"] = "1"
    if "packetization-mode" in offered:
        parameters["packetization-mode"] = str(packetization_mode(offered))
    return parameters | _above_level(answered, ours)


def _above_level(profile_level: ProfileLevel, ours: VideoLimit) -> dict[str, str]:
    level = profile_level.level
    wanted = (
        ("max-mbps", ours.max_mbps, level.max_mbps),
        ("max-fs", ours.max_fs, level.max_fs),
        ("max-br", ours.max_kbps, level.max_kbps),
    )
    return {name: str(value) for name, value, usual in wanted if value > usual}


def read_parameter_sets(parameters: Mapping[str, str]) -> tuple[bytes, ...]:
    """SPS and PPS of ``sprop-parameter-sets`` as NAL units, SPS first; entries that aren't one are left out."""
    sets: list[bytes] = []
    for entry in parameters.get("sprop-parameter-sets", "").split(",")[:_MAX_SPROP_SETS]:
        text = entry.strip().rstrip("=")
        try:
            nal = b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (Base64Error, ValueError):  # ValueError: not ASCII
            continue
        if 2 <= len(nal) <= _MAX_SET_BYTES and nal[0] & 0x9F in (7, 8) and nal not in sets:
            sets.append(nal)
    return tuple(sorted(sets, key=lambda nal: nal[0] & 0x1F))
