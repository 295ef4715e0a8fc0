"""What a participant is shown and played: pure functions, values in, decision out.

A device that shows one picture and plays one sound gets: what someone shares, else whom it is pinned to, else the
active speaker, else whom it was already shown; and everybody's sound but its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orbridge.codecs.media import AAC, Codec, Role, VideoLimit


@dataclass(frozen=True, slots=True)
class Picture:
    """A video track that somebody in the room sends.

    Attributes:
        owner: participant id.
        name: the participant's name.
        width, height: pixels, 0 while unknown.
        fps: 0.0 while unknown.
        order: counts who came first.
        device: the owner is a hospital device rather than a browser.
        reordered: it comes in another order than it is shown in (B-pictures).
    """

    track: int
    owner: str
    name: str
    role: Role
    codec: Codec
    width: int = 0
    height: int = 0
    fps: float = 0.0
    order: int = 0
    device: bool = False
    reordered: bool = False


@dataclass(frozen=True, slots=True)
class Voice:
    """An audio track that somebody in the room sends."""

    track: int
    owner: str
    codec: Codec


@dataclass(frozen=True, slots=True)
class Shown:
    """The picture to send, and in words why there is none or not the one that was asked for.

    Attributes:
        why: set when the picture must be converted to the viewer's codec first: what stands against sending it as it
            is.
    """

    track: int | None
    owner: str | None = None
    problem: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody else sends sound."""


@dataclass(frozen=True, slots=True)
class PassThrough:
    """This track as it is: nothing is decoded."""

    track: int


@dataclass(frozen=True, slots=True)
class Convert:
    """This track in the listener's codec; there is nothing to mix."""

    track: int


@dataclass(frozen=True, slots=True)
class Mix:
    """Everybody's sound but these tracks', encoded in the listener's codec."""

    exclude: frozenset[int]


Heard = Silence | PassThrough | Convert | Mix


def mismatch(picture: Picture, codec: Codec, reorders: bool) -> str:
    """Why a picture can't be sent undecoded whatever its size; empty when it can. Converting helps."""
    if picture.codec.name != codec.name:
        return f"{picture.name} sends {picture.codec.name}, this side takes {codec.name}"
    if picture.reordered and not reorders:
        return f"{picture.name} sends B-pictures, which this side doesn't put in order"
    return ""


def obstacle(picture: Picture, codec: Codec, limit: VideoLimit | None) -> str:
    """Why a picture can't be sent undecoded to who takes ``codec`` within ``limit``; empty when it can."""
    return mismatch(picture, codec, True) or oversize(picture, limit)


def oversize(picture: Picture, limit: VideoLimit | None) -> str:
    """Why a picture is too large for a decoder; empty when it isn't."""
    if limit is not None and picture.width and not limit.admits(picture.width, picture.height, picture.fps):
        macroblocks = ((picture.width + 15) // 16) * ((picture.height + 15) // 16)
        rate = f" at {picture.fps:.0f}/s" if picture.fps else ""
        return (
            f"{picture.name} sends {picture.width}x{picture.height}{rate} ({macroblocks} macroblocks), "
            f"this side decodes {limit.max_fs} and {limit.max_mbps}/s at most"
        )
    return ""


def choose_picture(
    viewer: str,
    codec: Codec,
    limit: VideoLimit | None,
    pictures: Sequence[Picture],
    *,
    speaker: str | None = None,
    pinned: str | None = None,
    current: int | None = None,
    role: Role = Role.MAIN,
    takes_content: bool = False,
    reorders: bool = True,
    refused: Mapping[int, str] | None = None,
) -> Shown:
    """The one picture for a viewer's line.

    What would have to be converted isn't passed over for what wouldn't, unless nothing else speaks for either.

    Args:
        viewer: participant id; its own pictures are never chosen.
        codec, limit: what its decoder takes.
        pinned: name of the participant that it shall see.
        current: the track that it is shown now; stays when nothing says otherwise.
        role: which of the viewer's lines is to be filled.
        takes_content: the viewer has a second line for what is shared, so the main line keeps the camera.
        reorders: it puts B-pictures in order.
        refused: tracks that can't be converted at the moment, with the reason; None: nothing is ever converted.
    """
    # Devices agree on a line for slides long before somebody shares: it shows nothing until a picture has come.
    others = [
        picture for picture in pictures if picture.owner != viewer and (picture.role is Role.MAIN or picture.width)
    ]
    if role is Role.CONTENT:
        others = [picture for picture in others if picture.role is Role.CONTENT]
    elif takes_content:
        others = [picture for picture in others if picture.role is Role.MAIN]
    if not others:
        return Shown(None)

    def rank(picture: Picture) -> tuple[bool, bool, bool, bool, bool, bool, int]:
        return (
            picture.name != pinned,
            picture.role is not Role.CONTENT or pinned is not None,
            picture.owner != speaker,
            picture.track != current,
            bool(mismatch(picture, codec, reorders)),
            not picture.device,
            picture.order,
        )

    problem = ""
    for picture in sorted(others, key=rank):
        differs = mismatch(picture, codec, reorders)
        if differs and refused is not None and picture.track not in refused:
            return Shown(picture.track, picture.owner, problem, differs)
        if differs and refused:
            differs = f"{differs}, and {refused[picture.track]}"
        why = differs or oversize(picture, limit)
        if not why:
            return Shown(picture.track, picture.owner, problem)
        problem = problem or why
        if not obstacle(picture, codec, limit):
            # B-pictures in the wrong order are worth more than none.
            return Shown(picture.track, picture.owner, problem)
    return Shown(None, None, problem)


def choose_sound(viewer: str, codec: Codec, voices: Sequence[Voice]) -> Heard:
    """Everybody else's sound: passed through when it is one voice in the listener's codec, else mixed.

    AAC isn't mixed: one voice in another codec is converted as it is.
    """
    others = [voice for voice in voices if voice.owner != viewer]
    if not others:
        return Silence()
    if len(others) == 1 and same_audio(others[0].codec, codec):
        return PassThrough(others[0].track)
    if len(others) == 1 and codec.name == AAC.name:
        return Convert(others[0].track)
    return Mix(frozenset(voice.track for voice in voices if voice.owner == viewer))


def voices_to_convert(
    listeners: Iterable[tuple[str, Codec]], voices: Sequence[Voice], *, listen: bool
) -> frozenset[int]:
    """Tracks of AAC that somebody hears through the mixer or in another codec, so that they must become Opus.

    ``listeners``: (participant id, codec that it takes). ``listen``: loudness is to be measured.
    """
    foreign = [voice for voice in voices if voice.codec.name == AAC.name]
    if listen:
        return frozenset(voice.track for voice in foreign)
    found: set[int] = set()
    for viewer, codec in listeners if foreign else ():
        if codec.name != AAC.name or isinstance(choose_sound(viewer, codec, voices), Mix):
            found.update(voice.track for voice in foreign if voice.owner != viewer)
    return frozenset(found)


def same_audio(one: Codec, other: Codec) -> bool:
    """Whether frames of one may be sent as the other: Opus is Opus whatever its channels (RFC 7587 7).

    Players of AAC are told rate and channels once, so both must agree.
    """
    if one.name == AAC.name and one.channels != other.channels:
        return False
    return one.name == other.name and one.clock_hz == other.clock_hz


def strictest(limits: Sequence[VideoLimit]) -> VideoLimit | None:
    """What a sender must keep to so that every one of these decoders takes its picture."""
    if not limits:
        return None
    rates = [limit.max_kbps for limit in limits if limit.max_kbps]
    return VideoLimit(
        min(limit.max_fs for limit in limits), min(limit.max_mbps for limit in limits), min(rates, default=0)
    )
