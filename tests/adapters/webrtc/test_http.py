"""WHIP and WHEP over HTTP, without media: every answer of the two documents, and every way to be refused."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from fake_engine import FakeEngine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pairs import until
from web_gateway import ICE_SERVERS, Gateway, web_gateway

from orbridge.adapters.webrtc import endpoint, registry
from orbridge.codecs.errors import LocalError
from orbridge.gateway.adapter import Refused
from orbridge.gateway.bus import Bus
from orbridge.gateway.config import IceServer, Media
from orbridge.gateway.session import CloseReason, State

FOLDER = Path(__file__).parents[2] / "data" / "webrtc"
OFFERS = {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.sdp"))}
SDP = {"Content-Type": "application/sdp", "Authorization": "Bearer publisher"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag", "Authorization": "Bearer publisher"}
WHIP, WHEP = "/rooms/or-3/whip", "/streams/or-3/main/whep"
NEW = "a=ice-ufrag:newfrag1\r\na=ice-pwd:newpassword0123456789abcd\r\n"


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    made = FakeEngine()
    yield made
    assert not made.legs
    assert not made.published


@pytest.fixture
async def bus(engine: FakeEngine) -> AsyncIterator[Bus]:
    made = Bus(engine.typed())
    made.start()
    yield made
    engine.published.pop("or-3/main", None)
    made.close()


@pytest.fixture
async def gateway(bus: Bus) -> AsyncIterator[Gateway]:
    async with web_gateway(bus) as made:
        yield made


async def publish(gateway: Gateway, query: str = "?name=anna", name: str = "chromium_sendonly") -> ClientResponse:
    return await gateway.http.post(WHIP + query, data=OFFERS[name], headers=SDP)


async def problem(response: ClientResponse) -> dict[str, Any]:
    body: dict[str, Any] = await response.json()
    assert set(body) == {"error", "what", "do"}
    assert body["what"]
    return body


async def test_publishing(gateway: Gateway, engine: FakeEngine) -> None:
    response = await publish(gateway)
    assert response.status == 201
    assert response.content_type == "application/sdp"
    assert re.fullmatch(r"/rooms/or-3/whip/[\w-]{32}", response.headers["Location"])
    assert re.fullmatch(r'"\w{8}"', response.headers["ETag"])
    assert "Link" not in response.headers
    answer = await response.text()
    assert "a=ice-ufrag:" + response.headers["ETag"].strip('"') in answer
    session = gateway.sessions[0]
    assert (session.name, session.room, session.state) == ("anna", "or-3", State.CONNECTING)
    assert session.published == {"main": "or-3/anna/main"}
    assert session.id not in response.headers["Location"]
    assert [track["codec"] for track in engine.published["or-3/anna/main"].tracks] == ["OPUS", "H264"]
    assert gateway.router.attached == [session]
    assert (await gateway.http.delete(response.headers["Location"], headers=SDP)).status == 200
    assert session.state is State.CLOSED
    assert session.reason is CloseReason.REMOTE_HANGUP
    assert (await gateway.http.delete(response.headers["Location"], headers=SDP)).status == 404


async def test_two_of_one_name_at_once(gateway: Gateway) -> None:
    answers = await asyncio.gather(*(publish(gateway) for _ in range(4)))
    assert [response.status for response in answers] == [201] * 4
    assert {s.name for s in gateway.sessions} == {"anna", "anna-2", "anna-3", "anna-4"}


async def test_without_a_name_the_tokens_is_taken(gateway: Gateway) -> None:
    assert (await publish(gateway, "?token=publisher")).status == 201
    assert gateway.sessions[0].name == "dr-li"


@pytest.mark.parametrize(("query", "codec"), [("pcma", "PCMA"), ("G722", "G722"), ("opus", "OPUS"), ("pcmu", "PCMU")])
async def test_a_forced_audio_codec(gateway: Gateway, engine: FakeEngine, query: str, codec: str) -> None:
    assert (await publish(gateway, f"?name=a&audio={query}")).status == 201
    assert engine.published["or-3/a/main"].tracks[0]["codec"] == codec


async def test_playing(gateway: Gateway, engine: FakeEngine) -> None:
    publisher = engine.publish("or-3/main")
    publisher.add_track("audio", "G722", clock_hz=8000)
    publisher.add_track("video", "H264", clock_hz=90000)
    response = await gateway.http.post(
        WHEP + "?token=viewer", data=OFFERS["chromium_recvonly"], headers=_anonymous(SDP)
    )
    assert response.status == 201
    assert response.headers["Location"].startswith(WHEP + "/")
    answer = await response.text()
    assert "a=rtpmap:9 G722/8000" in answer
    assert "opus" not in answer
    assert "a=sendonly" in answer
    session = gateway.sessions[0]
    assert (session.plays, session.room, session.name) == ("or-3/main", "or-3", "nurse")
    assert session.published == {}


async def test_a_stream_that_is_not_there(gateway: Gateway) -> None:
    response = await gateway.http.post(WHEP, data=OFFERS["chromium_recvonly"], headers=SDP)
    assert response.status == 404
    assert (await problem(response))["error"] == "no_stream"
    response = await gateway.http.post(WHEP + "?wait=1", data=OFFERS["chromium_recvonly"], headers=SDP)
    assert response.status == 201
    assert "opus" in await response.text()


def _anonymous(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "Authorization"}


async def test_ice_servers_are_told(bus: Bus) -> None:
    async with web_gateway(bus, Media(ice_servers=ICE_SERVERS)) as gateway:
        expected = [
            '<stun:127.0.0.1:9>; rel="ice-server"',
            '<turn:turn.example.net:3478?transport=udp>; rel="ice-server"; username="us\\"er"; '
            'credential="secret of \\"turn\\""; credential-type="password"',
        ]
        response = await publish(gateway)
        assert response.headers.getall("Link") == expected
        response = await gateway.http.options(WHIP, headers=SDP)
        assert response.headers.getall("Link") == expected
        response = await gateway.http.options(WHIP)
        assert response.status == 204
        assert "Link" not in response.headers


async def test_options(gateway: Gateway) -> None:
    for path in (WHIP, WHEP):
        response = await gateway.http.options(path, headers={"Origin": "https://elsewhere.example"})
        assert response.status == 204
        assert response.headers["Accept-Post"] == "application/sdp"
        # Same origin only: no page of another site may use a visitor's access.
        assert not [name for name in response.headers if name.startswith("Access-Control")]
        response = await gateway.http.options(f"{path}/anything")
        assert response.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
async def test_methods_of_endpoints(gateway: Gateway, method: str) -> None:
    for path in (WHIP, WHEP):
        response = await gateway.http.request(method, path, headers=SDP)
        assert response.status == 405
        assert set(response.headers["Allow"].split(",")) >= {"POST"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST"])
async def test_methods_of_sessions(gateway: Gateway, method: str) -> None:
    location = (await publish(gateway)).headers["Location"]
    assert (await gateway.http.request(method, location, headers=SDP)).status == 405


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"headers": {"Content-Type": "application/sdp"}}, 401, None),
        ({"headers": SDP | {"Authorization": "Bearer viewer"}}, 403, None),
        ({"headers": SDP | {"Authorization": "Bearer elsewhere"}}, 403, None),
        ({"headers": SDP | {"Content-Type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"headers": SDP | {"Accept": "application/json"}}, 406, "not_acceptable"),
        ({"data": b""}, 422, "no_offer"),
        ({"data": b"hello"}, 400, "bad_sdp"),
        ({"data": b"v=0\r\n"}, 400, "bad_sdp"),
        ({"data": b"\xff\xfe\x00"}, 400, "bad_text"),
        ({"data": b"v=0\r\n" + b"a=x\r\n" * 20_000}, 413, "too_large"),
        ({"data": b"v=0\r\n" + b"a=x\r\n" * 5_000}, 400, "bad_sdp"),
        ({"data": OFFERS["chromium_sendonly"].replace(b"H264", b"H266").replace(b"VP8", b"VP7")
          .replace(b"opus/48000/2", b"x/1").replace(b"PCM", b"XCM").replace(b" 9 0 8 ", b" ")}, 406, "no_common_codec"),
        ({"data": OFFERS["chromium_recvonly"]}, 422, "unusable_offer"),
        ({"data": OFFERS["chromium_sendonly"].replace(b"a=rtcp-mux\r\n", b"")}, 422, "unusable_offer"),
        ({"params": {"audio": "mp3"}}, 400, "bad_audio"),
        ({"path": "/rooms/or%203/whip"}, 400, "bad_room"),
        ({"path": f"/rooms/{'o' * 61}/whip"}, 400, "bad_room"),
        ({"path": f"/streams/{'o' * 201}/whep", "data": OFFERS["chromium_recvonly"]}, 400, "bad_stream"),
    ],
)  # fmt: skip
async def test_refused_posts(gateway: Gateway, change: dict[str, Any], status: int, error: str | None) -> None:
    request = {"path": WHIP, "data": OFFERS["chromium_sendonly"], "headers": SDP} | change
    response = await gateway.http.post(request.pop("path"), **request)
    assert response.status == status, await response.text()
    body = await problem(response)
    assert error is None or body["error"] == error
    if status == 415:
        assert response.headers["Accept-Post"] == "application/sdp"
    assert gateway.sessions == []


async def test_a_body_that_does_not_end(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "BODY_TIMEOUT_S", 0.2)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"v=0\r\n"
        await asyncio.sleep(1)

    assert (await gateway.http.post(WHIP, data=slowly(), headers=SDP)).status == 408


async def test_full(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.router.full = True
    response = await publish(gateway)
    assert (response.status, (await problem(response))["error"]) == (503, "room_full")
    assert int(response.headers["Retry-After"]) > 0
    gateway.router.full = False
    assert (await publish(gateway)).status == 201
    for name, status in (("MAX_SESSIONS", 503), ("MAX_CONNECTING", 503), ("MAX_PER_TOKEN", 429)):
        with monkeypatch.context() as patch:
            patch.setattr(registry, name, 1)
            response = await publish(gateway)
            assert response.status == status, name
            assert int(response.headers["Retry-After"]) > 0
    assert len(gateway.sessions) == 1


async def test_no_socket_left(gateway: Gateway, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(host: str, **_settings: Any) -> None:
        raise OSError(98, "no free port in 20000-29999")

    monkeypatch.setattr(engine, "open_leg", none_left)
    response = await publish(gateway)
    assert response.status in (409, 503)
    assert "no free port" in (await problem(response))["what"]
    assert gateway.sessions == []
    assert gateway.router.present == []


async def test_a_taken_stream_name(gateway: Gateway, engine: FakeEngine) -> None:
    taken = engine.publish("or-3/anna/main")
    response = await publish(gateway)
    assert response.status == 409
    assert "or-3/anna/main" in (await problem(response))["what"]
    assert gateway.sessions == []
    taken.close()


@pytest.mark.parametrize(
    ("headers", "body", "status", "error"),
    [
        ({}, NEW, 428, "no_if_match"),
        ({"If-Match": '"other"'}, NEW, 412, "other_ice_session"),
        ({"If-Match": '"other"'}, "a=end-of-candidates\r\n", 412, "other_ice_session"),
        ({"If-Match": "*", "Content-Type": "application/sdp"}, NEW, 415, "unsupported_media_type"),
        ({"If-Match": "*"}, "a=ice-ufrag:newfrag1\r\n", 400, "bad_sdpfrag"),
        ({"If-Match": "*"}, "hello\r\n", 400, "bad_sdpfrag"),
        ({"If-Match": "*"}, "a=ice-ufrag:x\r\na=ice-pwd:y\r\n", 400, "bad_sdpfrag"),
        ({"If-Match": "*", "Authorization": "Bearer nobody"}, NEW, 401, None),
        ({"If-Match": "*", "Authorization": "Bearer viewer"}, NEW, 403, None),
        ({"If-Match": "*", "Authorization": "Bearer other"}, NEW, 403, "not_yours"),
    ],
)
async def test_refused_patches(
    gateway: Gateway, headers: dict[str, str], body: str, status: int, error: str | None
) -> None:
    location = (await publish(gateway)).headers["Location"]
    response = await gateway.http.patch(location, data=body, headers=FRAGMENT | headers)
    assert response.status == status, await response.text()
    found = await problem(response)
    assert error is None or found["error"] == error
    if status == 415:
        assert response.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"


async def test_half_a_restart(gateway: Gateway) -> None:
    location = (await publish(gateway)).headers["Location"]
    offer = OFFERS["chromium_sendonly"].decode()
    ufrag = re.search(r"a=ice-ufrag:(\S+)", offer)
    assert ufrag is not None
    body = NEW.replace("newfrag1", ufrag[1])
    response = await gateway.http.patch(location, data=body, headers=FRAGMENT | {"If-Match": "*"})
    assert response.status == 422


async def test_trickling_and_restarting(gateway: Gateway) -> None:
    created = await publish(gateway)
    location, etag = created.headers["Location"], created.headers["ETag"]
    candidate = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 40000 typ host\r\n"
    response = await gateway.http.patch(location, data=candidate, headers=FRAGMENT | {"If-Match": etag})
    assert response.status == 204
    assert "ETag" not in response.headers
    for tag in ("*", etag):
        response = await gateway.http.patch(location, data=NEW + candidate, headers=FRAGMENT | {"If-Match": tag})
        if tag == "*":
            assert response.status == 200
            assert response.content_type == "application/trickle-ice-sdpfrag"
            restarted = response.headers["ETag"]
            assert restarted != etag
            text = await response.text()
            assert "a=ice-ufrag:" + restarted.strip('"') in text
            assert re.search(r"a=ice-pwd:\w{22,}\r\n", text)
            assert re.search(r"a=candidate:.* typ host\r\n", text)
            assert text.endswith("a=end-of-candidates\r\n")
            assert "a=mid:0\r\n" in text
        else:
            assert response.status == 412
    response = await gateway.http.patch(location, data=NEW + candidate, headers=FRAGMENT | {"If-Match": restarted})
    assert response.status == 204


async def test_many_patches_at_once(gateway: Gateway) -> None:
    created = await publish(gateway)
    location, etag = created.headers["Location"], created.headers["ETag"]
    bodies = [NEW.replace("newfrag1", f"newfrag{n}").replace("newpassword", f"newpassword{n}") for n in range(8)]
    headers = FRAGMENT | {"If-Match": "*"}
    answers = await asyncio.gather(*(gateway.http.patch(location, data=body, headers=headers) for body in bodies))
    assert [response.status for response in answers] == [200] * 8
    tags = {response.headers["ETag"] for response in answers}
    assert len(tags) == 8
    ends = "a=end-of-candidates\r\n"
    current = [
        tag
        for tag in tags | {etag}
        if (await gateway.http.patch(location, data=ends, headers=FRAGMENT | {"If-Match": tag})).status == 204
    ]
    assert len(current) == 1


async def test_unknown_sessions(gateway: Gateway) -> None:
    for path in (f"{WHIP}/nothing", f"{WHEP}/nothing"):
        assert (await gateway.http.delete(path, headers=SDP)).status == 404
        assert (await gateway.http.patch(path, data=NEW, headers=FRAGMENT | {"If-Match": "*"})).status == 404
        assert (await gateway.http.delete(path)).status == 401


async def test_a_client_that_never_connects_is_dropped(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    from orbridge.adapters.webrtc import peer

    monkeypatch.setattr(peer, "ICE_TIMEOUT_S", 0.3)
    assert (await publish(gateway)).status == 201
    session = gateway.sessions[0]
    await until(lambda: session.state is State.CLOSED)
    assert session.reason is CloseReason.UNREACHABLE
    assert gateway.sessions == []


async def test_stopping_ends_all(bus: Bus, engine: FakeEngine) -> None:
    async with web_gateway(bus) as gateway:
        await asyncio.gather(*(publish(gateway) for _ in range(5)))
        sessions = gateway.sessions
        await gateway.adapter.stop(3)
        assert [session.reason for session in sessions] == [CloseReason.SHUTDOWN] * 5
        assert engine.legs == {}


async def test_nobody_is_called(gateway: Gateway) -> None:
    with pytest.raises(Refused, match="browsers call the gateway"):
        await gateway.adapter.dial("https://example.org", "or-3")


async def test_start_says_what_is_wrong(bus: Bus) -> None:
    for media, problem_ in (
        (Media(host="203.0.113.7"), "must be addresses of this machine"),
        (Media(ice_servers=[IceServer(url="http://x")]), "isn't of the form"),
    ):
        with pytest.raises(LocalError, match=problem_):
            async with web_gateway(bus, media):
                pass


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(OFFERS)), data=st.data())
async def test_mutated_offers_never_break_it(gateway: Gateway, name: str, data: st.DataObject) -> None:
    raw = bytearray(OFFERS[name])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(raw) - 1))
        size = data.draw(st.integers(0, 40))
        raw[at : at + size] = data.draw(st.binary(max_size=20))
        if not raw:
            raw += b"v"
    for path in (WHIP, WHEP + "?wait=1"):
        response = await gateway.http.post(path, data=bytes(raw), headers=SDP)
        assert response.status in (201, 400, 406, 422)
        if response.status == 201:
            deleted = await gateway.http.delete(response.headers["Location"], headers=SDP)
            assert deleted.status == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda t: (NEW + "a=candidate:" + t).encode()))
)
async def test_mutated_fragments_never_break_it(gateway: Gateway, body: bytes) -> None:
    open_now = gateway.sessions
    if not open_now:
        assert (await publish(gateway)).status == 201
        open_now = gateway.sessions
    gateway_location = f"{WHIP}/{open_now[0].key}"  # type: ignore[attr-defined]
    response = await gateway.http.patch(gateway_location, data=body, headers=FRAGMENT | {"If-Match": "*"})
    assert response.status in (200, 204, 400)
