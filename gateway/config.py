"""The configuration: one TOML file, every key with a default, unknown keys refused.

The structs are the contract; ``systemd/orbridge.toml`` explains each key to people and a test holds the two together.
Loading, ``ORBRIDGE__SECTION__KEY`` overrides and secrets are in ``gateway/config_load.py``.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Http(Section, frozen=True):
    """The pages, the API, WHIP and WHEP."""

    listen: str = "127.0.0.1:8080"
    tls_certificate: str = ""
    tls_key: str = ""
    public_url: str = ""


class Sip(Section, frozen=True):
    """SIP listeners and what holds for every SIP device."""

    listen: list[str] = []
    domain: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    tls_verify_client: bool = False
    max_calls: int = 200
    session_expires_s: int = 1800
    min_se_s: int = 90
    ring_timeout_s: int = 60
    user_agent: str = "orbridge"


class Rtmp(Section, frozen=True):
    """RTMP and RTMPS listeners; empty: off."""

    listen: str = ""
    tls_listen: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    second_publisher: Literal["refuse", "take_over"] = "refuse"
    max_connections: int = 200


class IceServer(Section, frozen=True):
    """A STUN or TURN server that browsers are told of and we use."""

    url: str
    username: str = ""
    credential_file: str = ""


class Media(Section, frozen=True):
    """Addresses and limits of the media path."""

    host: str = "127.0.0.1"
    hosts: list[str] = []
    udp_ports: str = "20000-29999"
    max_video_kbps: int = 4000
    max_video_transcodes: int = 2
    silence_timeout_s: int = 30
    ice_servers: list[IceServer] = []
    dscp_audio: int = 46
    dscp_video: int = 34


class Control(Section, frozen=True):
    """The socket that the command line talks to; empty: orbridge.sock in the runtime folder."""

    socket: str = ""


class Log(Section, frozen=True):
    """Level and form of the log; ``auto``: coloured on a terminal, JSON lines else."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class Registrar(Section, frozen=True):
    """A registrar elsewhere where the gateway registers itself as a device or room."""

    uri: str
    username: str
    password_file: str
    registrar: str = ""
    expires_s: int = 300
    room: str = ""


class Device(Section, frozen=True):
    """One piece of hospital equipment."""

    name: str
    adapter: str
    room: str = ""
    rooms: list[str] = []
    address: str = ""
    username: str = ""
    password_file: str = ""
    key_file: str = ""
    profile: str = "auto"
    srtp: Literal["off", "optional", "mandatory"] = "optional"
    audio_codecs: tuple[str, ...] = ("OPUS", "G722", "PCMA", "PCMU")
    video: bool = True
    max_video_kbps: int = 0
    allow_refer: bool = False
    auto_dial: bool = False


class Room(Section, frozen=True):
    """A meeting. A room that a device or token names and that isn't here is made with these defaults."""

    name: str
    backend: str = "embedded"
    title: str = ""
    max_participants: int = 16
    address: str = ""
    key_file: str = ""


class Push(Section, frozen=True):
    """A stream of the bus (``endoscope-1/main``) that is sent on to an RTMP server while it is published."""

    name: str
    stream: str
    address: str
    key_file: str = ""


class Token(Section, frozen=True):
    """Who may do what over HTTP."""

    name: str
    secret_file: str
    rooms: tuple[str, ...] = ("*",)
    may: tuple[Literal["view", "publish", "operate", "admin"], ...] = ("view",)


class Config(Section, frozen=True):
    """The whole file."""

    http: Http = Http()
    sip: Sip = Sip()
    rtmp: Rtmp = Rtmp()
    media: Media = Media()
    control: Control = Control()
    log: Log = Log()
    registrars: list[Registrar] = []
    devices: list[Device] = []
    rooms: list[Room] = []
    tokens: list[Token] = []
    pushes: list[Push] = []
