"""A7, A8: picture refused, added, removed; hold and resume. What isn't touched goes on, what comes back comes soon."""

import asyncio
import re
import time
from collections.abc import Callable

import pytest
from device_sdp import room_system
from raw_device import RawDevice
from running_gateway import Gateway
from waiting import crowding, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e, pytest.mark.timeout(60)]

DEVICES = {"one": "", "deaf": "video = false"}
SETTINGS = {"media_more": "silence_timeout_s = 2"}
ROOM, STUDIO, STUDIO_HZ = "theatre", 200, 700
Make = Callable[..., RawDevice]
# RFC 3264 8.4, its predecessor RFC 2543 B.5, and what some devices do to both ways at once.
HOLDS = ("sendonly", "inactive", "0.0.0.0")


async def sound_both_ways(one: RawDevice, studio: RawDevice) -> None:
    await until("the studio hears it", lambda: studio.audio.ear.hears(one.hz), 3, 0.05)
    await until("it hears the studio", lambda: one.audio.ear.hears(STUDIO_HZ), 3, 0.05)


async def picture_both_ways(one: RawDevice, studio: RawDevice) -> None:
    await until("the studio sees it", lambda: studio.video.screen.who == one.who, 3, 0.02)
    frames, broken = studio.video.screen.frames, studio.video.screen.broken
    seen = one.video.screen.frames
    await until("it goes on", lambda: studio.video.screen.frames > frames + 5, 2, 0.02)
    await until("it sees the studio", lambda: one.video.screen.frames > seen + 5, 3, 0.02)
    assert studio.video.screen.broken == broken


async def test_picture_comes_and_goes_and_sound_never_drops(studio: RawDevice, device: Make) -> None:
    """A7. Sound only at first, picture by re-INVITE, gone again (port 0), and back on the same line."""
    full = room_system()
    gone = re.sub(r"m=video \d+", "m=video 0", full)
    async with device("one", room_system(video=False), who=1, hz=500) as one:
        await one.call(ROOM)
        assert await one.notes() == {"no_video_line": "no picture: the device offers no video"}
        await sound_both_ways(one, studio)
        one.audio.ear.watch()
        studio.audio.ear.watch()
        await one.reoffer(sdp=full)
        one.show()
        await picture_both_ways(one, studio)
        assert await one.notes() == {}
        await one.reoffer(sdp=gone)
        assert not one.has_video
        assert list(await one.notes()) == ["video_off"]
        one.video.stop()
        await asyncio.sleep(0.3)
        count = one.video.packets
        await asyncio.sleep(0.3)
        assert one.video.packets == count
        await one.reoffer(sdp=full, method="UPDATE")
        one.show()
        await picture_both_ways(one, studio)
        assert one.audio.ear.largest_gap_s < 0.25 * crowding()
        assert studio.audio.ear.largest_gap_s < 0.25 * crowding()
        assert one.audio.gaps == 0
    await one.gone()


async def test_a_device_configured_without_picture(studio: RawDevice, device: Make) -> None:
    async with device("deaf", who=2, hz=520) as one:
        await one.call(ROOM)
        assert not one.has_video
        assert list(await one.notes()) == ["video_disabled"]
        await sound_both_ways(one, studio)
    await one.gone()


async def test_a_device_that_answers_without_picture(gateway: Gateway, studio: RawDevice, device: Make) -> None:
    async with device("one", room_system(video=False), who=3, hz=540) as one:
        await gateway.api("POST", "/calls", {"target": "one", "room": ROOM})
        await one.take_call()
        assert list(await one.notes()) == ["video_off"]
        await sound_both_ways(one, studio)
    await one.gone()


@pytest.mark.parametrize("way", HOLDS)
async def test_hold_and_resume(gateway: Gateway, studio: RawDevice, device: Make, way: str) -> None:
    """A8. Longer on hold than silence is allowed else; back within a second."""
    async with device("one", who=4, hz=560, camera={"gop": 1000}) as one:
        await one.call(ROOM)
        await picture_both_ways(one, studio)
        await sound_both_ways(one, studio)
        if way == "0.0.0.0":
            one.said_host = way
            await one.reoffer()
            one.said_host = ""
        else:
            await one.reoffer(direction=way)
        for line in (one.audio, one.video):
            line.sending = False
        await asyncio.sleep(0.2)
        assert (await one.facts())["state"] == "held"
        counts = one.audio.packets, one.video.packets
        await asyncio.sleep(3.0)
        assert (one.audio.packets, one.video.packets) == counts, "it is sent media on hold"
        assert (await one.facts())["state"] == "held"
        before, seen = studio.video.screen.frames, one.video.screen.frames
        broken = studio.video.screen.broken, one.video.screen.broken
        resumed = time.monotonic()
        await one.resume()
        await until(
            "picture and sound both ways",
            lambda: (
                studio.video.screen.frames > before
                and one.video.screen.frames > seen
                and studio.audio.ear.hears(one.hz)
                and one.audio.ear.hears(STUDIO_HZ)
            ),
            3,
            0.02,
        )
        assert time.monotonic() - resumed < 1.0 * crowding()
        assert (studio.video.screen.broken, one.video.screen.broken) == broken
        await picture_both_ways(one, studio)
    await one.gone()


async def test_who_falls_silent_without_a_hold_is_freed(device: Make) -> None:
    """The other side of it: the wait is for those on hold only."""
    async with device("one", who=5, hz=580) as one:
        await one.call(ROOM)
        await asyncio.sleep(0.5)
        for line in (one.audio, one.video):
            line.sending = False
        await until("the gateway hangs up", one.over.is_set, 4, 0.05)
        await one.gone()
