"""A browser's side as far as media goes: unmodified aiortc plays a stream over WHEP, or publishes over WHIP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from device_media import Screen
from running_gateway import Gateway
from stock import StockClient, stock


class Viewer:
    """What one WHEP player shows."""

    def __init__(self, client: StockClient) -> None:
        self.client = client
        self.screen = Screen()
        self.sounds = 0

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if track.kind == "video":
                self.screen.look(frame)
            else:
                self.sounds += 1


@asynccontextmanager
async def viewer(gateway: Gateway, stream: str) -> AsyncIterator[Viewer]:
    """Plays ``stream`` while the block runs."""
    async with aiohttp.ClientSession(gateway.url) as http, stock(http) as client:  # type: ignore[arg-type]
        made = Viewer(client)
        tasks: list[asyncio.Task[None]] = []
        client.pc.remove_all_listeners("track")
        client.pc.on("track", lambda track: tasks.append(asyncio.ensure_future(made._read(track))))
        await client.play(f"/streams/{stream}/whep")
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def guest(gateway: Gateway, room: str) -> AsyncIterator[StockClient]:
    """Publishes a moving picture and a tone of 440 Hz into ``room`` while the block runs."""
    async with aiohttp.ClientSession(gateway.url) as http, stock(http) as client:  # type: ignore[arg-type]
        await client.publish(f"/rooms/{room}/whip?name=guest")
        yield client
        await client.delete()
