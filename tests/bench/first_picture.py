"""How long until somebody sees something: from INVITE to a picture in an open page, and a late viewer's wait."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from playwright.async_api import Browser, Page
from playwright.async_api import Error as PlaywrightError

from tests.bench.camera import HEIGHT, WIDTH, Camera, encoded
from tests.bench.figures import Result, Samples, at_most
from tests.bench.running_daemon import (
    PEER_MEDIA,
    PEER_PORT,
    Dialog,
    Gateway,
    RawPeer,
    RoomPage,
    body,
    chromium,
    daemon,
    description,
    new_page,
    status,
    until,
)

PT = 96
# Into the ten seconds between two key frames.
LATE_S = 5.0
WITHIN_S = 20.0

# Notes when the first picture of each remote track has left the browser's decoder, in ms since 1970.
FIRST_PICTURES = """
(() => {
  window.__pictures = [];
  const Original = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Original {
    constructor(...args) {
      super(...args);
      this.addEventListener('track', async ({track}) => {
        if (track.kind !== 'video') return;
        const reader = new MediaStreamTrackProcessor({track}).readable.getReader();
        const {value, done} = await reader.read();
        if (done) return;
        window.__pictures.push({
          at: performance.timeOrigin + performance.now(), width: value.codedWidth, height: value.codedHeight,
        });
        value.close();
        for (;;) { const next = await reader.read(); if (next.done) return; next.value.close(); }
      });
    }
  };
})();
"""

# A viewer as small as WHEP allows (draft-ietf-wish-whep). Gives when it asked and when it was connected.
WATCH = """
async (path) => {
  const now = () => performance.timeOrigin + performance.now();
  const pc = new RTCPeerConnection();
  pc.addTransceiver('video', {direction: 'recvonly'});
  pc.addTransceiver('audio', {direction: 'recvonly'});
  const connected = new Promise((done) => {
    pc.addEventListener('connectionstatechange', () => { if (pc.connectionState === 'connected') done(now()); });
  });
  await pc.setLocalDescription(await pc.createOffer());
  await new Promise((done) => {
    if (pc.iceGatheringState === 'complete') return done();
    pc.addEventListener('icegatheringstatechange', () => { if (pc.iceGatheringState === 'complete') done(); });
  });
  const asked = now();
  const response = await fetch(path, {
    method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: pc.localDescription.sdp,
  });
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
  await pc.setRemoteDescription({type: 'answer', sdp: await response.text()});
  const limit = new Promise((_, fail) => setTimeout(() => fail(new Error('not connected')), 15000));
  return {asked, connected: await Promise.race([connected, limit])};
}
"""


def measure(rounds: int) -> Result:
    samples = Samples()
    asyncio.run(_measure(rounds, samples))
    return Result(
        "first_picture_ms",
        samples.figures(
            ("call", "INVITE to the first picture in the open room page", "ms", at_most(1000)),
            ("late", "late viewer, 10 s between key frames: WHEP request to picture", "ms", at_most(300)),
            ("late_connected", "the same, from connected to picture", "ms", None),
            ("answer", "INVITE to 200", "ms", None),
        ),
        samples.rejected,
        {"size": f"{WIDTH}x{HEIGHT}", "key_frame_every_s": 10, "late_s": LATE_S},
    )


async def _measure(rounds: int, samples: Samples) -> None:
    pictures = encoded()
    async with chromium() as browser:
        for number in range(rounds):
            gateway = daemon("first-picture")
            gateway.device("or-3", f"sip:or3@127.0.0.1:{PEER_PORT}", "or-3")
            async with gateway:
                try:
                    await _round(gateway, browser, pictures, samples)
                except (AssertionError, TimeoutError, RuntimeError, PlaywrightError) as exc:
                    samples.reject(f"round {number}: {exc}")


async def _round(gateway: Gateway, browser: Browser, pictures: list[list[bytes]], samples: Samples) -> None:
    """The page is open and its person has joined; the device calls; five seconds on, somebody else looks at it."""
    room = await RoomPage.open(browser, gateway, "or-3", name="dr-li")
    try:
        await room.page.add_init_script(FIRST_PICTURES)
        await room.page.reload()
        await room.join()
        await asyncio.sleep(1.0)
        async with _calling(gateway, pictures) as (asked_ms, answered_ms):
            seen_ms = await _first_picture(room.page)
            await asyncio.sleep(LATE_S)
            late = await _late(gateway, browser)
    finally:
        await room.close()
    samples.add(call=seen_ms - asked_ms, answer=answered_ms - asked_ms, **late)


@contextlib.asynccontextmanager
async def _calling(gateway: Gateway, pictures: list[list[bytes]]) -> AsyncIterator[tuple[float, float]]:
    """The device calls and sends; gives when it sent its INVITE and when it was answered, in ms since 1970."""
    peer = await RawPeer(PEER_PORT, gateway.sip).open()
    camera = Camera(pictures, PT, PEER_MEDIA + 2)
    try:
        asked_ms = time.time() * 1000
        dialog, accepted = await peer.invite(
            description(audio=PEER_MEDIA, video=PEER_MEDIA + 2, audio_formats="8", video_pt=str(PT)), room="or-3"
        )
        answered_ms = time.time() * 1000
        if status(accepted) != 200:
            raise RuntimeError(f"the call was answered with {accepted.splitlines()[0]}")
        found = re.search(r"^m=video (\d+)", body(accepted), re.MULTILINE)
        assert found is not None
        camera.start(int(found[1]))
        yield asked_ms, answered_ms
        await _hang_up(peer, dialog)
    finally:
        camera.close()
        peer.close()


async def _hang_up(peer: RawPeer, dialog: Dialog) -> None:
    await peer.transact("BYE", dialog)


async def _late(gateway: Gateway, browser: Browser) -> dict[str, float]:
    page = await new_page(browser)
    try:
        await page.add_init_script(FIRST_PICTURES)
        await page.goto(f"{gateway.url}/healthz")
        times: dict[str, float] = await page.evaluate(WATCH, "/streams/or-3/main/whep")
        seen_ms = await _first_picture(page)
    finally:
        await page.context.close()
    return {"late": seen_ms - times["asked"], "late_connected": seen_ms - times["connected"]}


async def _first_picture(page: Page) -> float:
    """When the page's browser had decoded the device's first picture, in ms since 1970."""

    async def look() -> Any:
        seen = await page.evaluate("window.__pictures")
        return [picture for picture in seen if picture["width"] == WIDTH]

    pictures: Any = await until("a picture is decoded", look, within_s=WITHIN_S, every_s=0.05)
    return float(pictures[0]["at"])
