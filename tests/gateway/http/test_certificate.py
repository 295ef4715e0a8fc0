"""The self-made certificate: made once, kept, renewed, used; and the configured one."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ssl

import pytest

from orbridge.codecs.errors import LocalError
from orbridge.gateway.http import certificate

NOW = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)
NAMES = ["gateway.example", "localhost", "127.0.0.1", "::1"]


def test_it_is_made_once_and_kept(tmp_path) -> None:
    first = certificate.self_made(tmp_path / "state", NAMES, NOW)
    again = certificate.self_made(tmp_path / "state", NAMES[1:], NOW + datetime.timedelta(days=700))
    assert first == again
    assert first.key_path.stat().st_mode & 0o777 == 0o600
    assert first.path.parent.stat().st_mode & 0o777 == 0o700
    assert len(first.fingerprint) == 32 * 3 - 1


@pytest.mark.parametrize(
    ("names", "days"), [(NAMES, 800), ([*NAMES, "10.0.0.7"], 1)], ids=["runs out soon", "lacks a name"]
)
def test_it_is_made_anew_when_it_no_longer_serves(tmp_path, names, days) -> None:
    first = certificate.self_made(tmp_path, NAMES, NOW)
    again = certificate.self_made(tmp_path, names, NOW + datetime.timedelta(days=days))
    assert first.fingerprint != again.fingerprint
    assert certificate.names_of(certificate.read(again.path)) == set(names)


def test_a_folder_that_cannot_be_written_is_said(tmp_path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    with pytest.raises(LocalError, match=r"can't be kept in .* make that folder writable"):
        certificate.self_made(tmp_path / "state", NAMES, NOW)


def test_a_broken_file_is_said(tmp_path) -> None:
    (tmp_path / "tls.pem").write_text("nonsense")
    with pytest.raises(LocalError, match="isn't a certificate in PEM form"):
        certificate.configured(tmp_path / "tls.pem", tmp_path / "tls.key", NOW)
    with pytest.raises(LocalError, match="doesn't exist"):
        certificate.configured(tmp_path / "none.pem", tmp_path / "tls.key", NOW)


def test_one_that_ran_out_is_said(tmp_path) -> None:
    made = certificate.self_made(tmp_path, NAMES, NOW)
    with pytest.raises(LocalError, match=r"ran out on 20.*auto"):
        certificate.configured(made.path, made.key_path, NOW + datetime.timedelta(days=1000))


def test_a_key_that_does_not_belong_to_it_is_said(tmp_path) -> None:
    one = certificate.self_made(tmp_path / "one", NAMES, NOW)
    other = certificate.self_made(tmp_path / "other", NAMES, NOW)
    mixed = certificate.configured(one.path, other.key_path, NOW)
    with pytest.raises(LocalError, match="belong together"):
        mixed.context()


def test_names_of_this_host_leave_out_wildcards() -> None:
    names = certificate.names_here("0.0.0.0", "10.0.0.7", "", "::", "gateway.example", "nämlich")
    assert "10.0.0.7" in names
    assert "gateway.example" in names
    assert not {"0.0.0.0", "::", "", "nämlich"} & set(names)


async def test_https_with_the_self_made_one(start, tmp_path, capsys) -> None:
    running = await start(http='tls_certificate = "auto"')
    assert running.url.startswith("https://127.0.0.1:")
    status, answer, _ = await running.ask("GET", "/api/v1/rooms/or-3", "viewer")
    assert (status, answer["name"]) == (200, "or-3")
    shown = running.server.certificate
    pem = tmp_path / "state" / certificate.CERTIFICATE_NAME
    trusting = ssl.create_default_context(cafile=str(pem))
    port = int(running.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert hashlib.sha256(der).hexdigest().upper() == shown.fingerprint.replace(":", "")
    said = capsys.readouterr().out
    assert shown.fingerprint in said
    assert str(pem) in said


async def test_a_renewed_certificate_is_taken_over_on_reload(start, tmp_path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    made = certificate.self_made(tmp_path / "mine", NAMES, now)
    running = await start(http=f'tls_certificate = "{made.path}"\ntls_key = "{made.key_path}"')

    async def seen() -> str:
        port = int(running.url.rpartition(":")[2])
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=blind)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return hashlib.sha256(der).hexdigest()

    first = await seen()
    made.path.unlink()
    certificate.self_made(tmp_path / "mine", NAMES, now)
    running.server.reload(running.loaded)
    assert await seen() != first
    made.path.write_text("nonsense")
    running.server.reload(running.loaded)
    assert (await running.ask("GET", "/healthz"))[0] == 200
