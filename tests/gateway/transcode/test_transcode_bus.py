"""Conversions on the real bus: engine, threads and PyAV together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from engine_peer import PORTS
from media_made import decode_sound, encode_sound, level_at, tone

from orbridge.codecs._engine import Engine
from orbridge.codecs.media import AAC, OPUS, PCMA, AccessUnit, Codec, Kind
from orbridge.gateway.bus import Bus, Publisher
from orbridge.gateway.sound import Transcoders


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    bus = Bus(Engine(udp_ports=PORTS))
    bus.start()
    yield bus
    bus.close()


async def until(claim: Callable[[], object], wait_s: float = 5.0) -> None:
    deadline = time.monotonic() + wait_s
    while not claim():
        assert time.monotonic() < deadline, "it didn't come true in time"
        await asyncio.sleep(0.01)


async def send(publisher: Publisher, kind: Kind, units: list[AccessUnit], *, speed: float = 1.0) -> None:
    """As a live source does: each unit at its time, ``speed`` times as fast."""
    began, first_ns = time.monotonic_ns(), units[0].capture_ns
    for unit in units:
        due = began + int((unit.capture_ns - first_ns) / speed)
        await asyncio.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
        publisher.write(kind, unit.pts, unit.payload, dts=unit.dts, keyframe=unit.keyframe, capture_ns=due)


class Ear:
    """Keeps what comes on a track."""

    def __init__(self, bus: Bus, track: int) -> None:
        self._subscription = bus.engine.subscribe([track], queue_ms=60_000)
        self.units: list[AccessUnit] = []

    def take(self) -> list[AccessUnit]:
        self.units += [AccessUnit(*fields) for fields in self._subscription.take()]
        return self.units


@pytest.mark.parametrize(("source", "target"), [(AAC, OPUS), (OPUS, AAC), (PCMA, AAC)])
async def test_sound_goes_through_and_keeps_its_time(bus: Bus, source: Codec, target: Codec) -> None:
    publisher = bus.publish("endoscope/main", [source])
    transcoders = Transcoders(bus.engine)
    made = transcoders.use("viewer", publisher.tracks[Kind.AUDIO].id, source, target)
    ear = Ear(bus, made)
    units = encode_sound(tone(440, 2.0, source.clock_hz, source.channels), source)
    began = time.monotonic_ns()
    await send(publisher, Kind.AUDIO, units)
    await until(lambda: len(ear.take()) * (960 if target is OPUS else 1024) > 1.7 * 48_000)
    heard = decode_sound([unit.payload for unit in ear.units], target.name)
    middle = heard[0, 24_000:72_000]
    assert level_at(middle, 440) == pytest.approx(0.3, abs=0.02)
    assert level_at(middle, 660) < 0.01
    steps = np.diff([unit.pts for unit in ear.units])
    assert set(steps.tolist()) == {960 if target is OPUS else 1024}
    captures = [unit.capture_ns - ear.units[0].capture_ns for unit in ear.units]
    assert captures == pytest.approx([(u.pts - ear.units[0].pts) * 1e9 / 48_000 for u in ear.units], abs=10e6)
    assert abs(ear.units[0].capture_ns - began) < 60e6
    (facts,) = transcoders.facts()
    assert facts["users"] == ["viewer"]
    assert facts["broken"] == 0
    transcoders.close()
    publisher.close()
