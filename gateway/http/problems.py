"""Errors over HTTP: always JSON with ``error`` (a code for programs), ``what`` is wrong and what to ``do`` about it."""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from orbridge.codecs.errors import LocalError, ParseError, RemoteError
from orbridge.gateway import events
from orbridge.gateway.adapter import Refused
from orbridge.gateway.http.schema import Problem
from orbridge.gateway.session import CloseReason

log = structlog.get_logger(__name__)

# No handler works longer than this, reading the body included; the websocket is the exception.
HANDLER_TIMEOUT_S = 30.0
RETRY_AFTER_S = 5

EXCEPTIONS: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    401: web.HTTPUnauthorized,
    403: web.HTTPForbidden,
    404: web.HTTPNotFound,
    408: web.HTTPRequestTimeout,
    409: web.HTTPConflict,
    415: web.HTTPUnsupportedMediaType,
    422: web.HTTPUnprocessableEntity,
    429: web.HTTPTooManyRequests,
    500: web.HTTPInternalServerError,
    502: web.HTTPBadGateway,
    503: web.HTTPServiceUnavailable,
    504: web.HTTPGatewayTimeout,
}

REFUSALS: dict[CloseReason, int] = {
    CloseReason.REFUSED: 403,
    CloseReason.REJECTED: 409,
    CloseReason.BUSY: 409,
    CloseReason.ROOM_FULL: 503,
    CloseReason.NO_COMMON_CODEC: 422,
    CloseReason.UNREACHABLE: 502,
    CloseReason.TRANSPORT_FAILED: 503,
    CloseReason.SHUTDOWN: 503,
}

ADVICE: dict[CloseReason, str] = {
    CloseReason.REFUSED: "ask the person who runs the gateway to allow it in the configuration",
    CloseReason.BUSY: "try again when the other call has ended",
    CloseReason.ROOM_FULL: "wait until somebody leaves, or raise max_participants of the room",
    CloseReason.NO_COMMON_CODEC: "use a browser or device with H.264",
    CloseReason.UNREACHABLE: "look whether the device is switched on and connected, then `orbridge doctor`",
    CloseReason.TRANSPORT_FAILED: "try again when somebody has left; if it stays, widen media.udp_ports",
    CloseReason.SHUTDOWN: "try again in a few seconds",
}

STATUS_CODES: dict[int, tuple[str, str]] = {
    400: ("bad_request", "see /api/v1/openapi.json for what is expected here"),
    404: ("not_found", "look for a spelling mistake in the address"),
    405: ("method_not_allowed", "see /api/v1/openapi.json for the methods of this address"),
    408: ("timeout", "send the whole request at once"),
    413: ("too_large", "send less"),
    415: ("unsupported_media_type", "see /api/v1/openapi.json for what is expected here"),
}


def body(error: str, what: str, do: str) -> bytes:
    return msgspec.json.encode(Problem(error=error, what=what, do=do))


def problem(
    status: int, error: str, what: str, do: str = "", headers: dict[str, str] | None = None
) -> web.HTTPException:
    """An exception to raise that becomes this answer. ``what``: one sentence; ``do``: what helps against it."""
    return EXCEPTIONS[status](text=body(error, what, do).decode(), content_type="application/json", headers=headers)


def from_refusal(refused: Refused) -> web.HTTPException:
    status = REFUSALS.get(refused.reason, 409)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    return problem(status, str(refused.reason), refused.text, ADVICE.get(refused.reason, ""), headers)


@web.middleware
async def in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever a handler raises into a proper answer, and ends handlers that take too long."""
    started = time.monotonic()
    try:
        response = await _answered(request, handler)
    except web.HTTPException as exc:
        _reword(exc)
        _note(request, exc.status, started)
        raise
    _note(request, response.status, started)
    return response


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    timeout = None if is_websocket(request) else HANDLER_TIMEOUT_S
    try:
        async with asyncio.timeout(timeout):
            return await handler(request)
    except web.HTTPException:
        raise
    except TimeoutError as exc:
        what = f"this took longer than {HANDLER_TIMEOUT_S:.0f} s"
        raise problem(504, "timeout", what, "try again; if it stays, look into the log") from exc
    except Refused as exc:
        raise from_refusal(exc) from exc
    except ParseError as exc:
        raise problem(400, f"bad_{exc.what}", str(exc), "send what the format's standard allows") from exc
    except RemoteError as exc:
        raise problem(502, "remote_failed", str(exc)) from exc
    except LocalError as exc:
        raise problem(409, "not_possible", str(exc)) from exc
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as exc:
        log.exception(events.REQUEST_FAILED, method=request.method, path=request.path)
        what = "a fault in the gateway; it is in the log with the time of this answer"
        raise problem(500, "fault", what, "report it with the log's lines") from exc


def is_websocket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _reword(exc: web.HTTPException) -> None:
    """Give an exception that came without our JSON (aiohttp's own, an adapter's) the same form."""
    if exc.status < 400 or exc.content_type == "application/json":
        return
    error, do = STATUS_CODES.get(exc.status, (exc.reason.lower().replace(" ", "_"), ""))
    said = (exc.text or "").removeprefix(f"{exc.status}: ").strip()
    exc.body = body(error, said or exc.reason, do)
    exc.content_type = "application/json"


def _note(request: web.Request, status: int, started: float) -> None:
    """The access log: never a query string, never a header."""
    log.debug(
        events.REQUEST_ANSWERED,
        method=request.method,
        path=request.path,
        status=status,
        ms=round((time.monotonic() - started) * 1000, 1),
        remote=request.remote,
    )
