"""A restart of the daemon in the middle of a meeting, with somebody else's device (baresip) on the other side.

Neither the person at the page does anything, nor is the page loaded again; the device does what devices do: it calls
again.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from peer_baresip import Baresip
from peer_chromium import chromium, stats, tone_file, tones
from playwright.async_api import Browser, expect
from room_page import RoomPage
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

DEVICE_TONE, BROWSER_TONE = 440, 700


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with chromium(tone_file(tmp_path / "microphone.wav", BROWSER_TONE)) as running:
        yield running


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_restart_in_a_meeting(tmp_path: Path, browser: Browser, how: str) -> None:
    async with Baresip(tmp_path / "or-3", user="or3", tone=DEVICE_TONE) as device:
        gateway = Gateway(tmp_path / "gateway")
        gateway.device("or-3", device.uri, "or-3")
        async with gateway:
            room = await RoomPage.open(browser, gateway, "or-3", name="dr-li")
            await room.join()
            await device.dial(gateway.uri("or-3"))
            await device.event("CALL_ESTABLISHED")
            await sees_and_hears(room)
            mark = await room.page.evaluate("window.__mark = Math.random()")

            if how == "killed":
                await gateway.kill()
            else:
                assert await gateway.stop() < 5
                # It was told, and so was the page.
                await device.event("CALL_CLOSED")
            notices = room.page.locator(".notices")
            await expect(notices).to_contain_text("The gateway doesn't answer.", timeout=10_000)
            await expect(notices).to_contain_text("by itself")
            await asyncio.sleep(3)
            await gateway.start()
            if how == "killed":
                await device.command("hangup")
                await device.event("CALL_CLOSED")
            await device.dial(gateway.uri("or-3"))
            await device.event("CALL_ESTABLISHED", within_s=5)

            await until("the person is in again, under the same name", lambda: are_in(gateway), within_s=30)
            await sees_and_hears(room)
            await expect(notices.locator(".notice")).to_have_count(0, timeout=15_000)
            assert await room.page.evaluate("window.__mark") == mark, "nobody loaded the page again"
            await asyncio.sleep(4)
            await device.command("hangup")
            await device.event("CALL_CLOSED")
            await asyncio.sleep(0.5)
            # The device's own word for its second call.
            decoded = device.log.rsplit("decoder stats", 1)[1]
            assert "(keyframes:0" not in decoded
            heard, level = device.heard(skip_s=3.0)
            assert heard == pytest.approx(BROWSER_TONE, abs=5)
            assert level > -45
            await room.close()


async def sees_and_hears(room: RoomPage) -> None:
    """What the browser itself counts as decoded grows at the device's rate, and its tone is in what is played."""
    counted: dict[str, int] = {}

    async def decodes() -> bool:
        for video in await stats(room.page, "inbound", "video"):
            # A connection of before the restart keeps its figures; only one whose grow is alive.
            before = counted.get(video["id"] + str(video["ssrc"]), 10**9)
            counted[video["id"] + str(video["ssrc"])] = video.get("framesDecoded", 0)
            if video.get("framesDecoded", 0) >= before + 15 and video["frameWidth"] == 640:
                return True
        return False

    await until("the browser decodes the device's picture", decodes, within_s=25, every_s=1.0)
    await until("it hears the device", lambda: hears(room), within_s=15)


async def hears(room: RoomPage) -> bool:
    return any(abs(tone - DEVICE_TONE) < 8 for tone in await tones(room.page))


async def are_in(gateway: Gateway) -> bool:
    (room,) = [found for found in await gateway.api("GET", "/rooms") if found["name"] == "or-3"]
    return {member["name"] for member in room["participants"]} == {"or-3", "dr-li"}
