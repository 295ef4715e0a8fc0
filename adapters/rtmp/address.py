"""RTMP addresses: where to connect, which application and stream, and where a secret goes that nobody may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from orbridge.codecs.errors import LocalError

PORTS = {"rtmp": 1935, "rtmps": 443}
KEY_PLACE = "{key}"
# Nobody's key is shorter, and names of a letter or two would make holes into every sentence.
SECRET_LENGTH = 4


@dataclass(frozen=True, slots=True)
class Address:
    """A stream on another server.

    Attributes:
        app: application, as in the connect command.
        name: stream name with its query, as in publish and play.
        key: the secret that stands in one of them; also a name may be one. Not for the log.
    """

    secure: bool
    host: str
    port: int
    app: str = field(repr=False)
    name: str = field(repr=False)
    key: str = field(repr=False, default="", compare=False)

    @property
    def tc_url(self) -> str:
        return f"{'rtmps' if self.secure else 'rtmp'}://{self._authority}/{self.app}"

    @property
    def shown(self) -> str:
        """Where it is, without stream and key."""
        url = self.tc_url.partition("?")[0]
        return url.replace(self.key, "***") if self.key else url

    def redacted(self, text: str) -> str:
        """What a server says, without the name in it."""
        for secret in sorted({self.key, self.name, *self.name.replace("?", "&").split("&")}, key=len, reverse=True):
            if len(secret) >= SECRET_LENGTH:
                text = text.replace(secret, "***")
        return text

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = PORTS["rtmps" if self.secure else "rtmp"]
        return host if self.port == default else f"{host}:{self.port}"


def parse_address(text: str, key: str = "") -> Address:
    """``rtmp://host[:port]/app[/instance]/name[?query]``. Raises LocalError with a sentence that holds no secret.

    The key goes where the address says ``{key}``, else after it as the stream's name. The application is everything
    but the last part of the path; a query belongs to the name.
    """
    whole = text
    if key:
        whole = text.replace(KEY_PLACE, key) if KEY_PLACE in text else f"{text.rstrip('/')}/{key}"
    elif KEY_PLACE in text:
        raise LocalError("the address says {key}, but there is no key_file")
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError as exc:
        raise LocalError("that is no address of the form rtmp://HOST[:PORT]/APP/NAME") from exc
    # A fragment is none in a stream's name: keys may hold any character.
    path = parts.path + (f"#{parts.fragment}" if parts.fragment and not parts.query else "")
    app, slash, name = path.strip("/").rpartition("/")
    if parts.scheme not in PORTS or not parts.hostname or port == 0 or not slash or not name:
        raise LocalError("that is no address of the form rtmp://HOST[:PORT]/APP/NAME (or rtmps://...)")
    if parts.query:
        name += f"?{parts.query}"
    return Address(parts.scheme == "rtmps", parts.hostname, port or PORTS[parts.scheme], app, name, key)


@dataclass(frozen=True, slots=True)
class Target:
    """What a peer of ours asks for: ``rtmp://gateway/live/NAME?query``.

    Attributes:
        app: first part of the path: ``live``, ``rooms``.
        name: the rest of it; stream names contain slashes.
        query: parameters after the application or the name. Secrets: not for the log.
    """

    app: str
    name: str
    query: dict[str, str] = field(repr=False)


def parse_target(app: str, name: str, query: Mapping[str, str]) -> Target:
    """From the connect command's application and the name of publish or play.

    Clients divide a path as they like (ffmpeg takes two parts for the application where there are three, librtmp one),
    so both are joined again.
    """
    path = "/".join(part for part in (app.strip("/"), name.strip("/")) if part)
    first, _, rest = path.partition("/")
    return Target(first, rest, dict(query))
