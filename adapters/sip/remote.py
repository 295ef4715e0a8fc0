"""What a peer's description says about its lines: transport, direction, role, feedback. No decision is taken here.

Offers and answers are read alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple, cast

from orbridge.adapters.sip.negotiated import Direction, Feedback
from orbridge.codecs import sdp
from orbridge.codecs.media import Kind, Role

_FLOOR_STREAMS = re.compile(r"(?:mstrm|m-stream):\s*([0-9]+(?:\s+[0-9]+)*)", re.IGNORECASE)
# RFC 4796: what is not the camera.
_SHARED = frozenset({"slides", "alt"})

REVERSED: dict[str, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}


class RtpProfile(NamedTuple):
    """What an ``m=`` line's proto says. ``dtls``: keys come by DTLS (RFC 5764)."""

    secure: bool
    dtls: bool


_PROFILES = {
    "RTP/AVP": RtpProfile(False, False),
    "RTP/AVPF": RtpProfile(False, False),
    "RTP/SAVP": RtpProfile(True, False),
    "RTP/SAVPF": RtpProfile(True, False),
    "UDP/TLS/RTP/SAVP": RtpProfile(True, True),
    "UDP/TLS/RTP/SAVPF": RtpProfile(True, True),
}


def rtp_profile(proto: str) -> RtpProfile | None:
    """None: not RTP over UDP."""
    return _PROFILES.get(proto.upper())


class Transport(NamedTuple):
    """Where the peer wants RTP and RTCP. A host is ``""`` when none that can be used is named."""

    host: str
    port: int
    rtcp_host: str
    rtcp_port: int
    problem: str = ""


def read_transport(media: sdp.Media, *, mux: bool) -> Transport:
    """``c=``, the port, ``a=rtcp`` (RFC 3605). ``mux``: RTCP goes where RTP goes (RFC 5761 5.1.1)."""
    host, problem = _usable_host(media.address)
    if mux:
        return Transport(host, media.port, host, media.port, problem)
    rtcp = sdp.read_rtcp(media)
    if rtcp is None:
        return Transport(host, media.port, host, min(media.port + 1, 65_535), problem)
    port, address = rtcp
    rtcp_host = _usable_host(address)[0] if address is not None else host
    return Transport(host, media.port, rtcp_host or host, port, problem)


def _usable_host(address: sdp.Address | None) -> tuple[str, str]:
    if address is None:
        return "", "names no address"
    if address.unspecified:
        return "", ""
    try:
        parsed = ip_address(address.host)
    except ValueError:
        return "", "names a host instead of an address"
    if parsed.is_multicast:
        return "", "names a multicast address"
    return address.host, ""


def read_direction(description: sdp.Description, media: sdp.Media) -> Direction:
    """As the peer sees it. An unspecified address means that it takes nothing (RFC 3264 8.4)."""
    direction = cast(Direction, description.direction(media))
    if media.address is not None and media.address.unspecified:
        return "sendonly" if direction in ("sendrecv", "sendonly") else "inactive"
    return direction


def intersect(first: Direction, second: Direction) -> Direction:
    """The ways that both allow."""
    sends = all(direction in ("sendrecv", "sendonly") for direction in (first, second))
    receives = all(direction in ("sendrecv", "recvonly") for direction in (first, second))
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def read_roles(media: Sequence[sdp.Media]) -> list[tuple[Kind, Role] | None]:
    """What each line is for; None: neither audio nor video.

    A video line is content when it says so (RFC 4796), or when the floor of a BFCP line (RFC 8856 5.3) controls it by
    its label (RFC 4574) and it doesn't claim to be the main one. ``m-stream`` is the older spelling of ``mstrm``.
    """
    floors: set[str] = set()
    for line in media:
        if line.kind == "application":
            for value in line.values("floorid"):
                match = _FLOOR_STREAMS.search(value)
                if match is not None:
                    floors.update(match[1].split())
    roles: list[tuple[Kind, Role] | None] = []
    for line in media:
        if line.kind == "audio":
            roles.append((Kind.AUDIO, Role.MAIN))
        elif line.kind == "video":
            words = frozenset((line.value("content") or "").lower().replace(",", " ").split())
            shared = bool(words & _SHARED) or (line.value("label") in floors and "main" not in words)
            roles.append((Kind.VIDEO, Role.CONTENT if shared else Role.MAIN))
        else:
            roles.append(None)
    return roles


def read_feedback(media: sdp.Media, pt: int) -> tuple[Feedback, bool]:
    """``a=rtcp-fb`` of a payload type with those for all types, and whether the peer wrote ``*``.

    Read on RTP/AVP as well: Polycom and Cisco offer feedback there and use it.
    """
    found: set[str] = set()
    wildcard = False
    for value in media.values("rtcp-fb"):
        target, _, rest = value.partition(" ")
        if target not in ("*", str(pt)):
            continue
        wildcard = wildcard or target == "*"
        found.add(" ".join(rest.lower().split()[:2]))
    return (
        Feedback("nack" in found, "nack pli" in found, "ccm fir" in found, "ccm tmmbr" in found),
        wildcard,
    )


def read_packet_time(media: sdp.Media) -> int | None:
    """``a=ptime``, held below ``a=maxptime``, ms; None when it says neither or nonsense."""
    times = [float(value) for name in ("ptime", "maxptime") if _is_number(value := (media.value(name) or "").strip())]
    return round(min(times)) if times and 1 <= min(times) <= 200 else None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) is not None
