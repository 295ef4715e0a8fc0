"""H.264 as files and RTMP carry it: AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1) and NAL units in a row.

On the bus each NAL unit has its length in front in four bytes. Encoders also write two or one, or Annex B start codes
where lengths belong; ``to_lengths`` makes one form of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from orbridge.codecs.errors import ParseError

NAL_SLICE, NAL_IDR, NAL_SPS, NAL_PPS, NAL_DELIMITER, NAL_SPS_EXTENSION = 1, 5, 7, 8, 9, 13
_SETS = frozenset({NAL_SPS, NAL_PPS, NAL_DELIMITER, NAL_SPS_EXTENSION})

# Profiles whose record ends with the colour format (5.3.3.1.2).
_HIGH = frozenset({100, 110, 122, 144, 244})
_MAX_NALS = 4096


@dataclass(frozen=True, slots=True)
class AvcConfig:
    """An AVCDecoderConfigurationRecord.

    Attributes:
        profile_idc: with ``constraints`` and ``level_idc`` the same three bytes as in the SPS.
        length_bytes: how long the length before each NAL unit is: 1, 2 or 4.
        sps: sequence parameter sets as NAL units.
        pps: picture parameter sets as NAL units.
        extension: bytes after them (colour format and SPS extensions of the High profiles), as they came.
    """

    profile_idc: int
    constraints: int
    level_idc: int
    length_bytes: int
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    extension: bytes = b""

    def serialise(self) -> bytes:
        out = bytearray((1, self.profile_idc, self.constraints, self.level_idc, 0xFC | (self.length_bytes - 1)))
        out.append(0xE0 | len(self.sps))
        for nal in self.sps:
            out += len(nal).to_bytes(2, "big") + nal
        out.append(len(self.pps))
        for nal in self.pps:
            out += len(nal).to_bytes(2, "big") + nal
        return bytes(out + self.extension)


def parse(data: bytes | memoryview) -> AvcConfig:
    """Read the body of an AVC sequence header.

    Some encoders send parameter sets with start codes instead of a record; they are taken for one.

    Raises:
        ParseError: it is neither, is cut off, or has no SPS or PPS.
    """
    body = bytes(data)
    if body[:3] == b"\0\0\1" or body[:4] == b"\0\0\0\1":
        return from_parameter_sets(split_annex_b(body))
    if len(body) < 6:
        raise ParseError("avcC", f"byte {len(body)}", "the record is cut off")
    if body[0] != 1:
        raise ParseError("avcC", "byte 0", f"version {body[0]} is unknown, 1 is taken")
    length_bytes = (body[4] & 3) + 1
    if length_bytes == 3:
        raise ParseError("avcC", "byte 4", "lengths of 3 bytes don't exist")
    sps, at = _read_sets(body, 6, body[5] & 0x1F)
    pps, at = _read_sets(body, at + 1, body[at] if at < len(body) else 0)
    if not sps or not pps:
        raise ParseError("avcC", f"byte {at}", "no sequence parameter set" if not sps else "no picture parameter set")
    return AvcConfig(body[1], body[2], body[3], length_bytes, sps, pps, body[at:])


def _read_sets(body: bytes, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    sets: list[bytes] = []
    for _ in range(count):
        length = int.from_bytes(body[at : at + 2], "big")
        nal = body[at + 2 : at + 2 + length]
        if len(body) < at + 2 or len(nal) < length:
            raise ParseError("avcC", f"byte {at}", "a parameter set is cut off")
        at += 2 + length
        if nal:
            sets.append(nal)
    return tuple(sets), at


def from_parameter_sets(nals: Iterable[bytes]) -> AvcConfig:
    """A record with lengths of four bytes from the SPS and PPS among NAL units.

    Raises:
        ParseError: an SPS or PPS is missing, or there are more, or longer ones, than a record holds.
    """
    kept = list(nals)
    sps = tuple(nal for nal in kept if nal[:1] and nal[0] & 0x1F == NAL_SPS)
    pps = tuple(nal for nal in kept if nal[:1] and nal[0] & 0x1F == NAL_PPS)
    if not sps or not pps or len(sps[0]) < 4:
        raise ParseError("h264", "parameter sets", "no sequence or picture parameter set")
    if len(sps) > 31 or len(pps) > 255 or any(len(nal) > 0xFFFF for nal in sps + pps):
        raise ParseError("h264", "parameter sets", "more of them, or longer ones, than a record holds")
    # What stands after a High profile's sets may be left out (5.3.3.1.2 lets readers do without); ffmpeg reads the SPS.
    return AvcConfig(sps[0][1], sps[0][2], sps[0][3], 4, sps, pps)


def split_annex_b(data: bytes) -> Iterator[bytes]:
    """NAL units between start codes (ITU-T H.264 B.1); what stands before the first start code is left out."""
    at = data.find(b"\0\0\1")
    while at >= 0:
        begin = at + 3
        at = data.find(b"\0\0\1", begin)
        nal = data[begin : at if at >= 0 else len(data)].rstrip(b"\0")
        if nal:
            yield nal


def to_annex_b(data: bytes | memoryview) -> bytes:
    """A picture of NAL units behind lengths of four bytes, each behind a start code, as decoders take them.

    Raises:
        ParseError: a NAL unit is cut off.
    """
    pieces: list[bytes | memoryview] = []
    for nal in split_lengths(data):
        pieces += (b"\0\0\0\1", nal)
    return b"".join(pieces)


def leading_sets(data: bytes) -> tuple[list[bytes], int]:
    """SPS, PPS and delimiters at the beginning of a picture on the bus, and where what follows them begins."""
    return leading(data, lambda nal: nal[0] & 0x1F in _SETS)


def leading(data: bytes, belongs: Callable[[memoryview], bool]) -> tuple[list[bytes], int]:
    """The NAL units behind lengths of four bytes from the first on that belong, and where the next begins."""
    found: list[bytes] = []
    view, at = memoryview(data), 0
    while at + 4 < len(data):
        end = at + 4 + int.from_bytes(view[at : at + 4], "big")
        nal = view[at + 4 : end]
        if not nal or not belongs(nal):
            break
        found.append(bytes(nal))
        at = end
    return found, at


def split_lengths(data: bytes | memoryview, length_bytes: int = 4) -> Iterator[memoryview]:
    """NAL units behind their lengths; empty ones are left out.

    Raises:
        ParseError: one is cut off, or there are more than a picture has.
    """
    view, at, end, count = memoryview(data), 0, len(data), 0
    while at < end:
        length = int.from_bytes(view[at : at + length_bytes], "big")
        at += length_bytes
        if at + length > end:
            raise ParseError("h264", f"byte {at - length_bytes}", "a NAL unit is cut off")
        count += 1
        if count > _MAX_NALS:
            raise ParseError("h264", f"byte {at}", f"more than {_MAX_NALS} NAL units in a picture")
        if length:
            yield view[at : at + length]
        at += length


def to_lengths(data: bytes | memoryview, length_bytes: int) -> bytes:
    """A picture with each NAL unit behind its length in four bytes, whatever it came with.

    Start codes are recognised where the lengths make no sense of the bytes.

    Raises:
        ParseError: neither lengths nor start codes make sense.
    """
    if length_bytes == 4 and _lengths_fit(data):
        return bytes(data)
    try:
        nals: list[memoryview] | list[bytes] = list(split_lengths(data, length_bytes))
    except ParseError:
        head = bytes(data[:4])
        if head[:3] != b"\0\0\1" and head != b"\0\0\0\1":
            raise
        nals = list(split_annex_b(bytes(data)))
        if len(nals) > _MAX_NALS:
            raise
    return join_lengths(nals)


def _lengths_fit(data: bytes | memoryview) -> bool:
    """Whether lengths of four bytes lead exactly to the end, none of them 0."""
    at, end, count = 0, len(data), 0
    while at < end:
        length = int.from_bytes(data[at : at + 4], "big")
        count += 1
        if length == 0 or count > _MAX_NALS:
            return False
        at += 4 + length
    return at == end


def join_lengths(nals: Iterable[bytes | memoryview]) -> bytes:
    """NAL units in a row, each behind its length in four bytes."""
    pieces: list[bytes | memoryview] = []
    for nal in nals:
        pieces += (len(nal).to_bytes(4, "big"), nal)
    return b"".join(pieces)
