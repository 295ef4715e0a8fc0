"""``/api/v1``: JSON for scripts, the command line and the pages. What each address does is in the table below, from
which the OpenAPI document is made too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from orbridge.codecs.errors import LocalError
from orbridge.gateway.http.auth import Guard, Principal
from orbridge.gateway.http.facade import Gateway
from orbridge.gateway.http.problems import problem
from orbridge.gateway.http.room_view import View
from orbridge.gateway.http.schema import (
    CallRequest,
    CallStarted,
    DeviceState,
    DtmfRequest,
    PinRequest,
    Reloaded,
    Right,
    RoomState,
    SessionDetail,
    SessionState,
    StreamState,
)
from orbridge.gateway.session import Session

Request = TypeVar("Request")
PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address.

    Attributes:
        right: what the token must be allowed; in the room that the request is about, where it is about one.
        takes, gives: types of the bodies; None: there is none.
    """

    method: str
    path: str
    name: str
    right: Right | None
    says: str
    gives: Any = None
    takes: Any = None
    status: int = 200


OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/status", "status", "operate", "Version, readiness, engine, adapters.", dict[str, Any]),
    Operation("GET", "/devices", "devices", "operate", "Every configured device with its state.", list[DeviceState]),
    Operation("GET", "/rooms", "rooms", "view", "The rooms that are open or configured.", list[RoomState]),
    Operation("GET", "/rooms/{room}", "room", "view", "One room with who is in it.", RoomState),
    Operation(
        "PUT",
        "/rooms/{room}/pin",
        "pin",
        "operate",
        "Show a device always the same participant, or the active speaker again.",
        RoomState,
        PinRequest,
    ),
    Operation("GET", "/sessions", "sessions", "operate", "Calls and browsers' connections.", list[SessionState]),
    Operation("GET", "/sessions/{session}", "session", "operate", "One session with its counters.", SessionDetail),
    Operation("DELETE", "/sessions/{session}", "hangup", "operate", "End a session.", status=204),
    Operation("PUT", "/sessions/{session}/hold", "hold", "operate", "Put a call on hold from our side.", status=204),
    Operation("DELETE", "/sessions/{session}/hold", "resume", "operate", "End our hold of a call.", status=204),
    Operation(
        "POST",
        "/sessions/{session}/dtmf",
        "dtmf",
        "operate",
        "Press keys towards the peer of a call; they are on their way when this is answered.",
        takes=DtmfRequest,
        status=204,
    ),
    Operation(
        "POST",
        "/calls",
        "call",
        "operate",
        "Call a device, or with the right admin an address, into a room.",
        CallStarted,
        CallRequest,
        202,
    ),
    Operation("GET", "/streams", "streams", "operate", "What is published, with rates and losses.", list[StreamState]),
    Operation("POST", "/reload", "reload", "admin", "Read devices, rooms and tokens again.", Reloaded),
    Operation("GET", "/openapi.json", "openapi", None, "This document.", dict[str, Any]),
)


class Api:
    """The handlers, one method each, named as the table names them."""

    def __init__(self, gateway: Gateway, view: View, guard: Guard, document: Callable[[], bytes]) -> None:
        self._gateway, self._view, self._guard, self._document = gateway, view, guard, document

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route(operation.method, PREFIX + operation.path, self._handler(operation)) for operation in OPERATIONS
        ]

    def _handler(self, operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]] = getattr(self, operation.name)
        return handler

    async def status(self, request: web.Request) -> web.Response:
        self._everywhere(request, "operate")
        return answer(self._gateway.status())

    async def devices(self, request: web.Request) -> web.Response:
        who = self._guard.require(request, "operate", None)
        return answer([device for device in self._view.devices() if sees(who, device.room)])

    async def rooms(self, request: web.Request) -> web.Response:
        who = self._guard.require(request, "view", None)
        return answer([room for room in self._view.rooms() if who.covers(room.name)])

    async def room(self, request: web.Request) -> web.Response:
        name = request.match_info["room"]
        self._guard.require(request, "view", name)
        if not self._view.is_known(name):
            what = f"there is no room called {name} at the moment"
            raise problem(404, "no_such_room", what, "it opens when somebody enters it; see /api/v1/rooms")
        return answer(self._view.room(name))

    async def pin(self, request: web.Request) -> web.Response:
        name = request.match_info["room"]
        self._guard.require(request, "operate", name)
        wanted = await read(request, PinRequest)
        room = self._gateway.rooms.get(name)
        if room is None:
            raise problem(404, "no_such_room", f"room {name} is not open", "see /api/v1/rooms")
        try:
            self._gateway.routing.pin(room, wanted.device, wanted.participant)
        except ValueError as exc:
            raise problem(404, "no_such_participant", str(exc), f"see {PREFIX}/rooms/{name} for who is in") from exc
        return answer(self._view.room(name))

    async def sessions(self, request: web.Request) -> web.Response:
        who = self._guard.require(request, "operate", None)
        found = [session for session in self._gateway.sessions() if who.covers(session.room)]
        return answer([self._view.session(session) for session in found])

    async def session(self, request: web.Request) -> web.Response:
        session = self._session(request)
        known = self._view.session(session)
        members = {name: getattr(known, name) for name in known.__struct_fields__}
        return answer(SessionDetail(**members, stats=session.stats()))

    async def hangup(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if not await self._gateway.hangup(session.id):
            raise no_session(session.id)
        return web.Response(status=204)

    async def hold(self, request: web.Request) -> web.Response:
        return self._held(request, on=True)

    async def resume(self, request: web.Request) -> web.Response:
        return self._held(request, on=False)

    def _held(self, request: web.Request, *, on: bool) -> web.Response:
        session = self._session(request)
        try:
            if on:
                session.hold()
            else:
                session.resume()
        except LocalError as exc:
            raise problem(409, "no_hold", str(exc), f"see {PREFIX}/sessions for the calls (adapter sip)") from exc
        return web.Response(status=204)

    async def dtmf(self, request: web.Request) -> web.Response:
        session = self._session(request)
        wanted = await read(request, DtmfRequest)
        try:
            session.send_dtmf(wanted.digits)
        except LocalError as exc:
            raise problem(409, "no_keys", str(exc), f"see {PREFIX}/sessions for the calls (adapter sip)") from exc
        return web.Response(status=204)

    async def call(self, request: web.Request) -> web.Response:
        who = self._guard.require(request, "operate", None)
        wanted = await read(request, CallRequest)
        device = next((known for known in self._gateway.config.devices if known.name == wanted.target), None)
        room = wanted.room or (device.room if device else "")
        if device is None and not who.admits("admin", None):
            what = f"no device is called {wanted.target}, and the token {who.name} may not call addresses"
            raise problem(403, "forbidden", what, f"name a device (see {PREFIX}/devices), or use a token with admin")
        for touched in filter(None, (room, device.room if device else "")):
            # Whose room it is counts as well as where it shall go: nobody fetches a theatre that isn't theirs.
            self._guard.require(request, "operate", touched)
        session = await self._gateway.call(wanted.target, wanted.room)
        return answer(CallStarted(session.id, session.room), 202)

    async def streams(self, request: web.Request) -> web.Response:
        who = self._guard.require(request, "operate", None)
        return answer([stream for stream in self._view.streams() if sees(who, stream.room)])

    async def reload(self, request: web.Request) -> web.Response:
        self._everywhere(request, "admin")
        try:
            return answer(Reloaded(await self._gateway.reload()))
        except LocalError as exc:
            what = "the configuration can't be used, so the running one stays"
            raise problem(422, "bad_configuration", f"{what}: {exc}", "correct the file and reload again") from exc

    async def openapi(self, request: web.Request) -> web.Response:
        return web.Response(body=self._document(), content_type="application/json")

    def _everywhere(self, request: web.Request, right: Right) -> None:
        """What shows or touches the whole gateway asks for a token that isn't bound to some rooms."""
        who = self._guard.require(request, right, None)
        if not who.covers_all:
            what = f"the token {who.name} is for some rooms only, and this is about the whole gateway"
            raise problem(403, "forbidden", what, 'use a token with rooms = ["*"]')

    def _session(self, request: web.Request) -> Session:
        """The session that is asked for. Whether it exists is told only to who may see it."""
        who = self._guard.require(request, "operate", None)
        wanted = request.match_info["session"]
        for session in self._gateway.sessions():
            if session.id == wanted and who.covers(session.room):
                return session
        raise no_session(wanted)


def no_session(name: str) -> web.HTTPException:
    return problem(404, "no_such_session", f"there is no session {name}", f"see {PREFIX}/sessions; it may have ended")


def sees(who: Principal, room: str | None) -> bool:
    return who.covers_all or (bool(room) and who.covers(room or ""))


def answer(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value, enc_hook=str), status=status, content_type="application/json", charset="utf-8"
    )


async def read(request: web.Request, kind: type[Request]) -> Request:
    """The JSON body as this type. Raises HTTPUnsupportedMediaType, HTTPBadRequest with what is wrong where.

    The content type is insisted on: a browser sends JSON to another site only after asking that site (CORS).
    """
    if request.content_type != "application/json":
        what = f"the body is {request.content_type}, not application/json"
        raise problem(415, "unsupported_media_type", what, "send JSON with Content-Type: application/json")
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise problem(400, "bad_request", f"the body can't be used: {exc}", f"see {PREFIX}/openapi.json") from exc
