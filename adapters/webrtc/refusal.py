"""HTTP answers that say no, in the gateway's form: a code for programs, what is wrong and what helps."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from orbridge.gateway.http.problems import body

_CLASSES: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    403: web.HTTPForbidden,
    404: web.HTTPNotFound,
    406: web.HTTPNotAcceptable,
    408: web.HTTPRequestTimeout,
    409: web.HTTPConflict,
    412: web.HTTPPreconditionFailed,
    415: web.HTTPUnsupportedMediaType,
    422: web.HTTPUnprocessableEntity,
    428: web.HTTPPreconditionRequired,
    429: web.HTTPTooManyRequests,
    503: web.HTTPServiceUnavailable,
}


def refuse(
    status: int,
    error: str,
    what: str,
    do: str = "",
    *,
    headers: dict[str, str] | None = None,
    retry_after_s: int | None = None,
) -> web.HTTPException:
    """To be raised. ``what``: one sentence; ``do``: what helps against it."""
    headers = dict(headers or {})
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    return _CLASSES[status](text=body(error, what, do).decode(), content_type="application/json", headers=headers)


def refuse_size(limit: int, size: int) -> web.HTTPException:
    what = f"the body has more than {limit} bytes"
    return web.HTTPRequestEntityTooLarge(
        max_size=limit,
        actual_size=size,
        text=body("too_large", what, "send less").decode(),
        content_type="application/json",
    )


def refuse_method(method: str, allowed: Iterable[str]) -> web.HTTPException:
    names = sorted(allowed)
    what = f"{method} means nothing here"
    return web.HTTPMethodNotAllowed(
        method,
        names,
        text=body("method_not_allowed", what, f"use one of {', '.join(names)}").decode(),
        content_type="application/json",
    )
