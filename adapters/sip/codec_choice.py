"""Which of a peer's payload types is used, and what the refusal of a line says in words.

Pass-through decides the order for video: the best is what needs no repacking (packetization mode 1) and what every
browser decodes (Constrained Baseline). Audio follows the configured order, because audio may be transcoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from orbridge.codecs import h264
from orbridge.codecs.media import G722, H264, OPUS, PCMA, PCMU, Codec, VideoLimit
from orbridge.codecs.sdp import Format

# What the engine can send and receive on a SIP leg.
AUDIO_CODECS: dict[str, Codec] = {codec.name: codec for codec in (OPUS, G722, PCMA, PCMU)}

TELEPHONE_EVENT = "TELEPHONE-EVENT"

# Our decoders are browsers: 1080p at 30 pictures a second.
RECEIVED_FS = 8_192
RECEIVED_MBPS = 245_760

_720P_FS = 3_600

_PREFERENCE = {
    h264.Profile.CONSTRAINED_BASELINE: 0,
    h264.Profile.BASELINE: 1,
    h264.Profile.MAIN: 2,
    h264.Profile.CONSTRAINED_HIGH: 2,
    h264.Profile.HIGH: 2,
}
_LOW, _LAST = 2, 3

# Companions of a codec that a refusal needn't name.
_COMPANIONS = frozenset({TELEPHONE_EVENT, "CN", "RED", "RTX", "ULPFEC", "FLEXFEC-03", "AVCFEC", "X-ULPFECUC", "TONE"})

_SPOKEN = {
    "H261": "H.261",
    "H263": "H.263",
    "H263-1998": "H.263+",
    "H263-2000": "H.263++",
    "H264-SVC": "H.264 SVC",
    "H265": "H.265",
    "X-H264UC": "X-H264UC",
    "X-RTVC1": "RTVideo",
    "MP4A-LATM": "AAC-LD",
    "MPEG4-GENERIC": "AAC",
    "G7221": "G.722.1",
    "G722": "G.722",
    "G728": "G.728",
    "G729": "G.729",
    "G7231": "G.723.1",
    "G723": "G.723",
    "PCMA": "G.711 A-law",
    "PCMU": "G.711 µ-law",
    "OPUS": "Opus",
    "SIRENLPR": "Siren LPR",
    "SIREN14": "Siren 14",
    "SIREN22": "Siren 22",
}
_MAX_NAMED = 6


class Refusal(NamedTuple):
    """Why a line isn't taken: a code for programs and the end of a sentence that begins with "the device"."""

    code: str
    text: str


def received_limit(max_kbps: int) -> VideoLimit:
    """What we say that we take."""
    return VideoLimit(RECEIVED_FS, RECEIVED_MBPS, max_kbps)


def choose_audio(formats: Sequence[Format], names: Iterable[str], *, ordered: bool) -> Format | None:
    """The best format of ours: in our order, or (``ordered``, an answer) the first of the peer's that is ours."""
    ours = list(names)
    usable = [one for one in formats if one.name in ours and fits_ours(one)]
    if not usable:
        return None
    return usable[0] if ordered else min(usable, key=lambda one: ours.index(one.name))


def fits_ours(one: Format) -> bool:
    """It is an audio codec of ours, at its clock and channels."""
    codec = AUDIO_CODECS.get(one.name)
    if codec is None:
        return False
    # G722/16000 is a common mistake (RFC 3551 4.5.2 explains why it is 8000); opus/48000 without /2 is another.
    clocks = (codec.clock_hz, 0, 16_000) if codec is G722 else (codec.clock_hz, 0)
    return one.clock_hz in clocks and one.channels in (1, codec.channels)


def choose_events(formats: Sequence[Format], audio: Format | None) -> Format | None:
    """The telephone-event that goes with a codec: of its clock (RFC 4733 2.1), else any."""
    events = [one for one in formats if one.name == TELEPHONE_EVENT]
    clock_hz = AUDIO_CODECS[audio.name].clock_hz if audio is not None else 8_000
    return next((one for one in events if one.clock_hz == clock_hz), events[0] if events else None)


def choose_video(formats: Sequence[Format], modes: Sequence[int] = (1, 0)) -> Format | None:
    """The best H.264 format.

    In this order: a mode that comes early in ``modes``; Constrained Baseline, then Baseline, where they admit 720p or
    no other one admits more; the peer's own order.
    """
    candidates = [one for one in formats if is_h264(one) and h264.packetization_mode(one.parameters) in (0, 1)]
    if not candidates:
        return None
    limits = {one.pt: h264.read_limit(one.parameters) for one in candidates}
    largest = max((limit.max_fs for limit in limits.values() if limit is not None), default=0)

    def rank(one: Format) -> tuple[int, int]:
        mode = h264.packetization_mode(one.parameters)
        known = h264.read_profile_level(one.parameters)
        preference = _PREFERENCE.get(known.profile, _LAST) if known is not None else _LOW
        limit = limits[one.pt]
        if limit is not None and limit.max_fs < min(_720P_FS, largest):
            preference = max(preference, _LOW)
        return (modes.index(mode) if mode in modes else len(modes), preference)

    return min(candidates, key=rank)


def is_h264(one: Format) -> bool:
    return one.name == H264.name and one.clock_hz in (H264.clock_hz, 0)


def refuse_audio(formats: Sequence[Format], names: Sequence[str], verb: str) -> Refusal:
    wanted = ", ".join(_spoken(name) for name in names) or "none"
    return Refusal("no_audio_codec", f"{verb} only {spoken_list(formats)}; configured for it: {wanted}")


def refuse_video(formats: Sequence[Format], verb: str) -> Refusal:
    names = {one.name for one in formats}
    if "H264" in names:
        return Refusal("h264_unusable", f"{verb} H.264 only in interleaved mode or at a clock that isn't 90 kHz")
    if "X-H264UC" in names:
        return Refusal("no_h264", f"{verb} X-H264UC, which is not H.264")
    if "H264-SVC" in names:
        return Refusal("no_h264", f"{verb} H.264 SVC without plain H.264")
    return Refusal("no_h264", f"{verb} only {spoken_list(formats)}")


def spoken_list(formats: Sequence[Format]) -> str:
    """``H.263 and H.261``: names for people, each once, the first few."""
    names = list(dict.fromkeys(_spoken(one.name) for one in formats if one.name not in _COMPANIONS))
    if len(names) > _MAX_NAMED:
        return ", ".join(names[:_MAX_NAMED]) + f" and {len(names) - _MAX_NAMED} more"
    if len(names) > 1:
        return ", ".join(names[:-1]) + " and " + names[-1]
    return names[0] if names else "codecs without a name"


def _spoken(name: str) -> str:
    return _SPOKEN.get(name, name[:32] if name.isascii() and name.isprintable() else "a codec with an unreadable name")
