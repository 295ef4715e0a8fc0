"""Digest authentication, the server's side: RFC 7616's own example, nonces, what clients may send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbridge.adapters.sip.digest import (
    NONCE_LIFETIME_S,
    Nonces,
    Outcome,
    algorithms_for,
    expected_response,
    parse_authorization,
)
from orbridge.codecs.errors import ParseError

# RFC 7616 3.9.1
EXAMPLE = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={algorithm}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{response}", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RESPONSES = {
    "MD5": "8ca523f5e9506fed4657c9700eebdbec",
    "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
}


@pytest.mark.parametrize("algorithm", RESPONSES)
def test_the_rfcs_example(algorithm: str) -> None:
    auth = parse_authorization(EXAMPLE.format(algorithm=algorithm, response=RESPONSES[algorithm]))
    assert expected_response(auth, "GET", "Circle of Life") == RESPONSES[algorithm]


@pytest.mark.parametrize(
    ("user_agent", "algorithms"),
    [
        ("baresip v1.0.0 (x86_64/linux)", ("MD5",)),
        ("baresip v3.5.0 (x86_64/linux)", ("SHA-256", "MD5")),
        ("TANDBERG/512 (TC3.1.3)", ("MD5",)),
        ("", ("MD5",)),
        ("PJSUA v2.14 Linux", ("SHA-256", "MD5")),
    ],
)
def test_who_is_challenged_how(user_agent: str, algorithms: tuple[str, ...]) -> None:
    assert algorithms_for(user_agent) == algorithms
    offered = Nonces("r").challenges(0.0, algorithms)
    assert [f"algorithm={name}," in value for name, value in zip(algorithms, offered, strict=True)] == [True] * len(
        offered
    )


def presented(nonces: Nonces, now_s: float, *, count: int = 1, password: str = "pw", qop: bool = True) -> str:
    challenge = nonces.challenges(now_s)[0]
    nonce = challenge.partition('nonce="')[2].partition('"')[0]
    return answer(nonce, nonces.realm, count=count, password=password, qop=qop)


def answer(nonce: str, realm: str, *, count: int = 1, password: str = "pw", qop: bool = True) -> str:
    more = f', qop=auth, nc={count:08x}, cnonce="c"' if qop else ""
    head = f'Digest username="or-3", realm="{realm}", nonce="{nonce}", uri="sip:gw@host"{more}, response="'
    return f'{head}{expected_response(parse_authorization(head + "0" + chr(34)), "REGISTER", password)}"'


def test_a_good_answer_and_its_retransmission() -> None:
    nonces = Nonces("orbridge")
    auth = parse_authorization(presented(nonces, 10.0))
    assert nonces.verify(auth, "REGISTER", "pw", "call 1 REGISTER", 11.0) is Outcome.GOOD
    assert nonces.verify(auth, "REGISTER", "pw", "call 1 REGISTER", 11.5) is Outcome.GOOD
    assert nonces.verify(auth, "REGISTER", "pw", "another 1 REGISTER", 11.6) is Outcome.STALE


def test_a_nonce_may_be_used_again_with_a_higher_count() -> None:
    nonces = Nonces("orbridge")
    first = parse_authorization(presented(nonces, 0.0))
    second = parse_authorization(answer(first.nonce, "orbridge", count=2))
    assert nonces.verify(first, "REGISTER", "pw", "a 1", 1.0) is Outcome.GOOD
    assert nonces.verify(second, "REGISTER", "pw", "a 2", 1.0) is Outcome.GOOD


def test_an_old_client_uses_a_nonce_once() -> None:
    nonces = Nonces("orbridge")
    auth = parse_authorization(presented(nonces, 0.0, qop=False))
    assert nonces.verify(auth, "REGISTER", "pw", "a 1", 1.0) is Outcome.GOOD
    assert nonces.verify(auth, "REGISTER", "pw", "a 2", 1.0) is Outcome.STALE


def test_wrong_password_wrong_method_and_age() -> None:
    nonces = Nonces("orbridge")
    auth = parse_authorization(presented(nonces, 0.0))
    assert nonces.verify(auth, "REGISTER", "other", "a 1", 1.0) is Outcome.BAD
    assert nonces.verify(auth, "INVITE", "pw", "a 1", 1.0) is Outcome.BAD
    assert nonces.verify(auth, "REGISTER", "pw", "a 1", NONCE_LIFETIME_S + 1) is Outcome.STALE
    assert nonces.verify(auth, "REGISTER", "pw", "a 1", -1.0) is Outcome.STALE


def test_a_nonce_that_we_did_not_make() -> None:
    nonces, others = Nonces("orbridge"), Nonces("orbridge")
    auth = parse_authorization(presented(others, 0.0))
    assert nonces.verify(auth, "REGISTER", "pw", "a 1", 1.0) is Outcome.STALE


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("Basic dXNlcjpwdw==", "scheme"),
        ('Digest realm="r", nonce="n", uri="u", response="x"', "username"),
        ('Digest username="u", realm="r", nonce="n", uri="u", response="x", qop=auth-int', "qop"),
        ('Digest username="u", realm="r", nonce="n", uri="u", response="x", qop=auth, nc=zz, cnonce="c"', "nc"),
        ('Digest username="u", realm="r", nonce="n", uri="u", response="x", qop=auth, nc=1', "cnonce"),
        ('Digest username="u", realm="r", nonce="n", uri="u", response="x", algorithm=MD4', "algorithm"),
    ],
)
def test_what_is_missing_is_named(value: str, field: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_authorization(value)
    assert caught.value.where == field


@given(st.text(max_size=300))
def test_any_text_is_an_authorization_or_a_parse_error(text: str) -> None:
    try:
        auth = parse_authorization("Digest " + text)
    except ParseError:
        return
    nonces = Nonces("r")
    assert nonces.verify(auth, "INVITE", "pw", "t", 0.0) in (Outcome.STALE, Outcome.BAD)
