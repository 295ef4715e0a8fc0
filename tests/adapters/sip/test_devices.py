"""Device families by User-Agent, and what they need."""

import re

import pytest

from orbridge.adapters.sip.devices import GENERIC, PROFILES, profile_for
from orbridge.adapters.sip.offer_answer import Feedback
from orbridge.codecs.errors import LocalError


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("PolycomRealPresenceGroup500/6.1.5", "polycom-group"),
        ("Polycom HDX 8000 HD (Release - 3.1.10)", "polycom-group"),
        ("Polycom VSX 7000A (Release - 9.0.6.2)", "polycom-vsx"),
        ("VSX6000A", "polycom-vsx"),
        ("TANDBERG/512 (TC3.1.3)", "tandberg"),
        ("TANDBERG/529 (ce9.15.0)", "tandberg"),
        ("TANDBERG/257 (TE4.1.0)", "tandberg-e20"),
        ("TANDBERG/772 (MCX 4.3.12)", "cisco-movi"),
        ("TANDBERG/4352 (X8.7.3-b2bua-1.0)", "cisco-expressway"),
        ("Cisco-CUCM10.5", "cisco-cucm"),
        ("HUAWEI HD9030", "huawei"),
        ("Huawei MC850", "huawei-mc850"),
        ("RTCC/5.0.0.0 MCXService", "microsoft"),
        ("UCCAPI/15.0.4420.1017 OC/15.0.4420.1017 (Microsoft Lync)", "microsoft"),
        ("Avaya Scopia XT5000", "radvision"),
        ("Hikvision Media Server", "hikvision"),
        ("AXIS P3245-LV", "axis"),
        ("baresip v1.0.0 (x86_64/linux)", "baresip"),
        ("Linphone/5.1", "generic"),
        ("", "generic"),
        ("x" * 100_000 + "baresip", "generic"),
    ],
)
def test_families(user_agent: str, name: str) -> None:
    assert profile_for(user_agent).name == name


def test_a_session_name_tells_where_the_header_does_not() -> None:
    assert profile_for("", session_name="MRD=MRE MRC-V=1.0.1").name == "polycom-group"
    assert profile_for("", session_name="-") is GENERIC


def test_the_configuration_counts_before_the_header() -> None:
    assert profile_for("baresip", "huawei").name == "huawei"
    assert profile_for("baresip", "generic") is GENERIC
    assert profile_for("baresip", "auto").name == "baresip"


def test_an_unknown_profile_is_told_with_the_nearest_known() -> None:
    with pytest.raises(LocalError, match="device profile 'polycom-grup' isn't known: did you mean 'polycom-group'"):
        profile_for("", "polycom-grup")
    with pytest.raises(LocalError, match="known are auto, axis"):
        profile_for("", "qqqq")


@pytest.mark.parametrize(
    ("name", "attempt", "feedback", "wanted"),
    [
        # without RTCP feedback INFO is all there is
        ("generic", 1, Feedback(), True),
        ("generic", 1, Feedback(nack=True), True),
        # with it, INFO comes after PLI and FIR have been tried
        ("generic", 1, Feedback(pli=True), False),
        ("generic", 2, Feedback(fir=True), False),
        ("generic", 3, Feedback(pli=True), True),
        ("polycom-vsx", 1, Feedback(pli=True), True),
        # Lync doesn't know it
        ("microsoft", 1, Feedback(), False),
        ("microsoft", 9, Feedback(pli=True), False),
    ],
)
def test_when_a_key_frame_is_asked_for_by_info(name: str, attempt: int, feedback: Feedback, wanted: bool) -> None:
    assert profile_for("", name).wants_info(attempt, feedback) is wanted


def test_every_profile_says_what_it_is_for() -> None:
    names = [profile.name for profile in (*PROFILES, GENERIC)]
    assert len(set(names)) == len(names)
    assert "auto" not in names
    for profile in (*PROFILES, GENERIC):
        assert profile.reason
        assert re.fullmatch(r"[a-z0-9-]+", profile.name)
    assert profile_for("TANDBERG/4352 (X8.7.3-b2bua-1.0)").min_session_expires_s == 500
