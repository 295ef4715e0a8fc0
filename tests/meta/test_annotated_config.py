"""systemd/orbridge.toml shows every key with its default, explained, and is accepted as it stands."""

import re
import tomllib
from pathlib import Path

import msgspec
from meta_sources import sources

from orbridge.gateway import config
from orbridge.gateway.config_load import load, parse

FILE = Path(__file__).parents[2] / "systemd" / "orbridge.toml"
TABLES = {
    "registrars": config.Registrar,
    "devices": config.Device,
    "rooms": config.Room,
    "tokens": config.Token,
    "pushes": config.Push,
}


def test_it_is_accepted_and_all_defaults() -> None:
    assert load(FILE, {}).config == config.Config()


def test_every_section_and_key_is_shown() -> None:
    shown = tomllib.loads(FILE.read_text("utf-8"))
    for section in set(config.Config.__struct_fields__) - set(TABLES):
        kind = type(getattr(config.Config(), section))
        assert set(shown[section]) == set(kind.__struct_fields__), section


def test_every_key_of_the_lists_is_shown_with_its_default() -> None:
    text = FILE.read_text("utf-8")
    for name, kind in TABLES.items():
        block = re.search(rf"^# \[\[{name}\]\]\n((?:# .*\n)+)", text, re.MULTILINE)
        assert block, name
        example = re.sub(r"^# ", "", block[0], flags=re.MULTILINE)
        shown = tomllib.loads(example)[name][0]
        assert set(shown) == set(kind.__struct_fields__), name
        for field in msgspec.structs.fields(kind):
            if field.default not in (msgspec.NODEFAULT, "", False) and field.name not in ("rooms", "room"):
                value = tuple(shown[field.name]) if isinstance(shown[field.name], list) else shown[field.name]
                assert value == field.default, f"{name}.{field.name}"


def test_the_example_with_everything_switched_on_is_accepted() -> None:
    text = FILE.read_text("utf-8")
    for name in TABLES:
        text = re.sub(rf"^# \[\[{name}\]\]\n(?:# .*\n)+", lambda m: re.sub(r"^# ", "", m[0], flags=re.MULTILINE), text,
                      flags=re.MULTILINE)  # fmt: skip
    loaded = parse(text, FILE, {})
    assert [device.name for device in loaded.config.devices] == ["or-3"]


def test_every_key_is_read_somewhere() -> None:
    code = "\n".join(path.read_text("utf-8") for path in sources() if path.name not in ("config.py", "config_load.py"))
    structs = [type(getattr(config.Config(), name)) for name in config.Config.__struct_fields__ if name not in TABLES]
    unread = [
        f"{struct.__name__}.{field}"
        for struct in (*structs, *TABLES.values(), config.IceServer)
        for field in struct.__struct_fields__
        if not re.search(rf"\.{field}\b", code)
    ]
    assert not unread
