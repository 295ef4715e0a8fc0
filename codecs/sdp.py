"""Session descriptions (RFC 8866, with what RFC 4566 and RFC 2327 devices still write): text to meaning and back.

The parser is tolerant by rule, not by device: what can be understood is understood and noted once in ``warnings``;
only text that has no usable session raises ParseError. Its work is bounded by ``MAX_BYTES``, ``MAX_LINES`` and
``MAX_MEDIA``. Offer and answer are not here, and no codec's parameters are interpreted (see ``h264.py``, ``sdes.py``).

Not implemented: ``r=``, ``z=``, ``k=``, ``e=``, ``p=``, ``u=``, ``i=`` are skipped (no device needs them), ICE and
BUNDLE attributes are kept as plain attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

from orbridge.codecs.errors import ParseError

MAX_BYTES = 65_536
MAX_LINES = 2_000
MAX_MEDIA = 64
MAX_WARNINGS = 16

DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})

# RFC 3551 table 4 and 5: payload types that need no rtpmap.
STATIC_FORMATS: dict[int, tuple[str, int, int]] = {
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    4: ("G723", 8000, 1),
    5: ("DVI4", 8000, 1),
    6: ("DVI4", 16000, 1),
    7: ("LPC", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),
    10: ("L16", 44100, 2),
    11: ("L16", 44100, 1),
    12: ("QCELP", 8000, 1),
    13: ("CN", 8000, 1),
    14: ("MPA", 90000, 1),
    15: ("G728", 8000, 1),
    16: ("DVI4", 11025, 1),
    17: ("DVI4", 22050, 1),
    18: ("G729", 8000, 1),
    25: ("CELB", 90000, 1),
    26: ("JPEG", 90000, 1),
    28: ("NV", 90000, 1),
    31: ("H261", 90000, 1),
    32: ("MPV", 90000, 1),
    33: ("MP2T", 90000, 1),
    34: ("H263", 90000, 1),
}

_LINE_ENDS = re.compile(r"\r\n|\n|\r")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
# RFC 8866 9: token; a proto may contain slashes.
_NOT_TOKEN = re.compile(r"[^!#$%&'*+\-./0-9A-Za-z^_`{|}~]")
_RTPMAP = re.compile(r"\s*([0-9]{1,3})\s+([^\s/]{1,64})(?:\s*/\s*([0-9]{1,9}))?(?:\s*/\s*([0-9]{1,3}))?")
# Parameters separated by semicolons, or by spaces only (Huawei's H.263); lists keep a space after their comma.
_PARAMETER = re.compile(r"([^\s;=]+)(?:\s*=\s*([^;\s]*(?:(?<=,)\s+[^;\s]+)*))?")


class Attribute(NamedTuple):
    """An ``a=`` line, its name in lower case (no registered name needs another). ``value`` is None for a flag."""

    name: str
    value: str | None = None


class Address(NamedTuple):
    """Of a ``c=`` line or an ``a=rtcp``. ``host`` is as written, without TTL."""

    host: str
    ipv6: bool = False

    @property
    def literal(self) -> bool:
        """It is an IP address, not a name."""
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def unspecified(self) -> bool:
        """``0.0.0.0`` or ``::``: the hold of RFC 2543, still allowed by RFC 3264 8.4."""
        return self.host in ("0.0.0.0", "::")

    def __str__(self) -> str:
        return f"IN {'IP6' if self.ipv6 else 'IP4'} {self.host}"


class Origin(NamedTuple):
    """The ``o=`` line (RFC 8866 5.2)."""

    session_id: int
    version: int
    address: Address
    username: str = "-"

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} {self.address}"


@dataclass(frozen=True, slots=True)
class Format:
    """A payload type of an RTP line.

    Attributes:
        name: encoding name in upper case.
        clock_hz: 0 when the line doesn't say.
        parameters: of its ``a=fmtp`` lines, names in lower case; a parameter without ``=`` has the value ``""``.
        raw: its first ``a=fmtp`` as written, None when it has none.
    """

    pt: int
    name: str
    clock_hz: int
    channels: int
    parameters: Mapping[str, str]
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Media:
    """An ``m=`` line with what follows it.

    Attributes:
        kind: ``audio``, ``video``, ``application``, ... in lower case.
        port: 0: refused or removed.
        formats: as written; never empty.
        address: its own ``c=``, else the session's; None when neither has one.
        bandwidth: ``b=`` modifier in upper case (``AS`` kbit/s, ``TIAS`` bit/s) to value.
    """

    kind: str
    port: int
    proto: str
    formats: tuple[str, ...]
    address: Address | None = None
    bandwidth: Mapping[str, int] = field(default_factory=dict)
    attributes: tuple[Attribute, ...] = ()

    def value(self, name: str) -> str | None:
        """Value of the first attribute of that name; None when there is none; ``""`` for a flag."""
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute.value or ""
        return None

    def values(self, name: str) -> Iterator[str]:
        """Values of all attributes of that name, in order."""
        return (attribute.value or "" for attribute in self.attributes if attribute.name == name)

    def has(self, name: str) -> bool:
        return any(attribute.name == name for attribute in self.attributes)


@dataclass(frozen=True, slots=True)
class Description:
    """A whole session description.

    Attributes:
        origin: None when the text has none that can be read.
        attributes: session level only.
        warnings: what the parser tolerated, each kind once, at most MAX_WARNINGS.
    """

    origin: Origin | None
    media: tuple[Media, ...]
    name: str = "-"
    address: Address | None = None
    bandwidth: Mapping[str, int] = field(default_factory=dict)
    attributes: tuple[Attribute, ...] = ()
    warnings: tuple[str, ...] = ()

    def value(self, name: str) -> str | None:
        """Value of the first session-level attribute of that name."""
        return next((attribute.value or "" for attribute in self.attributes if attribute.name == name), None)

    def direction(self, media: Media) -> str:
        """``sendrecv``, ``sendonly``, ``recvonly`` or ``inactive``, as its writer sees it (RFC 8866 6.7)."""
        for attribute in media.attributes:
            if attribute.name in DIRECTIONS:
                return attribute.name
        for attribute in self.attributes:
            if attribute.name in DIRECTIONS:
                return attribute.name
        return "sendrecv"

    def bandwidth_kbps(self, media: Media) -> int:
        """The most its writer wants to receive on that line, kbit/s; 0 when it doesn't say (RFC 8866 5.8, RFC 3890).

        The line's own ``TIAS`` or ``AS``, else the session's ``AS``, ``TIAS`` or ``CT``.
        """
        for table in (media.bandwidth, self.bandwidth):
            found = [table[key] // unit for key, unit in (("TIAS", 1000), ("AS", 1)) if table.get(key, 0) > 0]
            if found:
                return max(1, min(found))
        return max(0, self.bandwidth.get("CT", 0))


def parse(text: str | bytes) -> Description:
    """Read a session description.

    Raises:
        ParseError: it is longer than the limits, or has neither a ``v=`` nor an ``m=`` line.
    """
    return _Parser().parse(text)


class _Parser:
    """State while reading: the session's lines, then one media's after another's."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.origin: Origin | None = None
        self.name = "-"
        self.address: Address | None = None
        self.bandwidth: dict[str, int] = {}
        self.attributes: list[Attribute] = []
        self.heads: list[tuple[str, int, str, tuple[str, ...]]] = []
        self.bodies: list[tuple[list[Attribute], dict[str, int], list[Address]]] = []

    def warn(self, text: str) -> None:
        if len(self.warnings) < MAX_WARNINGS and text not in self.warnings:
            self.warnings.append(text)

    def parse(self, text: str | bytes) -> Description:
        lines = self.lines(text)
        seen_version = False
        attributes = self.attributes
        for line in lines:
            if not line:
                continue
            if line[1:2] != "=":
                if line.strip():
                    self.warn("a line that isn't of the form x=...")
                continue
            kind, value = line[0], line[2:].strip()
            if kind == "a":
                name, colon, rest = value.partition(":")
                attributes.append(Attribute(name.strip().lower(), rest.strip() if colon else None))
            elif kind == "m":
                attributes = self.start_media(value)
            elif kind == "c":
                self.connection(value)
            elif kind == "b":
                self.bandwidth_line(value)
            elif kind == "o":
                self.origin = self.origin or self.read_origin(value)
            elif kind == "v":
                seen_version = True
            elif kind == "s":
                self.name = value or "-"
            elif kind not in "iuepktrz":
                self.warn(f"an unknown line {_printable(kind)}=")
        if not seen_version:
            if not self.heads:
                raise ParseError("sdp", "text", "neither a v= nor an m= line")
            self.warn("no v= line")
        if self.origin is None:
            self.warn("no readable o= line")
        return self.finish()

    def lines(self, text: str | bytes) -> list[str]:
        if len(text) > MAX_BYTES:
            raise ParseError("sdp", "text", f"longer than {MAX_BYTES} bytes")
        if isinstance(text, bytes):
            decoded = text.decode(errors="replace")
            if "\ufffd" in decoded:
                self.warn("bytes that aren't UTF-8")
        else:
            decoded = text
        decoded, controls = _CONTROLS.subn("", decoded)
        if controls:
            self.warn("control characters or surrogates")
        lines = _LINE_ENDS.split(decoded, maxsplit=MAX_LINES)
        if len(lines) > MAX_LINES:
            raise ParseError("sdp", "text", f"more than {MAX_LINES} lines")
        return lines

    def start_media(self, value: str) -> list[Attribute]:
        if len(self.heads) == MAX_MEDIA:
            raise ParseError("sdp", "m=", f"more than {MAX_MEDIA} lines")
        fields = value.split()
        kind = _token(fields[0]).lower() if fields else "unknown"
        port_text = fields[1].partition("/")[0] if len(fields) > 1 else ""
        port = int(port_text) if port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 else 65_536
        if port > 65_535:
            self.warn(f"m={kind} without a usable port: taken as refused")
            port = 0
        proto = _token(fields[2]) if len(fields) > 2 else "RTP/AVP"
        formats = tuple(_token(word) for word in fields[3:])
        if not formats:
            self.warn(f"m={kind} without formats")
            formats = ("0",)
        self.heads.append((kind, port, proto, formats))
        body: tuple[list[Attribute], dict[str, int], list[Address]] = ([], {}, [])
        self.bodies.append(body)
        return body[0]

    def connection(self, value: str) -> None:
        address = read_address(value)
        if address is None:
            self.warn("a c= line that can't be read")
        elif self.bodies:
            self.bodies[-1][2].append(address)
        else:
            self.address = address

    def bandwidth_line(self, value: str) -> None:
        modifier, _, number = value.partition(":")
        number = number.strip()
        # Radvision and some Polycom firmware write a fraction.
        number = number.partition(".")[0]
        if not (number.isascii() and number.isdigit() and len(number) <= 12):
            self.warn("a b= line that can't be read")
            return
        table = self.bodies[-1][1] if self.bodies else self.bandwidth
        table.setdefault(modifier.strip().upper(), int(number))

    def read_origin(self, value: str) -> Origin | None:
        fields = value.split()
        if len(fields) < 6:
            return None
        address = read_address(" ".join(fields[3:6]))
        if address is None:
            return None
        return Origin(_number(fields[1]), _number(fields[2]), address, fields[0])

    def finish(self) -> Description:
        media: list[Media] = []
        for (kind, port, proto, formats), (attributes, bandwidth, addresses) in zip(
            self.heads, self.bodies, strict=True
        ):
            address = addresses[0] if addresses else self.address
            media.append(Media(kind, port, proto, formats, address, bandwidth, tuple(attributes)))
        return Description(
            self.origin,
            tuple(media),
            self.name,
            self.address,
            self.bandwidth,
            tuple(self.attributes),
            tuple(self.warnings),
        )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0


def _token(word: str) -> str:
    return _NOT_TOKEN.sub("-", word)


def _printable(text: str) -> str:
    return text if text.isascii() and text.isprintable() else "?"


def read_address(text: str) -> Address | None:
    """``IN IP4 192.0.2.1/127`` -> Address; None when it has another form or network."""
    fields = text.split()
    if len(fields) < 3 or fields[0].upper() != "IN":
        return None
    host = fields[2].partition("/")[0].strip("[]")
    if not host or _NOT_TOKEN.sub("", host.replace(":", "")) != host.replace(":", ""):
        return None
    # The text of the address decides: devices were seen with IP4 before an IPv6 address behind a session controller.
    return Address(host, ":" in host)


def read_rtcp(media: Media) -> tuple[int, Address | None] | None:
    """The ``a=rtcp`` of a line (RFC 3605): port and, where it has one, an address. None: it has none."""
    value = media.value("rtcp")
    if value is None:
        return None
    port, _, address = value.strip().partition(" ")
    number = _number(port)
    if not 0 < number < 65_536:
        return None
    return number, read_address(address) if address else None


def read_parameters(text: str) -> dict[str, str]:
    """Parameters of an fmtp: names in lower case, the first of a name counts, ``""`` where there is no ``=``."""
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(text):
        found.setdefault(name.lower(), value)
    return found


def read_formats(
    media: Media, known: Mapping[int, tuple[str, int, int]] = STATIC_FORMATS
) -> tuple[tuple[Format, ...], list[str]]:
    """The payload types of an RTP line in its order, with rtpmap and fmtp; those that nothing names are left out.

    A payload type that is listed twice counts once; of two rtpmaps for one type the first counts; the parameters of
    several fmtp lines for one type are put together. ``known``: what a type means without an rtpmap. Also returns what
    was tolerated.
    """
    maps: dict[int, tuple[str, int, int]] = {}
    parameters: dict[int, dict[str, str]] = {}
    raw: dict[int, str] = {}
    problems: list[str] = []
    for name, value in media.attributes:
        if name == "rtpmap":
            match = _RTPMAP.match(value or "")
            if match is None:
                problems.append(f"an a=rtpmap of m={media.kind} that can't be read")
                continue
            pt = int(match[1])
            entry = (match[2].upper(), int(match[3] or 0), int(match[4] or 1) or 1)
            if maps.setdefault(pt, entry) != entry:
                problems.append(f"payload type {pt} of m={media.kind} mapped twice")
        elif name == "fmtp":
            number, _, text = (value or "").partition(" ")
            pt = _number(number) if number.isascii() and number.isdigit() else -1
            if not 0 <= pt <= 127:
                problems.append(f"an a=fmtp of m={media.kind} without a payload type")
                continue
            found = read_parameters(text)
            if pt in parameters:
                for key, setting in found.items():
                    parameters[pt].setdefault(key, setting)
            else:
                parameters[pt], raw[pt] = found, text
    formats: dict[int, Format] = {}
    for word in media.formats:
        if not (word.isascii() and word.isdigit() and len(word) <= 3) or int(word) > 127 or int(word) in formats:
            continue
        pt = int(word)
        mapped = maps.get(pt) or known.get(pt)
        if mapped is not None:
            formats[pt] = Format(pt, *mapped, parameters.get(pt, {}), raw.get(pt))
    return tuple(formats.values()), problems


def serialise(description: Description) -> str:
    """Text with CRLF line ends. A line's ``c=`` is left out where it equals the session's."""
    out = ["v=0", f"o={description.origin}" if description.origin else "o=- 0 0 IN IP4 0.0.0.0"]
    out.append(f"s={description.name}")
    if description.address is not None:
        out.append(f"c={description.address}")
    out.extend(f"b={key}:{value}" for key, value in description.bandwidth.items())
    out.append("t=0 0")
    out.extend(_attribute_lines(description.attributes))
    for media in description.media:
        out.append(f"m={media.kind} {media.port} {media.proto} {' '.join(media.formats)}")
        if media.address is not None and media.address != description.address:
            out.append(f"c={media.address}")
        out.extend(f"b={key}:{value}" for key, value in media.bandwidth.items())
        out.extend(_attribute_lines(media.attributes))
    return "\r\n".join(out) + "\r\n"


def _attribute_lines(attributes: Iterable[Attribute]) -> Iterator[str]:
    return (f"a={name}" if value is None else f"a={name}:{value}" for name, value in attributes)
