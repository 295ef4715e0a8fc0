"""The pages' sources: their own unit tests, and their types against the API's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from orbridge.gateway.http import schema

WEB = Path(__file__).parents[3] / "web"
INTERFACE = re.compile(r"^export interface (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
KNOWN = {
    name: set(re.findall(r"^  (\w+)\??:", body, re.MULTILINE))
    for name, body in INTERFACE.findall((WEB / "src" / "api.ts").read_text())
}


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_the_pages_know_the_apis_members(name: str) -> None:
    struct = getattr(schema, name)
    tag = {"type"} if msgspec.structs.fields(struct) and struct.__struct_config__.tag else set()
    assert KNOWN[name] == set(struct.__struct_fields__) | tag


def test_every_event_is_known() -> None:
    assert {"Hello", "RoomChanged", "SpeakerChanged", "Stats", "LimitChanged"} <= set(KNOWN)


def test_the_pages_own_tests() -> None:
    done = subprocess.run(["npm", "test", "--silent"], cwd=WEB, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert int(re.search(r"^# pass (\d+)", done.stdout, re.MULTILINE)[1]) > 50


def test_the_lock_file_names_no_registry() -> None:
    assert "http" not in (WEB / "package-lock.json").read_text()
