"""Pushes and pulls against our own server as the other one: it is away, comes, goes, and comes again."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from certificates import self_made_certificate
from rtmp_gateway import KEY, STREAM, TOKEN, TOWER, Gateway, free_port, room, rtmp_gateway, until
from rtmp_peer import Client, Encoder

from orbridge.adapters.rtmp import client, link
from orbridge.codecs.media import Kind
from orbridge.gateway import backoff
from orbridge.gateway.adapter import Refused
from orbridge.gateway.config import Device, Push, Rtmp
from orbridge.gateway.session import CloseReason, Session, State

PUBLISH = f"live/tower?key={KEY}"
ARCHIVE = Device(name="archive", adapter="rtmp", key_file="keys/tower", room="or-7")
ARCHIVED = "archive/main"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.2)
    monkeypatch.setattr(client, "LONGEST_WAIT_S", 0.5)
    monkeypatch.setattr(client, "LINGER_S", 1.0)
    monkeypatch.setattr(client, "NO_MEDIA_S", 2.0)


@asynccontextmanager
async def other_server(port: int, **more: str) -> AsyncIterator[Gateway]:
    settings = Rtmp(listen=f"127.0.0.1:{port}", second_publisher="take_over", **more)  # type: ignore[arg-type]
    async with rtmp_gateway(settings, devices=[ARCHIVE]) as gateway:
        yield gateway


def units(gateway: Gateway, stream: str) -> int:
    found = gateway.bus.engine.streams([stream])
    return sum(track["units"] for track in found[0]["tracks"]) if found else 0


def only(gateway: Gateway, kind: type[Session]) -> Session:
    return next(session for session in gateway.sessions if isinstance(session, kind))


def push_to(port: int, scheme: str = "rtmp") -> Push:
    address = f"{scheme}://127.0.0.1:{port}/live/archive?key={{key}}"
    return Push(name="archive", stream=STREAM, address=address, key_file="keys/tower")


async def test_a_push_waits_for_its_stream_and_for_its_server_and_survives_both() -> None:
    port = free_port()
    async with rtmp_gateway(pushes=[push_to(port)]) as ours:
        session = only(ours, client.PushSession)
        assert isinstance(session, client.PushSession)
        await until("it says what it waits for", lambda: session.doing == f"waiting for {STREAM}")
        assert session.attempts == 0
        encoder = await Encoder.start(ours.port, PUBLISH)
        # Nobody listens there.
        await until("it tries", lambda: session.attempts >= 2)
        await until("it says why", lambda: "can't be reached" in session.doing)
        (note,) = session.notes
        assert note.code == "interrupted"
        assert f"rtmp://127.0.0.1:{port}/live" in note.text
        for _ in range(2):
            async with other_server(port) as there:
                await until("it arrives", lambda there=there: units(there, ARCHIVED) > 40)
                assert session.state is State.ACTIVE
                assert session.notes == []
                tracks = there.bus.engine.streams([ARCHIVED])[0]["tracks"]
                assert {track["codec"] for track in tracks} == {"H264", "AAC"}
        async with other_server(port) as there:
            await until("it arrives", lambda: units(there, ARCHIVED) > 40)
            await encoder.stop()
            await until("it leaves", lambda: not there.sessions)
            await until("it waits", lambda: session.doing == f"waiting for {STREAM}")
            again = await Encoder.start(ours.port, PUBLISH)
            await until("it arrives again", lambda: units(there, ARCHIVED) > 40)
            await again.stop()
        assert ours.counted("link") >= 3


async def test_a_reload_makes_and_ends_pushes() -> None:
    port = free_port()
    async with other_server(port) as there, rtmp_gateway() as ours:
        encoder = await Encoder.start(ours.port, PUBLISH)
        await ours.reload(pushes=[push_to(port)])
        await until("it arrives", lambda: units(there, ARCHIVED) > 20)
        session = only(ours, client.PushSession)
        await ours.reload(pushes=[push_to(port)])
        assert only(ours, client.PushSession) is session
        await ours.reload(pushes=[])
        assert session.reason is CloseReason.LOCAL_HANGUP
        await until("it left", lambda: not there.sessions)
        await encoder.stop()


async def test_a_room_is_sent_out() -> None:
    port = free_port()
    there_room = room("or-3", f"rtmp://127.0.0.1:{port}/live/archive?key={{key}}", "keys/tower")
    async with other_server(port) as there, rtmp_gateway(rooms=[there_room]) as ours:
        session = only(ours, client.PushSession)
        assert session.watches
        encoder = await Encoder.start(ours.port, PUBLISH)
        await until("it arrives", lambda: units(there, ARCHIVED) > 40)
        assert KEY not in session.remote
        await encoder.stop()


async def test_an_address_can_be_dialled_for_a_room_and_hung_up() -> None:
    port = free_port()
    async with other_server(port) as there, rtmp_gateway() as ours:
        encoder = await Encoder.start(ours.port, PUBLISH)
        session = await ours.adapter.dial(f"rtmp://127.0.0.1:{port}/live/archive?key={KEY}", "or-3")
        await until("it arrives", lambda: units(there, ARCHIVED) > 40)
        await session.hangup(CloseReason.LOCAL_HANGUP)
        await until("it left", lambda: not there.sessions)
        with pytest.raises(Refused, match="no address of the form"):
            await ours.adapter.dial("rtmp://127.0.0.1/nothing", "or-3")
        await encoder.stop()


async def test_a_pull_keeps_its_place_while_its_server_is_away() -> None:
    port = free_port()
    address = f"rtmp://127.0.0.1:{port}/live/tower?token={{key}}"
    fetched = Device(name="fetched", adapter="rtmp", address=address, key_file="keys/viewer", room="or-1")
    stream = "fetched/main"

    @asynccontextmanager
    async def source() -> AsyncIterator[None]:
        async with rtmp_gateway(Rtmp(listen=f"127.0.0.1:{port}")) as there:
            encoder = await Encoder.start(there.port, PUBLISH)
            yield
            encoder.abort()

    async with rtmp_gateway(devices=[fetched]) as ours:
        async with source():
            session = await ours.adapter.dial(fetched, "or-1")
            assert isinstance(session, client.PullSession)
            await until("it arrives", lambda: units(ours, stream) > 40)
            assert session.state is State.ACTIVE
            player = await (await Client.open(ours.port)).play(f"fetched?token={TOKEN}")
            await until("pictures", lambda: len(player.media("video")) > 10)
            with pytest.raises(Refused, match="is here already"):
                await ours.adapter.dial(fetched, "or-1")
        await until("it is said", lambda: [note for note in session.notes if note.code == "interrupted"])
        await until("no picture stands still", lambda: ours.bus.engine.track(stream, "video") is None)
        assert ours.routing.room_of(stream) == "or-1"
        count = len(player.media("video"))
        async with source():
            await until("it arrives again", lambda: len(player.media("video")) > count + 20)
            assert [note for note in session.notes if note.code == "interrupted"] == []
            for kind in Kind:
                times = [event.timestamp_ms for event in player.media(kind)]
                assert all(before < after for before, after in itertools.pairwise(times))
        assert not player.is_over


async def test_a_device_that_publishes_by_itself_cannot_be_called() -> None:
    async with rtmp_gateway() as ours:
        with pytest.raises(Refused, match="has no address to fetch from"):
            await ours.adapter.dial(TOWER, "or-3")


async def test_a_wrong_key_is_said_without_the_key() -> None:
    port = free_port()
    wrong = msgspec.structs.replace(push_to(port), key_file="keys/viewer")
    async with other_server(port), rtmp_gateway(pushes=[wrong]) as ours:
        encoder = await Encoder.start(ours.port, PUBLISH)
        session = only(ours, client.PushSession)
        await until("it is refused", lambda: [note for note in session.notes if note.code == "interrupted"])
        (note,) = session.notes
        assert "NetStream.Publish.BadName" in note.text
        assert TOKEN not in f"{note.text} {session.remote} {ours.adapter.status()} {session.stats()}"
        await encoder.stop()


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "HANDSHAKE_S", 0.5)
    silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with rtmp_gateway(pushes=[push_to(port)]) as ours:
        encoder = await Encoder.start(ours.port, PUBLISH)
        session = only(ours, client.PushSession)
        await until("it is said", lambda: any("didn't answer within" in note.text for note in session.notes))
        await encoder.stop()
    silent.close()


async def test_a_push_over_tls_checks_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem, port, plain = str(self_made_certificate(tmp_path)), free_port(), free_port()
    more = {"tls_listen": f"127.0.0.1:{port}", "tls_certificate": pem, "tls_key": pem}
    async with other_server(plain, **more) as there, rtmp_gateway(pushes=[push_to(port, "rtmps")]) as ours:
        encoder = await Encoder.start(ours.port, PUBLISH)
        session = only(ours, client.PushSession)
        await until("it is said", lambda: any("certificate" in note.text for note in session.notes))
        assert units(there, ARCHIVED) == 0
        monkeypatch.setenv("SSL_CERT_FILE", pem)
        await until("it arrives", lambda: units(there, ARCHIVED) > 20)
        await encoder.stop()


def test_waits_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    waits = backoff.Backoff(client.LONGEST_WAIT_S, lambda: 1.0)
    assert [waits.wait_s() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert waits.wait_s(lasted_s=60) == 1
    assert backoff.Backoff(client.LONGEST_WAIT_S, lambda: 0.0).wait_s() == 0.5


async def test_a_fault_of_ours_ends_the_session_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: client.PushSession) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(client.PushSession, "_link", broken)
    async with rtmp_gateway(pushes=[push_to(free_port())]) as ours:
        session = only(ours, client.PushSession)
        encoder = await Encoder.start(ours.port, PUBLISH)
        await until("it is over", lambda: session.reason is CloseReason.FAULT)
        await encoder.stop()
