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
    active_since_ms: int | None = None
    louder_since_ms: int | None = None
    level: int = -127


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
        incumbent = self._voices.get(self.current) if self.current is not None else None
        talks = incumbent is not None and heard[self.current or ""][1]
        floor = heard[self.current or ""][0] + LOUDER_DB if talks else -127
        for owner, (level, active) in heard.items():
            voice = self._voices[owner]
            voice.level = level
            voice.active_since_ms = (
                (now_ms if voice.active_since_ms is None else voice.active_since_ms) if active else None
            )
            wins = active and level >= floor
            voice.louder_since_ms = (
                (now_ms if voice.louder_since_ms is None else voice.louder_since_ms) if wins else None
            )
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
            if owner != self.current and voice.louder_since_ms is not None and now_ms - voice.louder_since_ms >= wait_ms
        ]
        if not ready:
            return False
        self.current, self.changed_ms = max(ready)[1], now_ms
        return True
