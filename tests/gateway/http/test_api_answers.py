"""The API's answers, its errors, and the document that describes it."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from openapi_spec_validator import validate

from orbridge.codecs.errors import LocalError, ParseError
from orbridge.gateway.adapter import Refused
from orbridge.gateway.http import openapi
from orbridge.gateway.session import CloseReason, Note


async def test_a_room_with_who_is_in_it(start) -> None:
    running = await start()
    device = running.gateway.join("sip", "or-3", device="or-3")
    device.notes.append(Note("audio_only", "sound only: the device has no H.264"))
    guest = running.gateway.join("whip", "or-3", name="Dr. Li", video=False)
    room = running.gateway.rooms.get("or-3")
    running.gateway.rooms.set_speaker(room, guest.id)
    _, answer, _ = await running.ask("GET", "/api/v1/rooms/or-3", "viewer")
    assert answer["title"] == "Theatre 3"
    assert answer["open"]
    assert answer["speaker"] == guest.id
    first, second = answer["participants"]
    assert (first["name"], first["kind"], first["streams"]) == ("or-3", "device", {"main": "or-3/main"})
    assert (first["audio"], first["video"]) == (True, True)
    assert first["notes"] == [{"code": "audio_only", "text": "sound only: the device has no H.264"}]
    assert (second["name"], second["kind"], second["video"]) == ("Dr. Li", "guest", False)
    assert [(known["name"], known["state"]) for known in answer["devices"]] == [("or-3", "connected")]


async def test_a_room_that_nobody_entered_yet(start) -> None:
    running = await start()
    _, answer, _ = await running.ask("GET", "/api/v1/rooms/or-9", "viewer")
    assert (answer["open"], answer["participants"], answer["max_participants"]) == (False, [], 16)
    assert answer["devices"][0]["reason"] == "nothing has come from it yet"


async def test_a_device_that_left_says_why_and_since_when(start) -> None:
    running = await start()
    session = running.gateway.join("sip", "or-3", device="or-3")
    session.ended(CloseReason.SILENT)
    _, (first, second), _ = await running.ask("GET", "/api/v1/devices", "desk")
    assert (first["state"], first["reason"]) == ("failed", "no media arrived for too long")
    assert first["since_at"] > 1e9
    assert (second["name"], second["state"], second["since_at"]) == ("or-9", "unknown", None)
    running.gateway.bound.append("or-3")
    _, (first, _), _ = await running.ask("GET", "/api/v1/devices", "desk")
    assert (first["state"], first["reason"]) == ("registered", "no media arrived for too long")


async def test_streams_with_what_the_network_does_to_them(start) -> None:
    running = await start()
    session = running.gateway.join("sip", "or-3", device="or-3")
    running.gateway.engine.put("or-3/mix/1", video=False)
    _, (main, mix), _ = await running.ask("GET", "/api/v1/streams", "desk")
    assert (main["name"], main["participant"], main["room"]) == ("or-3/main", session.id, "or-3")
    audio, video = main["tracks"]
    assert (audio["codec"], audio["loss_percent"], audio["rtt_ms"]) == ("G722", 0.0, 8.0)
    assert (video["width"], video["fps"], video["loss_percent"], video["jitter_ms"]) == (1280, 30.0, 1.3, 4.0)
    assert (mix["name"], mix["participant"], mix["room"]) == ("or-3/mix/1", None, None)


async def test_one_session_and_its_end(start) -> None:
    running = await start()
    session = running.gateway.join("sip", "or-3", device="or-3")
    _, answer, _ = await running.ask("GET", f"/api/v1/sessions/{session.id}", "desk")
    assert (answer["id"], answer["adapter"], answer["state"]) == (session.id, "fake", "active")
    assert answer["stats"]["legs"][1]["receivers"][0]["codec"] == "H264"
    status, _, _ = await running.ask("DELETE", f"/api/v1/sessions/{session.id}", "desk")
    assert (status, session.reason) == (204, CloseReason.LOCAL_HANGUP)
    status, answer, _ = await running.ask("DELETE", f"/api/v1/sessions/{session.id}", "desk")
    assert (status, answer["error"]) == (404, "no_such_session")


async def test_pinning(start) -> None:
    running = await start()
    running.gateway.join("sip", "or-3", device="or-3")
    running.gateway.join("whip", "or-3", name="Dr. Li")
    wanted = {"device": "or-3", "participant": "Dr. Li"}
    _, answer, _ = await running.ask("PUT", "/api/v1/rooms/or-3/pin", "nurse", json=wanted)
    assert answer["pins"] == {"or-3": "Dr. Li"}
    _, answer, _ = await running.ask("PUT", "/api/v1/rooms/or-3/pin", "nurse", json={"device": "or-3"})
    assert answer["pins"] == {}
    wanted["participant"] = "nobody"
    status, answer, _ = await running.ask("PUT", "/api/v1/rooms/or-3/pin", "nurse", json=wanted)
    assert (status, answer["what"]) == (404, "nobody called nobody is in room or-3")


async def test_a_call_that_is_refused_says_why(start) -> None:
    running = await start()
    status, answer, _ = await running.ask("POST", "/api/v1/calls", "desk", json={"target": "or-9"})
    assert status == 502
    assert answer["error"] == "unreachable"
    assert answer["what"] == "or-9 doesn't answer at 10.0.0.9"
    assert "switched on" in answer["do"]


async def test_reload(start) -> None:
    running = await start()
    running.gateway.reloaded = lambda: ["http"]
    _, answer, _ = await running.ask("POST", "/api/v1/reload", "chief")
    assert answer == {"needs_restart": ["http"]}

    def broken() -> list[str]:
        raise LocalError("line 3: unknown key rooom")

    running.gateway.reloaded = broken
    status, answer, _ = await running.ask("POST", "/api/v1/reload", "chief")
    assert (status, answer["error"]) == (422, "bad_configuration")
    assert "unknown key rooom" in answer["what"]


BAD_BODIES = [
    (b"{", 400, "can't be used"),
    (b'{"room": "or-3"}', 400, "missing required field `target`"),
    (b'{"target": 3}', 400, "Expected `str`, got `int` - at `$.target`"),
    (b'{"target": "or-3", "rom": "x"}', 400, "unknown field `rom`"),
    (b"\xff\xfe", 400, "can't be used"),
    (b'{"target": "\xff"}', 400, "can't be used"),
    (b'{"target": "' + b"x" * 300_000 + b'"}', 413, ""),
]


@pytest.mark.parametrize(("body", "status", "what"), BAD_BODIES)
async def test_bad_bodies(start, body, status, what) -> None:
    running = await start()
    headers = {"Content-Type": "application/json"}
    got, answer, _ = await running.ask("POST", "/api/v1/calls", "desk", data=body, headers=headers)
    assert got == status
    assert what in answer["what"]
    assert running.gateway.calls == []


async def test_unknown_addresses_and_methods(start) -> None:
    running = await start()
    status, answer, _ = await running.ask("GET", "/nowhere")
    assert (status, answer["error"]) == (404, "not_found")
    status, answer, response = await running.ask("POST", "/api/v1/rooms", "desk")
    assert (status, answer["error"]) == (405, "method_not_allowed")
    assert "GET" in response.headers["Allow"]


RAISED = [
    (Refused(CloseReason.ROOM_FULL, "room or-3 is full (16 participants)"), 503, "room_full"),
    (Refused(CloseReason.NO_COMMON_CODEC, "no H.264 in the offer"), 422, "no_common_codec"),
    (ParseError("sdp", "line 3", "no media"), 400, "bad_sdp"),
    (LocalError("no free port"), 409, "not_possible"),
    (web.HTTPNotAcceptable(text="only application/sdp"), 406, "not_acceptable"),
    (RuntimeError("a secret thing"), 500, "fault"),
]


@pytest.mark.parametrize(("raised", "status", "error"), RAISED, ids=[error for _, _, error in RAISED])
async def test_what_adapters_raise_becomes_words(start, raised, status, error) -> None:
    async def broken(request: web.Request) -> web.Response:
        raise raised

    running = await start(routes=[web.get("/broken", broken)])
    got, answer, response = await running.ask("GET", "/broken")
    assert (got, answer["error"]) == (status, error)
    assert "secret thing" not in json.dumps(answer)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    if status == 503:
        assert response.headers["Retry-After"] == "5"
    assert (await running.ask("GET", "/healthz"))[0] == 200


async def test_a_handler_that_hangs_is_ended(start, monkeypatch) -> None:
    monkeypatch.setattr("orbridge.gateway.http.problems.HANDLER_TIMEOUT_S", 0.1)

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    running = await start(routes=[web.get("/slow", slow)])
    status, answer, _ = await running.ask("GET", "/slow")
    assert (status, answer["error"]) == (504, "timeout")


async def test_the_document_is_valid_and_covers_every_route(start) -> None:
    running = await start()
    _, document, _ = await running.ask("GET", "/api/v1/openapi.json")
    validate(document)
    assert document["info"]["version"] == "1.2.3"
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    routes = {
        (route.resource.canonical, route.method)
        for route in running.server._application([]).router.routes()
        if route.method != "HEAD"
    }
    assert routes <= described
    assert described - routes == {("/rooms/{room}/whip", "POST"), ("/streams/{stream}/whep", "POST")}


async def test_answers_match_their_schemas(start) -> None:
    """What goes out has exactly the members that the document promises."""
    running = await start()
    running.gateway.join("sip", "or-3", device="or-3")
    document = openapi.document("x")
    schemas = document["components"]["schemas"]
    for path, name in (
        ("/devices", "DeviceState"),
        ("/rooms", "RoomState"),
        ("/sessions", "SessionState"),
        ("/streams", "StreamState"),
    ):
        _, (first, *_), _ = await running.ask("GET", f"/api/v1{path}", "desk")
        assert set(first) == set(schemas[name]["properties"])


async def test_readiness(start) -> None:
    running = await start()
    assert (await running.ask("GET", "/readyz"))[:2] == (200, {"status": "ready"})
    running.gateway.ready = False
    status, answer, _ = await running.ask("GET", "/readyz")
    assert (status, answer["error"]) == (503, "not_ready")
    assert (await running.ask("GET", "/healthz"))[0] == 200
