"""ARCHITECTURE.md's diagram of states is the table in the code. `python tests/meta/test_architecture.py` writes it."""

import re
from pathlib import Path

from orbridge.gateway.session import TRANSITIONS

FILE = Path(__file__).parents[2] / "ARCHITECTURE.md"
BETWEEN = re.compile(r"(<!-- states -->\n).*?(<!-- /states -->)", re.DOTALL)


def diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> new"]
    lines += [f"    {old} --> {new}" for old, following in TRANSITIONS.items() for new in sorted(following)]
    return "\n".join([*lines, "    closed --> [*]", "```", ""])


def test_the_diagram_is_the_table() -> None:
    found = BETWEEN.search(FILE.read_text("utf-8"))
    assert found
    assert found[0] == found[1] + diagram() + found[2]


if __name__ == "__main__":
    FILE.write_text(BETWEEN.sub(lambda found: found[1] + diagram() + found[2], FILE.read_text("utf-8")))
