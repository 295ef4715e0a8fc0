"""Chromium as publisher and player in one page, decoded size and rate as the browser counts them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bad_path import BadPath
from pairs import until
from peer_chromium import FLAGS
from pictures import Studio
from playwright.async_api import Page, async_playwright
from waiting import crowding
from web_gateway import Gateway, web_gateway

from orbridge.adapters.webrtc.session import WebRtcSession
from orbridge.codecs._engine import Engine
from orbridge.gateway.bus import Bus
from orbridge.gateway.session import CloseReason, State

pytestmark = pytest.mark.e2e

CLIENT = (Path(__file__).parent / "browser_client.js").read_text("utf-8")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    bus = Bus(Engine(udp_ports=(21600, 21690)))
    bus.start()
    async with web_gateway(bus, routed=True) as made:
        yield made
    bus.close()


@pytest.fixture
async def page(gateway: Gateway) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        made = await browser.new_page()
        await made.goto(str(gateway.http.make_url("/blank")))
        await made.add_script_tag(content=CLIENT)
        yield made
        await browser.close()


async def started(page: Page, name: str, action: str, path: str, token: str = "publisher") -> None:
    script = (
        "async ([name, action, path, token]) => { window[name] = new Client(token); await window[name][action](path); }"
    )
    await page.evaluate(script, [name, action, path, token])


async def stats(page: Page, name: str) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate(f"{name}.stats()")
    return found


async def decoded(page: Page, name: str, seconds: float) -> tuple[float, dict[str, Any]]:
    """Pictures a second that the player decodes from now on, and what it counts at the end."""
    before = (await stats(page, name))["inbound"]["video"]
    await asyncio.sleep(seconds)
    after = (await stats(page, name))["inbound"]["video"]
    elapsed = (after["timestamp"] - before["timestamp"]) / 1000
    return (after["framesDecoded"] - before["framesDecoded"]) / elapsed, after


async def frames_encoded(page: Page) -> int:
    """By the camera; its rate is Chromium's choice, 20 a second on an idle machine."""
    return int((await stats(page, "camera"))["outbound"]["video"]["framesEncoded"])


async def test_camera_to_player_and_back(gateway: Gateway, page: Page) -> None:
    await started(page, "camera", "publish", "/rooms/or-3/whip?name=anna")
    session = next(iter(gateway.adapter.sessions()))
    await until(lambda: session.state is State.ACTIVE)
    await started(page, "player", "play", "/streams/or-3/anna/main/whep", "viewer")
    await asyncio.sleep(3)
    encoded = await frames_encoded(page)
    rate, video = await decoded(page, "player", 4)
    assert rate >= 0.9 * (await frames_encoded(page) - encoded) / 4
    assert rate >= 12
    assert (video["frameWidth"], video["frameHeight"]) == (640, 360)
    assert video["packetsLost"] == 0
    assert "H264" in video["codec"]
    player = await stats(page, "player")
    assert player["inbound"]["audio"]["packetsReceived"] > 200
    assert "opus" in player["inbound"]["audio"]["codec"]
    assert player["transport"]["srtpCipher"] == "SRTP_AEAD_AES_128_GCM"
    assert set(player["patches"]) == {204}
    camera = await stats(page, "camera")
    assert camera["outbound"]["video"]["framesEncoded"] > 100
    # Asked for by what we answer to congestion: without it Chromium's camera stays at its lowest rate.
    assert camera["outbound"]["video"]["targetBitrate"] > 600_000

    # ICE restarts of both, in the middle: the same DTLS, no picture lost.
    for name in ("player", "camera"):
        before = await stats(page, name)
        await page.evaluate(f"{name}.restart()")
        await asyncio.sleep(1.5)
        after = await stats(page, name)
        assert after["transport"]["iceLocalUsernameFragment"] != before["transport"]["iceLocalUsernameFragment"]
        assert after["transport"]["selectedCandidatePairChanges"] > before["transport"]["selectedCandidatePairChanges"]
        encoded = await frames_encoded(page)
        rate, video = await decoded(page, "player", 3)
        assert rate >= 0.9 * (await frames_encoded(page) - encoded) / 3
        assert rate >= 12
        assert video["packetsLost"] == 0
        assert video["freezeCount"] == 0

    assert await page.evaluate("player.remove()") == 200
    await page.evaluate("camera.pc.close()")
    await until(lambda: session.state is State.CLOSED, 2)
    assert session.reason is CloseReason.REMOTE_HANGUP
    assert list(gateway.adapter.sessions()) == []


@pytest.mark.parametrize(("profile", "width", "height"), [("baseline", 1280, 720), ("high", 1280, 720)])
async def test_a_published_stream_is_decoded(
    gateway: Gateway, page: Page, profile: str, width: int, height: int
) -> None:
    bus = gateway.context.bus
    assert isinstance(bus, Bus)
    # A group of 4 s: a viewer who comes in the middle still has a picture at once.
    studio = Studio(bus, width=width, height=height, gop=120, profile=profile)
    await asyncio.sleep(1.5)
    await started(page, "player", "play", "/streams/or-3/main/whep", "viewer")
    await page.wait_for_function("player.firstFrame !== undefined", timeout=5000)
    first = (await stats(page, "player"))["firstFrame"]
    await asyncio.sleep(3)  # The kept group comes faster than it was made, until the viewer is at live.
    rate, video = await decoded(page, "player", 4)
    assert 27 / crowding() <= rate <= 33
    assert (video["frameWidth"], video["frameHeight"]) == (width, height)
    assert video["packetsLost"] == 0
    assert first < 1500 * crowding()
    await studio.close()


async def test_loss_and_a_nat_that_changes_its_port(gateway: Gateway, page: Page) -> None:
    bus = gateway.context.bus
    assert isinstance(bus, Bus)
    studio = Studio(bus, width=1280, height=720)
    path = BadPath(loss=0.03)
    port = await path.start()
    try:
        await page.evaluate("(port) => { window.player = new Client('viewer'); player.detour = port; }", port)
        playing = asyncio.ensure_future(page.evaluate("player.play('/streams/or-3/main/whep')"))
        await until(lambda: list(gateway.adapter.sessions()) != [])
        session = next(iter(gateway.adapter.sessions()))
        assert isinstance(session, WebRtcSession)
        path.lead_to("127.0.0.1", session._peer.sockets[0].leg.port)
        await playing
        await page.wait_for_function("player.firstFrame !== undefined", timeout=5000)
        await asyncio.sleep(3)
        asked = (await stats(page, "player"))["inbound"]["video"]["pliCount"]
        rate, video = await decoded(page, "player", 5)
        assert path.lost > 10, f"{path.lost} of {path.carried} at {rate:.1f} fps: {session.stats()}"
        assert 28 / crowding() <= rate <= 32
        assert video["retransmittedPacketsReceived"] > 5
        # Every lost packet came again in time: no picture had to be asked for anew.
        assert video["pliCount"] == asked

        moves = session.stats()["ice"]["moves"]
        await path.change_port()
        await until(lambda: session.stats()["ice"]["moves"] > moves, 5)
        rate, video = await decoded(page, "player", 4)
        assert rate >= 28
        assert session.state is State.ACTIVE
    finally:
        path.close()
        await studio.close()


async def test_a_killed_browser_is_freed_within_thirty_seconds(gateway: Gateway) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = await browser.new_page()
        await page.goto(str(gateway.http.make_url("/blank")))
        await page.add_script_tag(content=CLIENT)
        await started(page, "camera", "publish", "/rooms/or-3/whip?name=anna")
        session = next(iter(gateway.adapter.sessions()))
        await until(lambda: session.state is State.ACTIVE)
        loop = asyncio.get_running_loop()
        # A crash says no goodbye: the renderer and the network service go at once.
        cdp = await browser.new_browser_cdp_session()
        vanished = loop.time()
        crash = asyncio.ensure_future(cdp.send("Browser.crash"))
        await until(lambda: session.state is State.CLOSED, 35)
        assert loop.time() - vanished < 30
        assert session.reason is CloseReason.EXPIRED
        crash.cancel()
