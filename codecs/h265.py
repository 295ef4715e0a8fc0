"""H.265 as far as FLV needs it: HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 8.3.3.1), NAL unit types, key frames.

NAL units with lengths or start codes in front are the same as in H.264: ``avcc.split_lengths``, ``avcc.to_lengths``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orbridge.codecs.avcc import leading, split_annex_b, split_lengths
from orbridge.codecs.errors import ParseError

NAL_VPS, NAL_SPS, NAL_PPS, NAL_DELIMITER = 32, 33, 34, 35
_SETS = frozenset({NAL_VPS, NAL_SPS, NAL_PPS, NAL_DELIMITER})
# BLA, IDR and CRA pictures: decoding may begin at each (ITU-T H.265 table 7-1, IRAP).
_FIRST_IRAP, _LAST_IRAP = 16, 23

_FIXED_BYTES = 22


def nal_type(nal: bytes | memoryview) -> int:
    """Type of a NAL unit of two bytes at least (7.3.1.2)."""
    return (nal[0] >> 1) & 0x3F


def leading_sets(data: bytes) -> tuple[list[bytes], int]:
    """VPS, SPS, PPS and delimiters at the beginning of a picture on the bus, and where what follows them begins."""
    return leading(data, lambda nal: nal_type(nal) in _SETS)


def is_keyframe(data: bytes | memoryview, length_bytes: int = 4) -> bool:
    """Whether a picture of NAL units behind lengths has one at which decoding may begin.

    Raises:
        ParseError: a NAL unit is cut off.
    """
    return any(_FIRST_IRAP <= nal_type(nal) <= _LAST_IRAP for nal in split_lengths(data, length_bytes))


@dataclass(frozen=True, slots=True)
class HevcConfig:
    """An HEVCDecoderConfigurationRecord.

    Attributes:
        general: bytes 1 to 20 of the record as they are: profile, compatibility, constraints, level, segmentation,
            parallelism, chroma format, bit depths, average frame rate.
        length_bytes: how long the length before each NAL unit is: 1, 2 or 4.
        arrays: NAL unit type, whether all of this type are here, the NAL units; VPS, SPS, PPS, perhaps SEI.
        layers: number of temporal layers (3 bits) and whether they nest (1 bit), as in byte 21.
    """

    general: bytes
    length_bytes: int
    arrays: tuple[tuple[int, bool, tuple[bytes, ...]], ...]
    layers: int = 0

    @property
    def vps(self) -> tuple[bytes, ...]:
        return self._of(NAL_VPS)

    @property
    def sps(self) -> tuple[bytes, ...]:
        return self._of(NAL_SPS)

    @property
    def pps(self) -> tuple[bytes, ...]:
        return self._of(NAL_PPS)

    def _of(self, wanted: int) -> tuple[bytes, ...]:
        return tuple(nal for kind, _, nals in self.arrays if kind == wanted for nal in nals)

    @property
    def profile_idc(self) -> int:
        return self.general[0] & 0x1F

    @property
    def level_idc(self) -> int:
        """30 times the level's number."""
        return self.general[11]

    def serialise(self) -> bytes:
        out = bytearray((1,)) + self.general
        out.append((self.layers & 0xF) << 2 | (self.length_bytes - 1))
        out.append(len(self.arrays))
        for kind, complete, nals in self.arrays:
            out.append((0x80 if complete else 0) | kind)
            out += len(nals).to_bytes(2, "big")
            for nal in nals:
                out += len(nal).to_bytes(2, "big") + nal
        return bytes(out)


def parse(data: bytes | memoryview) -> HevcConfig:
    """Read the body of an HEVC sequence header, or parameter sets with start codes in its place.

    Raises:
        ParseError: it is neither, is cut off, or has no VPS, SPS or PPS.
    """
    body = bytes(data)
    if body[:3] == b"\0\0\1" or body[:4] == b"\0\0\0\1":
        return from_parameter_sets(split_annex_b(body))
    if len(body) < _FIXED_BYTES + 1:
        raise ParseError("hvcC", f"byte {len(body)}", "the record is cut off")
    if body[0] not in (0, 1):  # 0: encoders from before the standard was finished
        raise ParseError("hvcC", "byte 0", f"version {body[0]} is unknown, 1 is taken")
    length_bytes = (body[21] & 3) + 1
    if length_bytes == 3:
        raise ParseError("hvcC", "byte 21", "lengths of 3 bytes don't exist")
    arrays: list[tuple[int, bool, tuple[bytes, ...]]] = []
    at = _FIXED_BYTES + 1
    for _ in range(body[_FIXED_BYTES]):
        if len(body) < at + 3:
            raise ParseError("hvcC", f"byte {at}", "an array is cut off")
        kind, complete = body[at] & 0x3F, bool(body[at] & 0x80)
        count = int.from_bytes(body[at + 1 : at + 3], "big")
        at += 3
        nals: list[bytes] = []
        for _ in range(count):
            length = int.from_bytes(body[at : at + 2], "big")
            nal = body[at + 2 : at + 2 + length]
            if len(nal) < length or length < 2:
                raise ParseError("hvcC", f"byte {at}", "a parameter set is cut off")
            nals.append(nal)
            at += 2 + length
        arrays.append((kind, complete, tuple(nals)))
    config = HevcConfig(body[1:21], length_bytes, tuple(arrays), (body[21] >> 2) & 0xF)
    if not (config.vps and config.sps and config.pps):
        raise ParseError("hvcC", f"byte {at}", "a video, sequence or picture parameter set is missing")
    return config


def from_parameter_sets(nals: Iterable[bytes]) -> HevcConfig:
    """A record with lengths of four bytes from the VPS, SPS and PPS among NAL units.

    Profile, tier and level are the SPS's; chroma format and bit depths are said to be 4:2:0 and 8 bits, or 10 in the
    profiles Main 10 and up (decoders read the SPS itself).

    Raises:
        ParseError: one is missing, or cut off.
    """
    kept = [nal for nal in nals if len(nal) >= 2]
    sets = {kind: tuple(nal for nal in kept if nal_type(nal) == kind) for kind in (NAL_VPS, NAL_SPS, NAL_PPS)}
    if not all(sets.values()):
        raise ParseError("h265", "parameter sets", "a video, sequence or picture parameter set is missing")
    if any(len(found) > 0xFFFF or any(len(nal) > 0xFFFF for nal in found) for found in sets.values()):
        raise ParseError("h265", "parameter sets", "more of them, or longer ones, than a record holds")
    # Header of two bytes, VPS number and layers in one, then profile_tier_level of 12 (7.3.2.2.1, 7.3.3).
    sps = sets[NAL_SPS][0].replace(b"\0\0\3", b"\0\0")
    if len(sps) < 15:
        raise ParseError("h265", "parameter sets", "the sequence parameter set is cut off")
    layers, nested = ((sps[2] >> 1) & 7) + 1, sps[2] & 1
    depth = 2 if sps[3] & 0x1F >= 2 else 0
    # Reserved bits are ones; segmentation, parallelism and frame rate are 0, unknown.
    general = sps[3:15] + bytes((0xF0, 0x00, 0xFC, 0xFC | 1, 0xF8 | depth, 0xF8 | depth, 0, 0))
    return HevcConfig(general, 4, tuple((kind, True, sets[kind]) for kind in sets), (layers & 7) << 1 | nested)
