"""The registrar's bindings: adding, refreshing, removing, listing, bounds."""

import pytest

from orbridge.adapters.sip.messages import Message, Source, parse_message
from orbridge.adapters.sip.registrar import CONTACTS_A_DEVICE, MAX_EXPIRES_S, MIN_EXPIRES_S, Registrar

SOURCE = Source("10.0.0.9", 5060)


def register(contact: str = "<sip:or3@10.0.0.9>", *, cseq: int = 1, call_id: str = "a", expires: str = "") -> Message:
    lines = ["REGISTER sip:gw SIP/2.0", f"Call-ID: {call_id}", f"CSeq: {cseq} REGISTER", "User-Agent: Codec 1"]
    lines += [f"Contact: {contact}"] if contact else []
    lines += [f"Expires: {expires}"] if expires else []
    return parse_message("\r\n".join(lines) + "\r\n\r\n")


def test_a_binding_lives_until_it_expires() -> None:
    registrar = Registrar()
    answer = registrar.register("or-3", register(expires="120"), SOURCE, 100.0)
    assert answer.status == 200
    assert answer.headers == (("Contact", "<sip:or3@10.0.0.9>;expires=120"),)
    binding = registrar.binding("or-3", 219.0)
    assert binding is not None
    assert binding.uri.user == "or3"
    assert registrar.owner(SOURCE, 219.0) == "or-3"
    assert registrar.binding("or-3", 221.0) is None
    assert registrar.owner(SOURCE, 221.0) is None
    assert registrar.facts(221.0) == []


def test_the_contacts_own_expiry_counts_more() -> None:
    answer = Registrar().register("or-3", register("<sip:a@h>;expires=90", expires="300"), SOURCE, 0.0)
    assert answer.headers[0][1].endswith("expires=90")


def test_bounds() -> None:
    registrar = Registrar()
    short = registrar.register("or-3", register(expires="5"), SOURCE, 0.0)
    assert (short.status, short.headers) == (423, (("Min-Expires", str(MIN_EXPIRES_S)),))
    long = registrar.register("or-3", register(expires="999999", cseq=2), SOURCE, 0.0)
    assert long.headers[0][1].endswith(f"expires={MAX_EXPIRES_S}")


def test_unregistering_one_and_all() -> None:
    registrar = Registrar()
    registrar.register("or-3", register("<sip:a@h>, <sip:b@h>"), SOURCE, 0.0)
    answer = registrar.register("or-3", register("<sip:a@h>;expires=0", cseq=2), SOURCE, 1.0)
    assert [value.partition(";")[0] for _, value in answer.headers] == ["<sip:b@h>"]
    assert registrar.register("or-3", register("*", cseq=3), SOURCE, 2.0).status == 400, "needs Expires: 0"
    assert registrar.register("or-3", register("*", cseq=3, expires="0"), SOURCE, 2.0).status == 200
    assert registrar.binding("or-3", 2.0) is None


def test_a_query_lists() -> None:
    registrar = Registrar()
    registrar.register("or-3", register(expires="60"), SOURCE, 0.0)
    answer = registrar.register("or-3", register(""), SOURCE, 10.0)
    assert answer.headers == (("Contact", "<sip:or3@10.0.0.9>;expires=50"),)


def test_old_requests_change_nothing() -> None:
    registrar = Registrar()
    registrar.register("or-3", register(cseq=5, expires="60"), SOURCE, 0.0)
    assert registrar.register("or-3", register(cseq=4, expires="0"), SOURCE, 1.0).status == 500
    again = registrar.register("or-3", register(cseq=5, expires="60"), SOURCE, 20.0)
    assert again.headers == (("Contact", "<sip:or3@10.0.0.9>;expires=40"),), "a retransmission doesn't refresh"


def test_the_newest_contacts_stay() -> None:
    registrar = Registrar()
    for port in range(10):
        registrar.register("or-3", register(f"<sip:a@h:{5060 + port}>", cseq=port), SOURCE, 0.0)
    assert len(registrar.facts(0.0)) == CONTACTS_A_DEVICE
    binding = registrar.binding("or-3", 0.0)
    assert binding is not None
    assert binding.uri.port == 5069


def test_a_device_behind_a_nat_is_called_where_it_registered_from() -> None:
    registrar = Registrar()
    registrar.register(
        "or-3", register("<sip:or3@192.168.1.2:5060;transport=tcp>"), Source("9.9.9.9", 7777, "tcp"), 0.0
    )
    binding = registrar.binding("or-3", 0.0)
    assert binding is not None
    assert str(binding.target) == "sip:or3@9.9.9.9:7777;transport=tcp"


@pytest.mark.parametrize(
    "contact", ["<sip:a@h>;expires=soon", "<tel:1>", '"open <sip:a@h>', ", ".join(["<sip:a@h>"] * 30)]
)
def test_malformed_contacts(contact: str) -> None:
    registrar = Registrar()
    assert registrar.register("or-3", register(contact), SOURCE, 0.0).status == 400
    assert registrar.facts(0.0) == []


def test_devices_that_are_no_longer_configured_are_forgotten() -> None:
    registrar = Registrar()
    registrar.register("or-3", register(), SOURCE, 0.0)
    registrar.keep({"or-4"})
    assert registrar.binding("or-3", 0.0) is None
