"""WHIP and WHEP answered by unmodified aiortc, so that the pages can be tried in a browser without an engine."""

from __future__ import annotations

import asyncio
import fractions
import time
from typing import Any

import av
import numpy as np
from aiohttp import web
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack


class Picture(VideoStreamTrack):
    """A moving picture: a sweep over a ground whose colour tells streams apart."""

    def __init__(self, hue: int, width: int = 640, height: int = 360) -> None:
        super().__init__()
        self._width, self._height, self._hue = width, height, hue
        across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        self._ground = np.stack([70 + 60 * down, 60 + 80 * across * (hue % 3) / 2, 80 + 60 * (1 - across)], axis=2)

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        image = self._ground.copy()
        at = int(time.monotonic() * 120 + self._hue * 90) % self._width
        image[:, max(0, at - 12) : at + 12] = (120, 220, 205)
        frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Tone(AudioStreamTrack):
    """A quiet tone."""

    def __init__(self, hz: float) -> None:
        super().__init__()
        self._hz, self._at = hz, 0

    async def recv(self) -> av.AudioFrame:
        await asyncio.sleep(0.02)
        times = (np.arange(960) + self._at) / 48000
        samples = (np.sin(2 * np.pi * self._hz * times) * 3000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self._at, fractions.Fraction(1, 48000)
        self._at += 960
        return frame


class MediaStandIn:
    """Routes for a server, and what was asked of them.

    Attributes:
        refuse: raised instead of answering a WHIP request.
        played: streams that a WHEP session was opened for, in order.
        published: names that joined, in order.
        open: session keys -> peer connections.
    """

    def __init__(self) -> None:
        self.gateway: Any = None
        self.refuse: Exception | None = None
        self.played: list[str] = []
        self.published: list[str] = []
        self.open: dict[str, RTCPeerConnection] = {}
        self.silent: set[str] = set()
        self.offers: list[str] = []
        self._sessions: dict[str, Any] = {}
        self._tracks: list[MediaStreamTrack] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/streams/{stream:.+}/whep", self.whep),
            web.delete("/streams/{stream:.+}/whep/{key}", self.end),
            web.post("/rooms/{room}/whip", self.whip),
            web.delete("/rooms/{room}/whip/{key}", self.end),
        ]

    async def whep(self, request: web.Request) -> web.Response:
        stream = request.match_info["stream"]
        self.played.append(stream)
        pc = RTCPeerConnection()
        if stream not in self.silent:
            pc.addTrack(Picture(len(stream)))
        pc.addTrack(Tone(300 + 40 * (len(stream) % 7)))
        return await self._answer(request, pc)

    async def whip(self, request: web.Request) -> web.Response:
        if self.refuse is not None:
            raise self.refuse
        name = request.query["name"]
        pc = RTCPeerConnection()
        sink = MediaBlackhole()
        pc.on("track", sink.addTrack)
        response = await self._answer(request, pc)
        await sink.start()
        self.published.append(name)
        session = self.gateway.join("webrtc", request.match_info["room"], name=name)
        self._sessions[response.headers["Location"].rpartition("/")[2]] = session
        response.headers["Orbridge-Session"] = session.id
        return response

    async def end(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        session = self._sessions.pop(key, None)
        if session is not None:
            await self.gateway.hangup(session.id)
        pc = self.open.pop(key, None)
        if pc is None:
            raise web.HTTPNotFound
        await pc.close()
        return web.Response()

    async def close(self) -> None:
        await asyncio.gather(*(pc.close() for pc in self.open.values()))
        self.open.clear()

    async def _answer(self, request: web.Request, pc: RTCPeerConnection) -> web.Response:
        offer = await request.text()
        self.offers.append(offer)
        await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await pc.setLocalDescription(await pc.createAnswer())
        key = f"key-{len(self.offers)}"
        self.open[key] = pc
        headers = {"Location": f"{request.path}/{key}", "ETag": f'"{key}"'}
        return web.Response(status=201, text=pc.localDescription.sdp, content_type="application/sdp", headers=headers)
