"""Addresses and where their secrets go."""

import pytest

from orbridge.adapters.rtmp.address import Address, parse_address, parse_target
from orbridge.codecs.errors import LocalError


@pytest.mark.parametrize(
    ("text", "key", "made"),
    [
        ("rtmp://host/live", "k", Address(False, "host", 1935, "live", "k")),
        ("rtmp://host/live/", "k?a=b", Address(False, "host", 1935, "live", "k?a=b")),
        ("rtmp://host:1/live/name", "", Address(False, "host", 1, "live", "name")),
        ("rtmp://host/live/{key}/main", "k", Address(False, "host", 1935, "live/k", "main")),
        ("rtmp://host/live/e?key={key}", "k+/=", Address(False, "host", 1935, "live", "e?key=k+/=")),
        ("rtmps://host/app/instance", "k", Address(True, "host", 443, "app/instance", "k")),
        ("rtmp://[::1]:1935/live/a", "", Address(False, "::1", 1935, "live", "a")),
    ],
)
def test_addresses(text: str, key: str, made: Address) -> None:
    assert parse_address(text, key) == made
    assert not key or f"{key}'" not in repr(parse_address(text, key))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("http://host/live/a", ""),
        ("rtmp://host", "key-of-four"),
        ("rtmp:///live/a", ""),
        ("rtmp://host:99999/live/a", ""),
        ("rtmp://host:x/live/a", "secret"),
        ("rtmp://host/live/{key}", ""),
        ("", ""),
    ],
)
def test_what_is_none_is_said_without_the_key(text: str, key: str) -> None:
    with pytest.raises(LocalError) as caught:
        parse_address(text, key)
    assert not key or key not in str(caught.value)


def test_what_is_shown_and_sent() -> None:
    made = parse_address("rtmp://host:1936/live/archive?key={key}", "sesame")
    assert made.tc_url == made.shown == "rtmp://host:1936/live"
    assert made.redacted("Publish archive?key=sesame: sesame is archive") == "Publish ***: *** is ***"
    assert "sesame" not in parse_address("rtmp://host/live", "sesame").redacted("sesame is taken")
    assert parse_address("rtmp://[::1]/live/a").tc_url == "rtmp://[::1]/live"
    assert parse_address("rtmp://host/live/{key}/main", "sesame").shown == "rtmp://host/live/***"


@pytest.mark.parametrize(
    ("app", "name", "first", "rest"),
    [
        ("live", "tower", "live", "tower"),
        ("live/or-3", "tower/main", "live", "or-3/tower/main"),
        ("live/or-3/tower", "main", "live", "or-3/tower/main"),
        ("/live/", "/tower/", "live", "tower"),
        ("live", "", "live", ""),
        ("", "", "", ""),
        ("rooms", "or-3", "rooms", "or-3"),
    ],
)
def test_targets_are_the_same_however_a_client_divides_them(app: str, name: str, first: str, rest: str) -> None:
    made = parse_target(app, name, {"key": "sesame"})
    assert (made.app, made.name, made.query) == (first, rest, {"key": "sesame"})
    assert "sesame" not in repr(made)
