"""Our own description as a whole: its head and its version."""

from __future__ import annotations

from collections.abc import Sequence

from orbridge.adapters.sip.negotiated import Agreed, Direction, LocalMedia
from orbridge.codecs import sdp


def direction_of(hold: bool) -> Direction:
    """What we allow: while we hold, we go on sending and take nothing (RFC 3264 8.4)."""
    return "sendonly" if hold else "sendrecv"


def audio_parameters(name: str) -> dict[str, str]:
    """fmtp of what we receive."""
    return {"useinbandfec": "1"} if name == "OPUS" else {}


def write(media: Sequence[sdp.Media], local: LocalMedia, previous: Agreed | None) -> tuple[str, int]:
    """Text and version. The version grows by one when anything else changed (RFC 3264 8), and only then."""

    def text(version: int) -> str:
        address = sdp.Address(local.host, ":" in local.host)
        origin = sdp.Origin(local.session_id, version, address)
        return sdp.serialise(sdp.Description(origin, tuple(media), address=address))

    if previous is None:
        return text(1), 1
    same = text(previous.version)
    if same == previous.text:
        return same, previous.version
    return text(previous.version + 1), previous.version + 1
