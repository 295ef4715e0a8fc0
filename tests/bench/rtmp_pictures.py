"""RTMP's waits: a player that joins a running stream, and how old a picture is when a browser shows it."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import av
import numpy as np
from peer_ffmpeg import ffmpeg
from peer_nginx import NginxRtmp
from playwright.async_api import Error as PlaywrightError

from orbridge.codecs.rtmp.events import Event, Media
from tests.bench.figures import Result, Samples, at_most
from tests.bench.programs import BUILD
from tests.bench.rtmp_camera import FPS, messages, recording
from tests.bench.rtmp_relay import OUR_PORT, PEER_PORT
from tests.bench.rtmp_traffic import Client, publish
from tests.bench.running_daemon import Gateway, chromium, daemon, new_page, until

# Ten seconds from key frame to key frame; players join in the middle.
GROUP_S, LATE_S = 10, 5.0
KBPS = 3000
WITHIN_S = 15.0


class Viewer(Client):
    """Decodes what it plays until there is a picture; ``seen_s``: when that was, on time.perf_counter."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.seen = asyncio.Event()
        self.seen_s = 0.0
        self._decoder: av.VideoCodecContext | None = None

    def event(self, event: Event) -> None:
        if not isinstance(event, Media) or event.kind != "video":
            super().event(event)
        elif event.payload[1] == 0:
            decoder = av.CodecContext.create("h264", "r")
            assert isinstance(decoder, av.VideoCodecContext)
            decoder.extradata, decoder.thread_count = event.payload[5:], 1
            self._decoder = decoder
        elif (
            self._decoder is not None and not self.seen.is_set() and self._decoder.decode(av.Packet(event.payload[5:]))
        ):
            self.seen_s = time.perf_counter()
            self.seen.set()


def measure_first_picture(rounds: int) -> Result:
    samples = Samples()
    asyncio.run(_first_pictures(rounds, samples))
    return Result(
        "rtmp_first_picture_ms",
        samples.figures(
            (
                "ours",
                "player joins 5 s into a group of 10 s: connection to first picture",
                "ms",
                at_most(200),
            ),
            ("theirs", "nginx-rtmp, which keeps no pictures", "ms", None),
        ),
        samples.rejected,
        {"kbps": KBPS, "key_frame_every_s": GROUP_S, "late_s": LATE_S},
    )


async def _first_pictures(rounds: int, samples: Samples) -> None:
    gateway = daemon("rtmp-first-picture")
    gateway.rtmp = OUR_PORT
    gateway.encoder("camera", "or-3")
    nginx = NginxRtmp(BUILD / "rtmp-nginx", port=PEER_PORT)
    async with gateway, nginx:
        for number in range(rounds):
            try:
                ours = await _join(gateway.publish_url("camera"), gateway.play_url("camera"))
                theirs = await _join(nginx.url("camera"), nginx.url("camera"))
            except (TimeoutError, RuntimeError) as exc:
                samples.reject(f"round {number}: {exc!r}")
                continue
            samples.add(ours=ours, theirs=theirs)


async def _join(publish_url: str, play_url: str) -> float:
    """Milliseconds until a late player has a picture. Raises TimeoutError, RuntimeError."""
    sent = messages(recording(KBPS, gop=GROUP_S * FPS, seconds=2 * GROUP_S))
    publisher = Client(publish_url, publishes=True)
    await publisher.open()
    sending = asyncio.create_task(publish(publisher, sent, 4096, time.monotonic(), 0))
    await asyncio.sleep(LATE_S)
    viewer = Viewer(play_url)
    began_s = time.perf_counter()
    try:
        await viewer.open()
        async with asyncio.timeout(WITHIN_S):
            await viewer.seen.wait()
    finally:
        sending.cancel()
        for client in (viewer, publisher):
            if client.transport is not None:
                client.transport.abort()
        await asyncio.sleep(0.5)
    return (viewer.seen_s - began_s) * 1000


# to the browser

WIDTH, HEIGHT = 640, 360
# The clock's bits, most significant first, as black and white blocks along the upper edge.
BITS, BLOCK = 32, 20
SETTLE_S, WATCH_S = 3.0, 6.0

# Plays a stream over WHEP and notes, of each picture that is presented, the clock in it and the time of day.
SHOW = """
async (path) => {
  const pc = new RTCPeerConnection();
  const video = document.createElement('video');
  video.muted = true;
  document.body.append(video);
  video.srcObject = new MediaStream();
  pc.addEventListener('track', ({track}) => video.srcObject.addTrack(track));
  pc.addTransceiver('video', {direction: 'recvonly'});
  pc.addTransceiver('audio', {direction: 'recvonly'});
  await pc.setLocalDescription(await pc.createOffer());
  await new Promise((done) => {
    if (pc.iceGatheringState === 'complete') return done();
    pc.addEventListener('icegatheringstatechange', () => { if (pc.iceGatheringState === 'complete') done(); });
  });
  const response = await fetch(path, {
    method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: pc.localDescription.sdp,
  });
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
  await pc.setRemoteDescription({type: 'answer', sdp: await response.text()});
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [640, 20];
  const context = canvas.getContext('2d', {willReadFrequently: true});
  window.__shown = [];
  const look = () => {
    const now = performance.timeOrigin + performance.now();
    context.drawImage(video, 0, 0, 640, 20, 0, 0, 640, 20);
    const pixels = context.getImageData(0, 10, 640, 1).data;
    let clock = 0;
    for (let bit = 0; bit < 32; bit++) clock = clock * 2 + (pixels[(bit * 20 + 10) * 4] > 128 ? 1 : 0);
    window.__shown.push([clock, now]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  await video.play();
}
"""


class ClockEncoder:
    """ffmpeg that publishes pictures with this host's clock in them, burnt in the moment they are given to it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()

    async def __aenter__(self) -> ClockEncoder:
        BUILD.mkdir(parents=True, exist_ok=True)
        raw = f"-f rawvideo -pix_fmt yuv420p -s {WIDTH}x{HEIGHT} -r {FPS}"
        command = (
            f"{ffmpeg(9)} -v warning -fflags nobuffer -analyzeduration 0 -probesize 32 {raw} -i pipe:0 "
            "-re -f lavfi -i sine=frequency=440:sample_rate=48000 "
            f"-fps_mode passthrough -c:v libx264 -preset ultrafast -tune zerolatency -g {FPS} -b:v 1500k "
            "-c:a aac -ac 2 -b:a 128k -flush_packets 1 -f flv"
        )
        with (BUILD / "clock-encoder.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command.split(), self._url, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log
            )
        self._task = asyncio.create_task(self._feed())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await self._task
        self._process.kill()
        await self._process.wait()

    async def _feed(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        ground = np.random.default_rng(1).integers(60, 120, (HEIGHT, WIDTH), dtype=np.uint8)
        began, number = time.monotonic(), 0
        while True:
            image = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
            image[:HEIGHT] = np.roll(ground, number * 4, axis=1)
            await asyncio.sleep(max(0.0, began + number / FPS - time.monotonic()))
            clock = int(time.time() * 1000) & 0xFFFFFFFF
            bits = np.array([clock >> (BITS - 1 - bit) & 1 for bit in range(BITS)], np.uint8)
            image[:BLOCK] = np.repeat(bits * 219 + 16, BLOCK)
            pipe.write(image.tobytes())
            await pipe.drain()
            number += 1


@contextlib.asynccontextmanager
async def _running() -> AsyncIterator[Gateway]:
    gateway = daemon("rtmp-to-browser")
    gateway.rtmp = OUR_PORT
    gateway.encoder("camera", "or-3")
    async with gateway:
        yield gateway


def measure_to_browser(rounds: int) -> Result:
    samples = Samples()
    asyncio.run(_to_browser(rounds, samples))
    return Result(
        "rtmp_to_browser_latency_ms",
        samples.figures(
            ("p50", "from the encoder's input to the browser's screen, p50", "ms", at_most(250)),
            ("p95", "the same, p95", "ms", None),
            ("max", "the same, max", "ms", None),
        ),
        samples.rejected,
        {"size": f"{WIDTH}x{HEIGHT}", "fps": FPS, "seconds": WATCH_S},
    )


async def _to_browser(rounds: int, samples: Samples) -> None:
    async with chromium() as browser:
        for number in range(rounds):
            try:
                async with _running() as gateway, ClockEncoder(gateway.publish_url("camera")):
                    await _watch(gateway, browser, samples)
            except (AssertionError, TimeoutError, RuntimeError, PlaywrightError) as exc:
                samples.reject(f"round {number}: {exc}")


async def _watch(gateway: Gateway, browser: Any, samples: Samples) -> None:
    async def publishes() -> bool:
        return any(session["adapter"] == "rtmp" for session in await gateway.sessions())

    await until("the encoder publishes", publishes)
    await asyncio.sleep(1.0)
    page = await new_page(browser)
    try:
        await page.goto(f"{gateway.url}/healthz")
        await page.evaluate(SHOW, "/streams/or-3/camera/main/whep")
        await asyncio.sleep(SETTLE_S)
        await page.evaluate("window.__shown.length = 0")
        await asyncio.sleep(WATCH_S)
        shown: list[tuple[int, float]] = await page.evaluate("window.__shown")
    finally:
        await page.context.close()
    ages = [(int(now) - clock) & 0xFFFFFFFF for clock, now in shown]
    if len(ages) < 0.8 * WATCH_S * FPS:
        raise RuntimeError(f"only {len(ages)} pictures were shown in {WATCH_S:.0f} s")
    if max(ages) > 10_000:
        raise RuntimeError("a picture's clock can't be read")
    samples.add(p50=statistics.median(ages), p95=statistics.quantiles(ages, n=20)[18], max=float(max(ages)))
