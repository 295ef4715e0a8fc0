"""Unmodified aiortc as the other side: what a WHIP publisher and a WHEP player written with it would do."""

import asyncio
import fractions
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aioice.ice
import av
import numpy as np
from aiohttp.test_utils import TestClient
from aiortc import (
    AudioStreamTrack,
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.mediastreams import MediaStreamError

WIDTH, HEIGHT = 320, 240


class MovingPicture(VideoStreamTrack):
    """A bright bar that moves over a dark ground."""

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        at = (pts // 3000 * 8) % WIDTH
        picture[:, at : at + 24] = 220
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(AudioStreamTrack):
    """A sine of 440 Hz, 48 kHz."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0
        self._started = 0.0

    async def recv(self) -> av.AudioFrame:
        loop = asyncio.get_running_loop()
        self._started = self._started or loop.time()
        await asyncio.sleep(max(0.0, self._started + self._at / 48_000 - loop.time()))
        samples = np.sin(2 * np.pi * 440 * (np.arange(960) + self._at) / 48_000) * 8000
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._at, fractions.Fraction(1, 48_000)
        self._at += 960
        return frame


class Received:
    """Frames of one remote track."""

    def __init__(self, track: MediaStreamTrack) -> None:
        self.kind = track.kind
        self.frames: list[Any] = []
        self._task = asyncio.ensure_future(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        try:
            while len(self.frames) < 2000:
                self.frames.append(await track.recv())
        except MediaStreamError:
            return

    def sound(self) -> np.ndarray[Any, Any]:
        """All of it, mono, as one array."""
        return np.concatenate(
            [frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0] for frame in self.frames]
        )


class StockClient:
    """A peer connection and the session that it has with the gateway."""

    def __init__(self, http: TestClient[Any, Any], token: str) -> None:
        self.http, self.headers = http, {"Authorization": f"Bearer {token}"}
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.location = self.etag = ""
        self.received: dict[str, Received] = {}
        self.pc.on("track", lambda track: self.received.__setitem__(track.kind, Received(track)))

    async def publish(self, path: str) -> None:
        self.pc.addTrack(MovingPicture())
        self.pc.addTrack(Tone())
        for transceiver in self.pc.getTransceivers():
            transceiver.direction = "sendonly"
            if transceiver.kind == "video":
                known = RTCRtpSender.getCapabilities("video").codecs
                transceiver.setCodecPreferences([c for c in known if "H264" in c.mimeType or "rtx" in c.mimeType])
        await self._post(path)

    async def play(self, path: str) -> None:
        self.pc.addTransceiver("video", direction="recvonly")
        self.pc.addTransceiver("audio", direction="recvonly")
        await self._post(path)

    async def _post(self, path: str) -> None:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        headers = self.headers | {"Content-Type": "application/sdp"}
        response = await self.http.post(path, data=self.pc.localDescription.sdp, headers=headers)
        text = await response.text()
        assert response.status == 201, text
        self.location, self.etag = response.headers["Location"], response.headers["ETag"]
        await self.pc.setRemoteDescription(RTCSessionDescription(text, "answer"))

    @property
    def connected(self) -> bool:
        return self.pc.connectionState == "connected"

    async def delete(self) -> int:
        response = await self.http.delete(self.location, headers=self.headers)
        return response.status


@asynccontextmanager
async def stock(http: TestClient[Any, Any], token: str = "publisher") -> AsyncIterator[StockClient]:
    """One on loopback, which aioice leaves out unless told."""
    found: Callable[..., list[str]] = aioice.ice.get_host_addresses
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    client = StockClient(http, token)
    try:
        yield client
    finally:
        aioice.ice.get_host_addresses = found
        await client.pc.close()
