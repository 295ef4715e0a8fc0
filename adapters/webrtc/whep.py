"""WHEP (draft-ietf-wish-whep): ``POST /streams/{stream}/whep`` plays one stream."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from orbridge.adapters.webrtc.endpoint import Endpoint, Wanted
from orbridge.adapters.webrtc.refusal import refuse
from orbridge.codecs.media import Kind

PATH = "/streams/{stream:.+}/whep"

VIDEO = ("H264", "VP8")
AUDIO = ("OPUS", "G722", "PCMA", "PCMU")
STREAM_LIMIT = 200


class Whep(Endpoint):
    """Queries: ``wait=1`` (the stream may come later), ``name`` (of who looks, for status)."""

    need = "view"

    def room(self, request: web.Request) -> str:
        """The room that the stream is to be seen in; of one that isn't there, the first part of its name."""
        stream = self._stream(request)
        return self._context.router.room_of(stream) or stream.partition("/")[0]

    def _stream(self, request: web.Request) -> str:
        stream = request.match_info["stream"]
        if len(stream) > STREAM_LIMIT or not stream.isprintable():
            raise refuse(400, "bad_stream", f"a stream's name has 1 to {STREAM_LIMIT} printable characters")
        return stream

    async def wanted(self, request: web.Request, token: str) -> Wanted:
        stream = self._stream(request)
        facts = self._facts(stream)
        if facts is None and request.query.get("wait") != "1":
            do = "look who is in the room, or add ?wait=1 to be shown it as soon as it is there"
            raise refuse(404, "no_stream", f"nobody publishes stream {stream} at the moment", do)
        codecs = {track["kind"]: track["codec"] for track in facts["tracks"]} if facts else {}
        name = request.query.get("name", "")[:60] or token
        return Wanted(
            self.room(request),
            name,
            _first(codecs.get(Kind.AUDIO.value), AUDIO),
            _first(codecs.get(Kind.VIDEO.value), VIDEO),
            plays=stream,
        )

    def _facts(self, stream: str) -> dict[str, Any] | None:
        found = self._context.bus.engine.streams([stream])
        return found[0] if found else None


def _first(codec: str | None, codecs: tuple[str, ...]) -> tuple[str, ...]:
    """The stream's own codec first, so that nothing needs to be decoded for a browser that offers it."""
    return (codec, *(other for other in codecs if other != codec)) if codec in codecs else codecs
