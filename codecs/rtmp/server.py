"""The server's role (Adobe RTMP 1.0, 7.2): connect, createStream, publish, play and what clients send around."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from orbridge.codecs import amf0
from orbridge.codecs.errors import LocalError, ParseError, RemoteError
from orbridge.codecs.rtmp.chunk import Message
from orbridge.codecs.rtmp.events import (
    Closed,
    ConnectRequested,
    Limits,
    PlayPaused,
    PlayRequested,
    PublishRequested,
    StreamClosed,
)
from orbridge.codecs.rtmp.handshake import RandomBytes, ServerHandshake
from orbridge.codecs.rtmp.machine import CHUNK_BYTES, WINDOW_BYTES, Connection, four_ccs
from orbridge.codecs.rtmp.message import Command, MessageType, UserControl, control, user_control
from orbridge.codecs.rtmp.names import address_query, split_query, stream_name

_MAX_EARLY = 64


class StreamState(StrEnum):
    """Where a message stream is."""

    IDLE = "idle"
    PUBLISH_ASKED = "publish asked"
    PUBLISHING = "publishing"
    PLAY_ASKED = "play asked"
    PLAYING = "playing"


# What may happen in which state: the client's commands, and our answers. What isn't here is wrong.
TRANSITIONS: dict[tuple[StreamState, str], StreamState] = {
    (StreamState.IDLE, "publish"): StreamState.PUBLISH_ASKED,
    (StreamState.IDLE, "play"): StreamState.PLAY_ASKED,
    (StreamState.IDLE, "close"): StreamState.IDLE,
    (StreamState.PUBLISH_ASKED, "accept_publish"): StreamState.PUBLISHING,
    (StreamState.PUBLISH_ASKED, "reject_publish"): StreamState.IDLE,
    (StreamState.PUBLISH_ASKED, "close"): StreamState.IDLE,
    (StreamState.PUBLISHING, "close"): StreamState.IDLE,
    (StreamState.PUBLISHING, "finish"): StreamState.IDLE,
    (StreamState.PLAY_ASKED, "accept_play"): StreamState.PLAYING,
    (StreamState.PLAY_ASKED, "reject_play"): StreamState.IDLE,
    (StreamState.PLAY_ASKED, "close"): StreamState.IDLE,
    (StreamState.PLAYING, "play"): StreamState.PLAY_ASKED,
    (StreamState.PLAYING, "close"): StreamState.IDLE,
    (StreamState.PLAYING, "finish"): StreamState.IDLE,
}


@dataclass(slots=True)
class _Stream:
    id: int
    state: StreamState = StreamState.IDLE
    name: str = ""


@dataclass(slots=True)
class _Connect:
    """The connect command: asked, and answered or not."""

    transaction: float
    query: dict[str, str] = field(default_factory=dict)
    enhanced: bool = False
    accepted: bool = False


class ServerConnection(Connection):
    """A client's connection to us.

    Limits are for what one client may ask; how many clients there may be, and how long each may take, is the caller's.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        chunk_size: int = CHUNK_BYTES,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        super().__init__(ServerHandshake(random_bytes), limits, chunk_size)
        self._connect: _Connect | None = None
        self._streams: dict[int, _Stream] = {}
        # Where we owe an answer to publish or play, also when the client has closed the stream meanwhile: until then
        # nothing new is asked there, so that no answer is taken for another's.
        self._unanswered: set[int] = set()
        # What clients send that don't wait for connect's answer.
        self._early: list[Message] = []

    # Answers and commands of ours.

    def accept_connect(self, four_cc: Iterable[str] = ("avc1", "hvc1", "vp09", "av01", "mp4a", "Opus")) -> None:
        """Let the client in; what it asked for meanwhile comes out as new events.

        ``four_cc``: what we take by enhanced RTMP, told to clients that know of it.
        """
        if self._ended:
            return
        connect = self._asked_connect("accept")
        connect.accepted = True
        self._send_window()
        self._send(control(MessageType.SET_PEER_BANDWIDTH, WINDOW_BYTES, b"\x02"))
        self._send_chunk_size()
        properties: dict[str, amf0.Value] = {"fmsVer": "FMS/3,5,7,7009", "capabilities": 31.0, "mode": 1.0}
        information = _status("status", "NetConnection.Connect.Success", "connected")
        information["objectEncoding"] = 0.0
        if connect.enhanced:
            codes = list(four_cc)
            # 7: decodes, encodes, forwards. v2 has them in the information, v1's clients look for the list.
            video: dict[str, amf0.Value] = {code: 7.0 for code in codes if code not in ("mp4a", "Opus")}
            audio: dict[str, amf0.Value] = {code: 7.0 for code in codes if code in ("mp4a", "Opus")}
            information["fourCcList"] = list(codes)
            information["videoFourCcInfoMap"] = video
            information["audioFourCcInfoMap"] = audio
            information["capsEx"] = 0.0
        self._send_command(0, "_result", connect.transaction, properties, information)
        early, self._early = self._early, []
        try:
            for message in early:
                self._on_message(message)
        except RemoteError as error:
            self._fail(error)

    def reject_connect(self, code: str = "NetConnection.Connect.Rejected", description: str = "refused") -> None:
        """Refuse the client in words and end the connection."""
        if self._ended:
            return
        connect = self._asked_connect("reject")
        self._send_command(0, "_error", connect.transaction, None, _status("error", code, description))
        self._end(Closed(expected=True))

    def accept_publish(self, stream_id: int, description: str = "publishing") -> None:
        if self._ended:
            return
        stream = self._answer(stream_id, "accept_publish")
        if stream is None:
            return
        self._send(user_control(UserControl.STREAM_BEGIN, stream_id))
        self._send_status(stream, "status", "NetStream.Publish.Start", description)

    def reject_publish(
        self, stream_id: int, code: str = "NetStream.Publish.BadName", description: str = "refused"
    ) -> None:
        """Refuse a publisher in words; the connection stays. Most encoders close it then."""
        if self._ended:
            return
        stream = self._answer(stream_id, "reject_publish")
        if stream is not None:
            self._send_status(stream, "error", code, description)

    def accept_play(self, stream_id: int, description: str = "playing") -> None:
        """Say that media follows; ``onMetaData`` and sequence headers are the caller's next."""
        if self._ended:
            return
        stream = self._answer(stream_id, "accept_play")
        if stream is None:
            return
        self._send(user_control(UserControl.STREAM_BEGIN, stream_id))
        self._send_status(stream, "status", "NetStream.Play.Reset", description)
        self._send_status(stream, "status", "NetStream.Play.Start", description)
        self._send(Message(MessageType.DATA, stream_id, 0, amf0.serialise("|RtmpSampleAccess", True, True)))

    def reject_play(
        self, stream_id: int, code: str = "NetStream.Play.StreamNotFound", description: str = "no such stream"
    ) -> None:
        """Refuse a player in words; the connection stays."""
        if self._ended:
            return
        stream = self._answer(stream_id, "reject_play")
        if stream is not None:
            self._send_status(stream, "error", code, description)

    def finish(self, stream_id: int, code: str, description: str = "ended", level: str = "status") -> None:
        """End what is published or played, e.g. ``NetStream.Play.UnpublishNotify``, ``NetStream.Unpublish.Success``."""
        if self._ended:
            return
        playing = stream_id in self._streams and self._streams[stream_id].state is StreamState.PLAYING
        stream = self._answer(stream_id, "finish")
        if stream is None:
            return
        self._send_status(stream, level, code, description)
        if playing:
            self._send(user_control(UserControl.STREAM_EOF, stream_id))

    def close(self, code: str = "NetConnection.Connect.Closed", description: str = "closed") -> None:
        """Say goodbye and end the connection."""
        if self._ended:
            return
        if self._connect is not None and self._connect.accepted:
            self._send_command(0, "onStatus", 0.0, None, _status("status", code, description))
        self._end(Closed(expected=True))

    def _asked_connect(self, what: str) -> _Connect:
        if self._connect is None or self._connect.accepted:
            raise LocalError(f"rtmp: no connect to {what}")
        return self._connect

    def _answer(self, stream_id: int, what: str) -> _Stream | None:
        """The stream that a command of ours is about; None when the client has closed it meanwhile."""
        if what != "finish":
            if stream_id not in self._unanswered:
                raise LocalError(f"rtmp: {what} on message stream {stream_id}, where nothing was asked")
            self._unanswered.discard(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None or stream.state is StreamState.IDLE:
            return None
        state = TRANSITIONS.get((stream.state, what))
        if state is None:
            raise LocalError(f"rtmp: {what} on message stream {stream_id}, which is {stream.state}")
        stream.state = state
        return stream

    def _send_status(self, stream: _Stream, level: str, code: str, description: str) -> None:
        information = _status(level, code, description)
        information["details"] = stream.name
        self._send_command(stream.id, "onStatus", 0.0, None, information)

    # The client's commands.

    def _on_handshaken(self) -> None:
        """The client speaks first."""

    def _on_user_control(self, event: int, stream_id: int) -> None:
        """Clients tell how long their buffer is, which changes nothing for a live stream."""

    def _may_close(self) -> bool:
        busy = any(stream.state is not StreamState.IDLE for stream in self._streams.values())
        return self._connect is not None and self._connect.accepted and not busy

    def _takes_media(self, stream_id: int) -> bool:
        stream = self._streams.get(stream_id)
        return stream is not None and stream.state in (StreamState.PUBLISHING, StreamState.PUBLISH_ASKED)

    def _on_message(self, message: Message) -> None:
        if self._connect is None or self._connect.accepted or message.type_id < MessageType.AUDIO:
            super()._on_message(message)
            return
        if len(self._early) >= _MAX_EARLY:
            raise ParseError("rtmp", "connect", f"more than {_MAX_EARLY} messages before it was answered")
        self._early.append(message)

    def _on_command(self, stream_id: int, command: Command) -> None:
        name = command.name
        if name == "connect":
            self._receive_connect(command)
            return
        if self._connect is None:
            raise ParseError("rtmp", f"command {name[:40]}", "it came before connect")
        receive = _COMMANDS.get(name)
        if receive is not None:
            receive(self, stream_id, command)
        elif name not in _IGNORED and command.transaction:
            problem = _status("error", "NetConnection.Call.Failed", "no such procedure")
            self._send_command(stream_id, "_error", command.transaction, None, problem)

    def _receive_connect(self, command: Command) -> None:
        if self._connect is not None:
            raise ParseError("rtmp", "connect", "it came a second time")
        asked = command.object
        if not isinstance(asked, dict):
            raise ParseError("rtmp", "connect", "it has no command object")
        app, app_query = split_query(self._text(asked, "app"))
        tc_url = self._text(asked, "tcUrl")
        codes = four_ccs(asked)
        caps_ex = _number(asked, "capsEx")
        query = address_query(tc_url) | app_query
        self._connect = _Connect(command.transaction, query, enhanced=bool(codes) or "capsEx" in asked)
        version = self._text(asked, "flashVer")
        encoding = _number(asked, "objectEncoding")
        self._emit(ConnectRequested(app, tc_url, query, encoding, codes, version, caps_ex))

    def _text(self, values: dict[str, amf0.Value], name: str) -> str:
        value = values.get(name)
        return self._bounded(value, name) if isinstance(value, str) else ""

    def _bounded(self, text: str, where: str) -> str:
        if len(text) > self._limits.text_bytes:
            raise ParseError("rtmp", where, f"{len(text)} characters, at most {self._limits.text_bytes} are taken")
        return text

    def _receive_create(self, stream_id: int, command: Command) -> None:
        if len(self._streams) >= self._limits.message_streams or len(self._unanswered) >= self._limits.message_streams:
            raise ParseError("rtmp", "createStream", f"more than {self._limits.message_streams} message streams")
        taken = self._streams.keys() | self._unanswered
        number = next(n for n in range(1, 2 * self._limits.message_streams + 1) if n not in taken)
        self._streams[number] = _Stream(number)
        self._send_command(0, "_result", command.transaction, None, float(number))

    def _move(self, stream_id: int, what: str, name: str) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            raise ParseError("rtmp", what, f"on message stream {stream_id}, which was not created")
        state = TRANSITIONS.get((stream.state, what))
        if state is None:
            raise ParseError("rtmp", what, f"on message stream {stream_id}, which is {stream.state}")
        if stream_id in self._unanswered:
            raise ParseError("rtmp", what, f"on message stream {stream_id}, before the last request there was answered")
        if stream.state is StreamState.PLAYING:
            self._emit(StreamClosed(stream_id))
        stream.state, stream.name = state, name
        self._unanswered.add(stream_id)

    def _names(self, command: Command) -> tuple[str, dict[str, str]]:
        assert self._connect is not None
        name, query = stream_name(self._bounded(command.text(0), command.name))
        return name, self._connect.query | query

    def _receive_publish(self, stream_id: int, command: Command) -> None:
        name, query = self._names(command)
        self._move(stream_id, "publish", name)
        self._emit(PublishRequested(stream_id, name, query, command.text(1)[:16] or "live"))

    def _receive_play(self, stream_id: int, command: Command) -> None:
        name, query = self._names(command)
        self._move(stream_id, "play", name)
        start, duration = command.number(1, -2000.0), command.number(2, -1000.0)
        self._emit(PlayRequested(stream_id, name, query, start, duration))

    def _receive_play2(self, stream_id: int, command: Command) -> None:
        """Switch to another stream (7.2.2.2): for a live server the same as playing that one."""
        asked = command.arguments[0] if command.arguments else None
        text = self._text(asked, "streamName") if isinstance(asked, dict) else ""
        self._receive_play(stream_id, Command("play2", command.transaction, None, (text,)))

    def _receive_pause(self, stream_id: int, command: Command) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.state is not StreamState.PLAYING:
            raise ParseError("rtmp", "pause", f"on message stream {stream_id}, where nothing plays")
        paused = command.flag(0, True)
        code = "NetStream.Pause.Notify" if paused else "NetStream.Unpause.Notify"
        self._send_status(stream, "status", code, "paused" if paused else "playing")
        self._emit(PlayPaused(stream_id, paused))

    def _receive_seek(self, stream_id: int, command: Command) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.state is not StreamState.PLAYING:
            raise ParseError("rtmp", "seek", f"on message stream {stream_id}, where nothing plays")
        self._send_status(stream, "error", "NetStream.Seek.Failed", "this stream is live")

    def _receive_delete(self, stream_id: int, command: Command) -> None:
        number = int(command.number(0, stream_id))
        self._close_stream(number, "NetStream.DeleteStream.Success")
        self._streams.pop(number, None)

    def _receive_close(self, stream_id: int, command: Command) -> None:
        self._close_stream(stream_id, "")

    def _close_stream(self, stream_id: int, code: str) -> None:
        """deleteStream and closeStream; for a stream that isn't there they do nothing (7.2.2.3)."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.state is StreamState.IDLE:
            return
        publishing = stream.state is StreamState.PUBLISHING
        stream.state = TRANSITIONS[stream.state, "close"]
        if publishing:
            self._send_status(stream, "status", "NetStream.Unpublish.Success", "no longer published")
        self._emit(StreamClosed(stream_id))

    def _receive_unpublish(self, stream_id: int, command: Command) -> None:
        """FCUnpublish names the stream, not the message stream.

        closeStream or deleteStream come after it, but ffmpeg 9 that is told to end doesn't always get that far.
        """
        name = stream_name(self._bounded(command.text(0), command.name))[0]
        for stream in list(self._streams.values()):
            if stream.state in (StreamState.PUBLISHING, StreamState.PUBLISH_ASKED) and stream.name == name:
                self._close_stream(stream.id, "")
        self._send_command(0, "onFCUnpublish", 0.0, None, _status("status", "NetStream.Unpublish.Success", ""))
        self._acknowledge(stream_id, command)

    def _receive_fc_publish(self, stream_id: int, command: Command) -> None:
        self._acknowledge(stream_id, command)
        self._send_command(0, "onFCPublish", 0.0, None, _status("status", "NetStream.Publish.Start", ""))

    def _receive_fc_subscribe(self, stream_id: int, command: Command) -> None:
        self._acknowledge(stream_id, command)
        self._send_command(0, "onFCSubscribe", 0.0, None, _status("status", "NetStream.Play.Start", ""))

    def _receive_length(self, stream_id: int, command: Command) -> None:
        """getStreamLength: a live stream has none."""
        self._send_command(0, "_result", command.transaction, None, 0.0)

    def _acknowledge(self, stream_id: int, command: Command) -> None:
        if command.transaction:
            self._send_command(0, "_result", command.transaction, None, amf0.UNDEFINED)


# Answers to what we asked, and notices, that need nothing.
# Answers, and wishes that need no answer (7.2.2.4, 7.2.2.5: who wants one kind less is sent both).
_IGNORED = frozenset({"_result", "_error", "onStatus", "onBWDone", "FCTimeout", "receiveAudio", "receiveVideo"})

_COMMANDS = {
    "createStream": ServerConnection._receive_create,
    "publish": ServerConnection._receive_publish,
    "play": ServerConnection._receive_play,
    "play2": ServerConnection._receive_play2,
    "pause": ServerConnection._receive_pause,
    "pauseRaw": ServerConnection._receive_pause,
    "seek": ServerConnection._receive_seek,
    "deleteStream": ServerConnection._receive_delete,
    "closeStream": ServerConnection._receive_close,
    "releaseStream": ServerConnection._acknowledge,
    "FCPublish": ServerConnection._receive_fc_publish,
    "FCUnpublish": ServerConnection._receive_unpublish,
    "FCSubscribe": ServerConnection._receive_fc_subscribe,
    "FCUnsubscribe": ServerConnection._acknowledge,
    "getStreamLength": ServerConnection._receive_length,
    "_checkbw": ServerConnection._acknowledge,
    "checkBandwidth": ServerConnection._acknowledge,
}


def _status(level: str, code: str, description: str) -> dict[str, amf0.Value]:
    return {"level": level, "code": code, "description": description}


def _number(values: dict[str, amf0.Value], name: str) -> int:
    value = values.get(name)
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 32 else 0
