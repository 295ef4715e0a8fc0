"""The text of SIP messages (RFC 3261): headers, addresses, URIs; tolerant, since pjsip has parsed them before.

Sans-IO and free of policy. What comes from the network may be anything: every function here returns a value or raises
``ParseError``, and strings that it returns can be encoded as UTF-8.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from orbridge.codecs.errors import ParseError

# RFC 3261 7.3.3 and 20
_COMPACT = {
    "c": "content-type",
    "f": "from",
    "i": "call-id",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "s": "subject",
    "t": "to",
    "v": "via",
    "x": "session-expires",
}
_HEADERS_MAX = 200
_CONTACTS_MAX = 20
_VALUE_MAX = 4096


def clean(text: str) -> str:
    """The same text without what cannot be encoded: pjsua2 hands bytes that aren't UTF-8 over as surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Message:
    """A request or response.

    Attributes:
        start: request line or status line.
        headers: (lower-case long name, value) in order.
        body: what follows the empty line.
    """

    start: str
    headers: tuple[tuple[str, str], ...]
    body: str

    def get(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for known, value in self.headers if known == name), None)

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known == name]

    @property
    def is_response(self) -> bool:
        return self.start.startswith("SIP/2.0 ")

    @property
    def method(self) -> str:
        """Of the request, or of the one that a response answers."""
        if self.is_response:
            cseq = (self.get("cseq") or "").split()
            return cseq[1] if len(cseq) == 2 else ""
        return self.start.split(" ", 1)[0]

    @property
    def status(self) -> int:
        """0 for a request."""
        code = self.start.split(" ")[1:2]
        return int(code[0]) if self.is_response and code and code[0].isascii() and code[0].isdigit() else 0

    @property
    def request_uri(self) -> str:
        parts = self.start.split(" ")
        return parts[1] if not self.is_response and len(parts) >= 2 else ""

    @property
    def cseq(self) -> int:
        number = (self.get("cseq") or "").split()[:1]
        return int(number[0]) if number and number[0].isascii() and number[0].isdigit() else -1

    @property
    def content_type(self) -> str:
        """Lower case, without parameters."""
        return (self.get("content-type") or "").split(";", 1)[0].strip().lower()


def parse_message(text: str) -> Message:
    """Raises ParseError when there is no start line."""
    head, _, body = clean(text).replace("\r\n", "\n").partition("\n\n")
    lines = re.sub(r"\n[ \t]+", " ", head).split("\n")
    if not lines[0].strip():
        raise ParseError("sip message", "start line", "is empty")
    headers = []
    for line in lines[1 : _HEADERS_MAX + 1]:
        name, colon, value = line.partition(":")
        if colon:
            lower = name.strip().lower()
            headers.append((_COMPACT.get(lower, lower), value.strip()))
    return Message(lines[0].strip(), tuple(headers), body)


def sdp_of(message: Message) -> str | None:
    """The session description in the body, also as a part of a multipart one (RFC 5621), or None."""
    if message.content_type == "application/sdp":
        return message.body or None
    if not message.content_type.startswith("multipart/"):
        return None
    found = re.search(r'boundary="?([^";]+)"?', message.get("content-type") or "", re.IGNORECASE)
    if found is None:
        return None
    for part in message.body.split("--" + found[1]):
        head, gap, body = part.lstrip("\n").partition("\n\n")
        if gap and re.search(r"^content-type:\s*application/sdp\b", head, re.IGNORECASE | re.MULTILINE):
            return body.strip("\n") + "\n"
    return None


@dataclass(frozen=True, slots=True)
class SipUri:
    """A ``sip:`` or ``sips:`` URI.

    Attributes:
        user: without password, percent escapes undone; empty when there is none.
        host: lower case; an IPv6 address without brackets.
        port: 0 when not given.
        params: of the URI, lower-case names; flags have the value ``""``.
    """

    scheme: str
    user: str
    host: str
    port: int = 0
    params: dict[str, str] = field(default_factory=dict)

    @property
    def transport(self) -> str:
        """``udp``, ``tcp`` or ``tls``."""
        named = self.params.get("transport", "").lower()
        if self.scheme == "sips" or named == "tls":
            return "tls"
        return "tcp" if named == "tcp" else "udp"

    @property
    def effective_port(self) -> int:
        return self.port or (5061 if self.transport == "tls" else 5060)

    def __str__(self) -> str:
        user = _escape(self.user) + "@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        params = "".join(f";{name}={value}" if value else f";{name}" for name, value in self.params.items())
        return f"{self.scheme}:{user}{bracketed(self.host)}{port}{params}"


def bracketed(host: str) -> str:
    """An IPv6 address as it is written in URIs."""
    return f"[{host}]" if ":" in host else host


_URI = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@\s<>\"]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:;?@<>\[\]\",]+)(?::(?P<port>\d{1,5}))?"
    r"(?P<params>(?:;[^?\s<>\"]*)?)(?:\?[^\s<>]*)?$",
    re.IGNORECASE,
)


def parse_uri(text: str) -> SipUri:
    """Raises ParseError when it isn't a SIP URI."""
    found = _URI.match(clean(text.strip()))
    if found is None:
        raise ParseError("sip uri", "uri", "isn't of the form sip:user@host")
    port = int(found["port"] or 0)
    if port > 65535:
        raise ParseError("sip uri", "port", "is above 65535")
    params: dict[str, str] = {}
    for item in found["params"].split(";")[1:]:
        name, _, value = item.partition("=")
        if name.strip():
            params[name.strip().lower()] = value.strip()
    user = _unescape((found["user"] or "").split(":", 1)[0])
    return SipUri(found["scheme"].lower(), user, found["host"].strip("[]").lower(), port, params)


@dataclass(frozen=True, slots=True)
class NameAddr:
    """A header value of the form ``"Display" <uri>;params`` or ``uri;params``."""

    display: str
    uri: SipUri
    params: dict[str, str]


def parse_address(value: str) -> NameAddr:
    """Raises ParseError. Without angle brackets parameters belong to the header (RFC 3261 20.10)."""
    value = value.strip()
    display, rest = "", value
    if value.startswith('"'):
        found = re.match(r'"((?:\\.|[^"\\])*)"\s*(.*)', value, re.DOTALL)
        if found is None:
            raise ParseError("sip address", "display name", "isn't closed")
        display, rest = re.sub(r"\\(.)", r"\1", found[1]), found[2]
    if "<" in rest:
        before, _, rest = rest.partition("<")
        uri, closed, params = rest.partition(">")
        if not closed:
            raise ParseError("sip address", "uri", "isn't closed")
        display = display or before.strip()
    else:
        uri, _, params = rest.partition(";")
        params = ";" + params
    return NameAddr(clean(display), parse_uri(uri), _params(params))


def split_list(value: str) -> list[str]:
    """A comma-separated header value, commas in quotes and angle brackets left alone."""
    items = re.findall(r'(?:"(?:\\.|[^"\\])*"|<[^>]*>|[^,])+', value[:_VALUE_MAX])
    return [item.strip() for item in items if item.strip()]


def contacts(message: Message) -> list[NameAddr] | None:
    """The Contact headers; None for ``*``. Raises ParseError."""
    values = [item for value in message.all("contact") for item in split_list(value)]
    if values == ["*"]:
        return None
    if len(values) > _CONTACTS_MAX:
        raise ParseError("sip message", "contact", f"has more than {_CONTACTS_MAX} values")
    return [parse_address(value) for value in values]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a message came from. ``transport``: ``udp``, ``tcp`` or ``tls``."""

    host: str
    port: int
    transport: str = "udp"


def parse_source(text: str, transport: str = "udp") -> Source:
    """``host:port`` or ``[host]:port`` as pjsua2 writes it. Raises ParseError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not host:
        raise ParseError("address", "source", "isn't of the form host:port")
    return Source(host.strip("[]").lower(), int(port), transport)


def redacted(text: str) -> str:
    """A URI or address for the log: host kept, the user replaced by a short hash that tells callers apart."""
    try:
        uri = parse_address(text).uri
    except ParseError:
        return "…"
    user = f"…{hashlib.sha256(uri.user.encode()).hexdigest()[:6]}@" if uri.user else ""
    return f"{uri.scheme}:{user}{bracketed(uri.host)}" + (f":{uri.port}" if uri.port else "")


def _params(text: str) -> dict[str, str]:
    found = re.findall(r';\s*([^=;\s]+)\s*(?:=\s*("(?:\\.|[^"\\])*"|[^;\s]*))?', text)
    return {name.lower(): value.strip('"') for name, value in found}


def _escape(user: str) -> str:
    # RFC 3261 25.1: unreserved and user-unreserved
    return "".join(
        char
        if char.isascii() and (char.isalnum() or char in "-_.!~*'()&=+$,;?/")
        else "".join(f"%{b:02X}" for b in char.encode())
        for char in user
    )


def _unescape(user: str) -> str:
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), user.encode())
    return raw.decode("utf-8", "replace")
