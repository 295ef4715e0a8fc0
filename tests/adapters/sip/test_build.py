"""Which build of pjsua2 is there, decided from what it can say; and what a configuration may ask of it."""

from types import SimpleNamespace

import pytest

from orbridge.adapters.sip.build import STOCK_MAX_CALLS, Build, detect
from orbridge.codecs.errors import LocalError
from orbridge.gateway.config import Sip


def version() -> SimpleNamespace:
    return SimpleNamespace(full="2.15.1")


def test_the_stock_wheel_says_nothing_about_its_limits() -> None:
    build = detect(SimpleNamespace(libVersion=version))
    assert build == Build("2.15.1", False, STOCK_MAX_CALLS, 8)
    text = " ".join(build.shortcomings)
    for what in ("4 calls", "sound only", "register", "SRTP"):
        assert what in text


def test_our_build_says_what_it_can() -> None:
    limits = SimpleNamespace(maxCalls=2048, maxAccounts=256, externalMedia=True)
    build = detect(SimpleNamespace(libVersion=version, libLimits=lambda: limits))
    assert (build.external_media, build.max_calls, build.shortcomings) == (True, 2048, ())
    assert build.admit(2048) == 2048
    with pytest.raises(LocalError, match=r"sip.max_calls is 2049, but this build of pjsua2 can do 2048"):
        build.admit(2049)


def test_the_stock_wheel_with_too_many_calls_says_what_to_do() -> None:
    build = detect(SimpleNamespace(libVersion=version))
    assert build.admit(4) == 4
    with pytest.raises(LocalError, match=r"stock pjsua2 wheel can do 4.*build.sh"):
        build.admit(100)


def test_the_stock_wheel_goes_on_where_nothing_is_configured() -> None:
    build = detect(SimpleNamespace(libVersion=version))
    assert build.admit(Sip().max_calls) == 4
