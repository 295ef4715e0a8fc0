"""Chromium with its fake camera and microphone, and a look at what it really decoded, whatever the page's code does."""

import os
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]

# Keeps every peer connection that the page makes, so that a test sees what the browser itself counts.
HOOK = """
(() => {
  const Original = window.RTCPeerConnection;
  window.__connections = [];
  window.RTCPeerConnection = class extends Original {
    constructor(...args) { super(...args); window.__connections.push(this); }
  };
})();
"""

STATS = """
async () => {
  const all = [];
  for (const pc of window.__connections) {
    if (pc.connectionState === 'closed') continue;
    const report = await pc.getStats();
    const codecs = {};
    report.forEach(s => { if (s.type === 'codec') codecs[s.id] = s.mimeType + ' ' + (s.sdpFmtpLine || ''); });
    report.forEach(s => {
      if (s.type === 'inbound-rtp' || s.type === 'outbound-rtp')
        all.push({...s, codec: codecs[s.codecId], state: pc.connectionState});
    });
  }
  return all;
}
"""

# Calls `visit` with the spectrum in dB of each audio track that plays, and the width of its bins in Hz.
SPECTRA = """
async function spectra(visit) {
  const context = new AudioContext();
  await context.resume();
  for (const pc of window.__connections) {
    if (pc.connectionState !== 'connected') continue;
    for (const receiver of pc.getReceivers()) {
      if (receiver.track.kind !== 'audio') continue;
      const analyser = context.createAnalyser();
      analyser.fftSize = 16384;
      context.createMediaStreamSource(new MediaStream([receiver.track])).connect(analyser);
      await new Promise(done => setTimeout(done, 700));
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      visit(bins, context.sampleRate / analyser.fftSize);
    }
  }
  await context.close();
}
"""

TONE = f"""
async () => {{
  {SPECTRA}
  const found = [];
  await spectra((bins, hz) => {{
    let best = 1;
    for (let i = 1; i < bins.length; i++) if (bins[i] > bins[best]) best = i;
    found.push({{hz: best * hz, db: bins[best]}});
  }});
  return found;
}}
"""

LEVELS = f"""
async (wanted) => {{
  {SPECTRA}
  let levels = wanted.map(() => -200);
  await spectra((bins, hz) => {{
    const near = (tone) => {{
      const at = Math.round(tone / hz);
      return Math.max(...bins.slice(at - 2, at + 3));
    }};
    levels = levels.map((level, i) => Math.max(level, near(wanted[i])));
  }});
  return levels;
}}
"""


def tone_file(path: Path, tone_hz: float, seconds: float = 10.0, rate: int = 48_000) -> Path:
    """A WAV file for the fake microphone, which plays it round and round; whole waves, so that the seam is silent."""
    times = np.arange(int(seconds * rate)) / rate
    samples = (np.sin(2 * np.pi * tone_hz * times) * 0.3 * 32767).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


@asynccontextmanager
async def chromium(microphone: Path | None = None) -> AsyncIterator[Browser]:
    """``microphone``: what the fake one plays; without it beeps."""
    more = [f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), headless=True, args=[*FLAGS, *more]
        )
        try:
            yield browser
        finally:
            await browser.close()


async def new_page(browser: Browser, **context: Any) -> Page:
    """A page of its own profile, as another person's."""
    made: BrowserContext = await browser.new_context(viewport={"width": 1280, "height": 800}, **context)
    await made.add_init_script(HOOK)
    page = await made.new_page()
    page.set_default_timeout(15_000)
    return page


async def stats(page: Page, direction: str, kind: str) -> list[dict[str, Any]]:
    """The browser's own counters: ``inbound`` or ``outbound``, ``audio`` or ``video``."""
    return [s for s in await page.evaluate(STATS) if s["type"] == f"{direction}-rtp" and s["kind"] == kind]


async def tones(page: Page) -> list[float]:
    """Strongest frequency in Hz of every audio track that it plays."""
    return [found["hz"] for found in await page.evaluate(TONE) if found["db"] > -90]


async def tone_levels(page: Page, *wanted_hz: float) -> list[float]:
    """How loud each of these tones is in what it plays, in dB; -200 for what isn't there at all."""
    found: list[float] = await page.evaluate(LEVELS, list(wanted_hz))
    return found
