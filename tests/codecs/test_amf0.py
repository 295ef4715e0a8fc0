"""AMF0: every type there and back, what is refused, arbitrary bytes."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbridge.codecs import amf0
from orbridge.codecs.errors import ParseError

names = st.text(max_size=12).filter(lambda name: name != "")
leaves = (
    st.floats(allow_nan=False)
    | st.booleans()
    | st.text(max_size=20)
    | st.none()
    | st.just(amf0.UNDEFINED)
    | st.builds(amf0.Date, st.floats(allow_nan=False), st.integers(-720, 720))
    | st.text(max_size=20).map(amf0.Xml)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(names, inner, max_size=4)
        | st.dictionaries(names, inner, max_size=4).map(amf0.EcmaArray)
        | st.builds(amf0.TypedObject, st.text(max_size=8), st.dictionaries(names, inner, max_size=4))
    ),
    max_leaves=20,
)


@given(st.lists(values, max_size=4))
def test_round_trip(written: list[amf0.Value]) -> None:
    read = amf0.parse(amf0.serialise(*written), max_depth=64)
    assert read == written
    assert repr([type(value) for value in read]) == repr([type(value) for value in written])


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    try:
        amf0.parse(data)
    except ParseError as error:
        assert error.what == "amf0"  # noqa: PT017  that it is a ParseError is the test


def test_a_long_string_and_not_a_number() -> None:
    text = "x" * 70_000
    assert amf0.serialise(text)[0] == 12
    assert amf0.parse(amf0.serialise(text)) == [text]
    (number,) = amf0.parse(amf0.serialise(math.nan))
    assert isinstance(number, float)
    assert math.isnan(number)


def test_an_integer_is_written_as_a_number() -> None:
    assert amf0.parse(amf0.serialise(3, True)) == [3.0, True]


def test_the_last_object_may_lack_its_end() -> None:
    assert amf0.parse(amf0.serialise({"a": 1.0})[:-3]) == [{"a": 1.0}]


def test_text_that_is_not_utf8_is_read() -> None:
    assert amf0.parse(b"\x02\0\x02\xc4\xc4") == ["��"]


def test_references() -> None:
    shared = b"\x03\0\x01a\x00" + bytes(8) + b"\0\0\x09"
    assert amf0.parse(shared + b"\x07\0\0") == [{"a": 0.0}, {"a": 0.0}]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x00\0\0", "the value is cut off, 6 bytes are missing"),
        (b"\x02\0\x05ab", "the value is cut off, 3 bytes are missing"),
        (b"\x11\x01", "a switch to AMF3 (marker 17), which isn't taken here"),
        (b"\x04", "a movie clip (marker 4), which isn't taken here"),
        (b"\x63", "no value begins with 99"),
        (b"\x09", "no value begins with 9"),
        (b"\x0a\0\0\0\x01" * 17, "nested more than 16 levels deep"),
        (b"\x0a\xff\xff\xff\xff", "an array of 4294967295 values, at most 4096 are taken"),
        (b"\x05" * 5000, "more than 4096 values"),
        (b"\x07\0\0", "a reference to object 0, which isn't finished or doesn't exist"),
        (b"\x0a\0\0\0\x01\x07\0\0", "a reference to object 0, which isn't finished or doesn't exist"),
    ],
)
def test_refused_in_words(data: bytes, problem: str) -> None:
    with pytest.raises(ParseError) as caught:
        amf0.parse(data)
    assert caught.value.problem == problem


def test_references_multiply_neither_values_nor_depth() -> None:
    # [0], then [ref, ref] of the one before, again and again: 2**n values, n levels, in 11 bytes each.
    data = b"\x0a\0\0\0\x01\x05"
    for index in range(14):
        data += b"\x0a\0\0\0\x02" + (b"\x07" + index.to_bytes(2, "big")) * 2
    with pytest.raises(ParseError, match="more than 4096 values"):
        amf0.parse(data)
    with pytest.raises(ParseError, match="nested more than 8 levels deep"):
        amf0.parse(data, max_depth=8, max_values=1 << 20)
