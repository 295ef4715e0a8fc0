"""Log events: constants of the form noun.past_participle, each used, and no event text outside the list."""

import ast
import re

from meta_sources import sources

from orbridge.gateway import events

NAMES = {name: value for name, value in vars(events).items() if name.isupper()}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def test_form() -> None:
    wrong = [value for value in NAMES.values() if not re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(ed|en|un|ut|t|d)", value)]
    assert wrong == []


def test_names_fit_values() -> None:
    assert len(set(NAMES.values())) == len(NAMES)
    assert [
        name for name, value in NAMES.items() if name.split("_")[0].lower() != value.split(".")[0].split("_")[0]
    ] == []


def test_every_event_is_used() -> None:
    text = "\n".join(path.read_text("utf-8") for path in sources() if path.name != "events.py")
    assert [name for name in NAMES if not re.search(rf"\bevents\.{name}\b", text)] == []


def test_log_calls_name_an_event_of_the_list() -> None:
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("log", "logger")
            ):
                first = node.args[0] if node.args else None
                if not (
                    isinstance(first, ast.Attribute)
                    and isinstance(first.value, ast.Name)
                    and first.value.id == "events"
                ):
                    wrong.append(f"{path}:{node.lineno}")
    assert wrong == []
