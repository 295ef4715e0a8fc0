"""``a=crypto`` lines (RFC 4568)."""

from base64 import b64encode

import pytest

from orbridge.codecs import sdes

KEY = b64encode(bytes(range(30))).decode()
CM80 = "AES_CM_128_HMAC_SHA1_80"


@pytest.mark.parametrize(
    ("value", "tag", "lifetime"),
    [
        (f"1 {CM80} inline:{KEY}", 1, None),
        (f"0 {CM80} inline:{KEY}|2^48", 0, 1 << 48),
        (f"999999999 {CM80} inline:{KEY}|2^31", 999_999_999, 1 << 31),
        (f"1 {CM80} inline:{KEY}|1048576", 1, 1_048_576),
        (f"1  {CM80.lower()}   inline:{KEY}|2^99", 1, None),
        (f"1 {CM80} inline:{KEY.rstrip('=')} WSH=64 KDR=0", 1, None),
        (f"1 {CM80} inline:{KEY} FEC_ORDER=FEC_SRTP -x=y", 1, None),
    ],
)
def test_usable_lines(value: str, tag: int, lifetime: int | None) -> None:
    crypto = sdes.parse(value)
    assert crypto is not None
    assert (crypto.problem, crypto.tag, crypto.suite, crypto.key) == ("", tag, CM80, bytes(range(30)))
    assert crypto.lifetime == lifetime


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (f"1 {CM80} inline:{KEY} UNENCRYPTED_SRTCP", "it asks for UNENCRYPTED_SRTCP"),
        (f"1 {CM80} inline:{KEY} UNENCRYPTED_SRTP", "it asks for UNENCRYPTED_SRTP"),
        (f"1 {CM80} inline:{KEY} UNAUTHENTICATED_SRTP", "it asks for UNAUTHENTICATED_SRTP"),
        (f"1 {CM80} inline:{KEY} KDR=1", "it asks for KDR=1"),
        (f"1 {CM80} inline:{KEY} SOMETHING_NEW", "it asks for SOMETHING_NEW"),
        (f"1 {CM80} inline:{KEY}|2^20|1:4", "it uses a master key identifier"),
        (f"1 {CM80} inline:{KEY}|1:4", "it uses a master key identifier"),
        (f"1 {CM80} inline:{KEY}|2^20|1:4;inline:{KEY}|2^20|2:4", "it has several keys"),
        (f"1 {CM80} inline:AAAA", "its key has 3 bytes instead of 30"),
        (f"1 {CM80} inline:****", "its key isn't base64"),
        (f"1 {CM80} inline:é", "its key isn't base64"),
        (f"1 {CM80} uri:https://example.test/key", "its key isn't inline"),
        (f"1 F8_128_HMAC_SHA1_80 inline:{KEY}", "the suite F8_128_HMAC_SHA1_80 isn't known"),
    ],
)
def test_unusable_lines_say_why(value: str, problem: str) -> None:
    crypto = sdes.parse(value)
    assert crypto is not None
    assert crypto.problem == problem


@pytest.mark.parametrize("value", ["", "1", f"1 {CM80}", f"x {CM80} inline:{KEY}", f"1234567890 {CM80} inline:{KEY}"])
def test_what_is_no_crypto_line(value: str) -> None:
    assert sdes.parse(value) is None


def test_written_lines_are_read_back() -> None:
    for suite, key in sdes.fresh_keys().items():
        crypto = sdes.parse(sdes.serialise(3, suite, key))
        assert crypto == sdes.Crypto(3, suite, key)


def test_keys_have_their_suites_length_and_differ() -> None:
    first, second = sdes.fresh_keys(), sdes.fresh_keys()
    assert {suite: len(key) for suite, key in first.items()} == sdes.KEY_BYTES
    assert all(first[suite] != second[suite] for suite in first)
    assert set(sdes.OFFERED) <= set(sdes.KEY_BYTES)


def test_keys_stay_out_of_texts_for_people() -> None:
    crypto = sdes.parse(f"1 {CM80} inline:{KEY}")
    assert repr(bytes(range(30))) not in repr(crypto)
