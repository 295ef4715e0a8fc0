"""One connection that somebody opened to us: from the handshake to a session, and to its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from orbridge.adapters.rtmp.address import Target, parse_target
from orbridge.adapters.rtmp.gate import device_stream
from orbridge.adapters.rtmp.message import CHUNK_BYTES
from orbridge.adapters.rtmp.outlet import Outlet
from orbridge.adapters.rtmp.session import PlaySession, PublishSession, RtmpSession
from orbridge.adapters.rtmp.to_bus import ToBus
from orbridge.adapters.rtmp.wire import Wire
from orbridge.codecs.errors import LocalError
from orbridge.codecs.rtmp.connection import ServerConnection
from orbridge.codecs.rtmp.events import (
    Closed,
    ConnectRequested,
    Event,
    Failed,
    Media,
    PlayPaused,
    PlayRequested,
    PublishRequested,
    StreamClosed,
)
from orbridge.gateway import events
from orbridge.gateway.adapter import Refused
from orbridge.gateway.config import Device
from orbridge.gateway.session import CloseReason, State

if TYPE_CHECKING:
    from orbridge.adapters.rtmp.ground import Ground

log = structlog.get_logger(__name__)

# From the first byte to publish or play.
HURRY_S = 10.0
# A player whose stream has ended waits so long for it to come back.
PATIENCE_S = 60.0
# What is on its way to a peer may take so long once its session is over.
GOODBYE_S = 2.0
PLAY_ENDED = "NetStream.Play.UnpublishNotify"


class Peer:
    """The server's side of one connection. Implements ``wire.Owner``."""

    def __init__(self, ground: Ground, peers: set[Peer]) -> None:
        """``peers``: where it is while its socket is open."""
        self._ground, self._peers = ground, peers
        self._machine = ServerConnection(chunk_size=CHUNK_BYTES)
        self.wire = Wire(self._machine, ground.context.now_ns, self)
        self._began_s = ground.now_s()
        self._app = ""
        self._four_ccs: frozenset[str] = frozenset()
        self._stream_id = 0
        self.session: RtmpSession | None = None
        self._empty_since_s: float | None = None
        self._closing_since_s: float | None = None

    def tick(self, now_s: float) -> None:
        """Called about every second: what takes too long ends."""
        session = self.session
        if self._closing_since_s is not None:
            if now_s - self._closing_since_s > GOODBYE_S:
                self.wire.abort()
        elif session is None:
            if now_s - self._began_s > HURRY_S:
                self._ground.failed["too_slow"] += 1
                self._close()
        elif isinstance(session, PublishSession):
            silent_s = session.to_bus.silent_s(self._ground.context.now_ns())
            session.look()
            if silent_s > self._ground.context.config.media.silence_timeout_s:
                session.end(CloseReason.SILENT)
        elif isinstance(session, PlaySession) and session.plays is not None:
            self._wait_for_stream(session, now_s)

    def dismiss(self, reason: CloseReason, text: str) -> None:
        """Our side ends it: say so and close. Idempotent."""
        if self._closing_since_s is None:
            code = "NetStream.Unpublish.Success" if isinstance(self.session, PublishSession) else PLAY_ENDED
            with contextlib.suppress(LocalError):  # the peer may have closed the stream in this moment
                self._machine.finish(self._stream_id, code, text)
            self._close()

    # wire.Owner

    def made(self) -> None:
        if len(self._peers) >= self._ground.context.config.rtmp.max_connections:
            self._ground.failed["too_many_connections"] += 1
            self.wire.abort()
        else:
            self._peers.add(self)

    def lost(self, text: str) -> None:
        self._peers.discard(self)
        self._end(CloseReason.TRANSPORT_FAILED if text else CloseReason.REMOTE_HANGUP, text)

    def event(self, event: Event) -> None:
        match event:
            case Media():
                if isinstance(self.session, PublishSession) and event.stream_id == self._stream_id:
                    self.session.to_bus.media(event.kind, event.timestamp_ms, event.payload)
            case ConnectRequested():
                self._app, self._four_ccs = event.app, event.four_ccs
                self._machine.accept_connect()
            case PublishRequested():
                self._publish(event)
            case PlayRequested():
                self._play(event)
            case PlayPaused():
                if isinstance(self.session, PlaySession):
                    self.session.outlet.pause(event.paused)
            case StreamClosed():
                if event.stream_id == self._stream_id:
                    self._end(CloseReason.REMOTE_HANGUP)
                    # It may ask for something else on the same connection (play2 does), as soon as in the beginning.
                    self.session, self.wire.pacer = None, None
                    self._began_s = self._ground.now_s()
            case Failed():
                self._ground.failed["protocol"] += 1
                if count := self._ground.failures.take():
                    log.info(events.PEER_FAILED, remote=self.wire.remote, problem=str(event.error), count=count)
                self._end(CloseReason.PROTOCOL_ERROR, f"the peer broke the protocol: {event.error}")
                self._close()
            case Closed():
                self._end(CloseReason.REMOTE_HANGUP if event.expected else CloseReason.TRANSPORT_FAILED)
                self._close()
            case _:
                pass

    def _publish(self, event: PublishRequested) -> None:
        target = parse_target(self._app, event.name, event.query)
        try:
            if self.session is not None:
                raise Refused(CloseReason.REFUSED, "this connection has a stream already")
            device = self._ground.gate.publisher(target, self.wire.remote)
            session = self._publisher(device)
        except Refused as exc:
            self._refuse(exc, target, "publish")
            self._machine.reject_publish(event.stream_id, description=exc.text)
            self._close()
            return
        self._stream_id = event.stream_id
        self._machine.accept_publish(event.stream_id)
        self.wire.pacer = self._ground.pacer
        self._open(session)

    def _publisher(self, device: Device) -> PublishSession:
        """Raises Refused."""
        ground = self._ground
        admitted = ground.context.router.admit_device(device, None)
        for other in ground.registry.of_device(device.name):
            if ground.context.config.rtmp.second_publisher == "refuse":
                ground.gate.counts["second_publisher"] += 1
                raise Refused(CloseReason.REFUSED, f"{device.name} is publishing already")
            if isinstance(other, PublishSession):
                other.end(CloseReason.LOCAL_HANGUP, "another publisher took over with the same key")
        try:
            stream = device_stream(device)
            to_bus = ToBus(ground.context.bus.engine, stream, ground.context.now_ns, video=device.video)
        except ValueError as exc:
            raise Refused(CloseReason.REFUSED, f"{device.name} is publishing already") from exc
        return PublishSession(
            ground.context.next_id("rtmp"),
            name=admitted.name,
            room=admitted.room,
            remote=self.wire.remote,
            device=device.name,
            opened_ns=ground.context.now_ns(),
            to_bus=to_bus,
            dismiss=self.dismiss,
        )

    def _play(self, event: PlayRequested) -> None:
        target = parse_target(self._app, event.name, event.query)
        ground = self._ground
        try:
            if self.session is not None:
                raise Refused(CloseReason.REFUSED, "this connection has a stream already")
            wanted = ground.gate.player(target, self.wire.remote)
        except Refused as exc:
            self._refuse(exc, target, "play")
            self._machine.reject_play(event.stream_id, description=exc.text)
            self._close()
            return
        outlet = Outlet(ground.feeds, ground.now_s)
        session = PlaySession(
            ground.context.next_id("rtmp"),
            name=wanted.name,
            room=wanted.room,
            remote=self.wire.remote,
            opened_ns=ground.context.now_ns(),
            plays=wanted.stream,
            outlet=outlet,
            four_ccs=self._four_ccs,
            dismiss=self.dismiss,
            wire=self.wire,
        )
        self._stream_id = event.stream_id
        self._machine.accept_play(event.stream_id)
        self.wire.flush()
        outlet.open(event.stream_id, self.wire.send, self.wire.buffered, self._stalled)
        self._open(session)

    def _open(self, session: PublishSession | PlaySession) -> None:
        self.session = session
        self._ground.registry.add(session)
        session.move(State.CONNECTING)
        session.move(State.ACTIVE)
        try:
            self._ground.context.router.attach(session)
        except ValueError as exc:
            # There are too many rooms.
            session.end(CloseReason.REFUSED, str(exc))

    # how it ends

    def _refuse(self, refused: Refused, target: Target, what: str) -> None:
        # A publisher's name may be its key, put into the wrong place.
        name = target.name[:60] if what == "play" else None
        if count := self._ground.refusals.take():
            remote = self.wire.remote
            log.info(events.PEER_REFUSED, remote=remote, what=what, stream=name, problem=refused.text, count=count)

    def _wait_for_stream(self, session: PlaySession, now_s: float) -> None:
        if session.outlet.selected:
            self._empty_since_s = None
        elif self._empty_since_s is None:
            self._empty_since_s = now_s
        elif now_s - self._empty_since_s > PATIENCE_S:
            session.end(CloseReason.SILENT, "the stream ended and didn't come back")

    def _stalled(self) -> None:
        self._ground.failed["stalled"] += 1
        log.warning(events.PEER_STALLED, remote=self.wire.remote, buffered=self.wire.buffered())
        self._end(CloseReason.TRANSPORT_FAILED, "the player took nothing for too long")
        self._closing_since_s = self._ground.now_s()
        self.wire.abort()

    def _end(self, reason: CloseReason, text: str = "") -> None:
        if self.session is not None:
            self.session.over(reason, text)

    def _close(self) -> None:
        if self._closing_since_s is None:
            self._closing_since_s = self._ground.now_s()
            self._machine.close()
            self.wire.flush()
            self.wire.close()
