"""Encryption by policy, both ways (A14)."""

from base64 import b64encode

import pytest
from sdp_calls import (
    AUDIO,
    HEAD,
    LOCAL,
    MANDATORY,
    PLAIN,
    POLICY,
    VIDEO,
    audio,
    codes,
    device_answer,
    load,
    media_of,
    video,
)

from orbridge.adapters.sip.offer_answer import Agreed, Policy, answer, apply_answer, offer
from orbridge.codecs import sdes, sdp
from orbridge.codecs.media import Kind

CM80, CM32 = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"
GCM128, GCM256 = "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"
THEIRS = {suite: bytes(range(7, 7 + length)) for suite, length in sdes.KEY_BYTES.items()}


def crypto(tag: int, suite: str, more: str = "") -> str:
    return f"a=crypto:{tag} {suite} inline:{b64encode(THEIRS[suite]).decode()}{more}\r\n"


def sound(proto: str, *lines: str) -> str:
    return HEAD + f"m=audio 4000 {proto} 8\r\n" + "".join(lines)


def outcome(agreed: Agreed) -> str:
    """``plain``, the suite, or the code of the refusal."""
    line = agreed.line(Kind.AUDIO)
    if line is None:
        return agreed.notes[0].code
    return line.srtp.suite if line.srtp is not None else "plain"


@pytest.mark.parametrize(
    ("text", "off", "optional", "mandatory"),
    [
        (sound("RTP/AVP"), "plain", "plain", "srtp_missing"),
        (sound("RTP/AVPF"), "plain", "plain", "srtp_missing"),
        # RFC 8643: encryption offered on a plain line, tag 0 and 2^48 as the E20 writes them
        (sound("RTP/AVP", crypto(0, CM80, "|2^48")), "plain", CM80, CM80),
        (sound("RTP/AVP", crypto(1, CM80, "|2^31")), "plain", CM80, CM80),
        (sound("RTP/SAVP", crypto(1, CM80)), "srtp_off", CM80, CM80),
        (sound("RTP/SAVPF", crypto(1, CM80)), "srtp_off", CM80, CM80),
        # the peer's first that we can do
        (sound("RTP/SAVP", crypto(1, CM32), crypto(2, CM80)), "srtp_off", CM32, CM32),
        (sound("RTP/SAVP", crypto(1, GCM256), crypto(2, CM80)), "srtp_off", GCM256, GCM256),
        (sound("RTP/SAVP", crypto(1, GCM128)), "srtp_off", GCM128, GCM128),
        # session parameters that we can't do: the alternative, or none
        (sound("RTP/SAVP", crypto(1, CM80, " UNENCRYPTED_SRTCP"), crypto(2, CM32)), "srtp_off", CM32, CM32),
        (sound("RTP/SAVP", crypto(1, CM80, " UNENCRYPTED_SRTCP")), "srtp_off", "srtp_unusable", "srtp_unusable"),
        (sound("RTP/SAVP", crypto(1, CM80, " UNENCRYPTED_SRTP")), "srtp_off", "srtp_unusable", "srtp_unusable"),
        (sound("RTP/AVP", crypto(1, CM80, " UNENCRYPTED_SRTCP")), "plain", "plain", "srtp_unusable"),
        (sound("RTP/SAVP", crypto(1, CM80, "|2^31|1:1")), "srtp_off", "srtp_unusable", "srtp_unusable"),
        (sound("RTP/SAVP", crypto(1, CM80, "|2^31|1:1"), crypto(2, CM80)), "srtp_off", CM80, CM80),
        (sound("RTP/SAVP"), "srtp_off", "srtp_unusable", "srtp_unusable"),
        (sound("RTP/SAVP", "a=crypto:nonsense\r\n"), "srtp_off", "srtp_unusable", "srtp_unusable"),
        # DTLS
        (sound("UDP/TLS/RTP/SAVPF", "a=fingerprint:sha-256 00\r\n"), "srtp_off", "srtp_dtls", "srtp_dtls"),
        (sound("RTP/SAVPF", "a=fingerprint:sha-256 00\r\n"), "srtp_off", "srtp_dtls", "srtp_dtls"),
    ],
)
def test_an_offer_by_policy(text: str, off: str, optional: str, mandatory: str) -> None:
    for policy, expected in ((PLAIN, off), (POLICY, optional), (MANDATORY, mandatory)):
        agreed = answer(text, LOCAL, policy)
        assert outcome(agreed) == expected, policy.srtp
        ours = media_of(agreed.text, 0)
        assert ours.proto == media_of(text, 0).proto
        assert ours.has("crypto") == (expected in sdes.KEY_BYTES)


def test_keys_and_tag_of_an_answer() -> None:
    agreed = answer(sound("RTP/SAVP", crypto(0, CM80, " UNENCRYPTED_SRTCP"), crypto(7, CM80)), LOCAL, POLICY)
    srtp = audio(agreed).srtp
    assert srtp is not None
    assert (srtp.inbound, srtp.outbound) == (THEIRS[CM80], AUDIO.keys[CM80])
    written = sdes.parse(media_of(agreed.text, 0).value("crypto") or "")
    assert written == sdes.Crypto(7, CM80, AUDIO.keys[CM80])


def test_what_was_passed_over_is_told() -> None:
    agreed = answer(sound("RTP/AVP", crypto(1, CM80, " UNENCRYPTED_SRTCP")), LOCAL, POLICY)
    (note,) = (note for note in agreed.notes if note.code == "srtp_passed_over")
    assert note.text == "audio isn't encrypted: of what the device offers, it asks for UNENCRYPTED_SRTCP"


def test_a_suite_without_a_key_of_ours_is_not_taken() -> None:
    local = type(LOCAL)(LOCAL.host, LOCAL.cname, LOCAL.session_id, type(AUDIO)(1, 2, 3, {CM80: AUDIO.keys[CM80]}))
    assert outcome(answer(sound("RTP/SAVP", crypto(1, CM32), crypto(2, CM80)), local, POLICY)) == CM80
    assert outcome(answer(sound("RTP/SAVP", crypto(1, CM32)), local, POLICY)) == "srtp_unusable"


@pytest.mark.parametrize(
    ("policy", "proto", "suites"),
    [
        (PLAIN, "RTP/AVP", []),
        (POLICY, "RTP/AVP", [CM80, CM32, GCM128]),
        (MANDATORY, "RTP/SAVP", [CM80, CM32, GCM128]),
    ],
)
def test_our_offer_by_policy(policy: Policy, proto: str, suites: list[str]) -> None:
    text = offer(LOCAL, policy).text
    for index, leg in enumerate((AUDIO, VIDEO)):
        media = media_of(text, index)
        assert media.proto == proto
        lines = [sdes.parse(value) for value in media.values("crypto")]
        assert lines == [sdes.Crypto(tag, suite, leg.keys[suite]) for tag, suite in enumerate(suites, 1)]


@pytest.mark.parametrize(
    ("policy", "proto", "lines", "expected"),
    [
        (POLICY, "RTP/AVP", [], "plain"),
        (POLICY, "RTP/AVP", [crypto(1, CM80)], CM80),
        (POLICY, "RTP/AVP", [crypto(2, CM32)], CM32),
        (POLICY, "RTP/SAVP", [crypto(3, GCM128)], GCM128),
        # a wrong tag: the suite says which it is
        (POLICY, "RTP/AVP", [crypto(9, CM80)], CM80),
        (POLICY, "RTP/SAVP", [], "srtp_unusable"),
        (MANDATORY, "RTP/SAVP", [crypto(1, CM80)], CM80),
        (MANDATORY, "RTP/SAVP", [], "srtp_unusable"),
        (MANDATORY, "RTP/AVP", [], "srtp_missing"),
        (PLAIN, "RTP/AVP", [], "plain"),
        (PLAIN, "RTP/AVP", [crypto(1, CM80)], "plain"),
        (PLAIN, "RTP/SAVP", [crypto(1, CM80)], "srtp_off"),
    ],
)
def test_an_answer_by_policy(policy: Policy, proto: str, lines: list[str], expected: str) -> None:
    agreed = apply_answer(offer(LOCAL, policy), sound(proto, *lines), policy)
    assert outcome(agreed) == expected
    if expected in sdes.KEY_BYTES:
        srtp = audio(agreed).srtp
        assert srtp is not None
        assert (srtp.inbound, srtp.outbound) == (THEIRS[expected], AUDIO.keys[expected])


def test_a_suite_that_was_not_offered_is_no_answer() -> None:
    agreed = apply_answer(offer(LOCAL, MANDATORY), sound("RTP/SAVP", crypto(1, GCM256)), MANDATORY)
    assert outcome(agreed) == "srtp_unusable"


def test_devices_with_keys_of_their_own() -> None:
    e20 = answer(load("tandberg_e20"), LOCAL, MANDATORY)
    for line, leg in ((audio(e20), AUDIO), (video(e20), VIDEO)):
        assert line.srtp is not None
        assert (line.srtp.suite, line.srtp.outbound) == (CM80, leg.keys[CM80])
    assert "a=crypto:0 " in e20.text
    assert [media.proto for media in sdp.parse(e20.text).media[:2]] == ["RTP/AVP", "RTP/AVP"]
    ours = offer(LOCAL, MANDATORY)
    agreed = apply_answer(ours, device_answer("cisco_expressway", ours.text), MANDATORY)
    assert all(line.srtp is not None for line in agreed.lines)
    assert len(agreed.lines) == 2


def test_lync_takes_the_key_without_an_identifier() -> None:
    agreed = answer(load("microsoft_lync"), LOCAL, MANDATORY)
    assert "a=crypto:3 " in agreed.text
    assert audio(agreed).srtp is not None


@pytest.mark.parametrize("device", ["tandberg_c20", "polycom_group", "axis"])
def test_mandatory_refuses_devices_without_it(device: str) -> None:
    agreed = answer(load(device), LOCAL, MANDATORY)
    assert agreed.lines == ()
    assert codes(agreed) == ["srtp_missing", "srtp_missing"]
    assert agreed.notes[0].text == "no sound: the device offers no encryption, and srtp is mandatory for it"


def test_keys_stay_out_of_what_is_printed() -> None:
    agreed = answer(load("tandberg_e20"), LOCAL, POLICY)
    srtp = audio(agreed).srtp
    assert srtp is not None
    assert repr(srtp.outbound) not in repr(agreed.lines)
    assert repr(srtp.inbound) not in repr(agreed.lines)


def test_an_encrypted_call_stays_encrypted_with_the_same_keys() -> None:
    first = answer(sound("RTP/AVP", crypto(0, CM32), crypto(1, CM80)), LOCAL, POLICY)
    again = offer(LOCAL, POLICY, first, hold=True)
    lines = [sdes.parse(value) for value in media_of(again.text, 0).values("crypto")]
    assert lines == [sdes.Crypto(1, CM32, AUDIO.keys[CM32])]
    plain = answer(sound("RTP/AVP"), LOCAL, POLICY)
    assert not media_of(offer(LOCAL, POLICY, plain, hold=True).text, 0).has("crypto")
