"""What a benchmark says: rounds of samples, and figures with their ranges and targets made of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must reach. ``sense``: ``<=`` or ``>=``."""

    value: float
    sense: Literal["<=", ">="]

    def met_by(self, value: float) -> bool:
        return value <= self.value if self.sense == "<=" else value >= self.value

    def __str__(self) -> str:
        return f"{self.sense} {self.value:g}"


def at_most(value: float) -> Target:
    return Target(value, "<=")


def at_least(value: float) -> Target:
    return Target(value, ">=")


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of one value over the rounds that counted.

    Attributes:
        name: what, within its key; empty for the key's only figure.
        low, high: range over the rounds.
        rounds: how many counted.
    """

    name: str
    unit: str
    median: float
    low: float
    high: float
    rounds: int
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.target.met_by(self.median)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"target": str(self.target) if self.target else None, "met": self.met}


def figure(name: str, unit: str, samples: Sequence[float], target: Target | None = None) -> Figure:
    """Of at least one sample."""
    median, low, high = (round(value, 4) for value in (statistics.median(samples), min(samples), max(samples)))
    return Figure(name, unit, median, low, high, len(samples), target)


@dataclass(slots=True)
class Result:
    """What one key's measurement gives.

    Attributes:
        key: as in docs/performance.md and build/bench.json.
        figures: those with a target first.
        rejected: rounds that don't count, with the reason (something was lost, the sender was late).
        conditions: what was sent and how, for whoever reads the file.
    """

    key: str
    figures: list[Figure] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    conditions: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Every figure with a target reached it; false when nothing counted."""
        judged = [figure.met for figure in self.figures if figure.met is not None]
        return bool(judged) and all(judged)

    def to_json(self) -> dict[str, Any]:
        return {
            "met": self.met,
            "figures": [figure.to_json() for figure in self.figures],
            "rejected": self.rejected,
            "conditions": self.conditions,
        }


class Samples:
    """Values by name, a row a round. A round that isn't valid is kept as a reason only."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}
        self.rejected: list[str] = []

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def reject(self, reason: str) -> None:
        self.rejected.append(reason)

    def __getitem__(self, name: str) -> list[float]:
        return self._values.get(name, [])

    def figures(self, *wanted: tuple[str, str, str, Target | None]) -> list[Figure]:
        """(name of the values, name to show, unit, target) of those that have values."""
        return [figure(shown, unit, self[name], target) for name, shown, unit, target in wanted if self[name]]
