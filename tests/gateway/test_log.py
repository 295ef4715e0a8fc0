"""The log: JSON and text with the same keys, and no patient's name gets out."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from orbridge.gateway.config import Log
from orbridge.gateway.log import configure, scrub

PATIENT = "Erika Mustermann"


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_json_lines() -> None:
    out = io.StringIO()
    configure(Log(format="json"), out)
    structlog.get_logger("orbridge.test").info("session.opened", session="sip-1")
    line = json.loads(out.getvalue())
    assert (line["event"], line["session"], line["level"]) == ("session.opened", "sip-1", "info")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_patients_name_does_not_come_out(form: str) -> None:
    out = io.StringIO()
    configure(Log(format=form, level="debug"), out)
    log = structlog.get_logger("orbridge.test")
    log.info("session.opened", display_name=PATIENT, remote='"Erika Mustermann" <sip:mustermann@10.0.0.1:5060>')
    log.info("session.opened", url="/rooms/or-3?token=Mustermann", nested={"sdp": PATIENT, "to": ["sip:Mustermann@x"]})
    log.info("session.opened", text="a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:Mustermann", line="Bearer Mustermann")
    try:
        raise ValueError("call from sip:Mustermann@10.0.0.1")
    except ValueError:
        log.exception("handler.failed")
    logging.getLogger("orbridge.other").warning("to <sip:Mustermann@10.0.0.1>")
    text = out.getvalue()
    assert "ustermann" not in text.lower().replace("[redacted]", "")
    assert text.count("redacted") >= 8
    assert "10.0.0.1:5060" in text


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_peers_words_stay_on_their_line(form: str) -> None:
    out = io.StringIO()
    configure(Log(format=form), out)
    said = "a\r\n2026 daemon.stopped\x1b[2J\x00\x85\u2028b\udc80"
    structlog.get_logger("orbridge.test").info("caller.refused", cause=said, nested={"said": [said]})
    text = out.getvalue()
    assert len(text.splitlines()) == 1
    assert "\x1b[2J" not in text
    text.encode()
    assert text.count("daemon.stopped") == 2


def test_levels_filter() -> None:
    out = io.StringIO()
    configure(Log(format="json", level="warning"), out)
    structlog.get_logger("orbridge.test").info("session.opened")
    logging.getLogger("orbridge.test").info("quiet")
    assert out.getvalue() == ""


def test_scrub_leaves_what_helps() -> None:
    assert scrub("sip:10.0.0.7:5060;transport=udp") == "sip:10.0.0.7:5060;transport=udp"
    assert scrub("address 127.0.0.1:5060 is in use") == "address 127.0.0.1:5060 is in use"
