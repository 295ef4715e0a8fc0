"""The client's role: connects, then publishes or plays (Adobe RTMP 1.0, 7.2, 7.3)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from orbridge.codecs import amf0
from orbridge.codecs.errors import LocalError, ParseError
from orbridge.codecs.rtmp.events import (
    Closed,
    Connected,
    Limits,
    PlayStarted,
    PublishStarted,
    Rejected,
    Status,
    StreamClosed,
    StreamReady,
)
from orbridge.codecs.rtmp.handshake import ClientHandshake, RandomBytes
from orbridge.codecs.rtmp.machine import CHUNK_BYTES, Connection, four_ccs
from orbridge.codecs.rtmp.message import Command, UserControl, user_control

# How much a server may send ahead; servers of recordings use it, live ones don't.
_BUFFER_MS = 1000


class Purpose(StrEnum):
    """What a message stream is for."""

    PUBLISH = "publish"
    PLAY = "play"


@dataclass(slots=True)
class _Wish:
    """A stream that the caller wants: its purpose, its name as the server is to see it, whether it has begun."""

    purpose: Purpose
    name: str
    started: bool = False


class ClientConnection(Connection):
    """Our connection to a server. ``connect`` may be called at once; publish and play after ``Connected``.

    Not implemented: Adobe's and Limelight's challenge in the connect command (``authmod``).
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        chunk_size: int = CHUNK_BYTES,
        digest: bool = False,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        super().__init__(ClientHandshake(digest=digest, random_bytes=random_bytes), limits, chunk_size)
        self._connect: dict[str, amf0.Value] | None = None
        self._connected = False
        self._transaction = 1
        self._creating: dict[float, _Wish] = {}
        self._streams: dict[int, _Wish] = {}

    def connect(
        self,
        app: str,
        tc_url: str,
        four_ccs: Iterable[str] = (),
        *,
        flash_version: str = "FMLE/3.0 (compatible; orbridge)",
    ) -> None:
        """Ask for an application as soon as the handshake is through.

        ``app`` with its query when the address has one there; ``tc_url`` is the address without the stream's name;
        ``four_ccs``: what we take and send by enhanced RTMP, none for servers from before it.
        """
        if self._ended:
            return
        if self._connect is not None:
            raise LocalError("rtmp: connect was called already")
        codes = list(four_ccs)
        self._connect = {
            "app": app,
            "type": "nonprivate",
            "flashVer": flash_version,
            "tcUrl": tc_url,
            "fpad": False,
            "capabilities": 15.0,
            "audioCodecs": 4071.0,
            "videoCodecs": 252.0,
            "videoFunction": 1.0,
            "objectEncoding": 0.0,
        }
        if codes:
            self._connect["fourCcList"] = list(codes)
        if self.handshaken:
            self._send_connect()

    def publish(self, name: str) -> None:
        """Publish; ``StreamReady`` and ``PublishStarted``, or ``Rejected``, follow. ``name`` with its query."""
        self._create(Purpose.PUBLISH, name)

    def play(self, name: str) -> None:
        """Play a live stream; ``StreamReady``, ``PlayStarted`` and ``Media``, or ``Rejected``, follow."""
        self._create(Purpose.PLAY, name)

    def close(self) -> None:
        """Give back all streams and end the connection."""
        if self._ended:
            return
        for stream_id, wish in self._streams.items():
            if wish.purpose is Purpose.PUBLISH:
                self._send_command(0, "FCUnpublish", self._next(), None, wish.name)
            self._send_command(0, "deleteStream", self._next(), None, float(stream_id))
        self._end(Closed(expected=True))

    def _next(self) -> float:
        self._transaction += 1
        return float(self._transaction)

    def _send_connect(self) -> None:
        # The answer's transaction is 1 (7.2.1.1).
        self._send_command(0, "connect", 1.0, self._connect)

    def _create(self, purpose: Purpose, name: str) -> None:
        if self._ended:
            return
        if not self._connected:
            raise LocalError(f"rtmp: {purpose} before the server took the connection")
        if len(self._creating) + len(self._streams) >= self._limits.message_streams:
            raise LocalError(f"rtmp: more than {self._limits.message_streams} streams on one connection")
        if purpose is Purpose.PUBLISH:
            self._send_command(0, "releaseStream", self._next(), None, name)
            self._send_command(0, "FCPublish", self._next(), None, name)
        transaction = self._next()
        self._creating[transaction] = _Wish(purpose, name)
        self._send_command(0, "createStream", transaction, None)

    # The server's messages.

    def _on_handshaken(self) -> None:
        if self._connect is not None:
            self._send_connect()

    def _may_close(self) -> bool:
        return self._connected and not self._streams and not self._creating

    def _takes_media(self, stream_id: int) -> bool:
        wish = self._streams.get(stream_id)
        if wish is None or wish.purpose is not Purpose.PLAY:
            return False
        if not wish.started:  # some servers send media without saying so
            wish.started = True
            self._emit(PlayStarted(stream_id))
        return True

    def _on_user_control(self, event: int, stream_id: int) -> None:
        wish = self._streams.get(stream_id)
        if event == UserControl.STREAM_EOF and wish is not None and wish.purpose is Purpose.PLAY:
            self._emit(Status(stream_id, "status", "NetStream.Play.Stop", "the server says that the stream is over"))

    def _on_command(self, stream_id: int, command: Command) -> None:
        if command.name in ("_result", "_error"):
            self._receive_answer(command, good=command.name == "_result")
        elif command.name == "onStatus":
            self._receive_status(stream_id, command)
        elif command.name == "close":
            self._end(Closed(expected=False))

    def _receive_answer(self, command: Command, *, good: bool) -> None:
        information = _information(command)
        if command.transaction == 1.0 and not self._connected and self._connect is not None:
            if not good:
                self._emit(Rejected(_text(information, "code"), _text(information, "description")))
                self._end(Closed(expected=False))
                return
            self._connected = True
            self._send_window()
            self._send_chunk_size()
            properties = command.object if isinstance(command.object, dict) else {}
            self._emit(Connected(four_ccs(properties) | four_ccs(information)))
            return
        wish = self._creating.pop(command.transaction, None)
        if wish is None:
            return  # of releaseStream and FCPublish, which servers may refuse without consequences
        if not good:
            self._emit(Rejected(_text(information, "code"), _text(information, "description")))
            return
        stream_id = int(command.number(0, -1.0))
        if not 0 < stream_id < 1 << 32 or stream_id in self._streams:
            raise ParseError("rtmp", "answer to createStream", "it has no number of a new stream")
        self._streams[stream_id] = wish
        self._emit(StreamReady(stream_id))
        if wish.purpose is Purpose.PUBLISH:
            self._send_command(stream_id, "publish", self._next(), None, wish.name, "live")
        else:
            # -2000: live, else recorded (7.2.2.1); the number is what ffmpeg and librtmp send.
            self._send_command(stream_id, "play", self._next(), None, wish.name, -2000.0)
            self._send(user_control(UserControl.SET_BUFFER_LENGTH, stream_id, _BUFFER_MS.to_bytes(4, "big")))

    def _receive_status(self, stream_id: int, command: Command) -> None:
        information = _information(command)
        level, code = _text(information, "level"), _text(information, "code")
        description = _text(information, "description")
        if not self._connected:
            raise ParseError("rtmp", "onStatus", "it came before connect was answered")
        wish = self._streams.get(stream_id)
        if wish is None and len(self._streams) == 1:
            # Some servers send it on message stream 0.
            stream_id, wish = next(iter(self._streams.items()))
        if wish is None:
            self._emit(Status(stream_id, level, code, description))
        elif code == _STARTED[wish.purpose]:
            if not wish.started:
                wish.started = True
                self._emit(PublishStarted(stream_id) if wish.purpose is Purpose.PUBLISH else PlayStarted(stream_id))
            else:
                self._emit(Status(stream_id, level, code, description))
        elif level == "error" and not wish.started:
            del self._streams[stream_id]
            self._emit(Rejected(code, description, stream_id))
        else:
            self._emit(Status(stream_id, level, code, description))
            if level == "error" and wish.purpose is Purpose.PUBLISH:
                del self._streams[stream_id]
                self._emit(StreamClosed(stream_id))


_STARTED = {Purpose.PUBLISH: "NetStream.Publish.Start", Purpose.PLAY: "NetStream.Play.Start"}


def _information(command: Command) -> dict[str, amf0.Value]:
    value = command.arguments[0] if command.arguments else None
    return value if isinstance(value, dict) else {}


def _text(values: dict[str, amf0.Value], name: str) -> str:
    value = values.get(name)
    return value[:400] if isinstance(value, str) else ""
