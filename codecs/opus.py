"""Opus packets as far as somebody needs to know who doesn't decode them (RFC 6716), and their header (RFC 7845)."""

from __future__ import annotations

import struct

from orbridge.codecs.errors import ParseError

RATE_HZ = 48_000
# RFC 6716 2.1.4: at most 120 ms.
_MOST = 5760
# RFC 7845 5.1, without what it has for more than two channels.
_HEAD = struct.Struct("<8sBBHIhB")


def samples(packet: bytes) -> int:
    """How long a packet lasts, at 48 kHz (RFC 6716 3.1, 3.2). Raises ParseError for what is no Opus packet."""
    if not packet:
        raise ParseError("opus", "byte 0", "the packet is empty")
    config = packet[0] >> 3
    if config < 12:  # SILK: 10, 20, 40, 60 ms
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:  # hybrid: 10, 20 ms
        frame = (480, 960)[config & 1]
    else:  # CELT: 2.5, 5, 10, 20 ms
        frame = (120, 240, 480, 960)[config & 3]
    code = packet[0] & 3
    if code == 3:
        if len(packet) < 2:
            raise ParseError("opus", "byte 1", "the number of frames is cut off")
        count = packet[1] & 0x3F
    else:
        count = 1 if code == 0 else 2
    if not 0 < frame * count <= _MOST:
        raise ParseError("opus", "byte 1", f"{count} frames of {frame} samples are longer than 120 ms, or none")
    return frame * count


def head(channels: int) -> bytes:
    """The identification header for one or two channels, with which a decoder begins."""
    assert channels in (1, 2), "channel mapping family 0"
    return _HEAD.pack(b"OpusHead", 1, channels, 312, RATE_HZ, 0, 0)
