"""What WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) share over HTTP: creating a session, trickling candidates,
restarting ICE, ending it, and every way to say no.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from aiohttp import hdrs, web
from yarl import URL

from orbridge.adapters.webrtc import fragment
from orbridge.adapters.webrtc.description import UnusableOffer, match_offer, transport
from orbridge.adapters.webrtc.ground import Grounds
from orbridge.adapters.webrtc.offer import Offer, parse_offer
from orbridge.adapters.webrtc.refusal import refuse, refuse_method, refuse_size
from orbridge.adapters.webrtc.registry import Registry
from orbridge.adapters.webrtc.session import WebRtcSession
from orbridge.codecs.errors import ParseError
from orbridge.gateway.adapter import Context
from orbridge.gateway.session import CloseReason, State

T = TypeVar("T")

SDP = "application/sdp"
MAX_BODY_BYTES = 65_536
BODY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a POST asks for.

    Attributes:
        audio, video: codec names, the best first.
        stream: what the session publishes; None: it plays ``plays``.
    """

    room: str
    name: str
    audio: tuple[str, ...]
    video: tuple[str, ...]
    stream: str | None = None
    plays: str | None = None


class Endpoint(ABC):
    """One kind of endpoint and the sessions below it."""

    need: str

    def __init__(self, context: Context, grounds: Grounds, registry: Registry) -> None:
        self._context, self._grounds, self._registry = context, grounds, registry

    @abstractmethod
    def room(self, request: web.Request) -> str:
        """The room that the token must be good for."""

    @abstractmethod
    async def wanted(self, request: web.Request, token: str) -> Wanted:
        """What a POST asks for. Raises an answer or Refused when it can't be had."""

    async def endpoint(self, request: web.Request) -> web.StreamResponse:
        """Any method on the endpoint itself."""
        if request.method == hdrs.METH_POST:
            return await self._create(request)
        if request.method == hdrs.METH_OPTIONS:
            return self._options(request)
        raise refuse_method(request.method, (hdrs.METH_OPTIONS, hdrs.METH_POST))

    async def resource(self, request: web.Request) -> web.StreamResponse:
        """Any method on a session."""
        if request.method == hdrs.METH_OPTIONS:
            return web.Response(status=204, headers={"Accept-Patch": fragment.MEDIA_TYPE, "Allow": _SESSION_METHODS})
        if request.method not in (hdrs.METH_PATCH, hdrs.METH_DELETE):
            raise refuse_method(request.method, (hdrs.METH_DELETE, hdrs.METH_OPTIONS, hdrs.METH_PATCH))
        session = self._find(request)
        if request.method == hdrs.METH_PATCH:
            return await self._patch(request, session)
        await session.hangup(CloseReason.REMOTE_HANGUP)
        return web.Response(status=200)

    # the endpoint

    def _options(self, request: web.Request) -> web.Response:
        """ICE servers are told to who may use the endpoint; a CORS preflight has no token (RFC 9725 4.6)."""
        response = web.Response(status=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})
        try:
            self._context.authorise(request, self.need, self.room(request))
        except (web.HTTPUnauthorized, web.HTTPForbidden):
            return response
        self._link(response)
        return response

    async def _create(self, request: web.Request) -> web.Response:
        token = self._context.authorise(request, self.need, self.room(request))
        _check_accept(request)
        text = await read_body(request, SDP, {"Accept-Post": SDP})
        if not text.strip():
            raise refuse(422, "no_offer", "the body is empty", "post the offer; the gateway makes none itself")
        offer = _read(parse_offer, text)
        self._registry.check_space(token)
        wanted = await self.wanted(request, token)
        session = self._session(request, offer, wanted, token)
        self._registry.add(session)
        try:
            # No await from admission to here: two who ask at once for one name get two names.
            if wanted.stream is not None:
                session.publish(wanted.stream)
            self._attach(session)
            answer = await session.answer()
            session.start()
        except BaseException:
            await session.hangup(CloseReason.REJECTED)
            raise
        response = web.Response(status=201, text=answer, content_type=SDP)
        response.headers[hdrs.LOCATION] = str(URL.build(path=f"{request.path.rstrip('/')}/{session.key}"))
        response.headers[hdrs.ETAG] = session.etag
        # Not in the RFC: by it the page knows which participant of the room it is itself.
        response.headers["Orbridge-Session"] = session.id
        response.headers["Accept-Patch"] = fragment.MEDIA_TYPE
        self._link(response)
        return response

    def _attach(self, session: WebRtcSession) -> None:
        try:
            self._context.router.attach(session)
        except ValueError as exc:
            raise refuse(503, "full", str(exc), "try again when a room has closed", retry_after_s=30) from exc

    def _session(self, request: web.Request, offer: Offer, wanted: Wanted, token: str) -> WebRtcSession:
        direction: Literal["sendonly", "recvonly"] = "sendonly" if wanted.stream is None else "recvonly"
        try:
            lines, refused = match_offer(offer, direction, audio=wanted.audio, video=wanted.video)
            remote = transport(offer, lines)
        except UnusableOffer as exc:
            if exc.common_codec:
                raise refuse(422, "unusable_offer", str(exc), "see RFC 9725 4.4 for what an offer needs") from exc
            names = ", ".join((*wanted.video, *wanted.audio))
            raise refuse(406, "no_common_codec", str(exc), f"offer one of {names}") from exc
        return WebRtcSession(
            self._grounds.current(),
            self._context.next_id("webrtc"),
            offer=offer,
            lines=lines,
            refused=refused,
            transport=remote,
            name=wanted.name,
            room=wanted.room,
            remote=request.remote or "",
            token=token,
            plays=wanted.plays,
        )

    def _link(self, response: web.Response) -> None:
        for link in self._grounds.links():
            response.headers.add(hdrs.LINK, link)

    # a session

    def _find(self, request: web.Request) -> WebRtcSession:
        session = self._registry.get(request.match_info["key"])
        if session is None or session.state in (State.CLOSING, State.CLOSED):
            # The token is asked for all the same, so that nobody without one can try keys.
            self._context.authorise(request, self.need, self.room(request))
            raise refuse(404, "no_session", "this session has ended or never was", "post a new offer to the endpoint")
        token = self._context.authorise(request, self.need, session.room)
        if token != session.token:
            raise refuse(403, "not_yours", "this session was opened with another token")
        return session

    async def _patch(self, request: web.Request, session: WebRtcSession) -> web.Response:
        match = request.headers.get(hdrs.IF_MATCH)
        if match is None:
            do = "send If-Match with the session's ETag, or with * to restart ICE (RFC 9725 4.3.1)"
            raise refuse(428, "no_if_match", "the request has no If-Match", do)
        text = await read_body(request, fragment.MEDIA_TYPE, {"Accept-Patch": fragment.MEDIA_TYPE})
        async with session.patching:
            return await self._apply(session, _read(fragment.parse_fragment, text), match)

    async def _apply(self, session: WebRtcSession, body: fragment.Fragment, match: str) -> web.Response:
        tags = [tag.strip() for tag in match.split(",")]
        if "*" not in tags and session.etag not in tags:
            do = "ICE was restarted meanwhile: use the ETag of that answer, or * to restart again"
            raise refuse(412, "other_ice_session", "If-Match names another ICE session than the current one", do)
        ufrag, password = session.remote_credentials
        if not body.ufrag or (body.ufrag, body.password) == (ufrag, password):
            await session.trickle(body)
            return web.Response(status=204)
        if ufrag == body.ufrag or password == body.password:
            do = "an ICE restart changes both (RFC 8445 9)"
            raise refuse(422, "half_restart", "only one of ice-ufrag and ice-pwd is new", do)
        answer = await session.restart(body)
        headers = {hdrs.ETAG: session.etag}
        return web.Response(status=200, text=answer, content_type=fragment.MEDIA_TYPE, headers=headers)


_SESSION_METHODS = "DELETE, OPTIONS, PATCH"


def _read(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ParseError as exc:
        raise refuse(400, f"bad_{exc.what}", str(exc), "send what the format's standard allows") from exc


def _check_accept(request: web.Request) -> None:
    accepted = request.headers.get(hdrs.ACCEPT, "*/*").lower()
    kinds = {part.partition(";")[0].strip() for part in accepted.split(",")}
    if not kinds & {SDP, "application/*", "*/*", ""}:
        raise refuse(406, "not_acceptable", f"the answer is {SDP}, which Accept leaves out", f"accept {SDP}")


async def read_body(request: web.Request, media_type: str, headers: dict[str, str]) -> str:
    """The body as text, when it is of that type, not too long and comes in time. ``headers`` go with the refusal."""
    if request.content_type != media_type:
        what = f"the body's type is {request.content_type}"
        raise refuse(415, "unsupported_media_type", what, f"send {media_type}", headers=headers)
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise refuse_size(MAX_BODY_BYTES, request.content_length or 0)
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_chunked(16_384):
                data += chunk
                if len(data) > MAX_BODY_BYTES:
                    raise refuse_size(MAX_BODY_BYTES, len(data))
    except TimeoutError as exc:
        what = f"the body didn't come within {BODY_TIMEOUT_S:.0f} s"
        raise refuse(408, "timeout", what, "send the whole request at once") from exc
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise refuse(400, "bad_text", f"byte {exc.start} of the body isn't UTF-8") from exc
