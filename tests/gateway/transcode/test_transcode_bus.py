"""Conversions on the real bus: engine, threads and PyAV together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
from engine_peer import PORTS
from media_made import decode_sound, encode_sound, level_at, tone
from room_on_bus import Ear, until

from orbridge.codecs._engine import Engine
from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import AAC, OPUS, PCMA, AccessUnit, Codec, Kind
from orbridge.gateway.bus import Bus, Publisher
from orbridge.gateway.sound import Transcoders


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    bus = Bus(Engine(udp_ports=PORTS))
    bus.start()
    yield bus
    bus.close()


async def send(publisher: Publisher, kind: Kind, units: list[AccessUnit], *, speed: float = 1.0) -> None:
    """As a live source does: each unit at its time, ``speed`` times as fast."""
    began, first_ns = time.monotonic_ns(), units[0].capture_ns
    for unit in units:
        due = began + int((unit.capture_ns - first_ns) / speed)
        await asyncio.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
        publisher.write(kind, unit.pts, unit.payload, dts=unit.dts, keyframe=unit.keyframe, capture_ns=due)


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


async def test_sound_conversions_are_shared_bounded_and_end_with_their_last_user(bus: Bus) -> None:
    first, second = bus.publish("a", [AAC]), bus.publish("b", [AAC])
    tracks = [publisher.tracks[Kind.AUDIO].id for publisher in (first, second)]
    transcoders = Transcoders(bus.engine, limit=1)
    changed: list[int] = []
    transcoders.on_change(changed.append)
    made = transcoders.use("one", tracks[0], AAC, OPUS)
    assert transcoders.use("other", tracks[0], AAC, OPUS) == made
    for _ in range(2):
        with pytest.raises(LocalError, match="1 sounds are being converted from or to AAC already, the most"):
            transcoders.use("other", tracks[1], AAC, OPUS)
    assert transcoders.conversions.refused == 1, "counted once, however often it is asked"
    transcoders.release("one")
    assert transcoders.use("other", tracks[0], AAC, OPUS) == made
    transcoders.release("other")
    assert transcoders.facts()[0]["users"] == [], "it goes on for a moment, until something else has come"
    again = transcoders.use("other", tracks[1], AAC, OPUS)
    assert [facts["source"] for facts in transcoders.facts()] == [tracks[1]], "but makes room for another"
    second.close()
    await until(lambda: transcoders.facts() == [])
    assert changed == [tracks[1]]
    assert again != made
    assert not [stream for stream in bus.engine.streams() if stream["name"].startswith("transcoded/")]
    with pytest.raises(LocalError, match="what was to be converted has gone"):
        transcoders.use("other", tracks[1], AAC, OPUS)
    transcoders.close()


async def test_the_engine_converts_what_it_can(bus: Bus) -> None:
    publisher = bus.publish("a", [PCMA])
    transcoders = Transcoders(bus.engine, limit=0)
    assert transcoders.use("one", publisher.tracks[Kind.AUDIO].id, PCMA, OPUS)
    assert transcoders.facts() == []
    with pytest.raises(LocalError, match="0 sounds"):
        transcoders.use("one", publisher.tracks[Kind.AUDIO].id, PCMA, AAC)
    transcoders.close()


async def test_closing_ends_every_thread(bus: Bus) -> None:
    before = set(threading.enumerate())
    publisher = bus.publish("a", [AAC])
    transcoders = Transcoders(bus.engine)
    transcoders.use("one", publisher.tracks[Kind.AUDIO].id, AAC, OPUS)
    assert [thread.name for thread in set(threading.enumerate()) - before] == ["transcoded/2/opus-1"]
    transcoders.close()
    assert not set(threading.enumerate()) - before
