"""A room on the real engine: members whose lines only remember what was put on them, fed as live sources do."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence

from engine_peer import PORTS

from orbridge.codecs._engine import Engine
from orbridge.codecs.media import AccessUnit, Codec, Kind, Role, VideoLimit
from orbridge.gateway.bus import Bus, Publisher
from orbridge.gateway.config import Config, Media
from orbridge.gateway.rooms.model import Participant, Rooms
from orbridge.gateway.routing import Routing
from orbridge.gateway.session import Session, Sink, State

ROOM = "or-3"


async def until(claim: Callable[[], object], wait_s: float = 8.0) -> None:
    deadline = time.monotonic() + wait_s
    while not claim():
        assert time.monotonic() < deadline, "it didn't come true in time"
        await asyncio.sleep(0.02)


class RememberedLine:
    def __init__(self) -> None:
        self.selected: int | None = None

    def select(self, track_id: int | None) -> None:
        self.selected = track_id


class Member(Session):
    adapter = "test"

    def __init__(
        self,
        name: str,
        sinks: Sequence[tuple[Codec, bool]],
        *,
        limit: VideoLimit | None = None,
        watches: bool = False,
        device: bool = False,
        plays: str | None = None,
    ) -> None:
        super().__init__(
            name,
            name=name,
            room=ROOM,
            remote="r",
            inbound=True,
            opened_ns=0,
            device=name if device else None,
            plays=plays,
            watches=watches,
        )
        self.lines = {codec.kind: RememberedLine() for codec, _ in sinks}
        self.sinks = [
            Sink(
                codec.kind,
                Role.MAIN,
                codec,
                self.lines[codec.kind],
                limit if codec.kind is Kind.VIDEO else None,
                reorders,
            )
            for codec, reorders in sinks
        ]
        self.move(State.CONNECTING)
        self.move(State.ACTIVE)

    def shown(self) -> int | None:
        return self.lines[Kind.VIDEO].selected

    def played(self) -> int | None:
        return self.lines[Kind.AUDIO].selected


class Ear:
    """Keeps what comes on a track."""

    def __init__(self, bus: Bus, track: int) -> None:
        self._subscription = bus.engine.subscribe([track], queue_ms=60_000, queue_bytes=50_000_000)
        self.units: list[AccessUnit] = []

    def take(self) -> list[AccessUnit]:
        self.units += [AccessUnit(*fields) for fields in self._subscription.take()]
        return self.units

    @property
    def payloads(self) -> list[bytes]:
        return [unit.payload for unit in self.take()]


class Core:
    """Engine, bus, rooms and routing as the daemon makes them."""

    def __init__(self, max_video_transcodes: int = 2) -> None:
        self.bus = Bus(Engine(udp_ports=PORTS))
        self.bus.start()
        self.rooms = Rooms()
        config = Config(media=Media(max_video_transcodes=max_video_transcodes))
        self.routing = Routing(self.bus, self.rooms, config, time.monotonic_ns)
        self.sources: set[asyncio.Task[None]] = set()

    def join(self, member: Member, *codecs: Codec) -> Publisher | None:
        """Returns the publisher of the codecs that it sends."""
        publisher = None
        if codecs:
            stream = f"{ROOM}/{member.name}/main"
            publisher = self.bus.publish(stream, codecs)
            member.published = {Role.MAIN: stream}
        self.routing.attach(member)
        return publisher

    def send(self, publisher: Publisher, kind: Kind, units: Sequence[AccessUnit]) -> None:
        """Live, over and over, from now on."""
        task = asyncio.get_running_loop().create_task(play(publisher, kind, units))
        self.sources.add(task)

    def participant(self, member: Member) -> Participant:
        room = self.rooms.get(ROOM)
        assert room is not None
        return room.members[member.id]

    def track(self, member: Member, kind: Kind) -> int:
        track = self.bus.engine.track(f"{ROOM}/{member.name}/main", kind.value)
        assert track is not None
        return track

    def codec_of(self, track: int | None) -> str:
        found = (known for stream in self.bus.engine.streams() for known in stream["tracks"] if known["id"] == track)
        return next((str(known["codec"]) for known in found), "")

    def made(self) -> list[str]:
        """Streams that the gateway makes itself."""
        names = (stream["name"] for stream in self.bus.engine.streams())
        return sorted(name for name in names if name.startswith(("transcoded/", "slate/")) or "/mix/" in name)

    def close(self) -> None:
        for task in self.sources:
            task.cancel()
        self.routing.close()
        self.bus.close()


async def play(publisher: Publisher, kind: Kind, units: Sequence[AccessUnit]) -> None:
    """The units are repeated with timestamps that go on."""
    clock_hz = publisher.tracks[kind].codec.clock_hz
    first, last = units[0], units[-1]
    step = (last.pts - first.pts) // (len(units) - 1)
    length = last.pts - first.pts + step
    length_ns = length * 1_000_000_000 // clock_hz
    began = time.monotonic_ns()
    for lap in itertools.count():
        for unit in units:
            captured = began + lap * length_ns + unit.capture_ns - first.capture_ns
            decoded = captured + (unit.dts - unit.pts) * 1_000_000_000 // clock_hz
            await asyncio.sleep(max(0.0, (decoded - time.monotonic_ns()) / 1e9))
            publisher.write(
                kind,
                unit.pts + lap * length,
                unit.payload,
                dts=unit.dts + lap * length,
                keyframe=unit.keyframe,
                capture_ns=max(1, captured),
            )
