"""What a browser's offer says beyond plain SDP: bundle, ICE, DTLS, header extensions, RTCP feedback (RFC 9429).

Text in, nouns out: no socket, no clock. What nobody here needs (rid, simulcast, ssrc lines, sctp) is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from orbridge.codecs import sdp
from orbridge.codecs.errors import ParseError
from orbridge.codecs.sdp import Format

# Bounds on what one offer may hold; Chromium's largest has 3 lines of 60 payload types.
MAX_MEDIA, MAX_CANDIDATES, MAX_EXTENSIONS, MAX_FEEDBACK = 32, 64, 64, 1000

SETUPS = ("actpass", "active", "passive", "holdconn")
DIGESTS = ("sha-256", "sha-384", "sha-512")
# Payload types that need no rtpmap (RFC 3551 6), of codecs that we know.
STATIC = {pt: sdp.STATIC_FORMATS[pt] for pt in (0, 8, 9)}

_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")  # RFC 8839 5.4
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_DIGEST_VALUE = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){15,63}")


@dataclass(slots=True)
class Media:
    """One ``m=`` line of an offer.

    Attributes:
        formats: payload types that are named, in the offerer's order of preference (RFC 3264 5.1).
        direction: as the offerer sees it.
        feedback: payload type -> RTCP feedback as in ``a=rtcp-fb`` (RFC 4585 4.2), single spaces, lower case.
        fingerprints: (digest, value) of the digests we know; the session's where the line has none (RFC 8122 5).
        candidates: without ``a=candidate:``.
        extensions: URI -> id of RTP header extensions (RFC 8285).
    """

    kind: str
    port: int
    proto: str
    tokens: tuple[str, ...]
    formats: tuple[Format, ...] = ()
    direction: str = "sendrecv"
    mid: str = ""
    rtcp_mux: bool = False
    bundle_only: bool = False
    ufrag: str = ""
    password: str = ""
    setup: str = ""
    feedback: dict[int, frozenset[str]] = field(default_factory=dict)
    fingerprints: tuple[tuple[str, str], ...] = ()
    candidates: tuple[str, ...] = ()
    extensions: dict[str, int] = field(default_factory=dict)

    @property
    def offered(self) -> bool:
        """Whether the line is meant to be used: port 0 refuses it, but for ``bundle-only`` (RFC 9143 6)."""
        return self.port != 0 or self.bundle_only


@dataclass(frozen=True, slots=True)
class Offer:
    """A parsed offer. ``bundle``: mids of the first BUNDLE group, in its order."""

    media: tuple[Media, ...]
    bundle: tuple[str, ...]
    ice_lite: bool = False


def parse_offer(text: str) -> Offer:
    """Raises ParseError with the attribute that no rule admits."""
    description = sdp.parse(text)
    if not description.media:
        raise ParseError("sdp", "the whole", "has no media line")
    if len(description.media) > MAX_MEDIA:
        raise ParseError("sdp", "the whole", f"has more than {MAX_MEDIA} media lines")
    media = tuple(_read(description, line, number) for number, line in enumerate(description.media, 1))
    mids = [line.mid for line in media if line.mid]
    if len(set(mids)) != len(mids):
        raise ParseError("sdp", "a=mid", "names two lines alike")
    groups = (a.value or "" for a in description.attributes if a.name == "group")
    bundle = next((words[1:] for group in groups if (words := group.split())[:1] == ["BUNDLE"]), [])
    return Offer(media, tuple(bundle[:MAX_MEDIA]), description.value("ice-lite") is not None)


def _read(description: sdp.Description, line: sdp.Media, number: int) -> Media:
    where = f"media line {number} ({line.kind})"
    media = Media(line.kind, line.port, line.proto.upper(), line.formats, direction=description.direction(line))
    if line.kind in ("audio", "video"):
        media.formats, _ = sdp.read_formats(line, STATIC)
        media.feedback = _feedback(line, media.formats)

    def value(name: str) -> str:
        # ICE and DTLS attributes of the session hold for lines without their own (RFC 8839 4.2, RFC 8122 5).
        own = line.value(name)
        return (description.value(name) or "") if own is None else own

    media.mid = line.value("mid") or ""
    if len(media.mid) > 32 or any(c.isspace() for c in media.mid):
        raise ParseError("sdp", where, "has a mid that isn't one word of up to 32 characters")
    media.rtcp_mux, media.bundle_only = line.has("rtcp-mux"), line.has("bundle-only")
    media.ufrag, media.password, media.setup = value("ice-ufrag"), value("ice-pwd"), value("setup").lower()
    if (media.ufrag or media.password) and not credentials_fit(media.ufrag, media.password):
        raise ParseError("sdp", where, "has an ice-ufrag or ice-pwd that RFC 8839 5.4 doesn't admit")
    if media.setup and media.setup not in SETUPS:
        raise ParseError("sdp", where, f"has a setup attribute that is none of {', '.join(SETUPS)}")
    written = list(line.values("fingerprint")) or [
        a.value or "" for a in description.attributes if a.name == "fingerprint"
    ]
    media.fingerprints = tuple(_fingerprints(written, where))
    media.candidates = tuple(line.values("candidate"))[:MAX_CANDIDATES]
    media.extensions = dict(_extensions(line))
    return media


def _feedback(line: sdp.Media, formats: tuple[Format, ...]) -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {f.pt: set() for f in formats}
    for text in list(line.values("rtcp-fb"))[:MAX_FEEDBACK]:
        token, *words = text.lower().split() or [""]
        pts = found if token == "*" else [int(token)] if token.isascii() and token.isdigit() and len(token) < 4 else []
        for pt in pts:
            if pt in found:
                found[pt].add(" ".join(words))
    return {pt: frozenset(each) for pt, each in found.items()}


def _fingerprints(values: list[str], where: str) -> Iterator[tuple[str, str]]:
    for value in values[:16]:
        digest, _, fingerprint = value.partition(" ")
        if digest.lower() in DIGESTS:
            if not _DIGEST_VALUE.fullmatch(fingerprint.strip()):
                raise ParseError("sdp", where, "has a fingerprint that isn't hexadecimal pairs with colons")
            yield digest.lower(), fingerprint.strip().upper()


def _extensions(line: sdp.Media) -> Iterator[tuple[str, int]]:
    for value in list(line.values("extmap"))[:MAX_EXTENSIONS]:
        identity, *words = value.split() or [""]
        number, _, direction = identity.partition("/")
        # Identifiers above 14 need the two-byte form (RFC 8285 4.3), which isn't written here.
        usable = number.isascii() and number.isdigit() and len(number) < 4 and 1 <= int(number) <= 14
        if usable and words and direction != "inactive":
            yield words[0], int(number)


def credentials_fit(ufrag: str, password: str) -> bool:
    """Whether both have the form of RFC 8839 5.4."""
    return _UFRAG.fullmatch(ufrag) is not None and _PASSWORD.fullmatch(password) is not None
