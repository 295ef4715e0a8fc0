"""The RTMP handshake, both roles (Adobe RTMP 1.0, 5.2), plain and with Adobe's digests.

C0 and S0 are one byte, C1, C2, S1 and S2 1536 bytes each. The digest form isn't in Adobe's document; it is as librtmp,
nginx-rtmp and Flash Media Server do it: four bytes, summed, say where in C1 or S1 a HMAC-SHA256 of the rest stands (two
schemes differ in where these four bytes are), and the last 32 bytes of C2 and S2 prove that the other's was read.

As server we answer a client that sent a valid digest with digests, everybody else plainly. What a peer writes into C2
or S2 is not examined: hardware encoders fill it with anything. Not implemented: RTMPE (version 6, 8).
"""

from __future__ import annotations

import hmac
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable

from orbridge.codecs.errors import ParseError

PACKET_BYTES = 1536
_DIGEST_BYTES = 32
_VERSION = 3

_SHARED = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")
_PLAYER = b"Genuine Adobe Flash Player 001"
_SERVER = b"Genuine Adobe Flash Media Server 001"

# Where the four bytes that say where the digest is are, by scheme.
_SCHEMES = (8, 772)

RandomBytes = Callable[[int], bytes]


def _sha256(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _digest_at(packet: bytes, scheme: int) -> int:
    base = _SCHEMES[scheme]
    return sum(packet[base : base + 4]) % 728 + base + 4


def _without_digest(packet: bytes, at: int) -> bytes:
    return packet[:at] + packet[at + _DIGEST_BYTES :]


def find_digest(packet: bytes, key: bytes) -> tuple[int, bytes] | None:
    """Scheme and digest of a C1 or S1 whose digest is right; None when it has none."""
    for scheme in range(len(_SCHEMES)):
        at = _digest_at(packet, scheme)
        digest = packet[at : at + _DIGEST_BYTES]
        if hmac.compare_digest(digest, _sha256(key, _without_digest(packet, at))):
            return scheme, digest
    return None


def _hello(version: bytes, key: bytes | None, scheme: int, random_bytes: RandomBytes) -> bytes:
    """C1 or S1: time 0, version, random bytes, with a digest when there is a key for one."""
    packet = b"\0\0\0\0" + version + random_bytes(PACKET_BYTES - 8)
    if key is None:
        return packet
    at = _digest_at(packet, scheme)
    return packet[:at] + _sha256(key, _without_digest(packet, at)) + packet[at + _DIGEST_BYTES :]


def _proof(key: bytes, their_digest: bytes, random_bytes: RandomBytes) -> bytes:
    """C2 or S2: random bytes and a HMAC of them that only who read the other's digest can make."""
    filling = random_bytes(PACKET_BYTES - _DIGEST_BYTES)
    return filling + _sha256(_sha256(key, their_digest), filling)


def _check_version(version: int) -> None:
    if version == _VERSION or version in (0, 1, 2):  # the oldest encoders; the answer is 3 (5.2.2)
        return
    if version in (6, 8):
        problem = f"version {version} is encrypted RTMPE, which isn't taken; use rtmps"
    elif version == 0x16:
        problem = "this is a TLS handshake; send rtmps to the TLS port, rtmp to this one"
    elif version > 31:
        problem = f"it begins with byte {version}, so it isn't RTMP"
    else:
        problem = f"version {version} is unknown, 3 is taken"
    raise ParseError("rtmp", "handshake", problem)


class Handshake(ABC):
    """What both sides do: version and hello (0 and 1) from the peer, our answer to it, the peer's answer to ours.

    Attributes:
        done: what comes now are chunks.
        digest: the hellos carry digests.
    """

    def __init__(self, random_bytes: RandomBytes, *, digest: bool) -> None:
        self._random = random_bytes
        self._buffer = b""
        self._answered = False
        self.done = False
        self.digest = digest

    @abstractmethod
    def start(self) -> bytes:
        """What goes out before anything has come."""

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes, at most until the handshake is ``done``: (to send, what follows the handshake).

        Raises:
            ParseError: the first byte isn't a version that we speak.
        """
        self._buffer += data
        out = b""
        if self._buffer and not self._answered:
            _check_version(self._buffer[0])
        if not self._answered and len(self._buffer) > PACKET_BYTES:
            out = self._answer(self._buffer[1 : PACKET_BYTES + 1])
            self._buffer = self._buffer[PACKET_BYTES + 1 :]
            self._answered = True
        if not self._answered or len(self._buffer) < PACKET_BYTES:
            return out, b""
        rest, self._buffer, self.done = self._buffer[PACKET_BYTES:], b"", True
        return out, rest

    @abstractmethod
    def _answer(self, hello: bytes) -> bytes:
        """What goes out when the peer's hello is whole."""


class ServerHandshake(Handshake):
    """Our side when a client connects: S0, S1 and S2 go out as soon as C1 is whole; C2 ends it."""

    def __init__(self, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        super().__init__(random_bytes, digest=False)

    def start(self) -> bytes:
        return b""

    def _answer(self, hello: bytes) -> bytes:
        found = find_digest(hello, _PLAYER) if hello[4:8] != b"\0\0\0\0" else None
        if found is None:
            # S2 repeats C1 (5.2.4); its second time field, when C1 was read, is nobody's business.
            return bytes((_VERSION,)) + _hello(b"\0\0\0\0", None, 0, self._random) + hello
        scheme, digest = found
        self.digest = True
        # The version is Flash Media Server 3.5's; digest clients look whether it is above 3.
        ours = _hello(b"\x03\x05\x01\x01", _SERVER, scheme, self._random)
        return bytes((_VERSION,)) + ours + _proof(_SERVER + _SHARED, digest, self._random)


class ClientHandshake(Handshake):
    """Our side when we connect: C0 and C1 first; C2 when S1 is whole; S2 ends it."""

    def __init__(self, *, digest: bool = False, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        super().__init__(random_bytes, digest=digest)

    def start(self) -> bytes:
        # The version is Flash Player 10's; servers that look answer digests from 9 on.
        if self.digest:
            return bytes((_VERSION,)) + _hello(b"\x80\x00\x07\x02", _PLAYER, 1, self._random)
        return bytes((_VERSION,)) + _hello(b"\0\0\0\0", None, 0, self._random)

    def _answer(self, hello: bytes) -> bytes:
        found = find_digest(hello, _SERVER) if self.digest else None
        return hello if found is None else _proof(_PLAYER + _SHARED, found[1], self._random)
