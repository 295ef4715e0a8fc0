"""A person with the room's page open, who clicks what a person would click."""

from dataclasses import dataclass

from peer_chromium import new_page
from playwright.async_api import Browser, Page, expect
from running_gateway import Gateway


@dataclass
class RoomPage:
    """The page in a profile of its own."""

    page: Page
    name: str

    @classmethod
    async def open(cls, browser: Browser, gateway: Gateway, room: str, *, name: str, token: str = "") -> "RoomPage":
        page = await new_page(browser, permissions=["camera", "microphone"], base_url=gateway.url)
        await page.goto(f"/rooms/{room}" + (f"?token={token}" if token else ""))
        return cls(page, name)

    async def join(self) -> None:
        """Through the dialog, with camera and microphone on."""
        await self.page.get_by_role("button", name="Join").click()
        await self.page.get_by_label("Your name").fill(self.name)
        await self.page.locator("dialog button[type=submit]:enabled").click()
        await expect(self.page.get_by_role("button", name="Leave")).to_be_visible()

    async def close(self) -> None:
        """As if the tab was closed."""
        await self.page.context.close()
