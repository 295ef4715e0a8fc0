"""The OpenAPI 3.1 document, made from the table of operations and the types of their bodies."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from orbridge.gateway.http.api import OPERATIONS, PREFIX, Operation
from orbridge.gateway.http.schema import Problem, Publishing, RoomEvent

PARAMETERS = {
    "room": "Name of the room.",
    "session": "Id of the session, e.g. sip-17.",
    "stream": "Name of the stream; its slashes stay slashes.",
    "name": "File name with its content's hash.",
}
ERRORS = {
    400: "The request can't be understood.",
    401: "No token, or one that isn't valid.",
    403: "The token doesn't allow this.",
    404: "There is no such thing.",
    409: "It can't be done at the moment.",
    429: "Too many wrong tokens from this address.",
    503: "Full, or being stopped.",
}
SDP = {"application/sdp": {"schema": {"type": "string"}}}
SDP_FRAGMENT = {"application/trickle-ice-sdpfrag": {"schema": {"type": "string"}}}


def document(version: str) -> dict[str, Any]:
    """The whole document. Schemas are the structs of ``schema``, so that text and code can't drift apart."""
    kinds = [kind for operation in OPERATIONS for kind in (operation.gives, operation.takes) if kind is not None]
    # msgspec gives components in the order of the types: the operations' first, then what else is referred to.
    made, components = msgspec.json.schema_components(
        [*kinds, Problem, RoomEvent, Publishing], ref_template="#/components/schemas/{name}"
    )
    schemas = {repr(kind): schema for kind, schema in zip(kinds, made, strict=False)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = describe(operation, schemas)
    for path, methods in {**PAGES, **MEDIA}.items():
        paths[path] = {method: with_parameters(path, dict(known)) for method, known in methods.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "orbridge",
            "version": version,
            "description": "Rooms, devices and calls of the gateway. Every error is JSON with error, what and do.",
        },
        "paths": paths,
        "security": [{"bearer": []}, {"query": []}],
        "components": {
            "schemas": components,
            "responses": {"Problem": problem_response()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "token",
                    "description": "For browsers",
                },
            },
        },
    }


def describe(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": operation.says}
    if operation.gives is not None:
        good["content"] = {"application/json": {"schema": schemas[repr(operation.gives)]}}
    right = f" Needs the right to {operation.right}." if operation.right else ""
    known: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.says,
        "description": operation.says + right,
        "responses": {str(operation.status): good, **errors()},
    }
    if operation.right is None:
        known["security"] = []
    if operation.takes is not None:
        known["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[repr(operation.takes)]}},
        }
    return with_parameters(operation.path, known)


def with_parameters(path: str, known: dict[str, Any]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    given = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": PARAMETERS.get(name, ""),
        }
        for name in names
    ]
    if given or "parameters" in known:
        known["parameters"] = given + known.get("parameters", [])
    return known


def errors() -> dict[str, Any]:
    return {str(status): {"$ref": "#/components/responses/Problem"} for status in ERRORS}


def problem_response() -> dict[str, Any]:
    texts = " ".join(f"{status}: {text}" for status, text in ERRORS.items())
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": texts, "content": {"application/json": {"schema": schema}}}


def plain(summary: str, content: dict[str, Any] | None = None, status: int = 200, **more: Any) -> dict[str, Any]:
    good: dict[str, Any] = {"description": summary}
    if content is not None:
        good["content"] = content
    return {"summary": summary, "responses": {str(status): good, **errors()}, **more}


HTML = {"text/html": {"schema": {"type": "string"}}}
TEXT = {"text/plain": {"schema": {"type": "string"}}}
JSON = {"application/json": {"schema": {"type": "object"}}}
ANY = {"*/*": {"schema": {"type": "string"}}}
OPEN: dict[str, Any] = {"security": []}

PAGES: dict[str, dict[str, dict[str, Any]]] = {
    "/": {"get": plain("The operator's page.", HTML, operationId="operator_page", **OPEN)},
    "/rooms/{room}": {"get": plain("The room's page.", HTML, operationId="room_page", **OPEN)},
    "/static/{name}": {"get": plain("A file of the pages.", ANY, operationId="static_file", **OPEN)},
    "/healthz": {"get": plain("The process answers.", JSON, operationId="healthz", **OPEN)},
    "/readyz": {"get": plain("Calls are taken; 503 says why not.", JSON, operationId="readyz", **OPEN)},
    "/metrics": {"get": plain("Figures for Prometheus. Needs the right to operate.", TEXT, operationId="metrics")},
    PREFIX + "/rooms/{room}/events": {
        "get": plain(
            "Websocket with the room's events. Needs the right to view.",
            status=101,
            operationId="room_events",
            description=(
                "Text messages: `Hello` first, then `RoomChanged`, `SpeakerChanged`, `Stats` (once a second) and "
                "`LimitChanged`; each replaces what was known of its kind. The page may send `Publishing`."
            ),
        )
    },
}

MEDIA: dict[str, dict[str, dict[str, Any]]] = {
    "/rooms/{room}/whip": {
        "post": plain(
            "Join the room and publish into it (WHIP, RFC 9725). Needs the right to publish.",
            SDP,
            201,
            operationId="whip",
            requestBody={"required": True, "content": SDP},
            parameters=[
                {
                    "name": "name",
                    "in": "query",
                    "required": False,
                    "schema": {"type": "string", "maxLength": 60},
                    "description": "Who joins, as the others shall see it.",
                }
            ],
        )
    },
    "/streams/{stream}/whep": {
        "post": plain(
            "Play one stream (WHEP). Needs the right to view in the stream's room.",
            SDP,
            201,
            operationId="whep",
            requestBody={"required": True, "content": SDP},
        )
    },
}
