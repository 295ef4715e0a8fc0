"""What one peer gets of feeds on a real bus: cuts at key frames, catching up, pauses, slowness; no socket."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator

import pytest
from rtmp_gateway import until
from rtmp_peer import recording

from orbridge.adapters.rtmp import outlet as module
from orbridge.adapters.rtmp.feed import Feeds
from orbridge.adapters.rtmp.outlet import Outlet
from orbridge.codecs import avcc, flv
from orbridge.codecs._engine import Engine
from orbridge.codecs.media import Kind
from orbridge.codecs.rtmp.chunk import ChunkReader, Message


class Camera:
    """Pictures and sound in real time under a name."""

    def __init__(self, engine: Engine, name: str, *, gop: int = 25, begin: int = 0) -> None:
        self.publisher = engine.publish(name)
        self.video = self.publisher.add_track("video", "H264", clock_hz=90_000)
        self.audio = self.publisher.add_track("audio", "AAC", clock_hz=48_000, channels=2)
        self._made, self.sent = recording(100, gop), begin
        config = avcc.parse(self._made.header)
        self._sets = avcc.join_lengths([*config.sps, *config.pps])
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            number, now = self.sent, time.monotonic_ns()
            keyframe, payload = self._made.pictures[number % 100]
            body = self._sets + payload if keyframe else payload
            self.publisher.write(self.video, number * 3600, body, keyframe=keyframe, capture_ns=now)
            self.publisher.write(self.audio, number * 1920, b"frame", capture_ns=now)
            self.sent += 1
            await asyncio.sleep(0.04)

    def stop(self) -> None:
        self._task.cancel()
        self.publisher.close()


class Peer:
    """An outlet with somebody at its other end."""

    def __init__(self, feeds: Feeds) -> None:
        self.outlet = Outlet(feeds, time.monotonic)
        self.messages: list[Message] = []
        self.buffered, self.stalled = 0, 0
        self._reader = ChunkReader()
        self._reader.receive(b"\x02\0\0\0\0\0\4\1\0\0\0\0\0\1\0\0", self.messages)
        self.outlet.open(1, self._send, lambda: self.buffered, self._stall)

    def _send(self, data: bytes) -> None:
        self._reader.receive(data, self.messages)

    def _stall(self) -> None:
        self.stalled += 1

    def select(self, video: int | None, audio: int | None) -> None:
        self.outlet.lines[Kind.VIDEO].select(video)
        self.outlet.lines[Kind.AUDIO].select(audio)

    @property
    def pictures(self) -> list[tuple[int, flv.VideoTag]]:
        tags = [(m.timestamp_ms, flv.parse_video(m.payload)) for m in self.messages if m.type_id == 9]
        return [(at, tag) for at, tag in tags if tag.packet == "coded_frames"]

    @property
    def sound(self) -> list[int]:
        return [
            m.timestamp_ms for m in self.messages if m.type_id == 8 and flv.parse_audio(m.payload).packet == "frames"
        ]

    def check_rising(self) -> None:
        for times in ([at for at, _ in self.pictures], self.sound):
            assert all(before < after for before, after in itertools.pairwise(times)), times


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    made = Engine(udp_ports=(46_430, 46_450))
    yield made
    made.close()


async def test_another_source_goes_on_with_a_key_frame_and_the_time(engine: Engine) -> None:
    feeds = Feeds(engine)
    one, other = Camera(engine, "one"), Camera(engine, "other", gop=50, begin=1000)
    peer = Peer(feeds)
    peer.select(one.video, one.audio)
    await until("pictures", lambda: len(peer.pictures) > 30)
    began = time.monotonic()
    for source in (other, one, other):
        count = len(peer.pictures)
        peer.select(source.video, source.audio)
        await until("it is cut over", lambda count=count: len(peer.pictures) > count + 40)
    peer.check_rising()
    # A switch costs no more time than it takes: what was kept is caught up with, not added.
    assert peer.pictures[-1][0] < (time.monotonic() - began) * 1000 + 5000
    assert len(feeds.stats()) == 1
    # Decoding may begin where the picture changes: each change shows as a key frame.
    assert sum(tag.keyframe for _, tag in peer.pictures) >= 5
    peer.outlet.close()
    assert feeds.stats() == []
    one.stop()
    other.stop()


async def test_the_old_picture_stays_until_the_new_one_has_a_key_frame(engine: Engine) -> None:
    feeds = Feeds(engine)
    one = Camera(engine, "one")
    late = engine.publish("late")
    video = late.add_track("video", "H264", clock_hz=90_000)
    peer = Peer(feeds)
    peer.select(one.video, one.audio)
    await until("pictures", lambda: len(peer.pictures) > 10)
    peer.select(video, one.audio)
    count = len(peer.pictures)
    await until("the old one goes on", lambda: len(peer.pictures) > count + 10)
    config = avcc.parse(recording(10, 10, 64, 48).header)
    body = avcc.join_lengths([*config.sps, *config.pps]) + recording(10, 10, 64, 48).pictures[0][1]
    late.write(video, 0, body, keyframe=True, capture_ns=time.monotonic_ns())
    await until("the new one", lambda: bytes(peer.pictures[-1][1].body).endswith(body[-50:]))
    sound = len(peer.sound)
    await until("its sound went on", lambda: len(peer.sound) > sound + 5)
    peer.check_rising()
    peer.outlet.close()
    one.stop()
    late.close()


async def test_sound_goes_on_without_a_break_when_the_picture_changes(engine: Engine) -> None:
    feeds = Feeds(engine)
    one, other = Camera(engine, "one"), Camera(engine, "other")
    peer = Peer(feeds)
    peer.select(one.video, one.audio)
    await until("pictures", lambda: len(peer.pictures) > 10)
    peer.select(other.video, one.audio)
    count = len(peer.pictures)
    await until("more", lambda: len(peer.pictures) > count + 30)
    steps = [after - before for before, after in itertools.pairwise(peer.sound)]
    assert max(steps) < 90, steps
    peer.outlet.close()
    one.stop()
    other.stop()


async def test_nothing_selected_sends_nothing(engine: Engine) -> None:
    feeds = Feeds(engine)
    one = Camera(engine, "one")
    peer = Peer(feeds)
    peer.select(one.video, None)
    await until("pictures", lambda: len(peer.pictures) > 5)
    assert peer.sound == []
    peer.select(None, None)
    await asyncio.sleep(0.1)
    assert feeds.stats() == []
    peer.select(one.video, one.audio)
    count = len(peer.pictures)
    await until("pictures again", lambda: len(peer.pictures) > count + 5 and peer.sound)
    peer.check_rising()
    with pytest.raises(ValueError, match="no audio track"):
        peer.outlet.lines[Kind.AUDIO].select(one.video)
    peer.outlet.close()
    one.stop()


async def test_a_slow_peer_goes_on_at_a_key_frame(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALLED_S", 0.6)
    feeds = Feeds(engine)
    one = Camera(engine, "one", gop=10)
    peer, other = Peer(feeds), Peer(feeds)
    for each in (peer, other):
        each.select(one.video, one.audio)
    await until("pictures", lambda: len(peer.pictures) > 10)
    peer.buffered = module.BEHIND_BYTES * 10
    await until("it is slow", lambda: peer.outlet.is_slow)
    count = len(peer.messages)
    await asyncio.sleep(0.3)
    assert len(peer.messages) == count
    assert peer.stalled == 0
    peer.buffered = 0
    await until("it goes on", lambda: len(peer.messages) > count + 10)
    assert peer.outlet.dropped > 5
    pictures = peer.pictures
    gap = max(range(1, len(pictures)), key=lambda at: pictures[at][0] - pictures[at - 1][0])
    assert pictures[gap][1].keyframe
    peer.buffered = module.BEHIND_BYTES * 10
    await until("it is let go", lambda: peer.stalled)
    steps = [after[0] - before[0] for before, after in itertools.pairwise(other.pictures)]
    assert max(steps) < 150
    for each in (peer, other):
        each.outlet.close()
    one.stop()
