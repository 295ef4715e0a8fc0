"""The room's page in Chromium, against the real server with a small gateway and stand-in media behind it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from media_stand_in import MediaStandIn
from peer_chromium import FLAGS, chromium, new_page, stats
from playwright.async_api import Browser, Page, async_playwright, expect

from orbridge.codecs.media import Role, VideoLimit
from orbridge.gateway.adapter import Refused
from orbridge.gateway.http.server import Server
from orbridge.gateway.session import CloseReason, Note, State

pytestmark = pytest.mark.timeout(90)
TOKENS = {
    "viewer": "view-secret-0123456789",
    "guest": "guest-secret-0123456789",
    "nurse": "nurse-secret-0123456789",
}


@dataclass
class Theatre:
    """Server, gateway, media and browser of one test."""

    running: Any
    media: MediaStandIn
    browser: Browser

    @property
    def gateway(self) -> Any:
        return self.running.gateway

    async def open(self, who: str | None = "viewer", *, script: str = "", url: str = "", **context: Any) -> Page:
        """The page of room or-3 with somebody's link."""
        page = await new_page(self.browser, **context)
        if script:
            await page.add_init_script(script)
        query = f"?token={TOKENS.get(who, who)}" if who else ""
        await page.goto(f"{url or self.running.url}/rooms/or-3{query}")
        return page

    async def enter(self, page: Page, name: str = "Dr. Li") -> None:
        """Join through the dialog."""
        await page.get_by_role("button", name="Join").click()
        await page.get_by_label("Your name").fill(name)
        await page.locator("dialog button[type=submit]:enabled").click()
        await expect(page.get_by_role("button", name="Leave")).to_be_visible()


@pytest.fixture
async def theatre(start: Any) -> AsyncIterator[Theatre]:
    media = MediaStandIn()
    running = await start(routes=media.routes(), listen="0.0.0.0:0")
    running.server.urls[:] = [f"http://127.0.0.1:{running.server.urls[-1].rstrip('/').rpartition(':')[2]}/"]
    media.gateway = running.gateway
    async with chromium() as browser:
        yield Theatre(running, media, browser)
    await media.close()


def notice(page: Page, text: str | re.Pattern[str]) -> Any:
    return page.locator(".notices .notice").filter(has_text=text)


async def big_width(page: Page) -> int:
    return int(await page.evaluate("document.querySelector('.big video').videoWidth"))


async def frames_of_big(page: Page) -> int:
    return int(await page.evaluate("document.querySelector('.big video').getVideoPlaybackQuality().totalVideoFrames"))


async def plays(page: Page) -> None:
    """The big picture moves."""
    async with asyncio.timeout(15):
        while await big_width(page) != 640:
            await asyncio.sleep(0.1)
        before = await frames_of_big(page)
        while await frames_of_big(page) < before + 10:
            await asyncio.sleep(0.1)


async def test_watching_shows_and_plays_and_the_token_leaves_the_address(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    page = await theatre.open()
    await plays(page)
    await expect(page.get_by_role("heading", name="Theatre 3")).to_be_visible()
    assert page.url == f"{theatre.running.url}/rooms/or-3"
    sounding = "[...document.querySelectorAll('audio')].filter(one => !one.paused && !one.muted).length"
    assert await page.evaluate(sounding) == 1
    await expect(page.get_by_role("button", name="Join")).to_be_hidden()
    await page.reload()
    await plays(page)
    assert theatre.media.played == ["or-3/main"] * 2


@pytest.mark.parametrize(
    ("token", "words"),
    [(None, "needs an access link"), ("wrong", "wrong or no longer valid")],
)
async def test_without_a_good_token_it_says_so_and_takes_another(
    theatre: Theatre, token: str | None, words: str
) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    page = await theatre.open(token)
    await expect(notice(page, words)).to_be_visible()
    await expect(page.get_by_role("button", name="Join")).to_be_hidden()
    await page.get_by_label("Access token").fill(TOKENS["guest"])
    await page.get_by_role("button", name="Enter").click()
    await plays(page)
    await expect(page.locator(".notices .error")).to_have_count(0)


async def test_a_token_for_another_room_is_said(theatre: Theatre) -> None:
    page = await new_page(theatre.browser)
    await page.goto(f"{theatre.running.url}/rooms/board?token={TOKENS['viewer']}")
    await expect(notice(page, "doesn't allow this")).to_contain_text("doesn't have the right to view in room board")


async def test_a_device_that_is_not_there_is_said_and_comes_by_itself(theatre: Theatre) -> None:
    page = await theatre.open()
    empty = page.locator(".empty")
    await expect(empty).to_contain_text("or-3 isn't here")
    await expect(empty).to_contain_text("nothing has come from it yet")
    await expect(page.get_by_role("button", name="Call or-3")).to_be_hidden()
    session = theatre.gateway.join("sip", "or-3", device="or-3")
    await plays(page)
    session.ended(CloseReason.SILENT)
    await expect(empty).to_contain_text(re.compile(r"not connected since .*just now.*no media arrived for too long"))
    theatre.gateway.bound.append("or-3")
    await expect(empty).to_contain_text("switched on, but not in a call")
    await theatre.gateway.call("or-3", "or-3")
    await plays(page)


async def test_an_operator_calls_it_from_the_page(theatre: Theatre) -> None:
    page = await theatre.open("nurse")
    await page.get_by_role("button", name="Call or-3").click()
    await plays(page)
    assert theatre.gateway.calls == [("or-3", "or-3")]


async def test_joining_publishes_h264_and_leaving_ends_it(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    page = await theatre.open("guest")
    await theatre.enter(page)
    await expect(page.locator(".tile", has_text="You (Dr. Li)")).to_be_visible()
    await plays(page)

    async with asyncio.timeout(15):
        while not [s for s in await stats(page, "outbound", "video") if s.get("framesEncoded", 0) > 10]:
            await asyncio.sleep(0.2)
    (video,) = await stats(page, "outbound", "video")
    assert "H264" in video["codec"]
    (offer,) = [offer for offer in theatre.media.offers if "a=sendonly" in offer]
    line = next(row for row in offer.splitlines() if row.startswith("m=video"))
    first = line.split()[3]
    assert re.search(rf"a=fmtp:{first} .*packetization-mode=1.*profile-level-id=42e0", offer)
    assert "VP8" not in offer

    await page.get_by_role("button", name="Camera is on").click()
    await expect(page.locator(".tile", has_text="You (Dr. Li)")).to_contain_text("camera is off")
    live = "window.__connections.flatMap(pc => pc.getSenders()).map(s => s.track?.kind).filter(Boolean)"
    async with asyncio.timeout(5):  # the label changes at the click, the track a moment later
        while await page.evaluate(live) != ["audio"]:
            await asyncio.sleep(0.05)
    await page.get_by_role("button", name="Microphone is on").click()
    heard = "window.__connections.flatMap(pc => pc.getSenders()).find(s => s.track?.kind === 'audio').track.enabled"
    assert await page.evaluate(heard) is False
    await page.get_by_role("button", name="Camera is off, switch").click()
    await expect(page.locator(".tile", has_text="You (Dr. Li)")).not_to_contain_text("camera is off")

    await page.get_by_role("button", name="Leave").click()
    await expect(page.get_by_role("button", name="Join")).to_be_visible()
    async with asyncio.timeout(5):
        while len(theatre.gateway.rooms.get("or-3").participants) > 1:
            await asyncio.sleep(0.05)


async def test_closing_the_page_ends_its_sessions(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    page = await theatre.open("guest")
    await theatre.enter(page)
    await plays(page)
    assert len(theatre.media.open) == 2
    await page.goto("about:blank")
    async with asyncio.timeout(5):
        while theatre.media.open:
            await asyncio.sleep(0.05)
    assert [one.name for one in theatre.gateway.rooms.get("or-3").participants] == ["or-3"]


CAPTURE = [
    ("NotAllowedError", "This page may not use the camera", "Allow the camera in the browser"),
    ("NotFoundError", "No camera was found", "join without it"),
    ("NotReadableError", "The camera can't be opened", "Another program may be using it"),
]


@pytest.mark.parametrize(("name", "title", "help_"), CAPTURE)
async def test_what_is_wrong_with_the_camera_is_said(theatre: Theatre, name: str, title: str, help_: str) -> None:
    script = f"""
      const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = wanted =>
        wanted.video ? Promise.reject(new DOMException("no", "{name}")) : real(wanted);
    """
    page = await theatre.open("guest", script=script)
    await page.get_by_role("button", name="Join").click()
    said = page.locator(".dialog-notices .notice")
    await expect(said).to_contain_text(title)
    await expect(said).to_contain_text(help_)
    await page.get_by_label("Your name").fill("Dr. Li")
    await page.get_by_role("button", name="Join without camera").click()
    await expect(page.get_by_role("button", name="Leave")).to_be_visible()
    await expect(page.locator(".tile", has_text="You (Dr. Li)")).to_contain_text("camera is off")


async def test_a_page_that_is_not_secure_is_said(theatre: Theatre) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        host = probe.getsockname()[0]
    assert not host.startswith("127.")
    port = theatre.running.url.rpartition(":")[2]
    page = await theatre.open("guest", url=f"http://{host}:{port}")
    await page.get_by_role("button", name="Join").click()
    await expect(page.locator(".dialog-notices .notice").first).to_contain_text("secure pages only")
    await expect(page.locator("dialog button[type=submit]")).to_be_disabled()


async def test_a_full_room_is_said_and_tried_again(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    theatre.media.refuse = Refused(CloseReason.ROOM_FULL, "room or-3 is full (16 participants)")
    page = await theatre.open("guest")
    await theatre.enter(page)
    await expect(notice(page, "The room is full")).to_contain_text("Room or-3 is full (16 participants).")
    await plays(page)
    theatre.media.refuse = None
    await expect(page.locator(".tile", has_text="You (Dr. Li)")).to_be_visible(timeout=15_000)
    await expect(notice(page, "The room is full")).to_have_count(0)


async def test_a_browser_without_h264_is_told(theatre: Theatre) -> None:
    script = """
      const real = RTCRtpReceiver.getCapabilities.bind(RTCRtpReceiver);
      RTCRtpReceiver.getCapabilities = kind => {
        const known = real(kind);
        return {...known, codecs: known.codecs.filter(codec => !/h264/i.test(codec.mimeType))};
      };
    """
    page = await theatre.open(script=script)
    await expect(notice(page, "This browser can't show the operating room")).to_contain_text("H.264")


async def test_what_limits_a_device_is_said(theatre: Theatre) -> None:
    session = theatre.gateway.join("sip", "or-3", device="or-3", video=False)
    session.notes.append(Note("audio_only", "sound only: it has H.263, and nothing here speaks that"))
    theatre.media.silent.add("or-3/main")
    page = await theatre.open()
    await expect(notice(page, "or-3:")).to_contain_text("sound only: it has H.263")
    await expect(page.locator(".big .label")).to_contain_text("sound only: it has H.263")
    await expect(page.locator(".health")).to_contain_text("Sound only")
    session.move(State.HELD)
    theatre.gateway.rooms.touch("or-3")
    await expect(page.locator(".health")).to_contain_text("On hold")


async def test_the_picture_is_scaled_to_what_the_theatre_decodes(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3", limit=VideoLimit(396, 11880, 768))
    page = await theatre.open("guest")
    await theatre.enter(page)
    sent: dict[str, Any] = {}
    async with asyncio.timeout(40):
        while not sent.get("frameWidth") or sent["framesEncoded"] < 20:
            await asyncio.sleep(0.2)
            sent = next(iter(await stats(page, "outbound", "video")), {})
    blocks = -(-sent["frameWidth"] // 16) * -(-sent["frameHeight"] // 16)
    assert 0 < blocks <= 396, sent
    # How large a picture the browser makes of it depends on the machine too; what it was told does not.
    told = """() => window.__connections.filter(pc => pc.connectionState === 'connected').flatMap(pc => pc.getSenders())
      .find(one => one.track?.kind === 'video')?.getParameters().encodings[0].scaleResolutionDownBy"""
    assert await page.evaluate(told) > 2
    theatre.gateway.rooms.get("or-3").participants[0].session.sinks[0].limit = VideoLimit(3600, 108000)
    theatre.gateway.rooms.touch("or-3")
    async with asyncio.timeout(20):
        while await page.evaluate(told) != 1:
            await asyncio.sleep(0.1)


async def test_it_follows_the_speaker_until_somebody_is_chosen(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    li = theatre.gateway.join("webrtc", "or-3", name="Dr. Li")
    ada = theatre.gateway.join("webrtc", "or-3", name="Dr. Ada")
    room = theatre.gateway.rooms.get("or-3")
    page = await theatre.open()
    big = page.locator(".big > .label .name")
    await expect(big).to_have_text("or-3")
    theatre.gateway.rooms.set_speaker(room, li.id)
    await expect(big).to_have_text("Dr. Li")
    await expect(page.get_by_role("button", name="Follow the speaker")).to_be_hidden()
    await page.get_by_role("button", name="Dr. Ada").click()
    await expect(big).to_have_text("Dr. Ada")
    theatre.gateway.rooms.set_speaker(room, None)
    theatre.gateway.rooms.set_speaker(room, li.id)
    await asyncio.sleep(0.5)
    await expect(big).to_have_text("Dr. Ada")
    await page.get_by_role("button", name="Follow the speaker").click()
    await expect(big).to_have_text("Dr. Li")
    ada.ended(CloseReason.REMOTE_HANGUP)
    li.ended(CloseReason.REMOTE_HANGUP)
    await expect(big).to_have_text("or-3")


async def test_what_a_device_shares_is_a_picture_of_its_own(theatre: Theatre) -> None:
    session = theatre.gateway.join("sip", "or-3", device="or-3")
    page = await theatre.open()
    await plays(page)
    session.published[Role.CONTENT] = "or-3/content"
    theatre.gateway.engine.put("or-3/content", audio=False)
    theatre.gateway.rooms.touch("or-3")
    await expect(page.locator(".big > .label .name")).to_have_text("or-3: shared picture")
    await plays(page)
    await page.get_by_role("button", name="or-3, show big").click()
    await expect(page.locator(".big > .label .name")).to_have_text("or-3")
    assert theatre.media.played == ["or-3/main", "or-3/content"]


async def test_the_pictures_health_is_said_in_colour_and_words(theatre: Theatre) -> None:
    session = theatre.gateway.join("sip", "or-3", device="or-3")
    session.legs[1]["receivers"][0]["loss_percent"] = 0.0
    page = await theatre.open()
    health = page.locator(".health")
    await expect(health).to_have_class(re.compile(r"\bgood\b"))
    await expect(health).to_contain_text(re.compile(r"Good picture.*\d+ ms · 0 % lost · 640×360, \d+/s"))
    session.legs[1]["receivers"][0]["loss_percent"] = 7.0
    await expect(health).to_have_class(re.compile(r"\bpoor\b"))
    await expect(health).to_contain_text("Packets are lost between or-3 and the gateway")


async def test_sound_that_the_browser_holds_back_needs_one_tap(start: Any) -> None:
    media = MediaStandIn()
    running = await start(routes=media.routes())
    media.gateway = running.gateway
    running.gateway.join("sip", "or-3", device="or-3")
    flags = [flag for flag in FLAGS if "autoplay" not in flag]
    flags.append("--autoplay-policy=document-user-activation-required")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = await Theatre(running, media, browser).open()
        # Whatever the test asks the page counts as a tap for the browser, so nothing is asked at first.
        await asyncio.sleep(4)
        playing = "[...document.querySelectorAll('audio')].map(one => one.paused)"
        await expect(page.get_by_role("button", name="Tap for sound")).to_be_visible()
        assert await page.evaluate(playing) == [True]
        await page.get_by_role("button", name="Tap for sound").click()
        await expect(page.get_by_role("button", name="Tap for sound")).to_have_count(0)
        assert await page.evaluate(playing) == [False]
        await page.get_by_role("button", name="Sound is on").click()
        assert await page.evaluate("[...document.querySelectorAll('audio')].map(one => one.muted)") == [True]
        await browser.close()
    await media.close()


async def test_it_finds_back_after_the_gateway_was_restarted(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    page = await theatre.open("guest")
    await theatre.enter(page)
    await plays(page)
    running = theatre.running
    port = running.url.rpartition(":")[2]
    await running.server.stop()
    await theatre.media.close()
    for session in list(theatre.gateway.known.values()):
        session.ended(CloseReason.SHUTDOWN)
    await expect(notice(page, "The gateway doesn't answer")).to_be_visible()
    await expect(page.locator(".health")).to_contain_text("No connection")
    await asyncio.sleep(2)

    http = type(running.loaded.config.http)(listen=f"127.0.0.1:{port}")
    loaded = type(running.loaded)(_with(running.loaded.config, http=http), running.loaded.folder, running.loaded.path)
    running.server = Server(theatre.gateway, loaded)
    await running.server.start(theatre.media.routes())
    theatre.gateway.join("sip", "or-3", device="or-3")
    await expect(notice(page, "The gateway doesn't answer")).to_have_count(0, timeout=20_000)
    await plays(page)
    await expect(page.locator(".tile", has_text="You (Dr. Li)")).to_be_visible(timeout=20_000)
    assert theatre.media.published == ["Dr. Li", "Dr. Li"]
    live = "[...document.querySelectorAll('audio')].map(a => [a.paused, a.srcObject.getTracks()[0].readyState])"
    assert await page.evaluate(live) == [[False, "live"]]


async def test_a_media_session_that_dies_is_replaced(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    page = await theatre.open()
    await plays(page)
    (pc,) = theatre.media.open.values()
    await pc.close()
    async with asyncio.timeout(30):
        while len(theatre.media.played) < 2:
            await asyncio.sleep(0.1)
    await plays(page)


async def test_who_is_here_and_what_the_theatre_is_shown(theatre: Theatre) -> None:
    device = theatre.gateway.join("sip", "or-3", device="or-3")
    li = theatre.gateway.join("webrtc", "or-3", name="Dr. Li")
    track = theatre.gateway.engine.facts["or-3/Dr. Li/main"]["tracks"][1]["id"]
    device.sinks[0].sender.selected = track
    page = await theatre.open("nurse")
    await page.get_by_role("button", name="Show who is here").click()
    people = page.get_by_role("complementary", name="Who is here")
    select = people.get_by_label("is shown")
    await expect(select.locator("option").first).to_have_text("Whoever speaks (now Dr. Li)")
    await select.select_option("Dr. Li")
    async with asyncio.timeout(5):
        while theatre.gateway.rooms.get("or-3").pins != {"or-3": "Dr. Li"}:
            await asyncio.sleep(0.05)
    await people.locator("li", has_text="Dr. Li").last.get_by_role("button", name="End connection").click()
    async with asyncio.timeout(5):
        while li.reason is not CloseReason.LOCAL_HANGUP:
            await asyncio.sleep(0.05)
    await page.keyboard.press("Escape")
    await expect(people).to_be_hidden()


async def test_names_are_text_never_markup(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    theatre.gateway.join("webrtc", "or-3", name="<img src=x onerror=window.__owned=1>")
    page = await theatre.open("nurse")
    await page.get_by_role("button", name="Show who is here").click()
    await expect(page.locator(".tile .name", has_text="<img")).to_be_visible()
    assert await page.evaluate("window.__owned") is None


SIZES = [(1280, 800), (390, 844), (844, 390), (320, 568)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_layout_fits_and_can_be_touched_with_gloves(theatre: Theatre, size: tuple[int, int]) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    theatre.gateway.join("webrtc", "or-3", name="Prof. Dr. Ada Lovelace-Byron of Ockham")
    page = await theatre.open("guest")
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    await theatre.enter(page, "Dr. Maximiliane Musterfrau-Beispiel")
    await plays(page)
    facts = await page.evaluate("""() => {
        const seen = one => one.offsetParent !== null;
        const box = one => one.getBoundingClientRect();
        const buttons = [...document.querySelectorAll('button')].filter(seen);
        return {
          wide: document.documentElement.scrollWidth - innerWidth,
          small: buttons.filter(one => box(one).height < 44 || box(one).width < 44).map(one => one.outerHTML),
          nameless: buttons.filter(one => !one.getAttribute('aria-label') && !one.textContent.trim()).length,
          cut: [...document.querySelectorAll('.controls button')].filter(seen)
            .filter(one => box(one).right > innerWidth || box(one).left < 0 || box(one).bottom > innerHeight
              || one.scrollWidth > one.clientWidth).map(one => one.textContent),
          big: box(document.querySelector('.big')).height,
        };
    }""")
    assert facts["wide"] <= 0
    assert facts["small"] == []
    assert facts["nameless"] == 0
    assert facts["cut"] == []
    assert facts["big"] >= 130


async def test_everything_can_be_reached_by_keyboard(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    theatre.gateway.join("webrtc", "or-3", name="Dr. Ada")
    page = await theatre.open("guest")
    await plays(page)
    await expect(page.get_by_role("button", name="Join")).to_be_visible()
    seen = set()
    for _ in range(12):
        await page.keyboard.press("Tab")
        seen.add(
            await page.evaluate(
                "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
            )
        )
    assert {"Full screen", "or-3, show big", "Dr. Ada, show big", "Join", "Show who is here"} <= seen


async def test_nothing_is_complained_about_in_the_console(theatre: Theatre) -> None:
    theatre.gateway.join("sip", "or-3", device="or-3")
    page = await new_page(theatre.browser)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    await page.goto(f"{theatre.running.url}/rooms/or-3?token={TOKENS['guest']}")
    await theatre.enter(page)
    await plays(page)
    await page.get_by_role("button", name="Leave").click()
    await asyncio.sleep(0.5)
    assert said == []


def _with(config: Any, **changes: Any) -> Any:
    """A copy of a config with some sections changed."""
    return type(config)(**{name: changes.get(name, getattr(config, name)) for name in config.__struct_fields__})
