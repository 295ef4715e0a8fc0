"""The pages: two HTML shells without data, and the files that ``web/`` was built into.

A shell needs no token: it has nothing in it, and only a page that is there can say in words that its token is wrong.
A wrong ``?token=`` gives status 401 with the same shell, for programs.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

from orbridge.gateway.http.auth import Guard
from orbridge.gateway.http.problems import problem

STATIC = Path(__file__).with_name("static")
ROOM, OPERATOR = "room.html", "operator.html"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# Built files carry their content's hash in the name, e.g. room-Q5XJ7ZKD.js: they never change.
HASHED = re.compile(r"-[0-9A-Z]{8}\.(js|css|svg)$")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
FOREVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"


@dataclass(frozen=True, slots=True)
class Page:
    """A built file as it goes out."""

    content: bytes
    kind: str
    etag: str
    changed_ns: int


class Pages:
    """Serves what is in the folder of built files; a rebuild shows at once."""

    def __init__(self, guard: Guard, folder: Path = STATIC) -> None:
        self._guard, self._folder = guard, folder
        self._kept: dict[str, Page] = {}

    @property
    def missing(self) -> str:
        """What to do when the pages were not built; empty when they are there."""
        if (self._folder / ROOM).is_file() and (self._folder / OPERATOR).is_file():
            return ""
        return "the pages are not built: run `make setup`, or `npm ci && npm run build` in web/"

    async def room(self, request: web.Request) -> web.StreamResponse:
        """GET /rooms/{room}."""
        return self._shell(request, ROOM)

    async def operator(self, request: web.Request) -> web.StreamResponse:
        """GET /."""
        return self._shell(request, OPERATOR)

    async def static(self, request: web.Request) -> web.StreamResponse:
        """GET /static/{name}."""
        name = request.match_info["name"]
        page = self._load(name)
        if page is None or page.kind == KINDS[".html"]:
            raise problem(404, "not_found", f"there is no file {name}", "load the page again: it may have been updated")
        return self._send(request, page, FOREVER if HASHED.search(name) else ASK_AGAIN)

    def _shell(self, request: web.Request, name: str) -> web.StreamResponse:
        page = self._load(name)
        if page is None:
            raise problem(503, "pages_missing", self.missing, "the API works without them")
        status = 200
        if request.query.get("token"):
            try:
                self._guard.identify(request)
            except web.HTTPException as exc:
                status = exc.status
        return self._send(request, page, ASK_AGAIN, status)

    def _send(self, request: web.Request, page: Page, cache: str, status: int = 200) -> web.StreamResponse:
        headers = {hdrs.CACHE_CONTROL: cache, hdrs.ETAG: page.etag}
        if status == 200 and page.etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers=headers)
        response = web.Response(
            body=page.content, status=status, content_type=page.kind, charset="utf-8", headers=headers
        )
        response.enable_compression()
        return response

    def _load(self, name: str) -> Page | None:
        """A file of the folder itself. Small ones only ever, so they are kept."""
        if not NAME.fullmatch(name) or Path(name).suffix not in KINDS:
            return None
        path = self._folder / name
        try:
            changed_ns = path.stat().st_mtime_ns
            kept = self._kept.get(name)
            if kept is None or kept.changed_ns != changed_ns:
                content = path.read_bytes()
                etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
                kept = self._kept[name] = Page(content, KINDS[path.suffix], etag, changed_ns)
        except OSError:
            return None
        return kept
