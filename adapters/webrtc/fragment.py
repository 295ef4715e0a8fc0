"""SDP fragments (RFC 8840 9): candidates and ICE credentials as they travel in a PATCH, and in its answer.

Text in, nouns out: no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orbridge.adapters.webrtc.offer import MAX_CANDIDATES, credentials_fit
from orbridge.codecs.errors import ParseError

MEDIA_TYPE = "application/trickle-ice-sdpfrag"
MAX_LINES = 400


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a fragment says. ``ufrag`` and ``password`` are empty when it only brings candidates of the known session.

    Attributes:
        candidates: without ``a=candidate:``.
        ended: no more candidates will follow (``a=end-of-candidates``).
    """

    ufrag: str
    password: str
    candidates: tuple[str, ...]
    ended: bool


def parse_fragment(text: str) -> Fragment:
    """Raises ParseError with the line that is wrong.

    Credentials and candidates may stand in front of or below the bundle's media line; with one transport a session
    they mean the same. Those of a second media line repeat the first's.
    """
    rows = text.splitlines()
    if len(rows) > MAX_LINES:
        raise ParseError("sdpfrag", "the whole", f"has {len(rows)} lines, more than {MAX_LINES}")
    ufrag = password = ""
    candidates: list[str] = []
    ended = False
    for number, row in enumerate(rows, 1):
        name, _, value = row.strip().partition(":")
        if name == "a=ice-ufrag":
            ufrag = ufrag or value
        elif name == "a=ice-pwd":
            password = password or value
        elif name == "a=candidate":
            candidates.append(value.strip())
        elif name == "a=end-of-candidates":
            ended = True
        elif row.strip() and row.strip()[1:2] != "=":
            raise ParseError("sdpfrag", f"line {number}", "isn't of the form LETTER=VALUE")
    if (ufrag or password) and not credentials_fit(ufrag, password):
        raise ParseError("sdpfrag", "the whole", "has no valid pair of a=ice-ufrag and a=ice-pwd (RFC 8839 5.4)")
    return Fragment(ufrag, password, tuple(candidates[:MAX_CANDIDATES]), ended)


def write_fragment(kind: str, mid: str, ufrag: str, password: str, candidates: Sequence[str]) -> str:
    """Our credentials and candidates after an ICE restart, on the bundle's first line (RFC 9725 4.3.3)."""
    rows = [f"a=group:BUNDLE {mid}"] if mid else []
    rows += [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{password}", "a=ice-options:trickle"]
    rows.append(f"m={kind} 9 UDP/TLS/RTP/SAVPF 0")
    rows += [f"a=mid:{mid}"] if mid else []
    rows += [f"a=candidate:{candidate}" for candidate in candidates]
    return "\r\n".join([*rows, "a=end-of-candidates"]) + "\r\n"
