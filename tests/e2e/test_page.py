"""The room's page with the whole gateway behind it: after a kill, through a break, in a full room."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from peer_chromium import chromium, stats
from playwright.async_api import Browser, Page, expect
from ports import free_port
from room_page import RoomPage
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@asynccontextmanager
async def theatre(gateway: Gateway) -> AsyncIterator[None]:
    """A simulated device that calls room or-3, and again when its call ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orbridge.gateway.cli.main", "simulate", "device", "--name", "or-3", "--again"),
        *("--listen", gateway.devices[0]["address"].replace("sip:or-3@", "udp:"), "--call", gateway.uri("or-3")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)


@asynccontextmanager
async def running(folder: Path, more: str = "") -> AsyncIterator[Gateway]:
    gateway = Gateway(folder, more=more)
    gateway.device("or-3", f"sip:or-3@127.0.0.1:{free_port()}", "or-3")
    async with gateway, theatre(gateway):
        yield gateway


async def big_moves(page: Page) -> None:
    """What people see moves: the big picture's own count of shown frames grows."""
    count = "document.querySelector('.big video').getVideoPlaybackQuality().totalVideoFrames"
    await until("there is a big picture", lambda: _width(page), within_s=30)
    before = int(await page.evaluate(count))

    async def more() -> bool:
        now = int(await page.evaluate(count))
        # A new track in the same element counts from nothing.
        return now > before + 20 or 20 < now < before

    await until("the big picture moves", more, within_s=30)


async def _width(page: Page) -> bool:
    return bool(await page.evaluate("document.querySelector('.big video').videoWidth"))


async def members(gateway: Gateway) -> set[str]:
    (room,) = await gateway.api("GET", "/rooms")
    return {member["name"] for member in room["participants"]}


async def all_in(gateway: Gateway) -> bool:
    return await members(gateway) == {"or-3", "dr-li"}


async def test_the_picture_is_good_and_says_so(tmp_path: Path, browser: Browser) -> None:
    async with running(tmp_path / "gateway") as gateway:
        room = await RoomPage.open(browser, gateway, "or-3", name="dr-li")
        await big_moves(room.page)
        health = room.page.locator(".health")
        await expect(health).to_have_class(re.compile(r"\bgood\b"), timeout=15_000)
        text = await health.text_content() or ""
        latency, loss, width, height, _ = re.findall(r"[\d.]+", text)
        assert (int(width), int(height)) == (1280, 720)
        assert int(latency) < 400
        assert float(loss) < 1
        (video,) = await stats(room.page, "inbound", "video")
        assert "H264" in video["codec"]
        await room.close()


async def test_the_page_finds_back_after_the_daemon_was_killed(tmp_path: Path, browser: Browser) -> None:
    async with running(tmp_path / "gateway") as gateway:
        room = await RoomPage.open(browser, gateway, "or-3", name="dr-li")
        await room.join()
        await big_moves(room.page)
        await until("all are in", lambda: all_in(gateway))
        await gateway.kill()
        await expect(room.page.locator(".notices")).to_contain_text("The gateway doesn't answer.", timeout=10_000)
        await asyncio.sleep(2)
        await gateway.start()
        await until("all are in again", lambda: all_in(gateway), within_s=40)
        await expect(room.page.locator(".notices .notice")).to_have_count(0, timeout=15_000)
        await big_moves(room.page)
        await room.close()


async def test_a_break_of_ten_seconds_heals_by_itself(tmp_path: Path, browser: Browser) -> None:
    async with running(tmp_path / "gateway") as gateway:
        room = await RoomPage.open(browser, gateway, "or-3", name="dr-li")
        await room.join()
        await big_moves(room.page)
        gateway.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(10)
        notices = room.page.locator(".notices")
        await expect(notices).to_contain_text("The gateway doesn't answer.", timeout=10_000)
        gateway.process.send_signal(signal.SIGCONT)
        await expect(notices.locator(".notice")).to_have_count(0, timeout=30_000)
        await big_moves(room.page)
        await until("we are in again, once", lambda: all_in(gateway), within_s=45)
        await room.close()


async def test_a_full_room_is_said_and_can_be_watched(tmp_path: Path, browser: Browser) -> None:
    more = '[[rooms]]\nname = "or-3"\nmax_participants = 2\n'
    async with running(tmp_path / "gateway", more) as gateway:
        first = await RoomPage.open(browser, gateway, "or-3", name="dr-li")
        await first.join()
        await until("all are in", lambda: all_in(gateway), within_s=20)
        second = await RoomPage.open(browser, gateway, "or-3", name="dr-ada")
        await second.join()
        await expect(second.page.locator(".notices")).to_contain_text("The room is full.")
        await big_moves(second.page)
        await first.page.get_by_role("button", name="Leave").click()
        await expect(second.page.locator(".tile", has_text="You (dr-ada)")).to_be_visible(timeout=30_000)
        await expect(second.page.locator(".notices .notice")).to_have_count(0)
        await first.close()
        await second.close()
