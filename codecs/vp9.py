"""VP9 as RTMP carries it: the record for its sequence header (VP Codec ISO Media File Format Binding 1.0)."""

from __future__ import annotations

from orbridge.codecs.errors import ParseError

# Level 4.1, BT.709: what the frame doesn't say, and decoders don't ask.
_LEVEL = 41
_BT709 = 1


def config_record(keyframe: bytes) -> bytes:
    """A VPCodecConfigurationRecord with its version and flags, from a key frame's first byte (VP9 6.2, 7.2).

    Raises:
        ParseError: that is no VP9 frame.
    """
    if not keyframe or keyframe[0] >> 6 != 2:
        raise ParseError("vp9", "byte 0", "that is no frame")
    profile = keyframe[0] >> 5 & 1 | (keyframe[0] >> 4 & 1) << 1
    # The profiles 2 and 3 have 10 or 12 bits, the odd ones other colours than 4:2:0.
    depth, chroma = 10 if profile >= 2 else 8, 3 if profile & 1 else 1
    return bytes((1, 0, 0, 0, profile, _LEVEL, depth << 4 | chroma << 1, _BT709, _BT709, _BT709, 0, 0))
