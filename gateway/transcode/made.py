"""What a converter gives, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass

from orbridge.codecs.errors import OrbridgeError


class TranscodeFailed(OrbridgeError):
    """What arrives can't be converted. Ends the conversion, nothing else. The sentence is for people."""


@dataclass(frozen=True, slots=True)
class Made:
    """One unit for the bus; fields as in ``AccessUnit``."""

    pts: int
    dts: int
    payload: bytes
    keyframe: bool
    capture_ns: int
