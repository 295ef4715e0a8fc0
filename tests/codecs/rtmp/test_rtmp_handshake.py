"""Both roles against each other, plain and with digests, in pieces; what is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbridge.codecs.errors import ParseError
from orbridge.codecs.rtmp import handshake
from orbridge.codecs.rtmp.handshake import PACKET_BYTES, ClientHandshake, ServerHandshake


@pytest.mark.parametrize("digest", [False, True])
@given(step=st.integers(1, 4000))
@settings(max_examples=20, deadline=None)
def test_roles_agree_in_pieces(digest: bool, step: int) -> None:
    server, client = ServerHandshake(), ClientHandshake(digest=digest)
    to_server, to_client = client.start(), b""
    rests = [b"", b""]
    for _ in range(4):
        pending, to_server = to_server, b""
        for at in range(0, len(pending), step):
            out, rest = server.receive(pending[at : at + step])
            to_client += out
            rests[0] += rest
        pending, to_client = to_client, b""
        for at in range(0, len(pending), step):
            out, rest = client.receive(pending[at : at + step])
            to_server += out
            rests[1] += rest
    assert server.done
    assert client.done
    assert server.digest is digest
    assert rests == [b"", b""]


def test_what_follows_the_handshake_is_given_back() -> None:
    server = ServerHandshake()
    out, rest = server.receive(b"\x03" + bytes(PACKET_BYTES))
    assert len(out) == 1 + 2 * PACKET_BYTES
    assert (rest, server.done) == (b"", False)
    assert server.receive(bytes(PACKET_BYTES) + b"connect") == (b"", b"connect")
    assert server.done


@pytest.mark.parametrize("scheme", [0, 1])
def test_both_digest_schemes_are_answered_in_kind(scheme: int) -> None:
    hello = handshake._hello(
        b"\x80\0\7\2", handshake._PLAYER, scheme, lambda size: bytes(i * 7 & 0xFF for i in range(size))
    )
    server = ServerHandshake()
    out, _ = server.receive(b"\x03" + hello)
    s1, s2 = out[1 : 1 + PACKET_BYTES], out[1 + PACKET_BYTES :]
    found, ours = handshake.find_digest(s1, handshake._SERVER), handshake.find_digest(hello, handshake._PLAYER)
    assert found is not None
    assert ours is not None
    assert found[0] == ours[0] == scheme
    key = handshake._sha256(handshake._SERVER + handshake._SHARED, ours[1])
    assert s2[-32:] == handshake._sha256(key, s2[:-32])


def test_a_wrong_digest_is_answered_plainly() -> None:
    hello = bytearray(handshake._hello(b"\x80\0\7\2", handshake._PLAYER, 1, bytes))
    hello[100] ^= 1
    out, _ = ServerHandshake().receive(b"\x03" + bytes(hello))
    assert out[1 + PACKET_BYTES :] == bytes(hello)


@pytest.mark.parametrize(
    ("first", "problem"),
    [
        (6, "version 6 is encrypted RTMPE, which isn't taken; use rtmps"),
        (0x16, "this is a TLS handshake; send rtmps to the TLS port, rtmp to this one"),
        (ord("G"), "it begins with byte 71, so it isn't RTMP"),
        (9, "version 9 is unknown, 3 is taken"),
    ],
)
def test_other_protocols_are_refused_at_their_first_byte(first: int, problem: str) -> None:
    for ours in (ServerHandshake(), ClientHandshake()):
        with pytest.raises(ParseError) as caught:
            ours.receive(bytes((first,)))
        assert caught.value.problem == problem


@given(st.binary(max_size=5000))
@settings(max_examples=50, deadline=None)
def test_arbitrary_bytes(data: bytes) -> None:
    for ours in (ServerHandshake(), ClientHandshake(digest=True)):
        try:
            ours.receive(b"\x03" + data)
        except ParseError as error:
            pytest.fail(f"nothing after the version is refused: {error}")


@pytest.mark.parametrize(
    ("name", "digest"), [("ffmpeg_5_1_publish", True), ("gstreamer_1_22_publish", False), ("rtmpdump_play", False)]
)
def test_what_real_clients_ask_for_is_recognised(name: str, digest: bool) -> None:
    recording = (Path(__file__).parents[2] / "data" / "rtmp" / f"{name}.bin").read_bytes()
    server = ServerHandshake()
    server.receive(recording[: 1 + 2 * PACKET_BYTES])
    assert (server.done, server.digest) == (True, digest)
