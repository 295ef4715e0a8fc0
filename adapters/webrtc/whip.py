"""WHIP (RFC 9725): ``POST /rooms/{room}/whip?name=NAME`` joins a room and publishes into it."""

from __future__ import annotations

from aiohttp import web

from orbridge.adapters.webrtc.endpoint import Endpoint, Wanted
from orbridge.adapters.webrtc.refusal import refuse

PATH = "/rooms/{room}/whip"

# H.264 first: it passes through to devices undecoded. VP8 is for browsers without it; only browsers see that then.
VIDEO = ("H264", "VP8")
AUDIO: tuple[str, ...] = ("OPUS", "G722", "PCMA", "PCMU")
ROOM_LIMIT = 60


class Whip(Endpoint):
    """Queries: ``name`` (else the token's), ``audio`` (opus, g722, pcma or pcmu: that codec and no other)."""

    need = "publish"

    def room(self, request: web.Request) -> str:
        room = request.match_info["room"]
        if len(room) > ROOM_LIMIT or any(not c.isprintable() or c in "/?#%\\ " for c in room):
            what = f"a room's name has 1 to {ROOM_LIMIT} characters without spaces and / ? # % \\"
            raise refuse(400, "bad_room", what)
        return room

    async def wanted(self, request: web.Request, token: str) -> Wanted:
        audio = AUDIO
        if forced := request.query.get("audio", "").upper():
            if forced not in AUDIO:
                raise refuse(
                    400, "bad_audio", "the query's audio is no codec", f"use one of {', '.join(AUDIO).lower()}"
                )
            audio = (forced,)
        admission = self._context.router.admit_guest(self.room(request), request.query.get("name") or token)
        stream = f"{admission.room}/{admission.name}/main"
        return Wanted(admission.room, admission.name, audio, VIDEO, stream=stream)
