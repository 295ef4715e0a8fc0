"""Who is the active speaker: a choice with hysteresis over loudness, so that a cough doesn't switch the picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

# A voice must be heard this long before it takes over, and the last change must be this long ago.
TAKE_OVER_MS = 600
HOLD_MS = 2000
# Over a speaker who still talks, a newcomer wins only if it is louder by this much for the take-over time.
LOUDER_DB = 6


@dataclass(slots=True)
class _Voice:
    level: int = -127
    wins_since_ms: int | None = None


@dataclass(slots=True)
class ActiveSpeaker:
    """Feed levels with the time; ``current`` is the owner's id or None before anybody spoke."""

    current: str | None = None
    changed_ms: int = 0
    _voices: dict[str, _Voice] = field(default_factory=dict)

    def feed(self, levels: Iterable[tuple[str, int, bool]], now_ms: int) -> bool:
        """(owner, dBov, active) of everybody heard. Returns whether ``current`` changed."""
        heard = {owner: (level, active) for owner, level, active in levels}
        self._voices = {owner: self._voices.get(owner, _Voice()) for owner in heard}
        level, talks = heard.get(self.current or "", (-127, False))
        floor = level + LOUDER_DB if talks else -127
        for owner, (level, active) in heard.items():
            voice = self._voices[owner]
            voice.level = level
            if not active or level < floor:
                voice.wins_since_ms = None
            elif voice.wins_since_ms is None:
                voice.wins_since_ms = now_ms
        return self._choose(now_ms)

    def forget(self, owner: str) -> None:
        """Somebody left."""
        self._voices.pop(owner, None)
        if self.current == owner:
            self.current = None

    def _choose(self, now_ms: int) -> bool:
        if self.current is not None and now_ms - self.changed_ms < HOLD_MS:
            return False
        wait_ms = TAKE_OVER_MS if self.current is not None else 0
        ready = [
            (voice.level, owner)
            for owner, voice in self._voices.items()
            if owner != self.current and voice.wins_since_ms is not None and now_ms - voice.wins_since_ms >= wait_ms
        ]
        if not ready:
            return False
        self.current, self.changed_ms = max(ready)[1], now_ms
        return True
