"""From a TOML file and the environment to a checked ``Config``, with every problem named at once.

Secrets are never in the file: ``*_file`` keys refer to files (relative to the config's folder) or, as
``credential:NAME``, to systemd credentials (systemd.exec(5), LoadCredential=).
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import secrets
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from orbridge.codecs.errors import LocalError
from orbridge.gateway.config import Config

ENVIRONMENT_PREFIX = "ORBRIDGE__"
SECRET_LIMIT_BYTES = 65536
BACKENDS = frozenset({"embedded", "rtmp"})
KNOWN_AUDIO = frozenset({"OPUS", "G722", "PCMA", "PCMU"})


class ConfigError(LocalError):
    """The configuration can't be used. ``problems`` has one sentence each."""

    def __init__(self, path: str, problems: list[str]) -> None:
        super().__init__(path, problems)
        self.path, self.problems = path, problems

    def __str__(self) -> str:
        return "\n".join(f"{self.path}: {problem}" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked configuration and where it came from.

    Attributes:
        locked: a secret that can't be read is replaced by one that nobody can guess, so that its owner is locked out
            and the rest runs.
    """

    config: Config
    folder: Path
    path: str
    locked: bool = False

    def secret(self, reference: str) -> str:
        """The secret behind a ``*_file`` value. Raises LocalError with what to do, unless ``locked``."""
        try:
            return self._read(reference)
        except LocalError:
            if self.locked:
                return secrets.token_urlsafe(32)
            raise

    def unreadable_secrets(self) -> list[str]:
        """A sentence for every key that refers to a secret which can't be read."""
        config = self.config
        references = {
            **{f"devices.{device.name}.password_file": device.password_file for device in config.devices},
            **{f"devices.{device.name}.key_file": device.key_file for device in config.devices},
            **{f"rooms.{room.name}.key_file": room.key_file for room in config.rooms},
            **{f"pushes.{push.name}.key_file": push.key_file for push in config.pushes},
            **{f"tokens.{token.name}.secret_file": token.secret_file for token in config.tokens},
            **{f"registrars.{entry.uri}.password_file": entry.password_file for entry in config.registrars},
        }
        problems = []
        for place, reference in references.items():
            try:
                _ = reference and self._read(reference)
            except LocalError as exc:
                problems.append(f"{place}: {exc}")
        return problems

    def _read(self, reference: str) -> str:
        path = secret_path(reference, self.folder)
        try:
            with path.open("rb") as file:
                raw = file.read(SECRET_LIMIT_BYTES + 1)
        except OSError as exc:
            raise LocalError(f"secret {reference} can't be read from {path}: {exc.strerror}") from exc
        if len(raw) > SECRET_LIMIT_BYTES:
            raise LocalError(f"secret {reference} in {path} is larger than {SECRET_LIMIT_BYTES} bytes")
        text = raw.decode("utf-8", "replace").strip()
        if not text:
            raise LocalError(f"secret {reference} in {path} is empty")
        return text


def secret_path(reference: str, folder: Path) -> Path:
    """Where a secret lies: a systemd credential, or a file relative to the config's folder."""
    if reference.startswith("credential:"):
        name = reference.removeprefix("credential:")
        return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials/orbridge.service")) / name
    return (folder / reference).expanduser()


def load(path: Path, environment: Mapping[str, str] | None = None) -> Loaded:
    """Read, override, check. Raises ConfigError with every problem that was found."""
    try:
        text = path.read_text("utf-8")
    except OSError as exc:
        raise ConfigError(str(path), [f"can't be read: {exc.strerror}"]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(str(path), [f"isn't UTF-8 text: byte {exc.start} can't be decoded"]) from exc
    return parse(text, path, os.environ if environment is None else environment)


def parse(text: str, path: Path, environment: Mapping[str, str]) -> Loaded:
    """As ``load``, from text."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(str(path), [f"isn't valid TOML: {exc}"]) from exc
    problems = list(override(raw, environment))
    problems += unknown_keys(raw, Config, text)
    if problems:
        raise ConfigError(str(path), problems)
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as exc:
        raise ConfigError(str(path), [plain(str(exc))]) from exc
    problems = list(check(config))
    if problems:
        raise ConfigError(str(path), problems)
    folder = path.parent.resolve()
    return Loaded(with_paths(config, folder), folder, str(path))


def with_paths(config: Config, folder: Path) -> Config:
    """Certificates named relative to the file's folder, found from anywhere."""

    def found(name: str) -> str:
        return str(folder / Path(name).expanduser()) if name else ""

    sip, rtmp = config.sip, config.rtmp
    return msgspec.structs.replace(
        config,
        sip=msgspec.structs.replace(
            sip, tls_certificate=found(sip.tls_certificate), tls_key=found(sip.tls_key), tls_ca=found(sip.tls_ca)
        ),
        rtmp=msgspec.structs.replace(rtmp, tls_certificate=found(rtmp.tls_certificate), tls_key=found(rtmp.tls_key)),
    )


def plain(problem: str) -> str:
    """msgspec's sentence with our way to name a place: ``Expected `int`, got `str` - at `$.sip.max_calls```."""
    sentence, _, place = problem.partition(" - at ")
    return f"{place.strip('`').removeprefix('$.') or 'the file'}: {sentence[:1].lower()}{sentence[1:]}"


def override(raw: dict[str, Any], environment: Mapping[str, str]) -> Iterator[str]:
    """Put ``ORBRIDGE__SECTION__KEY`` into the raw tables; values are TOML, else text. Yields problems."""
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        parts = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if len(parts) != 2 or not all(parts):
            yield f"environment variable {name} isn't of the form {ENVIRONMENT_PREFIX}SECTION__KEY"
            continue
        section, key = parts
        table = raw.setdefault(section, {})
        if not isinstance(table, dict):
            yield f"environment variable {name}: {section} is a list of tables, which only the file can set"
            continue
        table[key] = toml_value(environment[name])


def toml_value(text: str) -> Any:
    """A TOML value where the text is one, else the text itself, so that quotes aren't needed in a shell."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def unknown_keys(raw: Any, kind: Any, text: str, where: str = "") -> Iterator[str]:
    """Keys that no struct knows, each with the nearest that is known and its line in the file."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(raw, dict):
        hints = typing.get_type_hints(kind)
        for key, value in raw.items():
            place = f"{where}.{key}" if where else key
            if key in hints:
                yield from unknown_keys(value, hints[key], text, place)
            else:
                near = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
                known = f"did you mean {near[0]}?" if near else f"known are: {', '.join(sorted(hints))}"
                yield f"{line_of(key, text)}unknown key {place}; {known}"
    elif isinstance(raw, list) and (inner := typing.get_args(kind)):
        for number, item in enumerate(raw):
            yield from unknown_keys(item, inner[0], text, f"{where}[{number}]")


def line_of(key: str, text: str) -> str:
    """``line 12: `` for the first line that sets or opens ``key``; empty when none does (it came from elsewhere)."""
    pattern = re.compile(rf"^\s*(\[+\s*{re.escape(key)}\s*\]|{re.escape(key)}\s*=)", re.MULTILINE)
    match = pattern.search(text)
    return f"line {text.count(chr(10), 0, match.start()) + 1}: " if match else ""


def split_listen(text: str) -> tuple[str, str, int]:
    """``udp:127.0.0.1:5060``, ``[::1]:8080`` -> (transport or "", host, port). Raises ValueError with a sentence."""
    transport, rest = "", text
    head, _, tail = text.partition(":")
    if head in ("udp", "tcp", "tls") and tail:
        transport, rest = head, tail
    host, colon, port = rest.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{text!r} isn't HOST:PORT, for example 127.0.0.1:8080 or [::1]:8080")
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError as exc:
        raise ValueError(f"{host!r} in {text!r} isn't an IP address; 0.0.0.0 or [::] listen on all") from exc
    return transport, host, int(port)


def split_ports(text: str) -> tuple[int, int]:
    """``20000-29999`` -> (20000, 29999). Raises ValueError with a sentence."""
    low, dash, high = text.partition("-")
    if not (dash and low.isdigit() and high.isdigit() and 1024 <= int(low) < int(high) <= 65535):
        raise ValueError(f"{text!r} isn't a range of ports such as 20000-29999, from 1024 on")
    return int(low), int(high)


def check(config: Config) -> Iterator[str]:
    """What types can't say. Yields problems."""
    yield from check_addresses(config)
    yield from check_tables(config)
    if bool(config.http.tls_key) != bool(config.http.tls_certificate) and config.http.tls_certificate != "auto":
        yield "http: tls_certificate and tls_key go together"
    if any(entry.startswith("tls:") for entry in config.sip.listen) and not (
        config.sip.tls_certificate and config.sip.tls_key
    ):
        yield "sip.listen has a tls: address, so sip.tls_certificate and sip.tls_key are needed"
    if config.rtmp.tls_listen and not (config.rtmp.tls_certificate and config.rtmp.tls_key):
        yield "rtmp.tls_listen is set, so rtmp.tls_certificate and rtmp.tls_key are needed"
    if not 1 <= config.rtmp.max_connections <= 10_000:
        yield f"rtmp.max_connections is {config.rtmp.max_connections}: it must be from 1 to 10000"
    if not 0 <= config.media.max_video_transcodes <= 64:
        yield f"media.max_video_transcodes is {config.media.max_video_transcodes}: it must be from 0 to 64"
    if config.sip.min_se_s < 90:
        yield f"sip.min_se_s is {config.sip.min_se_s}: RFC 4028 5 allows no less than 90 s"
    if config.sip.session_expires_s < config.sip.min_se_s:
        yield "sip.session_expires_s must not be below sip.min_se_s"
    if not 1 <= config.sip.max_calls <= 100_000:
        yield f"sip.max_calls is {config.sip.max_calls}: it must be from 1 to 100000"


def check_addresses(config: Config) -> Iterator[str]:
    for place, entries in (
        ("http.listen", [config.http.listen]),
        ("sip.listen", config.sip.listen),
        ("rtmp.listen", [config.rtmp.listen] if config.rtmp.listen else []),
        ("rtmp.tls_listen", [config.rtmp.tls_listen] if config.rtmp.tls_listen else []),
    ):
        for entry in entries:
            try:
                transport, host, _ = split_listen(entry)
            except ValueError as exc:
                yield f"{place}: {exc}"
                continue
            if place == "sip.listen" and not transport:
                yield f"sip.listen: {entry!r} has no transport: write udp:{entry}, tcp:{entry} or tls:{entry}"
            if place == "http.listen" and not config.tokens and not ipaddress.ip_address(host).is_loopback:
                yield (
                    f"http.listen is {entry}, which others can reach, but no [[tokens]] is configured: "
                    "add a token, or listen on 127.0.0.1"
                )
    for host in (config.media.host, *config.media.hosts):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            yield f"media.host: {host!r} isn't an IP address; it goes into SDP, so name the one that peers reach"
        else:
            if address.is_unspecified:
                yield f"media.host: {host} can't be written into SDP; name the address that devices reach"
    try:
        split_ports(config.media.udp_ports)
    except ValueError as exc:
        yield f"media.udp_ports: {exc}"


def check_tables(config: Config) -> Iterator[str]:
    for place, names in (
        ("devices", [device.name for device in config.devices]),
        ("rooms", [room.name for room in config.rooms]),
        ("tokens", [token.name for token in config.tokens]),
        ("pushes", [push.name for push in config.pushes]),
    ):
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{place}: the name {name!r} is there twice"
        for name in names:
            if not name or len(name) > 60 or any(not c.isprintable() or c in "/?#%\\ " for c in name):
                yield f"{place}: {name!r} can't be a name: 1 to 60 characters without spaces and / ? # % \\"
    for device in config.devices:
        for codec in device.audio_codecs:
            if codec.upper() not in KNOWN_AUDIO:
                yield f"devices.{device.name}.audio_codecs: {codec!r} is none of {', '.join(sorted(KNOWN_AUDIO))}"
        if device.adapter == "sip" and not (device.address or device.username):
            yield f"devices.{device.name}: a SIP device needs an address (sip:user@host) or a username to be known by"
        if device.adapter == "rtmp" and not (device.key_file or device.address):
            yield (
                f"devices.{device.name}: an RTMP device needs a key_file (it publishes to us with that key) or an "
                "address (rtmp://host/app/name, from where its stream is fetched)"
            )
        if device.adapter == "rtmp" and device.address:
            yield from check_rtmp_address(f"devices.{device.name}", device.address)
        if device.username and not device.password_file:
            yield f"devices.{device.name}: username without password_file"
    for room in config.rooms:
        if room.backend not in BACKENDS:
            yield f"rooms.{room.name}.backend: {room.backend!r} is none of {', '.join(sorted(BACKENDS))}"
        if room.backend == "rtmp":
            yield from check_rtmp_address(f"rooms.{room.name}", room.address)
        elif room.address or room.key_file:
            yield f'rooms.{room.name}: address and key_file belong to backend = "rtmp"'
        if not 2 <= room.max_participants <= 64:
            yield f"rooms.{room.name}.max_participants is {room.max_participants}: it must be from 2 to 64"
    for push in config.pushes:
        yield from check_rtmp_address(f"pushes.{push.name}", push.address)
        if not push.stream:
            yield f"pushes.{push.name}.stream is empty: name a stream such as endoscope-1/main"


def check_rtmp_address(place: str, address: str) -> Iterator[str]:
    """A place to publish to or play from: ``rtmp://host[:port]/app[/name]``; the key is in a file of its own."""
    try:
        parts = urlsplit(address)
        whole = parts.scheme in ("rtmp", "rtmps") and parts.hostname and parts.path.strip("/") and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        yield f"{place}.address: {address!r} isn't of the form rtmp://HOST[:PORT]/APP/NAME or rtmps://..."
