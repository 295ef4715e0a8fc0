"""Keys that won't do are said when the adapter starts, not found out by a technician at the encoder."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from orbridge.adapters.rtmp.gate import Gate
from orbridge.codecs.errors import LocalError
from orbridge.gateway.config import Config, Device


def gate(**keys: str | None) -> Gate:
    def secret(reference: str) -> str:
        key = keys[reference]
        if key is None:
            raise LocalError(f"secret {reference} can't be read")
        return key

    devices = [Device(name=name, adapter="rtmp", key_file=name) for name in keys]
    devices.append(Device(name="or-3", adapter="sip", address="sip:or3@127.0.0.1"))
    return Gate(cast(Any, SimpleNamespace(config=Config(devices=devices), secret=secret)))


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("x8Kq-3_vTz+91=aLm", None),
        ("short", "its key has fewer than 16 characters: too easy to guess"),
        ("x8Kq3vTz/91aLmQwe", "its key has '/', where encoders cut addresses: use letters, digits, - and _"),
        ("x8Kq3vTz&91aLmQwe", "its key has '&', where encoders cut addresses: use letters, digits, - and _"),
        (None, None),
    ],
)
def test_a_doubtful_key(key: str | None, problem: str | None) -> None:
    assert list(gate(tower=key).doubts()) == ([("tower", problem)] if problem else [])
