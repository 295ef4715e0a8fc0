"""The operator's page in Chromium."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from peer_chromium import chromium, new_page
from playwright.async_api import Browser, Page, expect

from orbridge.gateway.session import CloseReason, Note

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


async def open_page(running: Any, browser: Browser, token: str) -> Page:
    page = await new_page(browser)
    await page.goto(f"{running.url}/?token={token}")
    return page


def entry(page: Page, section: str, name: str) -> Any:
    return page.get_by_role("region", name=section).locator(".entry", has=page.get_by_text(name, exact=True))


async def test_it_shows_everything_and_keeps_up(start: Any, browser: Browser) -> None:
    running = await start()
    page = await open_page(running, browser, "desk-secret-0123456789")
    assert page.url == f"{running.url}/"
    await expect(page.locator(".count")).to_have_text("ready, version 1.2.3, up 12 s")
    await expect(entry(page, "Devices", "or-3")).to_contain_text("not connected: nothing has come from it yet")
    await expect(page.get_by_role("region", name="Sessions")).to_contain_text("Nobody is connected.")

    session = running.gateway.join("sip", "or-3", device="or-3")
    running.gateway.join("webrtc", "or-3", name="Dr. Li")
    await expect(entry(page, "Devices", "or-3")).to_contain_text("connected")
    await expect(entry(page, "Devices", "or-3")).to_have_class(re.compile("good"))
    await expect(entry(page, "Rooms", "Theatre 3 (or-3)")).to_contain_text("or-3, Dr. Li")
    await expect(entry(page, "Sessions", session.id)).to_contain_text("active for")
    link = entry(page, "Rooms", "Theatre 3 (or-3)").get_by_role("link", name="Open")
    await expect(link).to_have_attribute("href", "/rooms/or-3")

    session.notes.append(Note("audio_only", "sound only: no H.264"))
    await expect(entry(page, "Sessions", session.id)).to_contain_text("sound only: no H.264")
    running.gateway.ready = False
    await expect(page.locator(".notices")).to_contain_text("The gateway is not ready.")


async def test_it_calls_and_hangs_up(start: Any, browser: Browser) -> None:
    running = await start()
    page = await open_page(running, browser, "desk-secret-0123456789")
    await page.get_by_role("button", name="Call or-3").click()
    await expect(page.locator(".notices")).to_contain_text("or-3 is being called.")
    assert running.gateway.calls == [("or-3", "or-3")]
    (session,) = running.gateway.known.values()
    await page.get_by_role("button", name="End the connection of or-3").first.click()
    async with asyncio.timeout(5):
        while session.reason is not CloseReason.LOCAL_HANGUP:
            await asyncio.sleep(0.05)
    await page.get_by_role("button", name="Call or-9").click()
    notices = page.locator(".notices .error")
    await expect(notices).to_contain_text("Or-9 doesn't answer at 10.0.0.9.")
    await expect(notices).to_contain_text("switched on")


async def test_the_focus_stays_while_it_keeps_up(start: Any, browser: Browser) -> None:
    running = await start()
    running.gateway.join("sip", "or-3", device="or-3")
    page = await open_page(running, browser, "desk-secret-0123456789")
    button = page.get_by_role("region", name="Sessions").get_by_role("button")
    await button.focus()
    before = await entry(page, "Sessions", "or-3").text_content()
    async with asyncio.timeout(10):
        while await entry(page, "Sessions", "or-3").text_content() == before:
            await asyncio.sleep(0.1)
    await expect(button).to_be_focused()


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "needs an access link"),
        ("wrong", "wrong or no longer valid"),
        ("view-secret-0123456789", "shows rooms only"),
    ],
)
async def test_what_the_token_lacks_is_said(start: Any, browser: Browser, token: str, words: str) -> None:
    running = await start()
    page = await open_page(running, browser, token)
    await expect(page.locator(".notices")).to_contain_text(words)
    await expect(page.get_by_role("region", name="Devices")).to_be_hidden()
    if token != "view-secret-0123456789":
        await page.get_by_label("Access token").fill("desk-secret-0123456789")
        await page.get_by_role("button", name="Enter").click()
        await expect(entry(page, "Devices", "or-3")).to_be_visible()


async def test_a_gateway_that_is_gone_is_said(start: Any, browser: Browser) -> None:
    running = await start()
    page = await open_page(running, browser, "desk-secret-0123456789")
    await expect(entry(page, "Devices", "or-3")).to_be_visible()
    await running.server.stop()
    await expect(page.locator(".notices")).to_contain_text("The gateway doesn't answer.")
    await expect(page.locator(".notices")).to_contain_text("What you see is from just now.")
    await expect(entry(page, "Devices", "or-3")).to_be_visible()


async def test_it_fits_on_a_phone(start: Any, browser: Browser) -> None:
    running = await start()
    running.gateway.join("webrtc", "or-3", name="Prof. Dr. Ada Lovelace-Byron of Ockham")
    page = await open_page(running, browser, "desk-secret-0123456789")
    await page.set_viewport_size({"width": 320, "height": 640})
    await expect(entry(page, "Devices", "or-3")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
