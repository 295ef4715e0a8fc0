"""What a call does with the engine: packets both ways, silence, ports that change, key frames, what is freed."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from gateway_here import OR3, PORT, Gateway, config, gateway
from rawpeer import Dialog, RawPeer, body, description, media_lines, status

from orbridge.adapters.sip import dtmf
from orbridge.adapters.sip import session as session_module
from orbridge.codecs.media import Kind
from orbridge.gateway.session import CloseReason, State

PEER = 21510
SILENCE_S = 1


@pytest.fixture
async def gw() -> AsyncIterator[Gateway]:
    async with gateway(config({"devices": [OR3], "media": {"silence_timeout_s": SILENCE_S}})) as made:
        yield made


@pytest.fixture
async def or3(gw: Gateway) -> AsyncIterator[RawPeer]:
    peer = await RawPeer(PEER, PORT).open()
    yield peer
    peer.close()


class Sound:
    """A device's audio socket: sends A-law silence, counts what comes."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.seq = 0
        self.heard: list[int] = []
        self._task: asyncio.Task[None] | None = None

    def talk_to(self, port: int) -> None:
        self._task = asyncio.create_task(self._run(port))

    async def _run(self, port: int) -> None:
        while True:
            header = struct.pack(">BBHII", 0x80, 8, self.seq & 0xFFFF, self.seq * 160, 0x5EED)
            self.socket.sendto(header + b"\xd5" * 160, ("127.0.0.1", port))
            self.seq += 1
            await asyncio.sleep(0.02)
            self.listen()

    def listen(self) -> int:
        """Payload types of the packets that came, counted."""
        while True:
            try:
                data = self.socket.recv(2048)
            except BlockingIOError:
                return len(self.heard)
            self.heard.append(data[1] & 0x7F)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        self.stop()
        self.socket.close()


@pytest.fixture
def sound() -> AsyncIterator[Sound]:
    made = Sound()
    yield made
    made.close()


def port_of(answer: str, kind: str = "audio") -> int:
    return int(next(line for line in media_lines(body(answer)) if line.startswith(f"m={kind}")).split()[1])


async def talking(gw: Gateway, or3: RawPeer, sound: Sound, **more: object) -> Dialog:
    dialog, answer = await or3.invite(description(audio=sound.port, video=None, audio_formats="8 101", **more))
    assert status(answer) == 200
    sound.talk_to(port_of(answer))
    await gw.active()
    return dialog


def units(gw: Gateway) -> int:
    return sum(
        track["units"]
        for stream in gw.bus.engine.streams()
        if stream["name"] == "or-3/main"
        for track in stream["tracks"]
        if track["kind"] == "audio"
    )


async def test_what_the_device_sends_is_on_the_bus(gw: Gateway, or3: RawPeer, sound: Sound) -> None:
    await talking(gw, or3, sound)
    await gw.until(lambda: units(gw) >= 10)


async def test_what_is_selected_goes_to_the_device(gw: Gateway, or3: RawPeer, sound: Sound) -> None:
    await talking(gw, or3, sound)
    await gw.until(lambda: units(gw) > 0)
    own = gw.bus.engine.track("or-3/main", "audio")
    session = gw.books.last
    session.sinks[0].select(own)
    await gw.until(lambda: sound.listen() > 5)
    assert set(sound.heard) == {8}


async def test_a_device_that_falls_silent_is_freed(gw: Gateway, or3: RawPeer, sound: Sound) -> None:
    await talking(gw, or3, sound)
    session = gw.books.last
    await asyncio.sleep(SILENCE_S * 1.6)
    assert session.state is State.ACTIVE
    sound.stop()
    assert await gw.closed(session, SILENCE_S * 2.5) is CloseReason.SILENT
    await or3.wait("BYE ")
    assert gw.leftovers() == {"sessions": 0, "streams": 0, "legs": 0}


async def test_a_device_that_never_said_anything_is_freed(gw: Gateway, or3: RawPeer) -> None:
    await or3.invite(description())
    session = await gw.active()
    assert await gw.closed(session, SILENCE_S * 2.5) is CloseReason.SILENT


async def test_on_hold_nothing_has_to_come(gw: Gateway, or3: RawPeer, sound: Sound) -> None:
    dialog = await talking(gw, or3, sound)
    session = gw.books.last
    held = description(audio=sound.port, video=None, audio_formats="8 101", direction="sendonly", version=2)
    await or3.invite(held, dialog)
    await gw.until(lambda: session.state is State.HELD)
    sound.stop()
    await asyncio.sleep(SILENCE_S * 2)
    assert session.state is State.HELD
    resumed = description(audio=sound.port, video=None, audio_formats="8 101", version=3)
    _, answer = await or3.invite(resumed, dialog)
    sound.talk_to(port_of(answer))
    await asyncio.sleep(SILENCE_S * 1.6)
    assert session.state is State.ACTIVE


async def test_a_held_device_is_sent_nothing_and_gets_it_back(gw: Gateway, or3: RawPeer, sound: Sound) -> None:
    dialog = await talking(gw, or3, sound)
    session = gw.books.last
    await gw.until(lambda: units(gw) > 0)
    session.sinks[0].select(gw.bus.engine.track("or-3/main", "audio"))
    await gw.until(lambda: sound.listen() > 0)
    await or3.invite(
        description(audio=sound.port, video=None, audio_formats="8", direction="sendonly", version=2), dialog
    )
    await gw.until(lambda: session.state is State.HELD)
    await asyncio.sleep(0.1)
    before = sound.listen()
    await asyncio.sleep(0.3)
    assert sound.listen() <= before
    await or3.invite(description(audio=sound.port, video=None, audio_formats="8", version=3), dialog)
    await gw.until(lambda: sound.listen() > before + 5, 1.0)


async def test_media_follows_a_port_that_changes(gw: Gateway, or3: RawPeer, sound: Sound) -> None:
    dialog = await talking(gw, or3, sound)
    session = gw.books.last
    await gw.until(lambda: units(gw) > 0)
    session.sinks[0].select(gw.bus.engine.track("or-3/main", "audio"))
    await gw.until(lambda: sound.listen() > 0)
    other = Sound()
    try:
        sound.stop()
        changed = description(audio=other.port, video=None, audio_formats="8 101", version=2)
        answer = await or3.transact("UPDATE", dialog, content=changed)
        other.talk_to(port_of(answer))
        await gw.until(lambda: other.listen() > 5)
    finally:
        other.close()


async def test_media_from_behind_a_nat_is_answered_where_it_comes_from(gw: Gateway, or3: RawPeer, sound: Sound) -> None:
    """The description names a private address that nobody hears on; packets come from another port."""
    dialog, answer = await or3.invite(description(audio=39998, video=None, audio_formats="8"))
    assert dialog.target
    sound.talk_to(port_of(answer))
    session = await gw.active()
    await gw.until(lambda: units(gw) > 0)
    session.sinks[0].select(gw.bus.engine.track("or-3/main", "audio"))
    await gw.until(lambda: sound.listen() > 5, 1.0)


async def test_an_unchanged_reinvite_leaves_the_learned_address(gw: Gateway, or3: RawPeer, sound: Sound) -> None:
    dialog, answer = await or3.invite(description(audio=39998, video=None, audio_formats="8"))
    sound.talk_to(port_of(answer))
    session = await gw.active()
    await gw.until(lambda: units(gw) > 0)
    session.sinks[0].select(gw.bus.engine.track("or-3/main", "audio"))
    await gw.until(lambda: sound.listen() > 0)
    await or3.invite(description(audio=39998, video=None, audio_formats="8"), dialog)
    before = sound.listen()
    await gw.until(lambda: sound.listen() > before + 5, 1.0)


async def test_a_fast_update_asks_the_source_that_is_shown(gw: Gateway, or3: RawPeer, sound: Sound) -> None:
    dialog, answer = await or3.invite(description(audio=sound.port))
    sound.talk_to(port_of(answer))
    session = await gw.active()
    publisher = gw.bus.engine.publish("browser/main")
    track = publisher.add_track("video", "H264", clock_hz=90000)
    next(sink for sink in session.sinks if sink.kind is Kind.VIDEO).select(track)
    wanted: list[int] = []
    gw.bus.on_track(track, lambda event: wanted.append(event[2]) if event[0] == "keyframe_wanted" else None)
    await gw.until(lambda: wanted)  # the selection itself asks
    update = (
        "<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>"
    )
    idr = b"\x65" + b"\x80" * 20
    publisher.write(track, 0, len(idr).to_bytes(4, "big") + idr, keyframe=True)
    await asyncio.sleep(0.7)
    wanted.clear()
    await asyncio.sleep(0.7)
    assert wanted == [], "nobody asks any more"
    answer = await or3.transact("INFO", dialog, content=update, content_type="application/media_control+xml")
    assert status(answer) == 200
    await gw.until(lambda: wanted)
    publisher.close()


@pytest.mark.parametrize(("video_pt", "is_told"), [("97", True), ("96", False)])
async def test_a_picture_too_large_for_a_device_without_fragments_is_told(
    gw: Gateway, or3: RawPeer, sound: Sound, monkeypatch: pytest.MonkeyPatch, video_pt: str, is_told: bool
) -> None:
    """packetization-mode 0 (97): a NAL unit of 70 kB fits no datagram. Mode 1 (96) cuts it."""
    monkeypatch.setattr(session_module, "PICTURES_EVERY_S", 0.05)
    _, answer = await or3.invite(description(audio=sound.port, video_pt=video_pt))
    sound.talk_to(port_of(answer))
    session = await gw.active()
    changes: list[int] = []
    session.on("media_changed", lambda changed: changes.append(len(changed.notes)))
    sink = next(sink for sink in session.sinks if sink.kind is Kind.VIDEO)
    publisher = gw.bus.engine.publish("browser/main")
    track = publisher.add_track("video", "H264", clock_hz=90000)
    sink.select(track)
    idr = b"\x65" + b"\x80" * 69_999
    publisher.write(track, 0, len(idr).to_bytes(4, "big") + idr, keyframe=True)
    if is_told:
        await gw.until(lambda: changes)
        assert [(note.code, note.text.partition(":")[0]) for note in session.notes] == [
            ("picture_too_large", "a picture of 70 kB can't be sent to this device")
        ]
    else:
        await gw.until(lambda: sink.sender.stats()["units"] == 1)
    await asyncio.sleep(0.3)
    stats = sink.sender.stats()
    assert (stats["too_large_units"], stats["too_large_bytes"]) == ((1, 70_000) if is_told else (0, 0))
    assert (len(session.notes), len(changes)) == (int(is_told), int(is_told)), "told once"
    publisher.close()


async def test_keys_pressed_in_rtp_are_told(gw: Gateway, or3: RawPeer, sound: Sound) -> None:
    """RFC 4733: an event's packets share a timestamp; the last ones, with the end bit, are sent three times."""
    _, answer = await or3.invite(description(audio=sound.port, video=None, audio_formats="8 101"))
    port = port_of(answer)
    await gw.active()
    for number, (event, key) in enumerate((("4", 4), ("#", 11))):
        for step in range(8):
            end = 0x80 if step >= 5 else 0
            header = struct.pack(">BBHII", 0x80, 101, sound.seq & 0xFFFF, 8000 * (number + 1), 0x5EED)
            sound.socket.sendto(
                header + struct.pack(">BBH", key, end | 10, 160 * min(step + 1, 6)), ("127.0.0.1", port)
            )
            sound.seq += 1
            await asyncio.sleep(0.02)
        await gw.until(lambda wanted=event: gw.books.digits[-1:] == [wanted])
    assert gw.books.digits == ["4", "#"]


async def test_keys_pressed_twice_over_are_told_once() -> None:
    told: list[str] = []
    digits = dtmf.Digits(told.append)
    digits.from_info("5", twin_possible=True)
    digits.from_rtp("5")
    digits.from_info("6", twin_possible=True)
    digits.from_rtp("6")
    await asyncio.sleep(dtmf.TWIN_WITHIN_S + 0.1)
    assert told == ["5", "6"]


async def test_keys_that_come_by_info_alone_are_told_although_rtp_events_were_agreed() -> None:
    told: list[str] = []
    digits = dtmf.Digits(told.append)
    digits.from_info("1", twin_possible=True)
    digits.from_info("1", twin_possible=True)
    await asyncio.sleep(dtmf.TWIN_WITHIN_S + 0.1)
    digits.from_info("2", twin_possible=True)
    digits.from_rtp("2")
    assert told == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("content_type", "text", "digit"),
    [
        ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", "5"),
        ("application/dtmf-relay", "signal = *\n", "*"),
        ("application/dtmf-relay", "Signal=11\r\n", "#"),
        ("application/dtmf-relay", "Signal=1\r\n", "1"),
        ("application/dtmf-relay", "Duration=1\r\n", None),
        ("application/dtmf", "d", "D"),
        ("application/dtmf", "", None),
        ("application/dtmf", "x", None),
        ("text/plain", "5", None),
    ],
)
def test_digits_in_info(content_type: str, text: str, digit: str | None) -> None:
    assert dtmf.digit_of(content_type, text) == digit
