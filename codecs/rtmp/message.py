"""What RTMP's messages say: control, user control, commands, data, aggregates (Adobe RTMP 1.0, 5.4, 6.2, 7.1, 7.2).

Bodies only; how they are cut into chunks is ``chunk.py``'s. Shared objects (types 16 and 19) aren't implemented.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from orbridge.codecs import amf0
from orbridge.codecs.errors import ParseError
from orbridge.codecs.rtmp.chunk import Message


class MessageType(IntEnum):
    """Message types (5.4, 7.1)."""

    SET_CHUNK_SIZE = 1
    ABORT = 2
    ACKNOWLEDGEMENT = 3
    USER_CONTROL = 4
    WINDOW_ACK_SIZE = 5
    SET_PEER_BANDWIDTH = 6
    AUDIO = 8
    VIDEO = 9
    DATA_AMF3 = 15
    SHARED_OBJECT_AMF3 = 16
    COMMAND_AMF3 = 17
    DATA = 18
    SHARED_OBJECT = 19
    COMMAND = 20
    AGGREGATE = 22


class UserControl(IntEnum):
    """User control events (7.1.7)."""

    STREAM_BEGIN = 0
    STREAM_EOF = 1
    STREAM_DRY = 2
    SET_BUFFER_LENGTH = 3
    STREAM_IS_RECORDED = 4
    PING_REQUEST = 6
    PING_RESPONSE = 7


_MAX_AGGREGATED = 4096


@dataclass(frozen=True, slots=True)
class Command:
    """A command (7.2.1.1): its name, a number that its answer repeats (0: no answer is wanted), an object, the rest."""

    name: str
    transaction: float
    object: amf0.Value
    arguments: tuple[amf0.Value, ...] = ()

    def serialise(self) -> bytes:
        return amf0.serialise(self.name, self.transaction, self.object, *self.arguments)

    def text(self, index: int) -> str:
        """An argument as text; empty when it isn't one."""
        value = self.arguments[index] if index < len(self.arguments) else None
        return value if isinstance(value, str) else ""

    def number(self, index: int, default: float = 0.0) -> float:
        """An argument as a number; ``default`` when it isn't one, nor finite."""
        value = self.arguments[index] if index < len(self.arguments) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53:
            return float(value)
        return default

    def flag(self, index: int, default: bool) -> bool:
        value = self.arguments[index] if index < len(self.arguments) else None
        return value if isinstance(value, bool) else default


def parse_command(message: Message, *, max_depth: int, max_values: int) -> Command:
    """Read a command of type 20, or of type 17, whose AMF3 form begins with one more byte and goes on as AMF0.

    Raises:
        ParseError: it doesn't begin with a name and a number.
    """
    payload = message.payload
    if message.type_id == MessageType.COMMAND_AMF3 and payload[:1] == b"\0":
        payload = payload[1:]
    values = amf0.parse(payload, max_depth=max_depth, max_values=max_values)
    name = values[0] if values else None
    if not isinstance(name, str):
        raise ParseError("rtmp", "command", "it doesn't begin with a name")
    transaction = values[1] if len(values) > 1 else 0.0
    if isinstance(transaction, bool) or not isinstance(transaction, float):
        raise ParseError("rtmp", f"command {name[:40]}", "its transaction isn't a number")
    return Command(name, transaction, values[2] if len(values) > 2 else None, tuple(values[3:]))


def data_body(message: Message) -> bytes:
    """AMF0 of a data message; type 15 has one more byte in front (7.1.2)."""
    payload = message.payload
    return payload[1:] if message.type_id == MessageType.DATA_AMF3 and payload[:1] == b"\0" else payload


def split_aggregate(message: Message) -> Iterator[Message]:
    """The audio, video and data messages in an aggregate (7.1.6), which has them as FLV has its tags.

    The first takes the aggregate's own time, the others keep their distances from it.

    Raises:
        ParseError: a part is cut off, or there are too many.
    """
    payload, at, count = message.payload, 0, 0
    first: int | None = None
    while at < len(payload):
        if len(payload) - at < 11:
            raise ParseError("rtmp", "aggregate message", "a header in it is cut off")
        count += 1
        if count > _MAX_AGGREGATED:
            raise ParseError("rtmp", "aggregate message", f"more than {_MAX_AGGREGATED} messages in it")
        length = int.from_bytes(payload[at + 1 : at + 4], "big")
        time = int.from_bytes(payload[at + 4 : at + 7], "big") | payload[at + 7] << 24
        body = payload[at + 11 : at + 11 + length]
        if len(body) < length:
            raise ParseError("rtmp", "aggregate message", "a message in it is cut off")
        first = time if first is None else first
        distance = (time - first + (1 << 31)) % (1 << 32) - (1 << 31)
        yield Message(payload[at], message.stream_id, message.timestamp_ms + distance, body)
        at += 11 + length + 4  # the back pointer after it, which nobody needs


def control(type_id: int, value: int, more: bytes = b"") -> Message:
    """A protocol control message (5.4): one number, for Set Peer Bandwidth one byte more."""
    return Message(type_id, 0, 0, (value % (1 << 32)).to_bytes(4, "big") + more)


def user_control(event: UserControl, value: int, more: bytes = b"") -> Message:
    """A user control message (6.2)."""
    body = event.to_bytes(2, "big") + (value % (1 << 32)).to_bytes(4, "big") + more
    return Message(MessageType.USER_CONTROL, 0, 0, body)
