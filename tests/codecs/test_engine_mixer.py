"""The mixer through Python: transcoding, everybody but oneself, loudness, on its own thread."""

from __future__ import annotations

import itertools
import math
import select
import time
from collections.abc import Iterator

import numpy as np
import pytest
from engine_peer import PORTS, Peer, wait_event, wait_for

from orbridge.codecs._engine import ClosedError, Engine, Publisher, Subscription

FRAME = 160  # 20 ms at 8 kHz


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(udp_ports=PORTS)
    yield engine
    engine.close()


def ulaw(sample: int) -> int:
    """G.711 2.2, from its definition."""
    sign, magnitude = (0x80, -sample) if sample < 0 else (0, sample)
    magnitude = min(magnitude + 132, 32767)
    segment = magnitude.bit_length() - 8
    return ~(sign | segment << 4 | (magnitude >> (segment + 3)) & 15) & 0xFF


def from_ulaw(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 15) << 3) + 132 << (code >> 4 & 7)) - 132
    return -magnitude if code & 0x80 else magnitude


def tone(hz: float, frame: int, level: float = 8000.0) -> bytes:
    return bytes(ulaw(int(level * math.sin(2 * math.pi * hz * (frame * FRAME + at) / 8000))) for at in range(FRAME))


class Voice:
    """A stream of one PCMU track that says a tone."""

    def __init__(self, engine: Engine, name: str, hz: float) -> None:
        self.publisher: Publisher = engine.publish(name)
        self.track = self.publisher.add_track("audio", "PCMU", clock_hz=8000)
        self.hz = hz

    def say(self, frame: int) -> None:
        self.publisher.write(self.track, frame * FRAME, tone(self.hz, frame))


def speak(voices: list[Voice], frames: int) -> None:
    begin = time.monotonic()
    for frame in range(frames):
        for voice in voices:
            voice.say(frame)
        if (wait := begin + (frame + 1) * 0.02 - time.monotonic()) > 0:
            time.sleep(wait)


def heard(subscription: Subscription) -> dict[float, float]:
    """Strength (dB over the median bin) at the tones that the tests use, in the last second of PCMU."""
    payload = b"".join(unit[7] for unit in subscription.take(10_000))[-8000:]
    samples = np.array([from_ulaw(code) for code in payload])
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    floor = float(np.median(spectrum)) + 1.0
    return {
        hz: 20 * math.log10(float(spectrum[round(hz * len(samples) / 8000)]) / floor + 1e-9)
        for hz in (440.0, 700.0, 1000.0)
    }


def test_everybody_hears_everybody_but_oneself(engine: Engine) -> None:
    voices = [Voice(engine, "a", 440.0), Voice(engine, "b", 700.0), Voice(engine, "c", 1000.0)]
    mixer = engine.open_mixer(label="room")
    mixer.set_inputs([voice.track for voice in voices])
    outputs = [mixer.add_output(f"mix-{v.publisher.stream}", "PCMU", exclude=[v.track]) for v in voices]
    subscriptions = [engine.subscribe([output.track_id], queue_ms=10_000) for output in outputs]
    speak(voices, 120)
    for voice, subscription in zip(voices, subscriptions, strict=True):
        strengths = heard(subscription)
        for hz, strength in strengths.items():
            assert (strength > 40) == (hz != voice.hz), (voice.hz, strengths)
    name, mixer_id, levels = wait_event(engine, "levels")
    assert (name, mixer_id) == ("levels", mixer.id)
    assert [track for track, _, _ in levels] == [voice.track for voice in voices]
    last = [event for event in engine.drain() if event[0] == "levels"][-1][2]
    assert all(-25 < dbov < -5 and active for _, dbov, active in last)
    outputs[0].set_exclude([])
    speak(voices, 70)
    assert all(strength > 40 for strength in heard(subscriptions[0]).values())
    stats = mixer.stats()
    assert [entry["codec"] for entry in stats["inputs"]] == ["PCMU"] * 3
    assert stats["ticks"] > 180
    assert stats["late_ticks"] < 20
    assert {entry["stream"] for entry in stats["outputs"]} == {"mix-a", "mix-b", "mix-c"}


def test_one_in_one_out_is_the_transcoder_between_two_legs(engine: Engine) -> None:
    phone, browser = Peer(), Peer()
    inbound, outbound = engine.open_leg("127.0.0.1"), engine.open_leg("127.0.0.1")
    phone.meet(inbound)
    browser.meet(outbound)
    track = engine.publish("phone").add_track("audio", "PCMU", clock_hz=8000)
    inbound.add_receiver(track, payload_types={0: "PCMU"})
    mixer = engine.open_mixer()
    mixer.set_inputs([track])
    output = mixer.add_output("phone/opus", "OPUS")
    sender = outbound.add_sender("OPUS", 111, clock_hz=48_000, ssrc=9, cname="x")
    sender.select(output.track_id)
    begin = time.monotonic()
    for frame in range(60):
        phone.send(0, frame * FRAME, tone(440.0, frame))
        time.sleep(max(0.0, begin + (frame + 1) * 0.02 - time.monotonic()))
    packets = browser.receive(0.1)
    assert 50 <= len(packets) <= 70
    assert {packet.pt for packet in packets} == {111}
    steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(packets)}
    assert steps == {960}, "20 ms at 48 kHz"
    assert max(len(packet.payload) for packet in packets) > 40, "a tone, not silence"


def test_the_end_of_an_input_and_of_the_mixer_is_told(engine: Engine) -> None:
    voice = Voice(engine, "a", 440.0)
    mixer = engine.open_mixer()
    mixer.set_inputs([voice.track])
    output = mixer.add_output("mix", "PCMA")
    subscription = engine.subscribe([output.track_id])
    voice.publisher.close()
    assert wait_event(engine, "source_ended") == ("source_ended", mixer.id, voice.track)
    assert select.select([subscription], [], [], 1.0)[0], "silence is sound too"
    mixer.close()
    mixer.close()
    subscription.take(10_000)
    wait_for(lambda: subscription.ended)
    assert engine.track("mix", "audio") is None
    for use in (mixer.stats, lambda: mixer.set_inputs([]), lambda: output.set_exclude([])):
        with pytest.raises(ClosedError):
            use()
    output.close()


def test_wrong_mixer_arguments_are_named(engine: Engine) -> None:
    mixer = engine.open_mixer()
    video = engine.publish("v").add_track("video", "H264", clock_hz=90_000)
    with pytest.raises(ValueError, match="audio only"):
        mixer.set_inputs([video])
    with pytest.raises(ValueError, match="no track"):
        mixer.set_inputs([999])
    tracks = [engine.publish(str(n)).add_track("audio", "PCMU", clock_hz=8000) for n in range(65)]
    with pytest.raises(ValueError, match="64"):
        mixer.set_inputs(tracks)
    mixer.set_inputs(tracks[:64])
    with pytest.raises(ValueError, match="encoder"):
        mixer.add_output("mix", "L16")  # type: ignore[arg-type]
    mixer.add_output("mix", "OPUS")
    with pytest.raises(ValueError, match="already has a publisher"):
        mixer.add_output("mix", "OPUS")
