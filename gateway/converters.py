"""What rooms and players have converted: the converters that they share, and who uses what."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from orbridge.gateway.session import Note
from orbridge.gateway.sound import Transcoders
from orbridge.gateway.sound import Wanted as SoundWanted
from orbridge.gateway.transcode.pictures import PictureTranscoders
from orbridge.gateway.transcode.pictures import Wanted as PictureWanted
from orbridge.gateway.transcode.slate import Slate


@dataclass(slots=True)
class Converters:
    """What decodes and encodes, shared by all rooms and players."""

    sound: Transcoders
    pictures: PictureTranscoders
    slate: Slate

    def close(self) -> None:
        self.slate.close()
        self.pictures.close()
        self.sound.close()


@dataclass(slots=True)
class Round:
    """What members use in one round of decisions; what nobody named is released at its end."""

    sounds: dict[str, set[SoundWanted]] = field(default_factory=lambda: defaultdict(set))
    pictures: dict[str, set[PictureWanted]] = field(default_factory=lambda: defaultdict(set))
    slates: set[str] = field(default_factory=set)
    remarks: dict[str, list[Note]] = field(default_factory=lambda: defaultdict(list))


def converted(why: str, trouble: str) -> Note:
    """That somebody is shown a converted picture, and how that goes."""
    return Note("picture_converted", f"{why}, so it is converted" + (f", but {trouble}" if trouble else ""))
