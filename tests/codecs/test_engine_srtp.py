"""SRTP and SRTCP both ways against libsrtp, with the four profiles."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator

import pytest
from engine_peer import PORTS, Peer, picture, pictures, wait_event, wait_for
from pylibsrtp import Policy

from orbridge.codecs._engine import Engine

PROFILES = [
    ("AES_CM_128_HMAC_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30, 10),
    ("AES_CM_128_HMAC_SHA1_32", Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 30, 4),
    ("AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28, 16),
    ("AEAD_AES_256_GCM", Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 44, 16),
]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(udp_ports=PORTS)
    yield engine
    engine.close()


@pytest.mark.parametrize(("name", "profile", "key_len", "tag_len"), PROFILES)
def test_both_ways(engine: Engine, name: str, profile: int, key_len: int, tag_len: int) -> None:
    ours, theirs = secrets.token_bytes(key_len), secrets.token_bytes(key_len)
    leg, peer = engine.open_leg("127.0.0.1", secure=True), Peer()
    peer.meet(leg)
    peer.set_keys(profile, theirs, ours)
    publisher = engine.publish("loop")
    track = publisher.add_track("video", "H264", clock_hz=90_000)
    receiver = leg.add_receiver(track, payload_types={96: "H264"}, pli=True)
    sender = leg.add_sender("H264", 96, clock_hz=90_000, ssrc=0xCAFE, cname="orbridge")
    sender.select(track)
    peer.send_picture(96, 0, picture(0, 100, keyframe=True))
    assert peer.receive(0.1) == [], "nothing without keys"
    assert not peer.rtcp
    leg.set_keys(name, ours, theirs)
    sent = [picture(number, 5000, keyframe=number == 1) for number in range(1, 30)]
    got = []
    for number, nals in enumerate(sent, 1):
        peer.send_picture(96, number * 3000, nals)
        # The same keys again change nothing: rollover counters and replay windows stay.
        leg.set_keys(name, ours, theirs)
        got += peer.receive_until_marker()
    assert pictures(got) == sent
    # SRTCP: a PLI in, a PLI out. libsrtp checks what the engine sends when it decrypts it.
    peer.rtcp.clear()
    peer.send_rtcp(struct.pack("!BBHII", 0x81, 206, 2, 1, 0xCAFE))
    assert peer.receive_rtcp(206, 1) is not None
    stats = leg.stats()
    assert (stats["secure"], stats["profile"], receiver.stats()["units"]) == (True, name, 29)
    # Forged and replayed packets.
    wire = (
        peer.outbound.protect(bytes([0x80, 96, 0x20, 0]) + bytes(4) + struct.pack("!I", 0x1234) + b"\x41\x9a")
        if peer.outbound
        else b""
    )
    peer.socket.sendto(wire[:-1] + bytes([wire[-1] ^ 1]), peer.to)
    assert wait_event(engine, "rejected")[2] == "srtp_auth"
    peer.socket.sendto(wire, peer.to)
    peer.socket.sendto(wire, peer.to)
    wait_for(lambda: leg.stats()["rejected"].get("srtp_replay"))
    assert len(wire) == 14 + tag_len


def test_openssl_names_and_srtp_prefix_are_understood(engine: Engine) -> None:
    leg = engine.open_leg("127.0.0.1", secure=True)
    for spelling, length in [
        ("SRTP_AES128_CM_SHA1_80", 30),
        ("SRTP_AEAD_AES_256_GCM", 44),
        ("SRTP_AES128_CM_SHA1_32", 30),
    ]:
        leg.set_keys(spelling, bytes(length), bytes(range(length)))
    assert leg.stats()["profile"] == "AES_CM_128_HMAC_SHA1_32"
    leg.clear_keys()
    assert leg.stats()["secure"] is False


def test_gcm_in_plain_out(engine: Engine) -> None:
    """A browser's camera to a room system that knows no SRTP."""
    browser, device = Peer(), Peer()
    inbound, outbound = engine.open_leg("127.0.0.1", secure=True), engine.open_leg("127.0.0.1")
    browser.meet(inbound)
    device.meet(outbound)
    ours, theirs = secrets.token_bytes(28), secrets.token_bytes(28)
    inbound.set_keys("AEAD_AES_128_GCM", ours, theirs)
    browser.set_keys(Policy.SRTP_PROFILE_AEAD_AES_128_GCM, theirs, ours)
    track = engine.publish("browser").add_track("video", "H264", clock_hz=90_000)
    inbound.add_receiver(track, payload_types={96: "H264"})
    sender = outbound.add_sender("H264", 109, clock_hz=90_000, ssrc=9, cname="x", packetization_mode=0)
    sender.select(track)
    sent = picture(0, 5000, keyframe=True)
    browser.send_picture(96, 0, sent)
    assert [packet.payload for packet in device.receive_until_marker()] == sent
