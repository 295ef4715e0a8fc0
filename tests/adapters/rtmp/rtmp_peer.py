"""A plain RTMP client for tests: our protocol's client half with a socket of its own, pictures and sound to send."""

import asyncio
import functools
import ssl
import time
from dataclasses import dataclass
from typing import Self, TypeVar

import av
import numpy as np
from pictures import encoded_pictures
from rtmp_gateway import until

from orbridge.codecs import aac, avcc, flv
from orbridge.codecs.rtmp.connection import ClientConnection
from orbridge.codecs.rtmp.events import Closed, Connected, Event, Failed, Media, PlayStarted, PublishStarted, Rejected

E = TypeVar("E")
FPS = 25
RATE_HZ = 48_000


@dataclass(frozen=True)
class Recording:
    """``header``: the AVC sequence header; ``pictures``: (keyframe, NAL units without parameter sets)."""

    header: bytes
    pictures: tuple[tuple[bool, bytes], ...]
    sound: tuple[bytes, ...]


@functools.cache
def recording(count: int = 100, gop: int = 25, width: int = 320, height: int = 240) -> Recording:
    units = encoded_pictures(width, height, count, gop=gop)
    sets = [bytes(nal) for nal in avcc.split_lengths(units[0][1]) if nal[0] & 0x1F in (7, 8)]
    pictures = []
    for keyframe, payload in units:
        nals = [nal for nal in avcc.split_lengths(payload) if nal[0] & 0x1F not in (6, 7, 8, 9)]
        pictures.append((keyframe, avcc.join_lengths(nals)))
    return Recording(avcc.from_parameter_sets(sets).serialise(), tuple(pictures), tuple(encoded_aac(count * 2)))


def encoded_aac(count: int) -> list[bytes]:
    codec = av.CodecContext.create("aac", "w")
    codec.sample_rate, codec.format, codec.layout = RATE_HZ, "fltp", "stereo"
    frames: list[bytes] = []
    for number in range(count):
        wave = np.sin(2 * np.pi * 440 * (np.arange(1024) + number * 1024) / RATE_HZ).astype(np.float32) / 3
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = RATE_HZ, number * 1024
        frames += [bytes(packet) for packet in codec.encode(frame)]
    return frames


class Client(asyncio.Protocol):
    """One connection. ``seen``: every event."""

    def __init__(self, app: str, four_ccs: tuple[str, ...] = ()) -> None:
        self.machine = ClientConnection()
        self.seen: list[Event] = []
        self.lost = False
        self.stream_id = 0
        self._app, self._four_ccs = app, four_ccs
        self.transport: asyncio.Transport

    @classmethod
    async def open(
        cls, port: int, app: str = "live", four_ccs: tuple[str, ...] = (), tls: ssl.SSLContext | None = None
    ) -> Self:
        client = cls(app, four_ccs)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: client, "127.0.0.1", port, ssl=tls)
        await until("connected", lambda: client.of(Connected) or client.is_over)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.machine.connect(self._app, f"rtmp://127.0.0.1/{self._app}", self._four_ccs)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.machine.receive_data(data, time.monotonic_ns() // 1_000_000)
        self.seen += self.machine.events()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.machine.receive_eof()
        self.seen += self.machine.events()

    def flush(self) -> None:
        self.transport.writelines(self.machine.data_to_send())

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.seen if isinstance(event, kind)]

    def media(self, kind: str) -> list[Media]:
        """Without sequence headers."""
        return [event for event in self.of(Media) if event.kind == kind and not is_header(event)]

    @property
    def is_over(self) -> bool:
        return self.lost or bool(self.of(Closed) or self.of(Failed))

    async def publish(self, name: str) -> Self:
        self.machine.publish(name)
        self.flush()
        await until("publishing", lambda: self.of(PublishStarted) or self.of(Rejected) or self.is_over)
        if started := self.of(PublishStarted):
            self.stream_id = started[0].stream_id
        return self

    async def play(self, name: str) -> Self:
        self.machine.play(name)
        self.flush()
        await until("playing", lambda: self.of(PlayStarted) or self.of(Rejected) or self.is_over)
        return self

    def send(self, kind: str, timestamp_ms: int, body: bytes) -> None:
        assert kind in ("audio", "video", "data")
        self.machine.send_media(self.stream_id, kind, timestamp_ms, body)  # type: ignore[arg-type]
        self.flush()

    async def close(self) -> None:
        self.machine.close()
        self.flush()
        self.transport.close()
        await until("closed", lambda: self.lost)

    def abort(self) -> None:
        self.transport.abort()


def is_header(event: Media) -> bool:
    if event.kind == "video":
        return flv.parse_video(event.payload).packet == "sequence_header"
    return event.kind == "audio" and flv.parse_audio(event.payload).packet == "sequence_header"


def video_header(made: Recording) -> bytes:
    return flv.serialise_video("H264", "sequence_header", made.header, keyframe=True)


def audio_header(rate_hz: int = RATE_HZ, channels: int = 2) -> bytes:
    config = aac.AudioSpecificConfig(aac.AAC_LC, rate_hz, channels)
    return flv.serialise_audio("AAC", "sequence_header", config.serialise())


class Encoder:
    """Publishes a recording in real time, in a circle, until it is stopped."""

    def __init__(
        self, client: Client, made: Recording, *, audio: bool = True, video: bool = True, begin_ms: int = 0
    ) -> None:
        self.client, self.made = client, made
        self._audio, self._video, self._begin_ms = audio, video, begin_ms
        self.sent = 0
        self._task = asyncio.get_running_loop().create_task(self._run())

    @classmethod
    async def start(cls, port: int, path: str, made: Recording | None = None, **more: bool | int) -> Self:
        app, _, name = path.partition("/")
        client = await (await Client.open(port, app)).publish(name)
        assert client.stream_id, client.seen
        return cls(client, made or recording(), **more)  # type: ignore[arg-type]

    async def _run(self) -> None:
        client, made = self.client, self.made
        if self._video:
            client.send("video", self._begin_ms, video_header(made))
        if self._audio:
            client.send("audio", self._begin_ms, audio_header())
        loop = asyncio.get_running_loop()
        began, number, frame = loop.time(), 0, 0
        while not client.is_over:
            now_ms = number * 1000 // FPS
            if self._video:
                keyframe, payload = made.pictures[number % len(made.pictures)]
                body = flv.serialise_video("H264", "coded_frames", payload, keyframe=keyframe)
                client.send("video", self._begin_ms + now_ms, body)
            while self._audio and frame * 1024 * 1000 // RATE_HZ <= now_ms:
                body = flv.serialise_audio("AAC", "frames", made.sound[frame % len(made.sound)])
                client.send("audio", self._begin_ms + frame * 1024 * 1000 // RATE_HZ, body)
                frame += 1
            number += 1
            self.sent = number
            await asyncio.sleep(max(0.0, began + number / FPS - loop.time()))

    async def stop(self) -> None:
        self._task.cancel()
        if not self.client.lost:
            await self.client.close()

    def abort(self) -> None:
        self._task.cancel()
        self.client.abort()
