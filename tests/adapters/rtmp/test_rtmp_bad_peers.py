"""Peers that are slow, silent, broken or too many: each hurts only itself."""

import asyncio
import itertools
import random
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certificates import self_made_certificate
from rtmp_gateway import KEY, STREAM, TOKEN, TOWER, Gateway, free_port, rtmp_gateway, until
from rtmp_peer import Client, Encoder, Recording, recording

from orbridge.adapters.rtmp import outlet, peer
from orbridge.codecs import avcc, flv
from orbridge.codecs.rtmp.connection import ClientConnection, ConnectRequested, PublishRequested, ServerConnection
from orbridge.gateway.config import Device, Media, Rtmp
from orbridge.gateway.session import CloseReason

PUBLISH = f"live/tower?key={KEY}"
PLAY = f"tower?token={TOKEN}"


@asynccontextmanager
async def well_behaved(gateway: Gateway) -> AsyncIterator[tuple[Encoder, Client]]:
    """An encoder and a player that nothing may touch: every picture arrives, in time and in order."""
    encoder = await Encoder.start(gateway.port, PUBLISH)
    player = await (await Client.open(gateway.port)).play(PLAY)
    await until("pictures", lambda: len(player.media("video")) > 5)
    before, began = len(player.media("video")), time.monotonic()
    yield encoder, player
    await until("all that was sent", lambda: len(player.media("video")) >= before)
    lasted = time.monotonic() - began
    times = [event.timestamp_ms for event in player.media("video")[before:]]
    assert not player.is_over
    assert not encoder.client.is_over
    assert len(times) > lasted * 25 * 0.8
    gaps = [after - earlier for earlier, after in itertools.pairwise(times)]
    assert all(0 < gap < 200 for gap in gaps), gaps
    await encoder.stop()


def raw_connection(port: int, receive_bytes: int = 0) -> socket.socket:
    raw = socket.socket()
    if receive_bytes:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    raw.connect(("127.0.0.1", port))
    raw.setblocking(False)
    return raw


def is_closed(raw: socket.socket) -> bool:
    try:
        return raw.recv(65536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


async def test_a_stalled_player_loses_pictures_then_its_connection_and_slows_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlet, "STALLED_S", 1.5)
    monkeypatch.setattr(outlet, "BEHIND_BYTES", 200_000)
    monkeypatch.setattr(outlet, "RESUME_BYTES", 50_000)
    async with rtmp_gateway() as gateway, well_behaved(gateway) as (encoder, _):
        stalled = await (await Client.open(gateway.port)).play(PLAY)
        stalled.transport.pause_reading()
        session = [session for session in gateway.sessions if session.plays][-1]
        # What the kernels keep between the two comes first.
        filler = b"\x0c" + b"\xff" * 65_536 + b"\x80"
        body = flv.serialise_video("H264", "coded_frames", avcc.join_lengths([filler]), keyframe=False)
        for number in range(200):
            encoder.client.send("video", encoder.sent * 40 + 1, body)
            if number % 10 == 0:
                await asyncio.sleep(0.02)
        await until("it is let go", lambda: session.reason is not None, 15)
        assert session.reason is CloseReason.TRANSPORT_FAILED
        assert session.outlet.dropped > 0  # type: ignore[attr-defined]
        assert gateway.counted("stalled") == 1
        stalled.transport.resume_reading()
        await until("closed", lambda: stalled.lost)


async def test_who_says_nothing_or_too_little_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "HURRY_S", 1.0)
    async with rtmp_gateway() as gateway, well_behaved(gateway):
        handshake = ClientConnection()
        whole = b"".join(handshake.data_to_send())
        beginnings = [b"", whole[:1], whole[:700], whole]
        raws = [raw_connection(gateway.port) for _ in beginnings]
        for raw, beginning in zip(raws, beginnings, strict=True):
            raw.send(beginning)
        connected = await Client.open(gateway.port)
        await until("all are closed", lambda: all(map(is_closed, raws)) and connected.lost, 6)
        assert gateway.counted("too_slow") == len(raws) + 1
        for raw in raws:
            raw.close()


async def test_a_publisher_without_media_is_let_go() -> None:
    async with rtmp_gateway(media=Media(silence_timeout_s=1)) as gateway:
        client = await (await Client.open(gateway.port)).publish(f"tower?key={KEY}")
        (session,) = gateway.sessions
        await until("it is over", lambda: client.lost, 5)
        assert session.reason is CloseReason.SILENT


async def test_a_player_without_stream_waits_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "PATIENCE_S", 1.0)
    async with rtmp_gateway() as gateway:
        encoder = await Encoder.start(gateway.port, PUBLISH)
        client = await (await Client.open(gateway.port)).play(PLAY)
        await until("pictures", lambda: client.media("video"))
        await encoder.stop()
        await until("it is over", lambda: client.lost, 5)


async def test_there_are_no_more_connections_than_configured() -> None:
    async with rtmp_gateway(Rtmp(max_connections=3)) as gateway:
        raws = [raw_connection(gateway.port) for _ in range(3)]
        await until("three", lambda: gateway.adapter.status()["connections"] == 3)
        more = raw_connection(gateway.port)
        await until("closed", lambda: is_closed(more))
        assert gateway.counted("too_many_connections") == 1
        for raw in [*raws, more]:
            raw.close()
        await until("none is left", lambda: gateway.adapter.status()["connections"] == 0)


async def test_two_hundred_connections_of_a_byte_a_second_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "HURRY_S", 4.0)
    async with rtmp_gateway(Rtmp(max_connections=230)) as gateway, well_behaved(gateway):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        raws = []
        for number in range(200):
            raws.append(raw_connection(gateway.port))
            if number % 20 == 0:
                await asyncio.sleep(0.01)  # the server in this process has to take them
        for _ in range(3):
            for raw in raws:
                raw.send(b"\x03")
            await asyncio.sleep(1)
        assert gateway.adapter.status()["connections"] == 202
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
        await until("all are closed", lambda: all(map(is_closed, raws)), 8)
        await until("two are left", lambda: gateway.adapter.status()["connections"] == 2)
        for raw in raws:
            raw.close()


async def test_a_session_of_one_byte_at_a_time() -> None:
    made = recording(20, 10, 64, 48)
    async with rtmp_gateway() as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for byte in b"".join(recorded(made, f"tower?key={KEY}")):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

        def all_there() -> bool:
            streams = gateway.bus.engine.streams([STREAM])
            tracks = streams[0]["tracks"] if streams else []
            return [(track["units"], track["keyframes"], track["width"]) for track in tracks] == [(20, 2, 64)]

        await until("every picture", all_there)
        writer.close()


async def test_rtmps(tmp_path: Path) -> None:
    pem = str(self_made_certificate(tmp_path))
    port = free_port()
    settings = Rtmp(tls_listen=f"127.0.0.1:{port}", tls_certificate=pem, tls_key=pem)
    async with rtmp_gateway(settings) as gateway:
        trusting = ssl.create_default_context(cafile=pem)
        encoder = Encoder(await (await Client.open(port, tls=trusting)).publish(f"tower?key={KEY}"), recording())
        player = await (await Client.open(port, tls=trusting)).play(PLAY)
        plain = await (await Client.open(gateway.port)).play(PLAY)
        await until("pictures", lambda: len(player.media("video")) > 30 and len(plain.media("video")) > 30)
        # Somebody who speaks no TLS there is nobody.
        raw = raw_connection(port)
        raw.send(b"\x03" + bytes(1536))
        await until("closed", lambda: is_closed(raw))
        raw.close()
        await encoder.stop()
        await player.close()


def recorded(made: Recording, name: str) -> list[bytes]:
    """A publisher's session from the handshake on, in the pieces in which a client writes."""
    machine = ClientConnection(random_bytes=bytes)
    machine.connect("live", "rtmp://127.0.0.1/live")
    pieces = [b"".join(machine.data_to_send())]
    server = ServerConnection(random_bytes=bytes)
    asked = False
    waiting = pieces[0]
    for _ in range(10):
        server.receive_data(waiting, 0)
        for event in server.events():
            if isinstance(event, ConnectRequested):
                server.accept_connect()
            elif isinstance(event, PublishRequested):
                server.accept_publish(event.stream_id)
        machine.receive_data(b"".join(server.data_to_send()), 0)
        machine.events()
        if not asked and machine.chunk_size == 65536:
            machine.publish(name)
            asked = True
        waiting = b"".join(machine.data_to_send())
        if waiting:
            pieces.append(waiting)
    machine.send_media(1, "video", 0, flv.serialise_video("H264", "sequence_header", made.header, keyframe=True))
    for number, (keyframe, payload) in enumerate(made.pictures):
        body = flv.serialise_video("H264", "coded_frames", payload, keyframe=keyframe)
        machine.send_media(1, "video", number * 40, body)
        machine.send_media(1, "audio", number * 40, flv.serialise_audio("AAC", "frames", made.sound[number]))
        pieces.append(b"".join(machine.data_to_send()))
    return pieces


def mutated(pieces: list[bytes], seeded: random.Random) -> list[bytes]:
    made = list(pieces)
    for _ in range(seeded.randrange(1, 4)):
        index = seeded.randrange(len(made))
        piece = bytearray(made[index])
        what = seeded.randrange(5)
        if what == 0 and piece:
            for _ in range(seeded.randrange(1, 8)):
                piece[seeded.randrange(min(len(piece), 80))] = seeded.randrange(256)
        elif what == 1:
            del piece[seeded.randrange(len(piece) + 1) :]
        elif what == 2:
            piece[seeded.randrange(len(piece) + 1) : 0] = seeded.randbytes(seeded.randrange(1, 60))
        elif what == 3:
            made[index], other = made[seeded.randrange(len(made))], made[index]
            piece = bytearray(other)
        else:
            del made[index]
            if not made:
                break
            continue
        made[index] = bytes(piece)
    return made


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [4, 5])
async def test_a_seeded_fuzz_beside_a_session_that_stays_untouched(seed: int) -> None:
    other = Device(name="fuzzed", adapter="rtmp", key_file="keys/tower", room="or-9")
    pieces = recorded(recording(20, 10, 64, 48), f"fuzzed?key={KEY}")
    seeded = random.Random(seed)
    async with (
        rtmp_gateway(Rtmp(second_publisher="take_over"), devices=[TOWER, other]) as gateway,
        well_behaved(gateway),
    ):
        for _ in range(120):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            except OSError:
                continue
            for piece in mutated(pieces, seeded):
                writer.write(piece)
                await asyncio.sleep(0)
            await asyncio.sleep(0.02)
            writer.transport.abort()
        await until("they are gone", lambda: gateway.adapter.status()["connections"] <= 2)
        # Some got far: the mutations must not all end in the handshake.
        assert gateway.adapter.status()["opened"] > 20
        assert gateway.counted("protocol") > 10
