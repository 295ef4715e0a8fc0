"""What a call says to people: one sentence for each line that isn't as it could be."""

from __future__ import annotations

from collections.abc import Iterable

from orbridge.adapters.sip.codec_choice import Refusal
from orbridge.codecs.media import Kind, Role
from orbridge.codecs.sdp import MAX_WARNINGS
from orbridge.gateway.session import Note

_LOST = {
    (Kind.AUDIO, Role.MAIN): "no sound",
    (Kind.VIDEO, Role.MAIN): "no picture",
    (Kind.VIDEO, Role.CONTENT): "no shared picture",
}


def picture_too_large(nal_bytes: int) -> Note:
    """What was to be shown and can't be: packetization-mode 0 (RFC 6184 6.2) has no fragments."""
    return Note(
        "picture_too_large",
        f"a picture of {-(-nal_bytes // 1000)} kB can't be sent to this device: it takes only one packet per NAL unit "
        "(packetization-mode 0), and no packet carries more than 65 kB; a lower bit rate or size at the source helps",
    )


class Report:
    """Collects notes and warnings while a description is gone through; each text once."""

    def __init__(self, warnings: Iterable[str]) -> None:
        self._warnings = dict.fromkeys(warnings)
        self._notes: dict[str, Note] = {}
        self._refusals: dict[tuple[Kind, Role], Refusal] = {}

    def warn(self, warnings: Iterable[str]) -> None:
        self._warnings.update(dict.fromkeys(warnings))

    def note(self, code: str, text: str) -> None:
        self._notes.setdefault(text, Note(code, text))

    def refused(self, kind: Kind, role: Role, refusal: Refusal) -> None:
        """A line was refused. The first reason for a kind and role is told, if no other line takes its place."""
        self._refusals.setdefault((kind, role), refusal)

    def taken(self, kind: Kind, *, passed_over: str, problem: str) -> None:
        """A line was accepted, with what is left to say about it."""
        if passed_over:
            self.note("srtp_passed_over", f"{kind} isn't encrypted: of what the device offers, {passed_over}")
        if problem:
            self.note("address_learned", f"the device {problem} for {kind}: it is learned from what arrives")

    def finish(
        self, wanted: Iterable[tuple[Kind, Role]], taken: Iterable[tuple[Kind, Role]], verb: str
    ) -> tuple[tuple[Note, ...], tuple[str, ...]]:
        """Notes and warnings. ``wanted``: the lines that we would take."""
        there = set(taken)
        notes: list[Note] = []
        for key in dict.fromkeys([*wanted, *self._refusals]):
            if key in there:
                continue
            kind, role = key
            refusal = self._refusals.get(key)
            if refusal is None and role is Role.MAIN:
                refusal = Refusal(f"no_{kind}_line", f"{verb} no {kind}")
            if refusal is not None:
                notes.append(Note(refusal.code, f"{_LOST[key]}: the device {refusal.text}"))
        notes.extend(self._notes.values())
        return tuple(notes), tuple(self._warnings)[:MAX_WARNINGS]
