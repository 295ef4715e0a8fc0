"""An encoder in a room with a baresip device and Chromium: each sees and hears the others, whatever is encoded."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from peer_baresip import Baresip, level_in
from peer_chromium import chromium, stats, tone_file, tone_levels
from peer_ffmpeg import FfmpegPublisher
from playwright.async_api import Browser, expect
from room_page import RoomPage
from running_gateway import Gateway
from waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

DEVICE_TONE, BROWSER_TONE, ENCODER_TONE = 440, 700, 1000
# The encoder alone isn't 16:9: a browser scales its camera as it sees fit.
ENCODER_SIZE, DEVICE_SIZE = (800, 600), (640, 360)
# Of a tone among two or three; what isn't there is 40 dB below.
AUDIBLE_DB = -75


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with chromium(tone_file(tmp_path / "microphone.wav", BROWSER_TONE)) as running:
        yield running


def camera_file(folder: Path) -> Path:
    """Moving pictures for baresip's camera."""
    path = folder / "camera.mp4"
    command = (
        "ffmpeg -v error -y -f lavfi -i testsrc2=size=640x360:rate=25:duration=60 -c:v libx264 -preset ultrafast -g 25"
    )
    subprocess.run([*command.split(), "-pix_fmt", "yuv420p", str(path)], check=True, timeout=60)
    return path


def encoder(gateway: Gateway, folder: Path, name: str = "endoscope-1", **more: Any) -> FfmpegPublisher:
    settings = {"size": "800x600", "tone": ENCODER_TONE, "name": name, **more}
    return FfmpegPublisher(gateway.publish_url(name), folder, **settings)


async def pictures(room: RoomPage) -> dict[tuple[int, int], dict[str, Any]]:
    """What the browser decodes, by size."""
    videos = await stats(room.page, "inbound", "video")
    return {(v["frameWidth"], v["frameHeight"]): v for v in videos if v.get("framesDecoded", 0) > 0}


async def sees(room: RoomPage, *sizes: tuple[int, int]) -> bool:
    shown = await pictures(room)
    return all(shown.get(size, {}).get("framesDecoded", 0) > 30 for size in sizes)


async def hears(room: RoomPage, *tones: int) -> bool:
    return min(await tone_levels(room.page, *tones)) > AUDIBLE_DB


async def test_encoder_device_and_browser_see_and_hear_each_other(tmp_path: Path, browser: Browser) -> None:
    camera = camera_file(tmp_path)
    device = Baresip(tmp_path / "or-3", user="or3", tone=DEVICE_TONE, video=f"avformat,{camera}")
    async with device:
        gateway = Gateway(tmp_path / "gateway")
        gateway.device("or-3", device.uri, "or-3")
        gateway.encoder("endoscope-1", "or-3")
        async with gateway, encoder(gateway, tmp_path):
            await device.dial(gateway.uri("or-3"))
            await device.event("CALL_ESTABLISHED")
            room = await RoomPage.open(browser, gateway, "or-3", name="dr-li")
            await room.join()
            await until("the browser decodes both", lambda: sees(room, ENCODER_SIZE, DEVICE_SIZE), within_s=20)
            for video in (await pictures(room)).values():
                assert "H264" in video["codec"]
            await until("the browser hears both", lambda: hears(room, DEVICE_TONE, ENCODER_TONE), within_s=15)
            assert not await hears(room, BROWSER_TONE), "but not itself"

            await gateway.api("PUT", "/rooms/or-3/pin", {"device": "or-3", "participant": "endoscope-1"})

            async def shows_the_encoder() -> bool:
                return await device.shown() == ENCODER_SIZE

            await until("the device shows the encoder", shows_the_encoder, within_s=15, every_s=0.5)
            await gateway.api("PUT", "/rooms/or-3/pin", {"device": "or-3", "participant": "dr-li"})

            async def shows_the_browser() -> bool:
                width, height = await device.shown()
                return width * 9 == height * 16

            await until("the device shows the browser", shows_the_browser, within_s=15, every_s=0.5)
            await asyncio.sleep(2)
            await device.command("hangup")
            await device.event("CALL_CLOSED")
            heard = level_in(device, BROWSER_TONE, ENCODER_TONE, DEVICE_TONE)
            assert min(heard[:2]) > -45, "the device heard both others"
            assert heard[2] < min(heard[:2]) - 15, "but not itself"
            assert device.decoded_video()["lost_fragments"] == 0
            await room.close()


async def test_hevc_and_reordered_pictures_are_made_fit_for_the_browser(tmp_path: Path, browser: Browser) -> None:
    gateway = Gateway(tmp_path / "gateway")
    gateway.encoder("endoscope-1", "or-3")
    gateway.encoder("tower", "or-3")
    async with (
        gateway,
        encoder(gateway, tmp_path, "endoscope-1", codec="hevc", audio="opus"),
        encoder(gateway, tmp_path, "tower", size="640x368", bframes=3, tone=1300, fps=30) as reordering,
    ):
        room = await RoomPage.open(browser, gateway, "or-3", name="dr-li")
        sizes = (ENCODER_SIZE, (640, 368))
        await until("both are decoded", lambda: sees(room, *sizes), within_s=25)
        await until("both are heard", lambda: hears(room, ENCODER_TONE, 1300), within_s=15)
        before, sent = await pictures(room), reordering.sent_frames
        await asyncio.sleep(6)
        after, sent = await pictures(room), reordering.sent_frames - sent
        for size in sizes:
            assert "H264" in after[size]["codec"]
        # no picture is left out or comes too late, so nothing jumps
        smooth = after[640, 368]["framesDecoded"] - before[640, 368]["framesDecoded"]
        assert sent > 60
        assert smooth > 0.85 * sent, f"{smooth} of {sent} pictures"
        frozen = after[640, 368].get("totalFreezesDuration", 0) - before[640, 368].get("totalFreezesDuration", 0)
        assert frozen < 0.5
        await room.close()


async def test_without_transcoding_it_is_said_why_nothing_is_seen(tmp_path: Path, browser: Browser) -> None:
    gateway = Gateway(tmp_path / "gateway", media_more="max_video_transcodes = 0")
    gateway.encoder("endoscope-1", "or-3")
    async with gateway, encoder(gateway, tmp_path, codec="hevc"):
        room = await RoomPage.open(browser, gateway, "or-3", name="dr-li")
        await room.join()
        await until("it is heard", lambda: hears(room, ENCODER_TONE), within_s=20)
        assert await pictures(room) == {}

        async def said() -> list[str]:
            notes = [note for session in await gateway.sessions() for note in session["notes"]]
            return [note["text"] for note in notes if note["code"] == "picture_withheld"]

        (text,) = await until("the viewer's session says why", said)
        for word in ("endoscope-1", "H265", "H264", "media.max_video_transcodes"):
            assert word in text
        # and so do who sends it, where a technician looks, and the page, for who looks at it
        (device,) = [device for device in await gateway.api("GET", "/devices") if device["name"] == "endoscope-1"]
        assert device["reason"] == f"a viewer can't be shown its picture as it should be: {text}"
        await expect(room.page.get_by_text("its picture can't be shown here").first).to_be_visible()
        await room.close()
