"""The pages' files, headers on every answer, and connections that ask nothing or too much."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from orbridge.gateway.http import server as server_module
from orbridge.gateway.http.connections import Connections
from orbridge.gateway.http.pages import Pages


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A folder as ``web/`` builds it."""
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "room.html").write_text("<!doctype html><title>room</title>")
    (folder / "operator.html").write_text("<!doctype html><title>operator</title>")
    (folder / "room-0A1B2C3D.js").write_text("export {};")
    (folder / "secret.txt").write_text("not for the web")
    monkeypatch.setattr(server_module, "Pages", lambda guard: Pages(guard, folder))
    return folder


async def test_pages_are_served_and_asked_again(start, built) -> None:
    running = await start()
    status, text, response = await running.ask("GET", "/rooms/or-3")
    assert (status, response.content_type, response.charset) == (200, "text/html", "utf-8")
    assert "<title>room" in text
    assert response.headers["Cache-Control"] == "no-cache"
    tag = {"If-None-Match": response.headers["ETag"]}
    assert (await running.ask("GET", "/rooms/or-3", headers=tag))[0] == 304
    (built / "room.html").write_text("<!doctype html><title>rebuilt</title>")
    status, text, _ = await running.ask("GET", "/rooms/or-3", headers=tag)
    assert (status, "rebuilt" in text) == (200, True)
    assert "<title>operator" in (await running.ask("GET", "/"))[1]


async def test_hashed_files_are_kept_forever(start, built) -> None:
    running = await start()
    status, _, response = await running.ask("GET", "/static/room-0A1B2C3D.js")
    assert (status, response.content_type) == (200, "text/javascript")
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "path", ["secret.txt", "room.html", "..%2fserver.py", "%2e%2e%2fserver.py", ".hidden.js", "none.js", "a%00.js"]
)
async def test_nothing_else_is_served(start, built, path) -> None:
    running = await start()
    status, answer, _ = await running.ask("GET", f"/static/{path}")
    assert (status, answer["error"]) == (404, "not_found")


async def test_a_wrong_token_gets_the_page_that_says_so(start, built) -> None:
    running = await start()
    status, text, response = await running.ask("GET", "/rooms/or-3?token=guess")
    assert (status, response.content_type) == (401, "text/html")
    assert "<title>room" in text
    assert (await running.ask("GET", "/rooms/or-3?token=view-secret-0123456789"))[0] == 200


async def test_missing_pages_are_said(start, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(server_module, "Pages", lambda guard: Pages(guard, tmp_path / "nothing"))
    running = await start()
    status, answer, _ = await running.ask("GET", "/")
    assert (status, answer["error"]) == (503, "pages_missing")
    assert "npm run build" in answer["what"]
    assert (await running.ask("GET", "/api/v1/rooms", "viewer"))[0] == 200


@pytest.mark.parametrize("path", ["/", "/rooms/or-3", "/api/v1/rooms", "/nowhere", "/healthz", "/metrics"])
async def test_every_answer_has_the_protecting_headers(start, built, path) -> None:
    running = await start()
    _, _, response = await running.ask("GET", path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "Cache-Control" in response.headers


async def test_the_log_never_has_a_query_string(start, built, capsys) -> None:
    running = await start()
    await running.ask("GET", "/rooms/or-3?token=view-secret-0123456789")
    await running.ask("GET", "/api/v1/rooms/or-3?token=wrong-secret-wrong")
    said = capsys.readouterr().out
    assert "/api/v1/rooms/or-3" in said
    assert "secret" not in said


async def raw(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def test_a_connection_that_asks_nothing_is_closed(start, monkeypatch) -> None:
    monkeypatch.setattr(server_module, "Connections", lambda limit: Connections(limit, first_request_s=0.2))
    running = await start()
    silent, silent_writer = await raw(running.url)
    slow, slow_writer = await raw(running.url)
    slow_writer.write(b"GET /healthz HTTP/1.1\r\nHost:")
    asks, asks_writer = await raw(running.url)
    asks_writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asks.readuntil(b"ok")
    async with asyncio.timeout(2):
        for reader in (silent, slow):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
    assert running.server._connections.silent == 2
    asks_writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(2):
        await asks.readuntil(b"ok")
    for writer in (silent_writer, slow_writer, asks_writer):
        writer.close()


async def test_connections_over_the_limit_are_turned_away_in_words(start, monkeypatch) -> None:
    monkeypatch.setattr(server_module, "Connections", lambda limit: Connections(3))
    running = await start()
    held = [await raw(running.url) for _ in range(3)]
    await asyncio.sleep(0.05)
    reader, writer = await raw(running.url)
    async with asyncio.timeout(2):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"too_many_connections" in answer
    for _, other in held:
        other.close()
    await asyncio.sleep(0.1)
    assert (await running.ask("GET", "/healthz"))[0] == 200
    assert running.server._connections.refused == 1
    writer.close()


async def test_adapters_routes_are_behind_the_same_protection(start) -> None:
    async def whip(request: web.Request) -> web.Response:
        running.server.authorise(request, "publish", request.match_info["room"])
        return web.Response(status=201)

    running = await start(routes=[web.post("/rooms/{room}/whip", whip)])
    assert (await running.ask("POST", "/rooms/or-3/whip"))[0] == 401
    assert (await running.ask("POST", "/rooms/or-3/whip", "viewer"))[0] == 403
    assert (await running.ask("POST", "/rooms/or-3/whip", "guest"))[0] == 201
    assert (await running.ask("POST", "/rooms/board/whip", "guest"))[0] == 403
