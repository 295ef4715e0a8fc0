"""AMF0, the values that RTMP commands and FLV metadata are made of (Adobe, Action Message Format AMF 0, 2007).

====================  =================================
AMF0                  Python
====================  =================================
number                ``float``
boolean               ``bool``
string, long string   ``str``
object                ``dict[str, Value]``
ECMA array            ``EcmaArray``, a ``dict``
strict array          ``list``
null                  ``None``
undefined             ``UNDEFINED``
date                  ``Date``
XML document          ``Xml``, a ``str``
typed object          ``TypedObject``, a ``dict``
reference             the object that it refers to
====================  =================================

Not implemented: the markers that the format reserves (movie clip, record set) or calls unsupported beyond reading it as
``UNDEFINED``, and the switch to AMF3 (marker 0x11): we answer ``objectEncoding`` 0, and then no peer sends it. A
reference to an object that isn't finished (a cycle) is refused. Text that isn't UTF-8 is read with U+FFFD in its place:
encoders put titles in the encoding of their country into ``onMetaData``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, Union

from orbridge.codecs.errors import ParseError

MAX_DEPTH = 16
MAX_VALUES = 4096

_DOUBLE = struct.Struct(">d")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_DATE = struct.Struct(">dh")

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _UNDEFINED, _REFERENCE, _ECMA_ARRAY = 0, 1, 2, 3, 5, 6, 7, 8
_OBJECT_END, _STRICT_ARRAY, _DATE_MARKER, _LONG_STRING, _UNSUPPORTED, _XML, _TYPED_OBJECT, _AMF3 = (
    9,
    10,
    11,
    12,
    13,
    15,
    16,
    17,
)
_RESERVED = {4: "a movie clip", 14: "a record set", _AMF3: "a switch to AMF3"}


class Undefined(Enum):
    """ActionScript's undefined, which isn't its null."""

    UNDEFINED = "undefined"


UNDEFINED = Undefined.UNDEFINED


@dataclass(frozen=True, slots=True)
class Date:
    """Milliseconds since 1970 in UTC; ``zone`` is reserved and 0 in what conforms (2.13)."""

    unix_ms: float
    zone: int = 0


class Xml(str):
    """An XML document as text (2.17)."""

    __slots__ = ()


class EcmaArray(dict[str, "Value"]):
    """An associative array (2.10); ``onMetaData`` carries one."""

    __slots__ = ()


class TypedObject(dict[str, "Value"]):
    """An object with the alias of its class (2.18)."""

    __slots__ = ("class_name",)

    def __init__(self, class_name: str, members: Mapping[str, Value] | None = None) -> None:
        super().__init__(members or {})
        self.class_name = class_name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypedObject) and self.class_name == other.class_name and super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


Value: TypeAlias = Union[float, bool, str, Undefined, Date, dict[str, "Value"], list["Value"], None]  # noqa: UP007


def parse(data: bytes | memoryview, *, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES) -> list[Value]:
    """Every value of a message's body, in order.

    ``max_depth``: objects inside objects; ``max_values``: values altogether, what references repeat included.

    Raises:
        ParseError: a value is cut off, unknown, nested too deeply, or there are too many.
    """
    reader = _Reader(bytes(data), max_depth, max_values)
    values: list[Value] = []
    while reader.at < len(reader.data):
        values.append(reader.value(1))
    return values


class _Reader:
    """One pass over the bytes; ``at`` is the offset of what comes next."""

    def __init__(self, data: bytes, max_depth: int, max_values: int) -> None:
        self.data, self.at = data, 0
        self._max_depth, self._max_values = max_depth, max_values
        self._count = 0
        # What a reference can mean: the object, how many levels and how many values it has; None: isn't finished.
        self._objects: list[tuple[Value, int, int] | None] = []
        self._height = 0

    def _fail(self, problem: str) -> ParseError:
        return ParseError("amf0", f"byte {self.at}", problem)

    def _take(self, length: int) -> bytes:
        taken = self.data[self.at : self.at + length]
        if len(taken) < length:
            raise self._fail(f"the value is cut off, {length - len(taken)} bytes are missing")
        self.at += length
        return taken

    def _text(self, size: struct.Struct) -> str:
        length: int = size.unpack(self._take(size.size))[0]
        return self._take(length).decode("utf-8", "replace")

    def _charge(self, values: int) -> None:
        self._count += values
        if self._count > self._max_values:
            raise self._fail(f"more than {self._max_values} values")

    def value(self, depth: int) -> Value:
        if depth > self._max_depth:
            raise self._fail(f"nested more than {self._max_depth} levels deep")
        self._charge(1)
        self._height = max(self._height, depth)
        marker = self._take(1)[0]
        if marker == _NUMBER:
            number: float = _DOUBLE.unpack(self._take(8))[0]
            return number
        if marker == _BOOLEAN:
            return self._take(1) != b"\0"
        if marker == _STRING:
            return self._text(_U16)
        if marker == _NULL:
            return None
        if marker in (_UNDEFINED, _UNSUPPORTED):
            return UNDEFINED
        if marker == _LONG_STRING:
            return self._text(_U32)
        if marker == _XML:
            return Xml(self._text(_U32))
        if marker == _DATE_MARKER:
            return Date(*_DATE.unpack(self._take(10)))
        if marker == _REFERENCE:
            return self._reference(depth)
        if marker in (_OBJECT, _ECMA_ARRAY, _STRICT_ARRAY, _TYPED_OBJECT):
            return self._complex(marker, depth)
        self.at -= 1
        if marker in _RESERVED:
            raise self._fail(f"{_RESERVED[marker]} (marker {marker}), which isn't taken here")
        raise self._fail(f"no value begins with {marker}")

    def _reference(self, depth: int) -> Value:
        index: int = _U16.unpack(self._take(2))[0]
        known = self._objects[index] if index < len(self._objects) else None
        if known is None:
            raise self._fail(f"a reference to object {index}, which isn't finished or doesn't exist")
        value, levels, values = known
        if depth + levels > self._max_depth:
            raise self._fail(f"nested more than {self._max_depth} levels deep")
        self._charge(values)
        self._height = max(self._height, depth + levels)
        return value

    def _complex(self, marker: int, depth: int) -> Value:
        index, count_before, height_before = len(self._objects), self._count, self._height
        self._objects.append(None)
        self._height = depth
        value: Value
        if marker == _STRICT_ARRAY:
            value = self._items(depth)
        else:
            members: dict[str, Value] = {}
            if marker == _ECMA_ARRAY:
                self._take(4)  # a hint only (2.10); encoders write 0 or a wrong number
                members = EcmaArray()
            elif marker == _TYPED_OBJECT:
                members = TypedObject(self._text(_U16))
            self._members(members, depth)
            value = members
        self._objects[index] = (value, self._height - depth, self._count - count_before)
        self._height = max(self._height, height_before)
        return value

    def _items(self, depth: int) -> list[Value]:
        count: int = _U32.unpack(self._take(4))[0]
        if count > self._max_values:
            raise self._fail(f"an array of {count} values, at most {self._max_values} are taken")
        return [self.value(depth + 1) for _ in range(count)]

    def _members(self, members: dict[str, Value], depth: int) -> None:
        while True:
            # Some encoders leave out the end of the last object of a message; ffmpeg and librtmp let them.
            if self.at == len(self.data):
                return
            name = self._text(_U16)
            if not name and self.data[self.at : self.at + 1] == b"\x09":
                self.at += 1
                return
            members[name] = self.value(depth + 1)


def serialise(*values: Value) -> bytes:
    """Write values one after another; a string over 65535 bytes as a long string, a name is cut there.

    The values are ours: cycles are the caller's mistake.
    """
    out = bytearray()
    for value in values:
        _write(out, value)
    return bytes(out)


def _write(out: bytearray, value: Value) -> None:
    if value is None:
        out.append(_NULL)
    elif value is UNDEFINED:
        out.append(_UNDEFINED)
    elif isinstance(value, bool):
        out += b"\x01\x01" if value else b"\x01\x00"
    elif isinstance(value, int | float):
        out.append(_NUMBER)
        out += _DOUBLE.pack(value)
    elif isinstance(value, str):
        _write_text(out, value)
    elif isinstance(value, Date):
        out.append(_DATE_MARKER)
        out += _DATE.pack(value.unix_ms, value.zone)
    elif isinstance(value, list):
        out.append(_STRICT_ARRAY)
        out += _U32.pack(len(value))
        for item in value:
            _write(out, item)
    else:
        assert isinstance(value, dict), "one of the table's types"
        if isinstance(value, EcmaArray):
            out.append(_ECMA_ARRAY)
            out += _U32.pack(len(value))
        elif isinstance(value, TypedObject):
            out.append(_TYPED_OBJECT)
            _write_name(out, value.class_name)
        else:
            out.append(_OBJECT)
        for name, member in value.items():
            _write_name(out, name)
            _write(out, member)
        out += b"\0\0\x09"


def _write_text(out: bytearray, text: str) -> None:
    encoded = text.encode("utf-8", "replace")
    if isinstance(text, Xml) or len(encoded) > 0xFFFF:
        out.append(_XML if isinstance(text, Xml) else _LONG_STRING)
        out += _U32.pack(len(encoded))
    else:
        out.append(_STRING)
        out += _U16.pack(len(encoded))
    out += encoded


def _write_name(out: bytearray, name: str) -> None:
    encoded = name.encode("utf-8", "replace")[:0xFFFF]
    out += _U16.pack(len(encoded))
    out += encoded
