"""A19: keys that a device presses, and keys towards it, as RFC 4733 events and as SIP INFO: none lost, none doubled."""

import asyncio
import itertools
import re
from collections.abc import Callable

import pytest
from device_rtp import Press
from device_sdp import room_system
from raw_device import RawDevice
from rawpeer import body, header, status
from running_gateway import Gateway
from waiting import crowding, until

from orbridge.codecs.errors import LocalError

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"one": "", "menu": 'profile = "keys-by-info"'}
ROOM = "theatre"
KEYS = "1123*#00"
PRESSED_MS, NEXT_AFTER_MS = 160, 240
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


async def press(gateway: Gateway, one: RawDevice, keys: str) -> None:
    session = (await one.facts())["id"]
    await gateway.api("POST", f"/sessions/{session}/dtmf", {"digits": keys})


def check(presses: list[Press], keys: str, clock_khz: int) -> None:
    """Each key once and in its order, as long as it should be, told three times that it's over."""
    assert "".join(press.key for press in presses) == keys
    for pressed in presses:
        assert pressed.ticks == PRESSED_MS * clock_khz
        assert pressed.marked
        assert pressed.ends == 3
        assert pressed.packets == PRESSED_MS // 20 + 2
    # The clock on the wall is checked over all keys, for a machine may be busy during one.
    steps = [later.began - sooner.began for sooner, later in itertools.pairwise(presses)]
    assert min(steps) > NEXT_AFTER_MS / 1000 - 0.06
    assert sorted(steps)[len(steps) // 2] < (NEXT_AFTER_MS / 1000 + 0.06) * crowding()


@pytest.mark.parametrize(("audio", "clock_khz"), [("8 101", 8), ("9 101", 8), ("111 110", 48)])
async def test_every_key_towards_the_device_once(
    gateway: Gateway, studio: RawDevice, device: Make, audio: str, clock_khz: int
) -> None:
    async with device("one", room_system(audio), who=1, hz=500) as one:
        await one.call(ROOM)
        await until("it hears the studio", lambda: one.audio.ear.hears(700), 3)
        await press(gateway, one, KEYS)
        await until("every key", lambda: sum(p.ends == 3 for p in one.audio.presses.values()) >= len(KEYS), 6)
        await until("sound goes on", lambda: one.audio.ear.hears(700), 3)
        await asyncio.sleep(0.5)
        check(list(one.audio.presses.values()), KEYS, clock_khz)
        # timestamps of the sound's own clock, in which a key lasts as long as it is pressed
        stamps = list(one.audio.presses)
        assert all(
            (later - sooner) % (1 << 32) >= PRESSED_MS * clock_khz for sooner, later in itertools.pairwise(stamps)
        )
        assert (one.audio.strays, one.audio.gaps) == (0, 0)
        assert not [method for _, method in one.requests if method == "INFO"]
    await one.gone()


def infos(one: RawDevice) -> list[str]:
    """The INFOs that came, each once however often it was repeated."""
    return list({header(text, "CSeq"): text for text in one.sip.seen if text.startswith("INFO ")}.values())


@pytest.mark.parametrize(("name", "audio"), [("one", "8"), ("menu", "8 101")])
async def test_by_info_where_events_are_not_agreed_or_the_profile_says_so(
    gateway: Gateway, studio: RawDevice, device: Make, name: str, audio: str
) -> None:
    async with device(name, room_system(audio), who=1, hz=500) as one:
        await one.call(ROOM)
        await press(gateway, one, KEYS)
        await until("every key", lambda: len(infos(one)) >= len(KEYS), 6)
        await asyncio.sleep(0.5)
        found = [re.fullmatch(r"Signal=(.)\r\nDuration=(\d+)\r\n", body(text)) for text in infos(one)]
        assert "".join(match[1] for match in found if match) == KEYS
        assert {int(match[2]) for match in found if match} == {PRESSED_MS}
        assert {header(text, "Content-Type") for text in infos(one)} == {"application/dtmf-relay"}
        assert not one.audio.presses
    await one.gone()


async def test_a_key_waits_until_the_one_before_is_taken(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    """An INFO that gets lost and comes again must not be overtaken."""
    async with device("menu", room_system("8"), who=1, hz=500) as one:
        await one.call(ROOM)
        one.info_status = 0
        await press(gateway, one, "12")
        await until("the first", lambda: infos(one), 3)
        first = infos(one)[0]
        await asyncio.sleep(1.2)
        assert len(infos(one)) == 1
        assert len([text for text in one.sip.seen if text.startswith("INFO ")]) > 1, "it is repeated"
        one.info_status = 200
        one.sip.reply(first, 200, "OK")
        await until("the second", lambda: len(infos(one)) == 2, 3)
        assert "Signal=2" in body(infos(one)[1])
        # who refuses one refuses all
        one.info_status = 415
        await press(gateway, one, "345")
        await until("the third", lambda: len(infos(one)) == 3, 3)
        await asyncio.sleep(0.8)
        assert len(infos(one)) == 3
    await one.gone()


async def test_keys_that_cant_be_pressed_are_refused_with_the_reason(
    gateway: Gateway, studio: RawDevice, device: Make
) -> None:
    async with device("one", room_system("8 101"), who=1) as one:
        await gateway.api("POST", "/calls", {"target": "one", "room": ROOM})
        invite = await one.sip.wait("INVITE ")
        one.sip.reply(invite, 180, "Ringing")
        with pytest.raises(LocalError, match="takes no keys"):
            await press(gateway, one, "1")
        session = (await one.facts())["id"]
        for wrong in ("", "12x", "1" * 65):
            with pytest.raises(LocalError, match="body can't be used"):
                await gateway.api("POST", f"/sessions/{session}/dtmf", {"digits": wrong})
        await gateway.api("DELETE", f"/sessions/{session}")
