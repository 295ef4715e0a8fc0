"""Digest access authentication, the server's side (RFC 7616, RFC 8760 for SIP): challenges, nonces, verification.

No clock and no socket: ``now_s`` is an argument. Nothing is remembered of a challenge, so that a flood of unknown
callers costs no memory; what is remembered, with a bound, are nonces that were used with the right password.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orbridge.codecs.errors import ParseError

NONCE_LIFETIME_S = 300
_NONCES_MAX = 4096
_COUNTS_MAX = 1024

ALGORITHMS: dict[str, Callable[[bytes], str]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
}


# Who takes a challenge with SHA-256 beside one with MD5 (RFC 8760 2.4). The others are offered MD5 alone: baresip 1.0.0
# gives up when any challenge is foreign to it, wherever it stands, and nothing better is known of old room systems.
_KNOWS_SHA256 = re.compile(r"pjsip|pjsua|asterisk|orbridge|linphone|belle-sip|baresip v?[2-9]", re.IGNORECASE)


def algorithms_for(user_agent: str) -> tuple[str, ...]:
    """What to challenge a client with, the preferred first. What it answers with may be any of ``ALGORITHMS``."""
    return ("SHA-256", "MD5") if _KNOWS_SHA256.search(user_agent[:200]) else ("MD5",)


class Outcome(enum.Enum):
    """What a presented authorization is worth."""

    GOOD = "good"
    STALE = "stale"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Authorization:
    """The Authorization header, unquoted. ``nc`` is 0 and ``qop`` empty for a client of RFC 2069."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str
    qop: str
    nc: int
    cnonce: str


def parse_authorization(value: str) -> Authorization:
    """Raises ParseError when it isn't a complete Digest authorization."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        raise ParseError("authorization", "scheme", "isn't digest")
    found = re.findall(r'([A-Za-z][\w-]*)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s,"]+))', rest)
    fields = {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in found}
    for name in ("username", "realm", "nonce", "uri", "response"):
        if not fields.get(name):
            raise ParseError("authorization", name, "is missing")
    qop = fields.get("qop", "").lower()
    if qop not in ("", "auth"):
        raise ParseError("authorization", "qop", "isn't auth")
    count = fields.get("nc", "0")
    if not re.fullmatch(r"[0-9A-Fa-f]{1,8}", count):
        raise ParseError("authorization", "nc", "isn't a hexadecimal count")
    if qop and not fields.get("cnonce"):
        raise ParseError("authorization", "cnonce", "is missing")
    algorithm = fields.get("algorithm", "MD5").upper()
    if algorithm not in ALGORITHMS:
        raise ParseError("authorization", "algorithm", "isn't one that was offered")
    return Authorization(
        fields["username"],
        fields["realm"],
        fields["nonce"],
        fields["uri"],
        fields["response"].lower(),
        algorithm,
        qop,
        int(count, 16) if qop else 0,
        fields.get("cnonce", ""),
    )


def expected_response(auth: Authorization, method: str, password: str) -> str:
    """RFC 7616 3.4.1: what a client that knows the password would have sent."""
    digest = ALGORITHMS[auth.algorithm]
    secret = digest(f"{auth.username}:{auth.realm}:{password}".encode())
    request = digest(f"{method}:{auth.uri}".encode())
    if auth.qop:
        return digest(f"{secret}:{auth.nonce}:{auth.nc:08x}:{auth.cnonce}:{auth.qop}:{request}".encode())
    return digest(f"{secret}:{auth.nonce}:{request}".encode())


@dataclass(slots=True)
class _Used:
    counts: dict[int, str] = field(default_factory=dict)


class Nonces:
    """Issues nonces that carry their own time and seal, and refuses those that were used before.

    ``transaction`` identifies one request (Call-ID, CSeq and method): its retransmission, which UDP brings, may use a
    count again, another request may not.
    """

    def __init__(self, realm: str, key: bytes | None = None) -> None:
        self.realm = realm
        self._key = key or secrets.token_bytes(32)
        self._used: OrderedDict[str, _Used] = OrderedDict()

    def challenges(self, now_s: float, algorithms: Sequence[str] = ("MD5",), *, stale: bool = False) -> list[str]:
        """Values of WWW-Authenticate headers, in the order of the algorithms."""
        nonce = self._issue(now_s)
        tail = ", stale=true" if stale else ""
        return [
            f'Digest realm="{self.realm}", nonce="{nonce}", algorithm={name}, qop="auth"{tail}' for name in algorithms
        ]

    def verify(self, auth: Authorization, method: str, password: str, transaction: str, now_s: float) -> Outcome:
        """Whether the client knows the password and may use this nonce now."""
        if auth.realm != self.realm:
            return Outcome.STALE
        age = self._age(auth.nonce, now_s)
        if age is None or not 0 <= age <= NONCE_LIFETIME_S:
            return Outcome.STALE
        if not hmac.compare_digest(expected_response(auth, method, password).encode(), auth.response.encode()):
            return Outcome.BAD
        return Outcome.GOOD if self._use(auth.nonce, auth.nc, transaction) else Outcome.STALE

    def _use(self, nonce: str, count: int, transaction: str) -> bool:
        used = self._used.setdefault(nonce, _Used())
        self._used.move_to_end(nonce)
        while len(self._used) > _NONCES_MAX:
            self._used.popitem(last=False)
        known = used.counts.get(count)
        if known is not None:
            return known == transaction
        if len(used.counts) >= _COUNTS_MAX or (count == 0 and used.counts):
            return False
        used.counts[count] = transaction
        return True

    def _issue(self, now_s: float) -> str:
        stamp = int(now_s * 1000).to_bytes(8, "big") + secrets.token_bytes(8)
        return base64.urlsafe_b64encode(stamp + self._seal(stamp)).decode()

    def _age(self, nonce: str, now_s: float) -> float | None:
        try:
            raw = base64.b64decode(nonce.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        stamp, seal = raw[:16], raw[16:]
        if len(stamp) != 16 or not hmac.compare_digest(seal, self._seal(stamp)):
            return None
        return now_s - int.from_bytes(stamp[:8], "big") / 1000

    def _seal(self, stamp: bytes) -> bytes:
        return hmac.digest(self._key, stamp + self.realm.encode(), "sha256")[:16]
