"""Opening and closing thousands of times leaves nothing behind; dropping the last handle closes the engine."""

from __future__ import annotations

import gc
import os
import time

import psutil
from engine_peer import PORTS, Peer, wait_for

from orbridge.codecs._engine import Engine


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def call_once(engine: Engine, peer: Peer, number: int) -> None:
    inbound = engine.open_leg("127.0.0.1", rtcp="pair", secure=True)
    outbound = engine.open_leg("127.0.0.1")
    publisher = engine.publish("device/main")
    video = publisher.add_track("video", "H264", clock_hz=90_000)
    audio = publisher.add_track("audio", "G722", clock_hz=8000)
    inbound.set_keys("AEAD_AES_128_GCM", bytes(28), bytes(range(28)))
    inbound.add_receiver(video, payload_types={96: "H264"}, rtx={97: 96}, nack=True, pli=True)
    inbound.add_receiver(audio, payload_types={9: "G722"}, dtmf_pt=101)
    outbound.set_peer(peer.host, peer.port)
    senders = [
        outbound.add_sender("H264", 96, clock_hz=90_000, ssrc=1, cname="x", rtx_pt=97, rtx_ssrc=2),
        outbound.add_sender("G722", 9, clock_hz=8000, ssrc=3, cname="x"),
    ]
    for sender, track in zip(senders, (video, audio), strict=True):
        sender.select(track)
    subscription = engine.subscribe([video, audio])
    publisher.write(audio, number * 160, bytes(160))
    inbound.stats()
    if number % 3:
        subscription.close()
    publisher.close()
    inbound.close()
    outbound.close()


def test_thousands_of_calls_leave_nothing_behind() -> None:
    engine, peer = Engine(udp_ports=PORTS), Peer()
    process, idle = psutil.Process(), descriptors()

    def calls(count: int) -> None:
        for number in range(count):
            call_once(engine, peer, number)
            if number % 10 == 9:
                # The media thread closes sockets after the last datagram left; the ports are few.
                wait_for(lambda: descriptors() <= idle + 4)
            engine.drain()
        gc.collect()

    calls(300)
    wait_for(lambda: engine.stats()["legs"] == 0)
    before = (descriptors(), process.num_threads(), process.memory_info().rss)
    calls(2000)
    wait_for(lambda: descriptors() <= before[0])
    assert process.num_threads() == before[1]
    assert process.memory_info().rss - before[2] < 3 << 20
    stats = engine.stats()
    assert (stats["legs"], stats["streams"], stats["subscribers"]) == (0, 0, 0)
    assert stats["events_dropped"] == 0
    peer.close()
    engine.close()


def test_mixers_come_and_go() -> None:
    engine = Engine(udp_ports=PORTS)
    audio = engine.publish("x").add_track("audio", "PCMU", clock_hz=8000)

    def mixers(count: int) -> None:
        for number in range(count):
            mixer = engine.open_mixer()
            mixer.set_inputs([audio])
            output = mixer.add_output("mix", "OPUS")
            output.close()
            mixer.add_output("mix", "PCMA")
            mixer.close()
            if number % 25 == 24:
                # A closed mixer goes with its thread's next tick.
                time.sleep(0.03)

    mixers(1000)
    time.sleep(0.1)
    before = (descriptors(), psutil.Process().num_threads(), psutil.Process().memory_info().rss)
    mixers(1000)
    time.sleep(0.1)
    assert (descriptors(), psutil.Process().num_threads()) == before[:2]
    assert psutil.Process().memory_info().rss - before[2] < 4 << 20
    assert engine.stats()["subscribers"] == 0
    engine.close()


def test_a_dropped_engine_closes_its_sockets_and_threads() -> None:
    before = (descriptors(), psutil.Process().num_threads())
    for _ in range(20):
        engine = Engine(udp_ports=PORTS)
        engine.open_leg("127.0.0.1")
        engine.open_mixer()
        del engine
        gc.collect()
    wait_for(lambda: (descriptors(), psutil.Process().num_threads()) == before)


def test_an_idle_engine_uses_no_cpu() -> None:
    engine = Engine(udp_ports=PORTS)
    for number in range(20):
        leg = engine.open_leg("127.0.0.1")
        leg.set_peer("127.0.0.1", 9)
        track = engine.publish(str(number)).add_track("video", "H264", clock_hz=90_000)
        leg.add_receiver(track, payload_types={96: "H264"})
    first = engine.stats()
    time.sleep(1.0)
    second = engine.stats()
    assert second["wakeups"] - first["wakeups"] < 250
    assert second["cpu_ns"] - first["cpu_ns"] < 10_000_000
    engine.close()
