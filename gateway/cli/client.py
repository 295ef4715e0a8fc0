"""Talks to the running daemon over its control socket, for the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from orbridge.codecs.errors import LocalError

TIMEOUT_S = 10.0


class NotRunning(LocalError):
    """Nothing answers on the control socket."""

    def __init__(self, socket: Path, cause: str) -> None:
        super().__init__(socket, cause)
        self.socket, self.cause = socket, cause

    def __str__(self) -> str:
        return (
            f"no daemon answers on {self.socket} ({self.cause}); is it running (systemctl status orbridge), "
            "and may you open its socket? --socket names another"
        )


class Answered(LocalError):
    """The daemon refused. ``what`` and ``do`` are its own words."""

    def __init__(self, status: int, what: str, do: str) -> None:
        super().__init__(status, what, do)
        self.status, self.what, self.do = status, what, do

    def __str__(self) -> str:
        return f"{self.what}; {self.do}" if self.do else self.what


async def ask(socket: Path, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """One API request. Raises NotRunning or Answered."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.request(method, f"http://orbridge/api/v1{path}", json=body) as response,
        ):
            text = await response.text()
    except (aiohttp.ClientConnectionError, OSError) as exc:
        raise NotRunning(socket, str(exc)) from exc
    except TimeoutError as exc:
        raise NotRunning(socket, f"no answer in {TIMEOUT_S:.0f} s") from exc
    try:
        answer = json.loads(text) if text else None
    except json.JSONDecodeError as exc:
        raise Answered(response.status, f"the answer to {method} {path} isn't JSON", "is this socket ours?") from exc
    if response.status >= 400:
        known = answer if isinstance(answer, dict) else {}
        raise Answered(response.status, str(known.get("what", response.reason)), str(known.get("do", "")))
    return answer


def ask_now(socket: Path, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """``ask`` from a program without a loop."""
    return asyncio.run(ask(socket, method, path, body))
