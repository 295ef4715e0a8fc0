"""The daemon as a process, and the tests' own peers that speak with it, for the benchmarks."""

from __future__ import annotations

import shutil

from peer_chromium import chromium, new_page
from rawpeer import Dialog, RawPeer, body, description, headers, status
from room_page import RoomPage
from running_gateway import Gateway
from waiting import until

from tests.bench.programs import BUILD

__all__ = [
    "Dialog",
    "Gateway",
    "RawPeer",
    "RoomPage",
    "body",
    "chromium",
    "daemon",
    "description",
    "headers",
    "new_page",
    "status",
    "until",
]

# Above what the kernel gives away by itself.
SIP_PORT, PEER_PORT, MEDIA_PORTS, PEER_MEDIA = 62410, 62420, 62500, 64600


def daemon(name: str, *, sip_more: str = "") -> Gateway:
    """`orbridge serve` in a fresh folder, as it is configured in production: log level info."""
    folder = BUILD / name
    shutil.rmtree(folder, ignore_errors=True)
    return Gateway(
        folder,
        environment={"ORBRIDGE__LOG__LEVEL": "info"},
        transports=("udp", "tcp"),
        sip=SIP_PORT,
        media_ports=MEDIA_PORTS,
        sip_more=sip_more,
    )
