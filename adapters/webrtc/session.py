"""A browser's session: what it publishes into a room (WHIP), or the one stream that it plays (WHEP)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from orbridge.adapters.webrtc.description import AUDIO_LEVEL, MID, Line, Transport, write_answer
from orbridge.adapters.webrtc.dtls import Certificate
from orbridge.adapters.webrtc.fragment import Fragment, write_fragment
from orbridge.adapters.webrtc.offer import Offer
from orbridge.adapters.webrtc.peer import Peer
from orbridge.codecs._engine import ClosedError
from orbridge.codecs.media import Kind, Role
from orbridge.gateway.adapter import Engines, Refused
from orbridge.gateway.config import Media
from orbridge.gateway.session import CloseReason, Note, Session, Sink, State

if TYPE_CHECKING:
    from orbridge.codecs._engine import Event, Publisher

CLOSE_TIMEOUT_S = 2.0
NO_MEDIA = "no_media"


@dataclass(frozen=True, slots=True)
class Ground:
    """What every session stands on. ``stun_server``: host and port, or None."""

    bus: Engines
    media: Media
    certificate: Certificate
    stun_server: tuple[str, int] | None
    now_ns: Callable[[], int]


class WebRtcSession(Session):
    """One peer connection.

    Attributes:
        key: unguessable part of the session's address over HTTP; not ``id``, which status shows to others.
        token: name of the token that opened it.
        patching: held while one PATCH is worked on, because another may restart ICE meanwhile.
    """

    adapter: ClassVar[str] = "webrtc"

    def __init__(
        self,
        ground: Ground,
        session_id: str,
        *,
        offer: Offer,
        lines: Sequence[Line],
        refused: Sequence[str],
        transport: Transport,
        name: str,
        room: str,
        remote: str,
        token: str,
        plays: str | None = None,
    ) -> None:
        super().__init__(
            session_id, name=name, room=room, remote=remote, inbound=True, opened_ns=ground.now_ns(), plays=plays
        )
        self.key = secrets.token_urlsafe(24)
        self.token = token
        self.notes = [Note("line_refused", text) for text in refused]
        self._ground, self._offer, self._lines, self._transport = ground, offer, list(lines), transport
        self._cname = secrets.token_hex(8)
        self._publisher: Publisher | None = None
        self._tracks: dict[Kind, int] = {}
        self._local_ufrag = ""
        self._closing: asyncio.Task[None] | None = None
        self.patching = asyncio.Lock()
        self._peer = Peer(
            ground.bus,
            list(dict.fromkeys([ground.media.host, *ground.media.hosts])),
            ground.certificate,
            on_connected=self._connected,
            on_closed=self._lost,
            on_event=self._event,
            label=session_id,
            dscp=ground.media.dscp_video,
            stun_server=ground.stun_server,
            # One of two full agents is controlled by who offers; a lite one never controls (RFC 8445 6.1.1).
            controlling=transport.ice_lite,
        )

    @property
    def etag(self) -> str:
        """Names the ICE session (RFC 9725 4.3.1); another after each restart."""
        return f'"{self._local_ufrag}"'

    @property
    def remote_credentials(self) -> tuple[str, str]:
        return self._transport.ufrag, self._transport.password

    def publish(self, stream: str) -> None:
        """Take the stream's name and make its tracks. Raises Refused when somebody has it."""
        try:
            self._publisher = self._ground.bus.engine.publish(stream)
        except ValueError as exc:
            raise Refused(CloseReason.REJECTED, f"stream {stream} is being published already") from exc
        for line in self._lines:
            codec = line.codec
            self._tracks[line.kind] = self._publisher.add_track(
                line.kind.value, codec.name, clock_hz=codec.clock_hz, channels=codec.channels
            )
        self.published[Role.MAIN] = stream

    async def answer(self) -> str:
        """Open sockets and write the answer. Raises Refused when no port is free."""
        try:
            local = await self._peer.gather(self._transport.setup)
        except OSError as exc:
            raise Refused(
                CloseReason.TRANSPORT_FAILED, f"no media socket can be opened: {exc.strerror or exc}"
            ) from exc
        self._local_ufrag = local.ufrag
        for line in self._lines:
            line.ssrc, line.rtx_ssrc = _fresh_ssrc(), _fresh_ssrc()
        return write_answer(
            self._offer,
            self._lines,
            local,
            session_id=secrets.randbits(62),
            cname=self._cname,
            stream=self.id,
            max_video_kbps=self._ground.media.max_video_kbps,
        )

    def start(self) -> None:
        """The answer is on its way: begin with ICE."""
        self.move(State.CONNECTING)
        self._peer.connect(self._transport)

    async def trickle(self, fragment: Fragment) -> None:
        await self._peer.add_candidates(fragment.candidates)

    async def restart(self, fragment: Fragment) -> str:
        """An ICE restart asked for by the browser. Returns our fragment; ``etag`` has changed."""
        before = self._transport
        self._transport = Transport(
            fragment.ufrag, fragment.password, before.fingerprints, before.setup, fragment.candidates, before.ice_lite
        )
        local = await self._peer.restart(before.setup)
        self._peer.reconnect(self._transport)
        self._local_ufrag = local.ufrag
        media = self._lines[0].media
        return write_fragment(media.kind, media.mid, local.ufrag, local.password, local.candidates)

    async def hangup(self, reason: CloseReason, text: str = "") -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(reason, text))
        await asyncio.shield(self._closing)

    def stats(self) -> dict[str, Any]:
        legs = []
        if self._peer.connected:
            # A fault closes a leg before its event has come up to us.
            with contextlib.suppress(ClosedError):
                legs.append(self._peer.leg.stats())
        return {"legs": legs, **self._peer.facts()}

    def _connected(self) -> None:
        for line in self._lines:
            if line.takes:
                self._receive(line)
            if line.sends:
                self._send(line)
        self.move(State.ACTIVE)
        self.emit("media_changed", self)

    def _receive(self, line: Line) -> None:
        self._peer.leg.add_receiver(
            self._tracks[line.kind],
            payload_types={line.format.pt: line.format.name},
            rtx={line.rtx.pt: line.format.pt} if line.rtx else None,
            mid=line.media.mid or None,
            mid_ext=line.extensions.get(MID),
            audio_level_ext=line.extensions.get(AUDIO_LEVEL),
            nack="nack" in line.feedback,
            pli="nack pli" in line.feedback,
            fir="ccm fir" in line.feedback,
            remb_bps=self._ground.media.max_video_kbps * 1000 if "goog-remb" in line.feedback else 0,
        )

    def _send(self, line: Line) -> None:
        sender = self._peer.leg.add_sender(
            line.format.name,
            line.format.pt,
            clock_hz=line.format.clock_hz,
            ssrc=line.ssrc,
            cname=self._cname,
            packetization_mode=line.packetization_mode,
            rtx_pt=line.rtx.pt if line.rtx else None,
            rtx_ssrc=line.rtx_ssrc if line.rtx else None,
            mid=line.media.mid or None,
            mid_ext=line.extensions.get(MID),
            audio_level_ext=line.extensions.get(AUDIO_LEVEL),
        )
        # No limit: browsers decode far above the level that they offer.
        self.sinks.append(Sink(line.kind, Role.MAIN, line.codec, sender))

    def _event(self, event: Event) -> None:
        if event[0] not in ("silent", "heard") or self._publisher is None or self.state is not State.ACTIVE:
            return
        self.notes = [note for note in self.notes if note.code != NO_MEDIA]
        if event[0] == "silent":
            self.notes.append(Note(NO_MEDIA, "neither picture nor sound arrives from the browser at the moment"))
        self.emit("media_changed", self)

    def _lost(self, reason: CloseReason, text: str) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(reason, text))

    async def _close(self, reason: CloseReason, text: str) -> None:
        self.sinks = []
        self.move(State.CLOSING)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._peer.close()
        except TimeoutError:
            self.notes.append(Note("closed_late", f"closing took longer than {CLOSE_TIMEOUT_S:.0f} s"))
        finally:
            if self._publisher is not None:
                self._publisher.close()
            self.ended(reason, text)


def _fresh_ssrc() -> int:
    return secrets.randbits(32) or 1
