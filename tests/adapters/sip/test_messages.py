"""Reading SIP text: headers, addresses, URIs, and anything at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbridge.adapters.sip.messages import (
    SipUri,
    Source,
    contacts,
    parse_address,
    parse_message,
    parse_source,
    parse_uri,
    redacted,
    sdp_of,
)
from orbridge.codecs.errors import ParseError

REQUEST = (
    "INVITE sip:or-3@10.0.0.5 SIP/2.0\r\n"
    "v: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK1\r\n"
    'f: "Dr. Müller, Anna" <sip:mueller@10.0.0.9>;tag=1\r\n'
    "t: <sip:or-3@10.0.0.5>\r\n"
    "i: abc\r\n"
    "CSeq: 7 INVITE\r\n"
    "Subject: folded\r\n over two lines\r\n"
    "m: <sip:a@10.0.0.9>;expires=60, <sip:b@10.0.0.9>\r\n"
    "c: application/sdp;charset=utf-8\r\n"
    "\r\n"
    "v=0\r\n"
)


def test_a_request() -> None:
    message = parse_message(REQUEST)
    assert (message.method, message.request_uri, message.cseq, message.status) == (
        "INVITE",
        "sip:or-3@10.0.0.5",
        7,
        0,
    )
    assert message.get("subject") == "folded over two lines"
    assert message.get("call-id") == "abc"
    assert message.content_type == "application/sdp"
    assert sdp_of(message) == "v=0\n"
    listed = contacts(message)
    assert listed is not None
    assert [(c.uri.user, c.params.get("expires")) for c in listed] == [("a", "60"), ("b", None)]


def test_a_response() -> None:
    message = parse_message("SIP/2.0 486 Busy Here\r\nCSeq: 2 INVITE\r\n\r\n")
    assert (message.is_response, message.status, message.method) == (True, 486, "INVITE")


def test_a_description_in_a_multipart_body() -> None:
    text = (
        'INVITE sip:x@y SIP/2.0\r\nContent-Type: multipart/mixed;boundary="--=_b"\r\n\r\n'
        "----=_b\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
        "----=_b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=-\r\n----=_b--\r\n"
    )
    assert sdp_of(parse_message(text)) == "v=0\ns=-\n"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sip:or3@10.0.0.5", SipUri("sip", "or3", "10.0.0.5")),
        ("SIPS:a.b@Host.Example:5061;transport=tls", SipUri("sips", "a.b", "host.example", 5061, {"transport": "tls"})),
        ("sip:[2001:db8::1]:5070", SipUri("sip", "", "2001:db8::1", 5070)),
        ("sip:u%40x:secret@h;lr", SipUri("sip", "u@x", "h", 0, {"lr": ""})),
        ("sip:+49@h;user=phone?subject=x", SipUri("sip", "+49", "h", 0, {"user": "phone"})),
    ],
)
def test_uris(text: str, uri: SipUri) -> None:
    assert parse_uri(text) == uri
    assert parse_uri(str(uri)) == uri


@pytest.mark.parametrize("text", ["", "sip:", "tel:+49", "sip:a@", "sip:a@h:99999", "sip:a b@h", "or3@10.0.0.5"])
def test_what_is_no_uri(text: str) -> None:
    with pytest.raises(ParseError):
        parse_uri(text)


def test_parameters_without_brackets_belong_to_the_header() -> None:
    address = parse_address("sip:a@h;tag=5")
    assert (address.uri, address.params) == (SipUri("sip", "a", "h"), {"tag": "5"})


def test_sources() -> None:
    assert parse_source("[::1]:5060", "tcp") == Source("::1", 5060, "tcp")
    with pytest.raises(ParseError):
        parse_source("10.0.0.1")


def test_strangers_are_redacted_but_told_apart() -> None:
    one, two = redacted('"Anna Müller" <sip:mueller@h:5060>;tag=1'), redacted("<sip:meier@h>")
    assert "ller" not in one
    assert "meier" not in two
    assert one.endswith("@h:5060")
    assert one.partition("@")[0] != two.partition("@")[0]
    assert redacted("nonsense") == "…"


@given(st.text(max_size=400))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (parse_message, parse_uri, parse_address, parse_source):
        try:
            read(text)  # type: ignore[operator]
        except ParseError:
            continue


@given(st.binary(max_size=200))
def test_bytes_that_are_not_utf8_come_out_encodable(data: bytes) -> None:
    """pjsua2 gives them as surrogates."""
    text = "SIP/2.0 200 OK\r\nX: " + data.decode("utf-8", "surrogateescape") + "\r\n\r\n"
    message = parse_message(text)
    for _, value in message.headers:
        value.encode("utf-8")
    contacts_safe(message)


def contacts_safe(message: object) -> None:
    try:
        contacts(message)  # type: ignore[arg-type]
    except ParseError:
        return
