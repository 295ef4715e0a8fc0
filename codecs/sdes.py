"""SRTP keys in SDP: ``a=crypto`` (RFC 4568; the AEAD suites RFC 7714 14.2).

Understood are the suites in ``KEY_BYTES`` with one inline key, without MKI and with a key derivation rate of 0. Session
parameters that would change the packets (``UNENCRYPTED_SRTP``, ``UNENCRYPTED_SRTCP``, ``UNAUTHENTICATED_SRTP``,
another ``KDR``, ``FEC_KEY``, anything unknown that isn't marked optional by ``-``) make a line unusable, as 6.3.7 has
it.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field

# Master key and master salt together: 16 + 14, 16 + 12, 32 + 12 bytes.
KEY_BYTES: dict[str, int] = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}

# In our offers, the one that every device knows first.
OFFERED = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM")

# Session parameters that change nothing for us: WSH hints at a window, FEC_ORDER says what no FEC is ordered by.
_HARMLESS = re.compile(r"WSH=[0-9]{1,9}|FEC_ORDER=(?:FEC_SRTP|SRTP_FEC)|KDR=0|-.*", re.IGNORECASE)
_LINE = re.compile(r"\s*([0-9]{1,9})\s+(\S+)\s+(\S+)\s*(.*)")


@dataclass(frozen=True, slots=True)
class Crypto:
    """One ``a=crypto`` line.

    Attributes:
        tag: from 0 in old Tandberg and Snom devices, from 1 in others; up to 9 digits.
        suite: upper case.
        key: master key followed by master salt.
        lifetime: packets, None when it names none; ``2^48`` and plain numbers are understood.
        mki: its identifier, empty when the packets carry none.
        parameters: session parameters as written.
        problem: why it can't be used, as the end of a sentence; empty when it can.
    """

    tag: int
    suite: str
    key: bytes = field(repr=False)
    lifetime: int | None = None
    mki: str = ""
    parameters: tuple[str, ...] = ()
    problem: str = ""


def parse(value: str) -> Crypto | None:
    """Read the value of an ``a=crypto``; None when it isn't one (no tag, suite and key parameters)."""
    match = _LINE.fullmatch(value)
    if match is None:
        return None
    tag, suite, parameters = int(match[1]), match[2].upper(), tuple(match[4].split())
    if suite not in KEY_BYTES:
        return Crypto(tag, suite, b"", None, "", parameters, f"the suite {suite[:40]} isn't known")
    key, lifetime, mki, problem = _read_key(match[3], KEY_BYTES[suite])
    if not problem:
        problem = next((f"it asks for {word[:40]}" for word in parameters if not _HARMLESS.fullmatch(word)), "")
    return Crypto(tag, suite, key, lifetime, mki, parameters, problem)


def _read_key(text: str, length: int) -> tuple[bytes, int | None, str, str]:
    """Key and salt, lifetime, MKI, problem."""
    if ";" in text.rstrip(";"):
        return b"", None, "", "it has several keys"
    method, _, info = text.rstrip(";").partition(":")
    if method.lower() != "inline":
        return b"", None, "", "its key isn't inline"
    encoded, *rest = info.split("|")
    try:
        key = b64decode(encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4), validate=True)
    except (Base64Error, ValueError):
        return b"", None, "", "its key isn't base64"
    if len(key) != length:
        return b"", None, "", f"its key has {len(key)} bytes instead of {length}"
    lifetime: int | None = None
    mki = ""
    for part in rest:
        if ":" in part:
            mki = part
        else:
            lifetime = _read_lifetime(part)
    return key, lifetime, mki, "it uses a master key identifier" if mki else ""


def _read_lifetime(text: str) -> int | None:
    base, caret, exponent = text.partition("^")
    if caret:
        return 1 << int(exponent) if base == "2" and exponent in _EXPONENTS else None
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


_EXPONENTS = frozenset(str(n) for n in range(1, 49))


def serialise(tag: int, suite: str, key: bytes) -> str:
    """Value of an ``a=crypto``, without lifetime (the suite's own maximum, RFC 4568 6.1) and MKI."""
    assert len(key) == KEY_BYTES[suite], "a key of the suite's length"
    return f"{tag} {suite} inline:{b64encode(key).decode()}"


def fresh_keys() -> Mapping[str, bytes]:
    """A master key with its salt for each known suite, from the system's random source."""
    return {suite: secrets.token_bytes(length) for suite, length in KEY_BYTES.items()}
