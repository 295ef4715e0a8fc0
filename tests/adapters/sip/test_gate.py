"""Who may come in, as a table of callers."""

import pytest

from orbridge.adapters.sip.digest import Nonces, expected_response, parse_authorization
from orbridge.adapters.sip.gate import REFUSALS_A_WINDOW, WINDOW_S, Action, Gate, Limiter, Verdict, device_address
from orbridge.adapters.sip.messages import Source, parse_message
from orbridge.adapters.sip.registrar import Registrar
from orbridge.codecs.errors import LocalError
from orbridge.gateway.config import Device

OR3 = Device(name="or-3", adapter="sip", address="sip:or3@10.0.0.3")
OR4 = Device(name="or-4", adapter="sip", address="sip:or4@10.0.0.3:5070")
NAMED = Device(name="lab", adapter="sip", address="sip:lab@codec.hospital.example")
GUARDED = Device(name="icu", adapter="sip", username="icu-user", password_file="icu")
PBX = "10.0.0.250"


@pytest.fixture
def gate() -> Gate:
    made = Gate(Registrar(), Nonces("orbridge"))
    made.configure([OR3, OR4, NAMED, GUARDED], lambda name: f"secret of {name}", [PBX])
    made.resolved({"codec.hospital.example": frozenset({"10.0.0.77"})})
    return made


def judge(
    gate: Gate,
    sender: str,
    source: str,
    port: int = 5060,
    method: str = "INVITE",
    *,
    uri: str = "sip:or-3@gw",
    contact: str = "",
    auth: str = "",
    now_s: float = 0.0,
    call: str = "c1",
) -> Verdict:
    lines = [f"{method} {uri} SIP/2.0", f"From: <{sender}>;tag=1", f"To: <{uri}>", f"Call-ID: {call}"]
    lines += [f"CSeq: 1 {method}", f"Contact: <{contact or sender}>"]
    lines += [f"Authorization: {auth}"] if auth else []
    return gate.judge(parse_message("\r\n".join(lines) + "\r\n\r\n"), Source(source, port), now_s)


@pytest.mark.parametrize(
    ("sender", "source", "port", "device"),
    [
        ("sip:or3@10.0.0.3", "10.0.0.3", 5060, "or-3"),
        ("sip:or4@10.0.0.3", "10.0.0.3", 5060, "or-4"),  # the user decides between two at one address
        ("sip:anything@10.0.0.3:5070", "10.0.0.3", 5070, "or-4"),  # else the port
        ("sip:someone@codec", "10.0.0.77", 5060, "lab"),  # alone at its address
        ("sip:or3@10.0.0.3", PBX, 5060, "or-3"),  # by way of a registrar that we trust
    ],
)
def test_known_by_address(gate: Gate, sender: str, source: str, port: int, device: str) -> None:
    verdict = judge(gate, sender, source, port)
    assert verdict.action is Action.PASS
    assert verdict.device is not None
    assert verdict.device.name == device


@pytest.mark.parametrize(
    ("sender", "source"),
    [
        ("sip:or3@10.0.0.3", "10.9.9.9"),  # says who it is, but comes from elsewhere
        ("sip:nobody@10.0.0.3:9999", "10.0.0.3"),  # two are there, and it is neither
        ("sip:nobody@x", PBX),
        ("nonsense", "10.9.9.9"),
    ],
)
def test_unknown(gate: Gate, sender: str, source: str) -> None:
    verdict = judge(gate, sender, source, 9998)
    assert (verdict.action, verdict.status, verdict.device) == (Action.ANSWER, 403, None)
    assert gate.counts["unknown"] == 1


def authorization(challenge: Verdict, *, method: str, uri: str, password: str, username: str = "icu-user") -> str:
    nonce = challenge.headers[0][1].partition('nonce="')[2].partition('"')[0]
    head = (
        f'Digest username="{username}", realm="orbridge", nonce="{nonce}", uri="{uri}", qop=auth, nc=00000001, '
        f'cnonce="c", response="'
    )
    return f'{head}{expected_response(parse_authorization(head + "0" + chr(34)), method, password)}"'


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
def test_a_device_with_a_password_is_asked_for_it_where_another_is_known_by_address(gate: Gate, method: str) -> None:
    assert judge(gate, "sip:icu-user@10.0.0.77", "10.0.0.77", method=method).status == 401
    assert judge(gate, "sip:lab@10.0.0.77", "10.0.0.77", method="INVITE").action is Action.PASS


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
def test_a_device_with_a_password_is_asked_for_it(gate: Gate, method: str) -> None:
    challenge = judge(gate, "sip:icu-user@10.1.1.1", "10.1.1.1", method=method)
    assert challenge.status == 401
    assert [name for name, _ in challenge.headers] == ["WWW-Authenticate"]
    good = authorization(challenge, method=method, uri="sip:or-3@gw", password="secret of icu")
    verdict = judge(gate, "sip:icu-user@10.1.1.1", "10.1.1.1", method=method, auth=good)
    assert verdict.device is GUARDED
    assert verdict.status == (200 if method == "REGISTER" else 0)


def test_a_wrong_password_is_refused_and_counted(gate: Gate) -> None:
    challenge = judge(gate, "sip:icu-user@10.1.1.1", "10.1.1.1")
    bad = authorization(challenge, method="INVITE", uri="sip:or-3@gw", password="guess")
    assert judge(gate, "sip:icu-user@10.1.1.1", "10.1.1.1", auth=bad).status == 403
    assert gate.counts["credentials"] == 1


def test_a_captured_authorization_opens_no_other_room(gate: Gate) -> None:
    challenge = judge(gate, "sip:icu-user@10.1.1.1", "10.1.1.1")
    good = authorization(challenge, method="INVITE", uri="sip:or-3@gw", password="secret of icu")
    other = judge(gate, "sip:icu-user@10.1.1.1", "10.1.1.1", auth=good, uri="sip:board@gw")
    assert other.status == 403


def test_a_replayed_authorization_is_challenged_anew(gate: Gate) -> None:
    challenge = judge(gate, "sip:icu-user@10.1.1.1", "10.1.1.1")
    good = authorization(challenge, method="INVITE", uri="sip:or-3@gw", password="secret of icu")
    assert judge(gate, "sip:icu-user@10.1.1.1", "10.1.1.1", auth=good).action is Action.PASS
    replay = judge(gate, "sip:icu-user@10.1.1.1", "10.6.6.6", auth=good, call="c2")
    assert replay.status == 401
    assert "stale=true" in replay.headers[0][1]


def test_a_registered_device_is_known_by_where_it_registered_from_but_still_asked(gate: Gate) -> None:
    challenge = judge(gate, "sip:icu-user@10.1.1.1", "10.1.1.1", method="REGISTER")
    good = authorization(challenge, method="REGISTER", uri="sip:or-3@gw", password="secret of icu")
    assert judge(gate, "sip:icu-user@10.1.1.1", "10.1.1.1", method="REGISTER", auth=good).status == 200
    assert judge(gate, "sip:whoever@10.1.1.1", "10.1.1.1").status == 401


def test_a_device_without_a_password_registers_from_its_address(gate: Gate) -> None:
    assert judge(gate, "sip:or3@10.0.0.3", "10.0.0.3", method="REGISTER").status == 200
    assert judge(gate, "sip:or3@10.0.0.3", "10.9.9.9", method="REGISTER").status == 403


def test_scanners_meet_silence_after_a_while(gate: Gate) -> None:
    verdicts = [judge(gate, "sip:100@x", "10.66.66.66", now_s=float(n)) for n in range(REFUSALS_A_WINDOW + 3)]
    assert [v.action for v in verdicts].count(Action.ANSWER) == REFUSALS_A_WINDOW
    assert verdicts[-1].action is Action.DROP
    assert judge(gate, "sip:or3@10.0.0.3", "10.0.0.3").action is Action.PASS, "others are not touched"
    assert judge(gate, "sip:100@x", "10.66.66.66", now_s=WINDOW_S + 10).action is Action.ANSWER


def test_options_are_answered_but_not_for_ever(gate: Gate) -> None:
    verdicts = [judge(gate, "sip:100@x", "10.66.66.66", method="OPTIONS") for _ in range(60)]
    assert verdicts[0].action is Action.PASS
    assert verdicts[-1].action is Action.DROP
    for _ in range(60):
        assert judge(gate, "sip:or3@10.0.0.3", "10.0.0.3", method="OPTIONS").action is Action.PASS


@pytest.mark.parametrize(
    ("method", "status"),
    [("MESSAGE", 405), ("SUBSCRIBE", 405), ("NOTIFY", 405), ("REFER", 603), ("BYE", 481), ("X", 405)],
)
def test_other_methods(gate: Gate, method: str, status: int) -> None:
    assert judge(gate, "sip:or3@10.0.0.3", "10.0.0.3", method=method).status == status


def test_the_limiter_is_bounded() -> None:
    limiter = Limiter()
    for number in range(20_000):
        limiter.admits("x", f"10.0.{number // 256}.{number % 256}", 1, 0.0)
    assert len(limiter._seen) <= 4096


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(LocalError, match=r"or-9.*sip:or-9@"):
        device_address(Device(name="or-9", adapter="sip", address="10.0.0.9"))
