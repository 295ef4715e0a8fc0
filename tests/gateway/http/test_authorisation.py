"""Who may do what: tokens, rights, rooms, the limit on guessing, and loopback without tokens."""

from __future__ import annotations

import json
import socket

import aiohttp
import pytest

from orbridge.codecs.errors import LocalError
from orbridge.gateway.config_load import Loaded
from orbridge.gateway.http.auth import host_of, is_loopback_name
from orbridge.gateway.http.server import Server
from orbridge.gateway.wrong_tokens import WrongTokens, network_of

# method, path, body, and the status for: nobody, viewer, guest, nurse (operates or-3), desk (operates all), chief
TABLE = [
    ("GET", "/api/v1/status", None, 401, 403, 403, 403, 200, 200),
    ("GET", "/api/v1/devices", None, 401, 403, 403, 200, 200, 200),
    ("GET", "/api/v1/rooms", None, 401, 200, 200, 200, 200, 200),
    ("GET", "/api/v1/rooms/or-3", None, 401, 200, 200, 200, 200, 200),
    ("GET", "/api/v1/rooms/or-9", None, 401, 200, 200, 403, 200, 200),
    ("GET", "/api/v1/rooms/board", None, 401, 403, 403, 403, 404, 404),
    ("GET", "/api/v1/sessions", None, 401, 403, 403, 200, 200, 200),
    ("GET", "/api/v1/sessions/sip-1", None, 401, 403, 403, 200, 200, 200),
    ("GET", "/api/v1/sessions/sip-2", None, 401, 403, 403, 404, 200, 200),
    ("GET", "/api/v1/streams", None, 401, 403, 403, 200, 200, 200),
    ("PUT", "/api/v1/rooms/or-3/pin", {"device": "or-3"}, 401, 403, 403, 200, 200, 200),
    ("PUT", "/api/v1/rooms/or-9/pin", {"device": "or-9"}, 401, 403, 403, 403, 200, 200),
    ("POST", "/api/v1/calls", {"target": "or-3"}, 401, 403, 403, 202, 202, 202),
    ("POST", "/api/v1/calls", {"target": "or-3", "room": "or-9"}, 401, 403, 403, 403, 202, 202),
    ("POST", "/api/v1/calls", {"target": "or-9", "room": "or-3"}, 401, 403, 403, 403, 502, 502),
    ("POST", "/api/v1/calls", {"target": "sip:x@y", "room": "or-3"}, 401, 403, 403, 403, 403, 202),
    ("POST", "/api/v1/reload", None, 401, 403, 403, 403, 403, 200),
    ("GET", "/metrics", None, 401, 403, 403, 200, 200, 200),
    ("PUT", "/api/v1/sessions/sip-1/hold", None, 401, 403, 403, 409, 409, 409),
    ("DELETE", "/api/v1/sessions/sip-2/hold", None, 401, 403, 403, 404, 409, 409),
    ("POST", "/api/v1/sessions/sip-1/dtmf", {"digits": "1#"}, 401, 403, 403, 409, 409, 409),
    ("POST", "/api/v1/sessions/sip-2/dtmf", {"digits": "1#"}, 401, 403, 403, 404, 409, 409),
    ("DELETE", "/api/v1/sessions/sip-2", None, 401, 403, 403, 404, 204, 204),
    ("GET", "/healthz", None, 200, 200, 200, 200, 200, 200),
    ("GET", "/readyz", None, 200, 200, 200, 200, 200, 200),
    ("GET", "/api/v1/openapi.json", None, 200, 200, 200, 200, 200, 200),
]
WHO = (None, "viewer", "guest", "nurse", "desk", "chief")


@pytest.mark.parametrize(
    "row", TABLE, ids=[f"{row[0]} {row[1]} {json.dumps(row[2]) if row[2] else ''}" for row in TABLE]
)
@pytest.mark.parametrize("who", WHO, ids=str)
async def test_rights(start, row, who) -> None:
    running = await start()
    running.gateway.join("sip", "or-3", device="or-3")
    running.gateway.join("sip", "or-9", device="or-9")
    method, path, body, *expected = row
    status, answer, _ = await running.ask(method, path, who, json=body)
    assert status == expected[WHO.index(who)], answer
    if status >= 400:
        assert set(answer) == {"error", "what", "do"}
        assert answer["what"]


async def test_lists_show_only_what_the_token_covers(start) -> None:
    running = await start()
    running.gateway.join("sip", "or-3", device="or-3")
    running.gateway.join("sip", "or-9", device="or-9")
    for path, key in (("/devices", "name"), ("/rooms", "name"), ("/sessions", "room"), ("/streams", "room")):
        _, all_of_it, _ = await running.ask("GET", f"/api/v1{path}", "desk")
        _, some_of_it, _ = await running.ask("GET", f"/api/v1{path}", "nurse")
        assert {entry[key] for entry in all_of_it} == {"or-3", "or-9"}
        assert {entry[key] for entry in some_of_it} == {"or-3"}


async def test_token_in_the_query_for_browsers(start) -> None:
    running = await start()
    status, _, _ = await running.ask("GET", "/api/v1/rooms/or-3?token=view-secret-0123456789")
    assert status == 200


async def test_missing_and_wrong_tokens_differ_in_words(start) -> None:
    running = await start()
    status, missing, response = await running.ask("GET", "/api/v1/rooms")
    assert (status, missing["error"]) == (401, "token_missing")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    status, wrong, response = await running.ask("GET", "/api/v1/rooms", "guess")
    assert (status, wrong["error"]) == (401, "token_wrong")
    assert "invalid_token" in response.headers["WWW-Authenticate"]
    assert "guess" not in json.dumps(wrong)


async def test_guessing_is_slowed_down_but_not_for_who_has_a_token(start) -> None:
    running = await start()
    assert (await running.ask("GET", "/api/v1/rooms", "viewer"))[0] == 200
    tried = [(await running.ask("GET", "/api/v1/rooms", f"guess-{number}"))[0] for number in range(12)]
    assert tried == [401] * WrongTokens.BURST + [429, 429]
    status, answer, response = await running.ask("GET", "/api/v1/rooms", "chief")
    assert (status, answer["error"]) == (429, "slow_down")
    assert 1 <= int(response.headers["Retry-After"]) <= 7
    assert (await running.ask("GET", "/api/v1/rooms", "viewer"))[0] == 200
    _, metrics, _ = await running.ask("GET", "/metrics?token=view-secret-0123456789")
    assert metrics["error"] == "forbidden"


def test_the_bucket_refills_and_its_tables_are_bounded() -> None:
    now = 0.0
    wrong = WrongTokens(lambda: now)
    for _ in range(WrongTokens.BURST):
        assert wrong.wait_s("10.0.0.1", b"x") == 0
        wrong.wrong("10.0.0.1")
    assert wrong.wait_s("10.0.0.1", b"x") == pytest.approx(WrongTokens.REFILL_S)
    assert wrong.wait_s("10.0.0.2", b"x") == 0
    now = WrongTokens.REFILL_S * 2.5
    assert wrong.wait_s("10.0.0.1", b"x") == 0
    for number in range(WrongTokens.TABLE_LIMIT + 100):
        wrong.wrong(f"net-{number}")
        wrong.right("here", str(number).encode())
    assert len(wrong._buckets) == len(wrong._proven) == WrongTokens.TABLE_LIMIT


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_what_counts_as_one_asker(address, network) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("authority", "host", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", True),
        ("127.9.9.9", "127.9.9.9", True),
        ("[::1]:8080", "::1", True),
        ("LOCALHOST:1", "localhost", True),
        ("127.0.0.1.evil.example", "127.0.0.1.evil.example", False),
        ("evil.example", "evil.example", False),
        ("[bad", "", False),
        ("", "", False),
    ],
)
def test_host_names(authority, host, loopback) -> None:
    assert host_of(authority) == host
    assert is_loopback_name(host) is loopback


async def test_without_tokens_this_machine_may_do_everything(start) -> None:
    running = await start(tokens=False)
    status, answer, _ = await running.ask("POST", "/api/v1/calls", json={"target": "or-3"})
    assert (status, running.gateway.calls) == (202, [("or-3", "")]), answer


async def test_without_tokens_other_sites_may_nothing(start) -> None:
    running = await start(tokens=False)
    status, answer, _ = await running.ask("GET", "/api/v1/rooms", headers={"Host": "evil.example"})
    assert (status, answer["error"]) == (403, "not_local")
    status, answer, _ = await running.ask("GET", "/api/v1/rooms", headers={"Origin": "http://evil.example"})
    assert (status, answer["error"]) == (403, "other_origin")
    status, answer, _ = await running.ask("GET", "/api/v1/rooms", headers={"Origin": running.url})
    assert status == 200
    body = json.dumps({"target": "or-3"})
    status, answer, _ = await running.ask("POST", "/api/v1/calls", data=body, headers={"Content-Type": "text/plain"})
    assert (status, answer["error"]) == (415, "unsupported_media_type")
    assert running.gateway.calls == []


async def test_without_tokens_no_other_address_is_listened_on(start, tmp_path) -> None:
    running = await start(tokens=False)
    http = running.loaded.config.http
    reachable = type(http)(listen="0.0.0.0:0")
    config = type(running.loaded.config)(http=reachable, control=running.loaded.config.control)
    server = Server(running.gateway, Loaded(config, tmp_path, "x"))
    with pytest.raises(LocalError, match=r"no \[\[tokens\]\] is configured: add a token, or listen on 127"):
        await server.start()


async def test_reload_takes_new_tokens_and_withdraws_old_ones(start, tmp_path) -> None:
    running = await start()
    assert (await running.ask("GET", "/api/v1/rooms", "viewer"))[0] == 200
    (tmp_path / "viewer").write_text("another-secret-0123456789")
    running.server.reload(running.loaded)
    assert (await running.ask("GET", "/api/v1/rooms", "viewer"))[0] == 401
    assert (await running.ask("GET", "/api/v1/rooms", "another-secret-0123456789"))[0] == 200


async def test_reload_with_an_unreadable_secret_changes_nothing(start, tmp_path) -> None:
    running = await start()
    (tmp_path / "viewer").unlink()
    with pytest.raises(LocalError, match="can't be read"):
        running.server.reload(running.loaded)
    assert (await running.ask("GET", "/api/v1/rooms", "viewer"))[0] == 200


async def test_the_control_socket_needs_no_token(start, tmp_path) -> None:
    await start()
    path = tmp_path / "run" / "control.sock"
    assert path.stat().st_mode & 0o777 == 0o660
    assert path.parent.stat().st_mode & 0o777 == 0o700
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client,
        client.get("http://orbridge/api/v1/status") as response,
    ):
        assert (response.status, (await response.json())["version"]) == (200, "1.2.3")


async def test_the_dead_gateways_control_socket_is_replaced_the_living_ones_is_not(start, tmp_path) -> None:
    (tmp_path / "run").mkdir()
    path = str(tmp_path / "run" / "control.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    running = await start()
    with pytest.raises(LocalError, match="another gateway answers there"):
        await Server(running.gateway, running.loaded).start()
    assert (await running.ask("GET", "/healthz"))[0] == 200


async def test_a_taken_port_is_said_in_one_line(start, tmp_path) -> None:
    running = await start()
    port = running.url.rpartition(":")[2]
    taken = type(running.loaded.config.http)(listen=f"127.0.0.1:{port}")
    config = type(running.loaded.config)(http=taken)
    with pytest.raises(LocalError, match=rf"^http.listen 127.0.0.1:{port} is in use: another gateway"):
        await Server(running.gateway, Loaded(config, tmp_path, "x")).start()
