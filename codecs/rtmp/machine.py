"""What both ends of an RTMP connection do: handshake, chunks, control messages, acknowledgements, pings."""

from __future__ import annotations

from abc import ABC, abstractmethod

from orbridge.codecs import amf0
from orbridge.codecs.errors import ParseError, RemoteError
from orbridge.codecs.rtmp.chunk import (
    DEFAULT_CHUNK_BYTES,
    MEDIA_TYPES,
    ChunkReader,
    Message,
    serialise,
    serialise_media,
)
from orbridge.codecs.rtmp.events import Closed, Event, Failed, Limits, Media, MediaKind
from orbridge.codecs.rtmp.handshake import Handshake
from orbridge.codecs.rtmp.message import (
    Command,
    MessageType,
    UserControl,
    control,
    data_body,
    parse_command,
    split_aggregate,
    user_control,
)

# Ours, announced once connected; ffmpeg, nginx-rtmp, OBS, librtmp and GStreamer take it.
CHUNK_BYTES = 65_536
# What we announce and take for granted until the peer announces its own (librtmp's number).
WINDOW_BYTES = 2_500_000

_CONTROL_CSID = 2
_COMMAND_CSID = 3
_WRAP = 1 << 32


class Connection(ABC):
    """One RTMP connection without its transport; ``ServerConnection`` and ``ClientConnection`` are the two roles.

    Feed it with ``receive_data``, drain ``events`` until there are none (``accept_connect`` may bring new ones), call
    commands, write ``data_to_send``; when ``ended``, close the transport behind what was written.

    Nothing raises for what the peer sent: the cause comes out as the last event, ``Failed``. A command that makes no
    sense on our side raises LocalError; on a connection that has ended all of them do nothing, since its end crosses
    what the caller is about to do.

    Attributes:
        bytes_received: since the beginning, handshake included.
        bytes_sent: handed out by ``data_to_send``.
        bytes_acknowledged: what the peer says it has received, modulo 2**32 (5.4.3).
        dropped_messages: media on streams where none belongs, and messages that mean nothing to us.
        last_received_ms: ``now_ms`` of the last bytes, None before.
        round_trip_ms: of the last answered ``ping``, None before.
    """

    def __init__(self, handshake: Handshake, limits: Limits | None, chunk_size: int) -> None:
        self._limits = limits if limits is not None else Limits()
        self._handshake = handshake
        self._reader = ChunkReader(self._limits.chunks)
        self._events: list[Event] = []
        self._out: list[bytes] = []
        self._wanted_chunk_size = chunk_size
        self._chunk_size = DEFAULT_CHUNK_BYTES
        self._window = WINDOW_BYTES
        self._acknowledged_at = 0
        self._announced_window = 0
        self._now_ms = 0
        self._pinged_ms: int | None = None
        self._ended = False
        self.bytes_received = 0
        self.bytes_sent = 0
        self.bytes_acknowledged = 0
        self.dropped_messages = 0
        self.last_received_ms: int | None = None
        self.round_trip_ms: int | None = None
        self._write(handshake.start())

    @property
    def chunk_size(self) -> int:
        """Chunk size of what we send, announced by us; what ``serialise_media`` needs for this connection."""
        return self._chunk_size

    @property
    def handshaken(self) -> bool:
        return self._handshake.done

    @property
    def ended(self) -> bool:
        """The last event is there (``Failed`` or ``Closed``): nothing more is read or made, and the transport is to be
        closed behind what ``data_to_send`` still has."""
        return self._ended

    def receive_data(self, data: bytes | memoryview, now_ms: int) -> None:
        """Take bytes of the peer. ``now_ms``: any steady clock. Never raises for what is in them."""
        if self._ended or not data:
            return
        self._now_ms = self.last_received_ms = now_ms
        self.bytes_received += len(data)
        block = data if isinstance(data, bytes) else bytes(data)
        messages: list[Message] = []
        broken: RemoteError | None = None
        try:
            if not self._handshake.done:
                answer, block = self._handshake.receive(block)
                self._write(answer)
                if not self._handshake.done:
                    return
                self._on_handshaken()
            try:
                self._reader.receive(block, messages)
            except RemoteError as error:
                broken = error  # after what came whole before it
            for message in messages:
                if self._ended:
                    return
                self._on_message(message)
            if broken is not None:
                raise broken
        except RemoteError as error:
            self._fail(error)
            return
        if self.bytes_received - self._acknowledged_at >= self._window // 2:
            self._acknowledged_at = self.bytes_received
            self._send(control(MessageType.ACKNOWLEDGEMENT, self.bytes_received))

    def receive_eof(self) -> None:
        """The peer closed the transport, or it broke."""
        if not self._ended:
            self._end(Closed(expected=self._may_close()))

    def events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> list[bytes]:
        """Buffers to be written in this order, since the last call."""
        out, self._out = self._out, []
        self.bytes_sent += sum(map(len, out))
        return out

    def send_media(self, stream_id: int, kind: MediaKind, timestamp_ms: int, payload: bytes | memoryview) -> None:
        """Send audio, video or data to this peer alone."""
        self.send_raw(serialise_media(stream_id, kind, timestamp_ms, payload, self._chunk_size))

    def send_raw(self, buffers: list[bytes]) -> None:
        """Send what ``serialise_media`` made with this connection's ``chunk_size``."""
        if not self._ended:
            self._out += buffers

    def ping(self, now_ms: int) -> None:
        """Ask for a sign of life (7.1.7); ``round_trip_ms`` and ``last_received_ms`` show the answer."""
        if self._handshake.done and not self._ended:
            self._pinged_ms = now_ms
            self._send(user_control(UserControl.PING_REQUEST, now_ms))

    # What the roles fill in.

    @abstractmethod
    def _on_handshaken(self) -> None: ...

    @abstractmethod
    def _on_command(self, stream_id: int, command: Command) -> None: ...

    @abstractmethod
    def _takes_media(self, stream_id: int) -> bool: ...

    @abstractmethod
    def _may_close(self) -> bool:
        """Whether the peer's closing now is a normal end."""

    @abstractmethod
    def _on_user_control(self, event: int, stream_id: int) -> None:
        """A user control event other than pings."""

    # What the roles use.

    def _write(self, data: bytes) -> None:
        if data:
            self._out.append(data)

    def _send(self, message: Message) -> None:
        if not self._ended:
            control_message = message.type_id < MessageType.AUDIO
            self._out.append(serialise(message, _CONTROL_CSID if control_message else _COMMAND_CSID, self._chunk_size))

    def _send_command(
        self, stream_id: int, name: str, transaction: float, object_: amf0.Value, *arguments: amf0.Value
    ) -> None:
        body = Command(name, transaction, object_, arguments).serialise()
        self._send(Message(MessageType.COMMAND, stream_id, 0, body))

    def _send_window(self) -> None:
        self._announced_window = WINDOW_BYTES
        self._send(control(MessageType.WINDOW_ACK_SIZE, WINDOW_BYTES))

    def _send_chunk_size(self) -> None:
        if self._chunk_size != self._wanted_chunk_size:
            self._send(control(MessageType.SET_CHUNK_SIZE, self._wanted_chunk_size))
            self._chunk_size = self._wanted_chunk_size

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _fail(self, error: RemoteError) -> None:
        self._end(Failed(error))

    def _end(self, event: Failed | Closed) -> None:
        self._ended = True
        self._events.append(event)

    # Messages.

    def _on_message(self, message: Message) -> None:
        kind = _KINDS.get(message.type_id)
        if kind is not None:
            self._on_media(message, kind)
        elif message.type_id in (MessageType.COMMAND, MessageType.COMMAND_AMF3):
            limits = self._limits
            command = parse_command(message, max_depth=limits.amf_depth, max_values=limits.amf_values)
            self._on_command(message.stream_id, command)
        elif message.type_id == MessageType.AGGREGATE:
            for part in split_aggregate(message):
                part_kind = _KINDS.get(part.type_id)
                if part_kind is None:
                    self.dropped_messages += 1
                else:
                    self._on_media(part, part_kind)
        elif message.type_id == MessageType.USER_CONTROL:
            self._receive_user_control(message.payload)
        elif message.type_id in (
            MessageType.ACKNOWLEDGEMENT,
            MessageType.WINDOW_ACK_SIZE,
            MessageType.SET_PEER_BANDWIDTH,
        ):
            self._receive_control(message)
        else:
            self.dropped_messages += 1

    def _on_media(self, message: Message, kind: MediaKind) -> None:
        # Some encoders keep a silent track alive with empty messages.
        if not message.payload or not self._takes_media(message.stream_id):
            self.dropped_messages += 1
            return
        payload = data_body(message) if kind == "data" else message.payload
        self._events.append(Media(message.stream_id, kind, message.timestamp_ms, payload))

    def _receive_control(self, message: Message) -> None:
        if len(message.payload) < 4:
            raise ParseError("rtmp", f"control message {message.type_id}", f"{len(message.payload)} bytes instead of 4")
        value = int.from_bytes(message.payload[:4], "big")
        if message.type_id == MessageType.ACKNOWLEDGEMENT:
            self.bytes_acknowledged = value
        elif message.type_id == MessageType.WINDOW_ACK_SIZE:
            # A window of a few bytes would have us acknowledge each of them.
            self._window = max(value, 4096)
        elif self._announced_window == 0:
            self._send_window()

    def _receive_user_control(self, payload: bytes) -> None:
        if len(payload) < 6:  # events that we don't know may be shorter
            self.dropped_messages += 1
            return
        event, value = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:6], "big")
        if event == UserControl.PING_REQUEST:
            self._send(user_control(UserControl.PING_RESPONSE, value))
        elif event == UserControl.PING_RESPONSE:
            if self._pinged_ms is not None and self._pinged_ms % _WRAP == value:
                self.round_trip_ms, self._pinged_ms = self._now_ms - self._pinged_ms, None
        else:
            self._on_user_control(event, value)


_KINDS: dict[int, MediaKind] = {
    MEDIA_TYPES["audio"]: "audio",
    MEDIA_TYPES["video"]: "video",
    MEDIA_TYPES["data"]: "data",
    MessageType.DATA_AMF3: "data",
}


def four_ccs(values: dict[str, amf0.Value]) -> frozenset[str]:
    """Codecs in a connect's object or its answer: ``fourCcList`` (v1) and the info maps (Enhanced RTMP v2)."""
    found: list[str] = []
    listed = values.get("fourCcList")
    if isinstance(listed, list):
        found += [value for value in listed if isinstance(value, str)]
    elif isinstance(listed, dict):  # an ECMA array with "0", "1", ... as names
        found += [value for value in listed.values() if isinstance(value, str)]
    for name in ("videoFourCcInfoMap", "audioFourCcInfoMap"):
        known = values.get(name)
        if isinstance(known, dict):
            found += known
    return frozenset(code[:4] for code in found[:64])
