"""The configuration file: what is accepted, and that every refusal says what is wrong, where, and what to do."""

import dataclasses
from pathlib import Path

import pytest

from orbridge.codecs.errors import LocalError
from orbridge.gateway.config import Config
from orbridge.gateway.config_load import ConfigError, load, parse, secret_path, split_listen

CONTRACT = """
[http]
listen = "127.0.0.1:8080"
# tls_certificate = "/etc/orbridge/tls.pem"   # browsers give camera and microphone only to secure pages or localhost
# tls_key = "/etc/orbridge/tls.key"
[sip]
listen = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
[rtmp]
listen = "127.0.0.1:1935"
[media]
host = "127.0.0.1"            # address in our SDP and candidates
udp_ports = "20000-29999"

[[devices]]
name = "or-3"
adapter = "sip"
address = "sip:or3@127.0.0.1:5070"      # matched against who calls, dialled by `orbridge call or-3`
room = "or-3"

[[devices]]
name = "endoscope-1"
adapter = "rtmp"
key_file = "keys/endoscope-1"           # the stream key's file
room = "or-3"

[[rooms]]
name = "or-3"
backend = "embedded"

[[tokens]]                              # who may do what over HTTP
name = "dr-li"
secret_file = "keys/dr-li"
rooms = ["or-*"]
may = ["view", "publish"]               # view, publish, operate, admin
"""


def read(text: str, **environment: str) -> Config:
    return parse(text, Path("orbridge.toml"), environment).config


def problems(text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, **environment)
    return caught.value.problems


def test_the_contract_file_is_accepted_as_it_stands() -> None:
    config = read(CONTRACT)
    assert config.devices[0].address == "sip:or3@127.0.0.1:5070"
    assert config.tokens[0].may == ("view", "publish")


def test_an_empty_file_is_all_defaults() -> None:
    assert read("") == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sip]\nlissen = []", "line 2: unknown key sip.lissen; did you mean listen?"),
        ("[spi]\n", "line 1: unknown key spi; did you mean sip?"),
        ("[[devices]]\nname='a'\nadapter='sip'\nrum='x'", "unknown key devices[0].rum; did you mean room"),
        ("[media]\nzzzzzz = 1", "unknown key media.zzzzzz; known are: "),
        ("[sip]\nmax_calls = 'many'", "sip.max_calls: expected `int`, got `str`"),
        ("[sip]\nlisten = ['127.0.0.1:5060']", "has no transport: write udp:127.0.0.1:5060"),
        ("[sip]\nlisten = ['udp:gateway:5060']", "'gateway' in 'udp:gateway:5060' isn't an IP address"),
        ("[http]\nlisten = '8080'", "'8080' isn't HOST:PORT"),
        ("[http]\nlisten = '0.0.0.0:8080'", "no [[tokens]] is configured: add a token, or listen on 127.0.0.1"),
        ("[http]\ntls_key = 'k'", "tls_certificate and tls_key go together"),
        ("[media]\nhost = '0.0.0.0'", "can't be written into SDP"),
        ("[media]\nudp_ports = '5'", "isn't a range of ports"),
        ("[[rooms]]\nname='a'\n[[rooms]]\nname='a'", "the name 'a' is there twice"),
        ("[[rooms]]\nname='a/b'", "can't be a name"),
        ("[[devices]]\nname='a'\nadapter='sip'", "needs an address"),
        ("[[devices]]\nname='a'\nadapter='sip'\naddress='sip:a@b'\naudio_codecs=['G729']", "'G729' is none of"),
        ("[sip]\nmin_se_s = 30", "RFC 4028"),
        ("[[rooms]]\nname='a'\nbackend='zoom'", "rooms.a.backend: 'zoom' is none of embedded"),
        ("[sip", "isn't valid TOML"),
        ("[[tokens]]\nname='a'\nsecret_file='x'\nmay=['fly']", "tokens[0].may[0]: invalid enum value 'fly'"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_and_where(text: str, said: str) -> None:
    assert any(said in problem for problem in problems(text)), problems(text)


def test_every_problem_is_named_at_once() -> None:
    assert len(problems("[sip]\nlissen=[]\nmx_calls=3\n[medai]\n")) == 3


def test_environment_overrides() -> None:
    config = read(
        "[sip]\nmax_calls = 5",
        ORBRIDGE__SIP__MAX_CALLS="7",
        ORBRIDGE__LOG__LEVEL="debug",
        ORBRIDGE__SIP__LISTEN='["udp:127.0.0.1:5060"]',
        HOME="/root",
    )
    assert (config.sip.max_calls, config.log.level, config.sip.listen) == (7, "debug", ["udp:127.0.0.1:5060"])


def test_a_wrong_environment_variable_is_named() -> None:
    assert "isn't of the form" in problems("", ORBRIDGE__SIP="7")[0]
    assert "unknown key sip.nothing" in problems("", ORBRIDGE__SIP__NOTHING="7")[0]
    assert "list of tables" in problems("[[rooms]]\nname='a'", ORBRIDGE__ROOMS__NAME="b")[0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.toml: can't be read: No such file"):
        load(tmp_path / "absent.toml", {})


def test_certificates_are_found_relative_to_the_file(tmp_path: Path) -> None:
    text = """
    [sip]
    listen = ["tls:127.0.0.1:5061"]
    tls_certificate = "tls/sip.pem"
    tls_key = "/etc/keys/sip.pem"
    [rtmp]
    tls_listen = "127.0.0.1:1936"
    tls_certificate = "tls/rtmp.pem"
    tls_key = "tls/rtmp.key"
    """
    (tmp_path / "orbridge.toml").write_text(text)
    config = load(tmp_path / "orbridge.toml", {}).config
    assert (config.sip.tls_certificate, config.sip.tls_key) == (f"{tmp_path}/tls/sip.pem", "/etc/keys/sip.pem")
    assert (config.rtmp.tls_certificate, config.rtmp.tls_key) == (
        f"{tmp_path}/tls/rtmp.pem",
        f"{tmp_path}/tls/rtmp.key",
    )
    assert config.sip.tls_ca == ""


def test_secrets_are_read_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "dr-li").write_text("s3cret\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "orbridge.toml").write_text(CONTRACT)
    loaded = load(tmp_path / "orbridge.toml", {})
    assert loaded.secret("keys/dr-li") == "s3cret"
    with pytest.raises(LocalError, match="No such file"):
        loaded.secret("keys/nobody")
    with pytest.raises(LocalError, match="is empty"):
        loaded.secret("empty")


def test_a_missing_secret_locks_its_owner_out_and_is_said(tmp_path: Path) -> None:
    (tmp_path / "orbridge.toml").write_text(CONTRACT)
    loaded = load(tmp_path / "orbridge.toml", {})
    said = loaded.unreadable_secrets()
    assert [problem.split(":")[0] for problem in said] == ["devices.endoscope-1.key_file", "tokens.dr-li.secret_file"]
    locked = dataclasses.replace(loaded, locked=True)
    assert len(locked.secret("keys/dr-li")) > 32
    assert locked.secret("keys/dr-li") != locked.secret("keys/dr-li")


def test_a_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret_path("credential:dr-li", Path("/etc/orbridge")) == tmp_path / "dr-li"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("udp:127.0.0.1:5060", ("udp", "127.0.0.1", 5060)),
        ("tls:[::1]:5061", ("tls", "::1", 5061)),
        ("[::]:8080", ("", "::", 8080)),
        ("0.0.0.0:80", ("", "0.0.0.0", 80)),
    ],
)
def test_split_listen(text: str, expected: tuple[str, str, int]) -> None:
    assert split_listen(text) == expected
