"""A camera's leg to a viewer's leg over plain RTP, against peers that share no code with the engine."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Iterator

import pytest
from engine_peer import PORTS, PPS, SPS, Peer, Rtp, is_rtcp, picture, pictures, wait_event, wait_for

from orbridge.codecs._engine import ClosedError, Engine, Leg, Receiver, Sender

PLI, FIR = (206, 1), (206, 4)


class Call:
    """A camera, the engine between, a viewer: one H.264 video line."""

    def __init__(
        self, engine: Engine, host: str = "127.0.0.1", *, mode: int = 1, pli: bool = True, fir: bool = False
    ) -> None:
        self.engine = engine
        self.camera, self.viewer = Peer(host), Peer(host)
        self.inbound: Leg = engine.open_leg(host, label="camera")
        self.outbound: Leg = engine.open_leg(host, label="viewer")
        self.camera.meet(self.inbound)
        self.viewer.meet(self.outbound)
        self.publisher = engine.publish(f"call-{self.inbound.id}")
        self.track = self.publisher.add_track("video", "H264", clock_hz=90_000)
        self.receiver: Receiver = self.inbound.add_receiver(self.track, payload_types={96: "H264"}, pli=pli, fir=fir)
        self.sender: Sender = self.outbound.add_sender(
            "H264", 100, clock_hz=90_000, ssrc=0xCAFE, cname="orbridge", packetization_mode=mode
        )

    def frame(self, number: int, size: int, *, keyframe: bool = False, ssrc: int = 0x1234) -> list[bytes]:
        nals = picture(number, size, keyframe=keyframe)
        self.camera.send_picture(96, number * 3000, nals, ssrc=ssrc)
        return nals

    def close(self) -> None:
        self.publisher.close()
        for end in (self.inbound, self.outbound, self.camera, self.viewer):
            end.close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(udp_ports=PORTS)
    yield engine
    engine.close()


@pytest.fixture
def call(engine: Engine) -> Iterator[Call]:
    call = Call(engine)
    yield call
    call.close()


def assert_continuous(packets: list[Rtp]) -> None:
    assert {(packet.pt, packet.ssrc) for packet in packets} == {(100, 0xCAFE)}
    assert [(packet.seq - packets[0].seq) & 0xFFFF for packet in packets] == list(range(len(packets)))


def test_pictures_arrive_as_they_left(call: Call) -> None:
    call.sender.select(call.track)
    sent = [call.frame(number, size, keyframe=number == 0) for number, size in enumerate([20_000, 3000, 50, 1201, 7])]
    packets = call.viewer.receive_until_marker(5)
    assert pictures(packets) == sent
    assert_continuous(packets)
    assert all(len(packet.payload) <= 1200 for packet in packets)
    ends = [packet.timestamp for packet in packets if packet.marker]
    assert [(end - ends[0]) & 0xFFFFFFFF for end in ends] == [0, 3000, 6000, 9000, 12000]
    stats = call.sender.stats()
    assert (stats["units"], stats["keyframes"], stats["packets"]) == (5, 1, len(packets))
    assert call.receiver.stats()["units"] == 5
    totals = call.engine.stats()
    assert totals["packets_in"] >= 20
    assert totals["packets_out"] >= len(packets)
    assert totals["legs"] == 2


def test_mode_0_gets_every_nal_unit_alone(engine: Engine) -> None:
    call = Call(engine, mode=0)
    call.sender.select(call.track)
    sent = call.frame(0, 5000, keyframe=True)
    packets = call.viewer.receive_until_marker()
    assert [packet.payload for packet in packets] == sent
    call.close()


def test_ipv6(engine: Engine) -> None:
    call = Call(engine, "::1")
    call.sender.select(call.track)
    sent = call.frame(0, 5000, keyframe=True)
    assert pictures(call.viewer.receive_until_marker()) == [sent]
    with pytest.raises(ValueError, match="IPv4 and IPv6"):
        call.inbound.set_peer("127.0.0.1", 5000)
    call.close()


def test_nothing_goes_out_before_select_nor_before_a_key_frame(call: Call) -> None:
    call.frame(0, 500, keyframe=True)
    assert call.viewer.receive(0.1) == []
    call.sender.select(call.track)
    # The kept group bridges the gap after 150 ms; a fresh key frame before that is better.
    call.frame(1, 500)
    assert call.viewer.receive(0.05) == []
    sent = call.frame(2, 500, keyframe=True)
    assert pictures(call.viewer.receive_until_marker()) == [sent]
    call.sender.select(None)
    call.frame(3, 500)
    assert call.viewer.receive(0.1) == []
    assert call.sender.selected is None


def test_a_late_viewer_gets_the_kept_group_ending_at_live(call: Call) -> None:
    sent = [call.frame(number, 2000, keyframe=number == 0) for number in range(30)]
    wait_for(lambda: call.receiver.stats()["units"] == 30)
    began = time.monotonic()
    call.sender.select(call.track)
    first = call.viewer.receive(8.0, count=1)
    assert time.monotonic() - began > 0.1
    packets = first + call.viewer.receive_until_marker(30 - sum(packet.marker for packet in first))
    assert pictures(packets) == sent
    assert_continuous(packets)
    span = (packets[-1].timestamp - packets[0].timestamp) & 0xFFFFFFFF
    assert span < 29 * 3000, "timestamps are drawn together"


def test_a_viewers_pli_reaches_the_camera_and_is_repeated_as_fir(engine: Engine) -> None:
    call = Call(engine, pli=True, fir=True)
    call.sender.select(call.track)
    call.frame(0, 100, keyframe=True)
    call.viewer.receive_until_marker()
    engine.drain()
    call.camera.rtcp.clear()
    time.sleep(0.5)
    # RFC 4585 6.3.1: sender of the packet, media source
    call.viewer.send_rtcp(struct.pack("!BBHII", 0x81, 206, 2, 1, 0xCAFE))
    body = call.camera.receive_rtcp(*PLI)
    assert body is not None
    assert struct.unpack_from("!I", body, 4) == (0x1234,)
    assert wait_event(engine, "keyframe_wanted") == ("keyframe_wanted", call.track, 1)
    body = call.camera.receive_rtcp(*FIR)
    assert body is not None
    assert struct.unpack_from("!I", body, 8) == (0x1234,)
    call.frame(1, 100, keyframe=True)
    assert wait_event(engine, "keyframe_came")[1] == call.track
    assert call.sender.stats()["plis_received"] == 1
    stats = call.receiver.stats()
    assert (stats["plis_sent"] >= 1, stats["firs_sent"] >= 1) == (True, True)
    call.close()


def test_a_source_is_switched_at_a_key_frame_and_nothing_jumps(engine: Engine) -> None:
    call, other = Call(engine), Call(engine)
    call.sender.select(call.track)
    first = [call.frame(0, 300, keyframe=True), call.frame(1, 300)]
    packets = call.viewer.receive_until_marker(2)
    call.sender.select(other.track)
    assert call.sender.selected == other.track
    first.append(call.frame(2, 300))
    packets += call.viewer.receive_until_marker()
    assert pictures(packets) == first, "the old one goes on until the new one's key frame"
    second = [other.frame(40, 300, keyframe=True)]
    packets += call.viewer.receive_until_marker()
    call.frame(3, 300)
    second.append(other.frame(41, 300))
    packets += call.viewer.receive_until_marker()
    assert pictures(packets) == first + second
    assert_continuous(packets)
    times = [packet.timestamp for packet in packets if packet.marker]
    steps = [(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(times)]
    assert all(0 < step < 90_000 for step in steps), "time goes on, at about the pace of the clock"
    assert not [
        1 for streams in engine.streams() if streams["name"] == call.publisher.stream and streams["subscribers"]
    ]
    call.close()
    other.close()


def test_the_end_of_a_source_is_told(call: Call) -> None:
    call.sender.select(call.track)
    call.publisher.close()
    assert wait_event(call.engine, "source_ended") == ("source_ended", call.sender.id, call.track)
    assert call.sender.selected is None
    with pytest.raises(ValueError, match="no track"):
        call.sender.select(call.track)


def test_select_refuses_what_the_sender_cannot_send(engine: Engine, call: Call) -> None:
    publisher = engine.publish("sound")
    audio = publisher.add_track("audio", "PCMU", clock_hz=8000)
    with pytest.raises(ValueError, match="no codec for audio"):
        call.sender.select(audio)
    vp8 = engine.publish("vp8").add_track("video", "VP8", clock_hz=90_000)
    with pytest.raises(ValueError, match="VP8"):
        call.sender.select(vp8)
    with pytest.raises(ValueError, match="isn't audio"):
        call.inbound.add_receiver(audio, payload_types={97: "H264"})


def test_a_pair_has_an_even_port_and_its_neighbour(engine: Engine) -> None:
    leg = engine.open_leg("127.0.0.1", rtcp="pair")
    assert leg.port % 2 == 0
    assert leg.rtcp_port == leg.port + 1
    rtp, rtcp = Peer(), Peer()
    leg.set_peer("127.0.0.1", rtp.port, rtcp_port=rtcp.port)
    publisher = engine.publish("x")
    track = publisher.add_track("audio", "PCMU", clock_hz=8000)
    sender = leg.add_sender("PCMU", 0, clock_hz=8000, ssrc=77, cname="orbridge")
    sender.select(track)
    for number in range(20):
        publisher.write(track, number * 160, bytes(160))
        time.sleep(0.02)
    packets = rtp.receive(8.0, count=20)
    assert len(packets) == 20
    assert [p.timestamp - packets[0].timestamp for p in packets] == [160 * n for n in range(20)]
    assert packets[0].marker is True, "RFC 3551 4.1: a talkspurt begins"
    report = rtcp.receive_rtcp(200, wait_s=6.0)
    assert report is not None
    assert struct.unpack_from("!I", report) == (77,)
    assert not rtp.rtcp
    leg.close()
    assert rtcp.receive_rtcp(203) is not None, "BYE"


def test_audio_passes_with_its_marker_and_dtmf(engine: Engine) -> None:
    phone, viewer = Peer(), Peer()
    inbound, outbound = engine.open_leg("127.0.0.1"), engine.open_leg("127.0.0.1")
    phone.meet(inbound)
    viewer.meet(outbound)
    track = engine.publish("phone").add_track("audio", "G722", clock_hz=8000)
    inbound.add_receiver(track, payload_types={9: "G722"}, dtmf_pt=101)
    sender = outbound.add_sender("G722", 9, clock_hz=8000, ssrc=5, cname="x", dtmf_pt=101)
    sender.select(track)
    for number in range(10):
        phone.send(9, number * 160, bytes([number]) * 160)
    assert [packet.payload[0] for packet in viewer.receive(8.0, count=10)] == list(range(10))
    for repeat in range(3):
        phone.send(101, 5000, bytes([5, 0x8A, 0x06, 0x40]), marker=repeat == 0)
    assert wait_event(engine, "dtmf") == ("dtmf", inbound.id, "5", 200)
    sender.send_dtmf("3#")
    events = [packet for packet in viewer.receive(1.0) if packet.pt == 101]
    assert {packet.payload[0] for packet in events} == {3, 11}
    assert all(packet.payload[1] & 0x80 for packet in events[-3:]), "the end is said three times"
    silent = engine.open_leg("127.0.0.1").add_sender("PCMU", 0, clock_hz=8000, ssrc=6, cname="x")
    with pytest.raises(ValueError, match=r"."):
        silent.send_dtmf("1")
    with pytest.raises(ValueError, match=r"."):
        sender.send_dtmf("x")


def test_datagrams_of_stun_and_dtls_go_through_python(engine: Engine) -> None:
    leg, peer = engine.open_leg("127.0.0.1", secure=True), Peer()
    stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
    peer.socket.sendto(stun, (leg.host, leg.port))
    assert wait_event(engine, "datagram") == ("datagram", leg.id, stun, "127.0.0.1", peer.port)
    leg.send_datagram(stun[::-1], "127.0.0.1", peer.port)
    assert peer.socket.recv(100) == stun[::-1]
    with pytest.raises(ValueError, match="port"):
        leg.send_datagram(b"x", "127.0.0.1", 0)


def test_a_burst_larger_than_a_batch_is_read_to_its_end(engine: Engine) -> None:
    peers, receivers = [Peer(), Peer()], []
    for number, peer in enumerate(peers):
        leg = engine.open_leg("127.0.0.1")
        peer.meet(leg)
        track = engine.publish(str(number)).add_track("audio", "PCMU", clock_hz=8000)
        receivers.append(leg.add_receiver(track, payload_types={0: "PCMU"}))
    for number in range(500):
        for peer in peers:
            peer.send(0, number * 160, bytes(160))
    wait_for(lambda: [receiver.stats()["units"] for receiver in receivers] == [500, 500])
    assert engine.stats()["packets_in"] == 1000


def test_legs_that_exchange_sockets_keep_their_media(engine: Engine) -> None:
    call, spare = Call(engine), engine.open_leg("127.0.0.1")
    call.sender.select(call.track)
    sent = [call.frame(0, 100, keyframe=True)]
    packets = call.viewer.receive_until_marker()
    ports = call.inbound.port, spare.port
    call.inbound.exchange_sockets(spare)
    assert (spare.port, call.inbound.port) == ports
    call.camera.meet(call.inbound)
    sent.append(call.frame(1, 100))
    packets += call.viewer.receive_until_marker()
    assert pictures(packets) == sent
    stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
    call.camera.socket.sendto(stun, (spare.host, spare.port))
    assert wait_event(engine, "datagram")[:3] == ("datagram", spare.id, stun)
    call.inbound.send_datagram(stun, call.camera.host, call.camera.port)
    while (got := call.camera.socket.recvfrom(2000))[0] != stun:
        assert is_rtcp(got[0])
    assert got[1][1] == ports[1]
    with pytest.raises(ValueError, match="mux"):
        spare.exchange_sockets(engine.open_leg("127.0.0.1", rtcp="pair"))
    with pytest.raises(ValueError, match="two legs"):
        spare.exchange_sockets(spare)
    call.close()


def test_the_source_of_media_is_learned_then_locked(engine: Engine) -> None:
    call = Call(engine)
    call.inbound.set_peer("127.0.0.1", 9)
    call.sender.select(call.track)
    call.frame(0, 100, keyframe=True)
    assert wait_event(engine, "peer_locked") == ("peer_locked", call.inbound.id, "127.0.0.1", call.camera.port)
    thief = Peer()
    thief.to = call.camera.to
    thief.send_picture(96, 3000, picture(66, 100, keyframe=True))
    assert wait_event(engine, "rejected")[:3] == ("rejected", call.inbound.id, "foreign")
    assert len(pictures(call.viewer.receive(0.3))) == 1
    assert call.inbound.stats()["rejected"] == {"foreign": 3}
    call.close()


def test_silence_is_told_and_its_end(engine: Engine) -> None:
    peer = Peer()
    leg = engine.open_leg("127.0.0.1", silence_ms=200)
    peer.meet(leg)
    track = engine.publish("x").add_track("audio", "PCMU", clock_hz=8000)
    leg.add_receiver(track, payload_types={0: "PCMU"})
    peer.send(0, 0, bytes(160))
    name, leg_id, ms = wait_event(engine, "silent")
    assert (name, leg_id) == ("silent", leg.id)
    assert 150 <= ms <= 400
    peer.send(0, 160, bytes(160))
    assert wait_event(engine, "heard")[:2] == ("heard", leg.id)


def test_a_closed_leg_says_so_and_others_go_on(call: Call) -> None:
    call.sender.select(call.track)
    gone = call.engine.open_leg("127.0.0.1")
    receiver = gone.add_receiver(call.track, payload_types={96: "H264"})
    gone.close()
    gone.close()
    for use in (
        gone.stats,
        gone.clear_keys,
        receiver.stats,
        lambda: gone.add_receiver(call.track, payload_types={96: "H264"}),
    ):
        with pytest.raises(ClosedError):
            use()
    receiver.close()
    sent = call.frame(0, 100, keyframe=True)
    assert pictures(call.viewer.receive_until_marker()) == [sent]
    call.sender.close()
    with pytest.raises(ClosedError):
        call.sender.select(call.track)


def test_wrong_leg_arguments_are_named(engine: Engine) -> None:
    for arguments, words in [
        ({"host": "not-an-address"}, "not an IPv4"),
        ({"host": "127.0.0.1", "rtcp": "both"}, "neither"),
        ({"host": "127.0.0.1", "dscp": 64}, "dscp"),
        ({"host": "127.0.0.1", "silence_ms": 1}, "silence_ms"),
    ]:
        with pytest.raises(ValueError, match=words):
            engine.open_leg(**arguments)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="assign"):
        engine.open_leg("192.0.2.1")
    leg = engine.open_leg("127.0.0.1")
    track = engine.publish("x").add_track("video", "H264", clock_hz=90_000)
    with pytest.raises(ValueError, match="not known"):
        leg.add_receiver(track, payload_types={96: "H263"})
    with pytest.raises(ValueError, match=r"."):
        leg.add_receiver(track, payload_types={300: "H264"})
    with pytest.raises(ValueError, match="no track"):
        leg.add_receiver(999, payload_types={96: "H264"})
    with pytest.raises(ValueError, match="packetization_mode"):
        leg.add_sender("H264", 96, clock_hz=90_000, ssrc=1, cname="x", packetization_mode=2)
    with pytest.raises(ValueError, match="ssrc"):
        leg.add_sender("H264", 96, clock_hz=90_000, ssrc=-1, cname="x")
    leg.add_sender("H264", 96, clock_hz=90_000, ssrc=1, cname="x")
    with pytest.raises(ValueError, match=r"."):
        leg.add_sender("H264", 96, clock_hz=90_000, ssrc=1, cname="x")
    with pytest.raises(ValueError, match="profile"):
        leg.set_keys("SM4", b"", b"")
    with pytest.raises(ValueError, match=r"."):
        leg.set_keys("AEAD_AES_128_GCM", bytes(5), bytes(28))


def test_no_port_left_is_an_os_error() -> None:
    engine = Engine(udp_ports=(21290, 21293))
    legs = [engine.open_leg("127.0.0.1", rtcp="pair") for _ in range(2)]
    with pytest.raises(OSError, match="no UDP port"):
        engine.open_leg("127.0.0.1")
    legs[0].close()
    wait_for(lambda: engine.stats()["legs"] == 1)
    time.sleep(0.05)
    assert engine.open_leg("127.0.0.1").port == legs[0].port
    engine.close()


def test_parameter_sets_of_signalling_reach_a_viewer(engine: Engine) -> None:
    call = Call(engine)
    engine.set_parameter_sets(call.track, [SPS, PPS])
    call.sender.select(call.track)
    call.camera.send_picture(96, 0, picture(0, 3000, keyframe=True)[2:])
    assert pictures(call.viewer.receive_until_marker()) == [picture(0, 3000, keyframe=True)]
    call.close()
