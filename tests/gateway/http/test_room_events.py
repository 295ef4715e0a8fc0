"""The room's websocket: first message, changes, figures, limits, who is let in and who is dropped."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from waiting import crowding

from orbridge.codecs.media import VideoLimit
from orbridge.gateway.http import room_events
from orbridge.gateway.session import CloseReason, Note

LEVEL_13 = VideoLimit(396, 11880, 768)
LEVEL_31 = VideoLimit(3600, 108000, 14000)


@asynccontextmanager
async def watching(running: Any, room: str = "or-3", token: str = "view-secret-0123456789") -> Any:
    async with running.client.ws_connect(f"{running.url}/api/v1/rooms/{room}/events?token={token}") as socket:
        yield socket


async def until(socket: aiohttp.ClientWebSocketResponse, kind: str, true: Any = lambda message: True) -> Any:
    """The first message of this kind that fulfils the condition, within 3 s."""
    async with asyncio.timeout(3):
        while True:
            message = json.loads(await socket.receive_str())
            if message["type"] == kind and true(message):
                return message


async def test_hello_says_who_you_are_and_how_the_room_is(start) -> None:
    running = await start(http="", tokens=True)
    running.gateway.join("sip", "or-3", device="or-3", limit=LEVEL_13)
    async with watching(running, token="guest-secret-0123456789") as socket:
        hello = await until(socket, "hello")
    assert hello["you"] == {"name": "guest", "may": ["view", "publish"]}
    assert hello["room"]["title"] == "Theatre 3"
    assert hello["room"]["participants"][0]["streams"] == {"main": "or-3/main"}
    assert hello["limit"] == {"max_fs": 396, "max_mbps": 11880, "max_kbps": 768}
    assert len(hello["instance"]) == 16
    assert (hello["version"], hello["ice_servers"]) == ("1.2.3", [])


async def test_changes_are_told(start) -> None:
    running = await start()
    async with watching(running) as socket:
        hello = await until(socket, "hello")
        assert hello["room"]["participants"] == []
        session = running.gateway.join("sip", "or-3", device="or-3")
        changed = await until(socket, "room", lambda message: message["room"]["participants"])
        assert changed["room"]["participants"][0]["id"] == session.id
        session.notes.append(Note("audio_only", "sound only"))
        running.gateway.rooms.touch("or-3")
        await until(socket, "room", lambda message: message["room"]["participants"][0]["notes"])
        running.gateway.rooms.set_speaker(running.gateway.rooms.get("or-3"), session.id)
        assert (await until(socket, "speaker"))["participant"] == session.id
        session.ended(CloseReason.REMOTE_HANGUP)
        left = await until(socket, "room", lambda message: not message["room"]["participants"])
        assert left["room"]["devices"][0]["reason"] == "the peer hung up"


async def test_a_room_that_opens_later(start) -> None:
    running = await start()
    async with watching(running, room="or-77") as socket:
        assert (await until(socket, "hello"))["room"]["open"] is False
        running.gateway.join("whip", "or-77", name="Dr. Li")
        await until(socket, "room", lambda message: message["room"]["open"] and message["room"]["participants"])


async def test_a_burst_of_changes_is_one_message(start) -> None:
    running = await start()
    async with watching(running) as socket:
        await until(socket, "hello")
        session = running.gateway.join("sip", "or-3", device="or-3")
        for number in range(200):
            session.notes[:] = [Note("count", str(number))]
            running.gateway.rooms.touch("or-3")
        messages: list[Any] = []

        async def collect() -> None:
            while True:
                messages.append(json.loads(await socket.receive_str()))

        collecting = asyncio.create_task(collect())
        await asyncio.sleep(0.5)
        collecting.cancel()
        rooms = [message for message in messages if message["type"] == "room"]
        assert 1 <= len(rooms) <= 4
        assert rooms[-1]["room"]["participants"][0]["notes"] == [{"code": "count", "text": "199"}]


async def test_figures_come_every_second(start) -> None:
    running = await start()
    device = running.gateway.join("sip", "or-3", device="or-3")
    guest = running.gateway.join("whip", "or-3", name="Dr. Li")
    guest_track = running.gateway.engine.facts["or-3/Dr. Li/main"]["tracks"][1]["id"]
    device.sinks[0].sender.selected = guest_track
    async with watching(running) as socket:
        stats = await until(socket, "stats")
        assert stats["sees"] == {device.id: guest.id, guest.id: None}
        video = stats["streams"][0]["tracks"][1]
        assert (video["width"], video["height"], video["loss_percent"], video["rtt_ms"]) == (1280, 720, 1.3, 9.0)
        began = asyncio.get_running_loop().time()
        await until(socket, "stats")
        assert 0.7 <= asyncio.get_running_loop().time() - began <= 1.3 * crowding()


async def test_a_track_that_comes_later_is_shown(start) -> None:
    running = await start()
    running.gateway.join("sip", "or-3", device="or-3", video=False)
    async with watching(running) as socket:
        assert not (await until(socket, "hello"))["room"]["participants"][0]["video"]
        await until(socket, "stats")
        running.gateway.engine.put("or-3/main")
        await until(socket, "room", lambda message: message["room"]["participants"][0]["video"])


async def test_the_limit_is_that_of_the_others(start) -> None:
    running = await start()
    small = running.gateway.join("sip", "or-3", device="or-3", limit=LEVEL_13)
    async with watching(running) as socket:
        assert (await until(socket, "hello"))["limit"]["max_fs"] == 396
        mine = running.gateway.join("whip", "or-3", name="Dr. Li", limit=LEVEL_31)
        await socket.send_str(json.dumps({"type": "publishing", "session": mine.id}))
        small.ended(CloseReason.REMOTE_HANGUP)
        assert (await until(socket, "limit"))["limit"] is None
        running.gateway.join("sip", "or-3", device="or-9", limit=LEVEL_31)
        assert (await until(socket, "limit"))["limit"]["max_mbps"] == 108000


@pytest.mark.parametrize("text", ["{", '{"type":"publishing"}', '{"type":"other","session":"x"}', "[]", "x" * 2000])
async def test_who_talks_nonsense_is_let_go(start, text) -> None:
    running = await start()
    async with watching(running) as socket:
        await until(socket, "hello")
        await socket.send_str(text)
        async with asyncio.timeout(3):
            while (message := await socket.receive()).type is WSMsgType.TEXT:
                pass
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING)
        assert socket.close_code in (1008, 1009)
    async with asyncio.timeout(3):
        while running.server._room_events.watchers:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("room", "token", "status"), [("or-3", "wrong", 401), ("board", "view-secret-0123456789", 403)]
)
async def test_who_may_not_look_is_refused_in_words(start, room, token, status) -> None:
    running = await start()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with watching(running, room, token):
            pass
    assert refused.value.status == status


async def test_plain_requests_get_words(start) -> None:
    running = await start()
    status, answer, _ = await running.ask("GET", "/api/v1/rooms/or-3/events", "viewer")
    assert (status, answer["error"]) == (400, "not_a_websocket")


async def test_a_withdrawn_token_ends_the_look(start, tmp_path) -> None:
    running = await start()
    async with watching(running) as socket, watching(running, token="desk-secret-0123456789") as other:
        await until(socket, "hello")
        await until(other, "hello")
        (tmp_path / "viewer").write_text("another-secret-0123456789")
        running.server.reload(running.loaded)
        async with asyncio.timeout(3):
            while (await socket.receive()).type is WSMsgType.TEXT:
                pass
        assert socket.close_code == room_events.TOKEN_WITHDRAWN
        await until(other, "stats")


async def test_stopping_says_goodbye_quickly(start) -> None:
    running = await start()
    async with watching(running) as socket:
        await until(socket, "hello")
        began = asyncio.get_running_loop().time()
        stopping = asyncio.create_task(running.server.stop())
        async with asyncio.timeout(3):
            while (await socket.receive()).type is WSMsgType.TEXT:
                pass
        await stopping
        assert socket.close_code == 1001
        assert asyncio.get_running_loop().time() - began < 2.0


async def test_too_many_watchers_are_refused(start, monkeypatch) -> None:
    monkeypatch.setattr(room_events, "WATCHERS_LIMIT", 2)
    running = await start()
    async with watching(running), watching(running):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with watching(running):
                pass
        assert refused.value.status == 503
    async with watching(running) as socket:
        await until(socket, "hello")


async def test_a_page_that_takes_nothing_is_dropped_and_the_others_notice_nothing(start, monkeypatch) -> None:
    monkeypatch.setattr(room_events, "SEND_TIMEOUT_S", 0.3)
    monkeypatch.setattr(room_events, "ROOM_EVERY_S", 0.0)
    running = await start()
    session = running.gateway.join("sip", "or-3", device="or-3")
    session.notes.append(Note("long", "x" * 200_000))
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(
        b"GET /api/v1/rooms/or-3/events?token=view-secret-0123456789 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    async with watching(running) as other:
        await until(other, "hello")
        assert running.server._room_events.watchers == 2
        most = 0
        async with asyncio.timeout(20):
            while running.server._room_events.watchers == 2:
                running.gateway.rooms.touch("or-3")
                await until(other, "room")
                (watched,) = running.server._room_events._rooms.values()
                most = max(most, *(len(watcher.pending) for watcher in watched.watchers))
        assert most <= 5
        await until(other, "stats")
    writer.close()
