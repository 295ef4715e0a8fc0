"""A19: keys that a device presses, as RFC 4733 events and as SIP INFO: none lost, none doubled."""

import asyncio
from collections.abc import Callable

import pytest
from raw_device import RawDevice, room_system
from rawpeer import status
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"one": ""}
ROOM = "theatre"
KEYS = "1123*#00"
Make = Callable[..., RawDevice]


def counter(gateway: Gateway, session: str) -> Callable[[], int]:
    return lambda: len([line for line in gateway.log_lines("key.pressed") if line["session"] == session])


@pytest.mark.parametrize("way", ["rtp", "rtp with losses", "info", "both at once"])
async def test_every_key_once(gateway: Gateway, studio: RawDevice, device: Make, way: str) -> None:
    async with device("one", room_system("8 101"), who=1, hz=500) as one:
        await one.call(ROOM)
        pressed = counter(gateway, (await one.facts())["id"])
        await until("sound", lambda: studio.audio.ear.hears(500), 3)
        for key in KEYS:
            if way != "info":
                if way == "rtp with losses":
                    one.audio.lose = 2
                one.audio.press("0123456789*#".index(key))
            if way in ("info", "both at once"):
                text = f"Signal={key}\r\nDuration=160\r\n"
                kind = "application/dtmf-relay"
                assert status(await one.sip.transact("INFO", one.dialog, content=text, content_type=kind)) == 200
            await asyncio.sleep(0.15)
        await until("every key", lambda: pressed() >= len(KEYS), 3)
        await asyncio.sleep(0.8)
        assert pressed() == len(KEYS)
        # the sound goes on, and the keys aren't in it
        await until("sound goes on", lambda: studio.audio.ear.hears(500), 3)
    await one.gone()


async def test_nobody_learns_which_keys(gateway: Gateway, device: Make) -> None:
    """They are mostly PINs."""
    async with device("one", room_system("8 101"), who=1) as one:
        await one.call(ROOM)
        text, kind = "Signal=7\r\nDuration=160\r\n", "application/dtmf-relay"
        await one.sip.transact("INFO", one.dialog, content=text, content_type=kind)
        await until("it is told", lambda: gateway.log_lines("key.pressed"), 3)
    assert "Signal=7" not in (gateway.folder / "log").read_text()
    assert set(gateway.log_lines("key.pressed")[-1]) <= {"session", "event", "level", "logger", "timestamp"}
