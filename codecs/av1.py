"""AV1 as RTMP carries it: the sequence header in a temporal unit, and the record that is made of it.

AV1 bitstream 5.3 (OBU syntax), 5.5 (sequence header); AV1 in ISO base media files 2.3 (av1C). Only what the record's
four bytes need is read; decoders read the sequence header itself, which the record carries.
"""

from __future__ import annotations

from orbridge.codecs.errors import ParseError

OBU_SEQUENCE_HEADER = 1
# "Maximum parameters" (A.3), where reading the level would need more of the header than is worth reading.
_LEVEL_MAXIMUM = 31
_MAX_OBUS = 256


def sequence_header(unit: bytes | memoryview) -> bytes | None:
    """The first sequence header OBU of a temporal unit in low-overhead form, with its size field; None without one.

    Raises:
        ParseError: an OBU is cut off.
    """
    view, at = memoryview(unit), 0
    for _ in range(_MAX_OBUS):
        if at >= len(view):
            return None
        begin, head = at, view[at]
        at += 2 if head & 0x04 else 1
        if head & 0x02:
            size, at = _leb128(view, at)
        else:
            size = len(view) - at
        if size < 0 or at + size > len(view):
            raise ParseError("av1", f"byte {begin}", "an OBU is cut off")
        if (head >> 3) & 0x0F == OBU_SEQUENCE_HEADER:
            payload = bytes(view[at : at + size])
            return bytes((OBU_SEQUENCE_HEADER << 3 | 0x02,)) + _to_leb128(size) + payload
        at += size
    raise ParseError("av1", f"byte {at}", f"more than {_MAX_OBUS} OBUs in a temporal unit")


def config_record(header: bytes) -> bytes:
    """An AV1CodecConfigurationRecord from what ``sequence_header`` gives.

    Raises:
        ParseError: it is cut off.
    """
    size, at = _leb128(memoryview(header), 1)
    body = header[at : at + size]
    if len(body) < 5:
        raise ParseError("av1", f"byte {at}", "the sequence header is cut off")
    bits = int.from_bytes(body[:5], "big")
    profile, is_reduced, has_timing, tier = bits >> 37, bits >> 35 & 1, bits >> 34 & 1, 0
    if is_reduced:
        level = bits >> 30 & 0x1F
    elif has_timing:
        level = _LEVEL_MAXIMUM
    else:
        # initial_display_delay_present, operating_points_cnt, operating_point_idc[0], then the level
        level = bits >> 11 & 0x1F
        tier = bits >> 10 & 1 if level > 7 else 0
    # 8 bits and 4:2:0 in profile 0, 4:4:4 in profile 1, as nearly all is; the header says it exactly.
    subsampling = 0x0C if profile == 0 else 0x08 if profile == 2 else 0
    return bytes((0x81, profile << 5 | level, tier << 7 | subsampling, 0)) + header


def _leb128(view: memoryview, at: int) -> tuple[int, int]:
    """(value, where it ends); AV1 4.10.5."""
    value = 0
    for index in range(8):
        if at >= len(view):
            break
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, at
    raise ParseError("av1", f"byte {at}", "a size is cut off, or longer than 8 bytes")


def _to_leb128(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
