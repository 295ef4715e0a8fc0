"""Opus's identification header (RFC 7845 5.1): the sequence header of Opus in enhanced RTMP."""

from __future__ import annotations

from dataclasses import dataclass

from orbridge.codecs.errors import ParseError

_MAGIC = b"OpusHead"


@dataclass(frozen=True, slots=True)
class OpusHead:
    """An identification header.

    Attributes:
        channels: that come out, 1 to 255; 1 or 2 with mapping family 0.
        pre_skip: samples at 48 kHz that a decoder throws away at the beginning.
        input_rate_hz: of the encoder's input, 0 unknown; decoding is always possible at 48 kHz.
        gain: Q7.8 dB.
        family: 0 mono or stereo, 1 Vorbis order, others by agreement.
        mapping: of families other than 0: stream count, coupled count, and a byte per channel.
    """

    channels: int = 2
    pre_skip: int = 312
    input_rate_hz: int = 48000
    gain: int = 0
    family: int = 0
    mapping: bytes = b""

    def serialise(self) -> bytes:
        return b"".join(
            (
                _MAGIC,
                bytes((1, self.channels)),
                self.pre_skip.to_bytes(2, "little"),
                self.input_rate_hz.to_bytes(4, "little"),
                self.gain.to_bytes(2, "little", signed=True),
                bytes((self.family,)),
                self.mapping if self.family else b"",
            )
        )


def parse_head(data: bytes | memoryview) -> OpusHead:
    """Read an identification header; bytes after it are ignored.

    Raises:
        ParseError: it isn't one, is cut off, or of a major version that isn't 0.
    """
    body = bytes(data)
    if body[:8] != _MAGIC:
        raise ParseError("opus head", "byte 0", "it doesn't begin with OpusHead")
    if len(body) < 19:
        raise ParseError("opus head", f"byte {len(body)}", "it is cut off")
    if body[8] & 0xF0:
        raise ParseError("opus head", "byte 8", f"version {body[8]} is unknown")
    channels, family = body[9], body[18]
    if not channels or (family == 0 and channels > 2):
        raise ParseError("opus head", "byte 9", f"{channels} channels with mapping family {family}")
    mapping = body[19 : 21 + channels] if family else b""
    if family and len(mapping) < 2 + channels:
        raise ParseError("opus head", f"byte {len(body)}", "the channel mapping is cut off")
    return OpusHead(
        channels,
        int.from_bytes(body[10:12], "little"),
        int.from_bytes(body[12:16], "little"),
        int.from_bytes(body[16:18], "little", signed=True),
        family,
        mapping,
    )
