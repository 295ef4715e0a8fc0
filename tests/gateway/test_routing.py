"""Who may enter which room, and what the routing core does with sessions; the engine here only remembers."""

import asyncio
from typing import Any

import pytest
from pyee.base import EventEmitter

from orbridge.codecs.media import G722, H264, OPUS, PCMA, Codec, Kind, Role, VideoLimit
from orbridge.gateway.adapter import Refused
from orbridge.gateway.config import Config, Device, Room
from orbridge.gateway.rooms.model import Rooms
from orbridge.gateway.routing import Routing, permitted_room, unique_name
from orbridge.gateway.session import CloseReason, Session, Sink, State


class RememberedSender:
    def __init__(self) -> None:
        self.selected: int | None = None

    def select(self, track: int | None) -> None:
        self.selected = track


class RememberedMixer:
    def __init__(self, engine: "RememberedEngine", number: int) -> None:
        self.id, self.inputs, self.engine, self.closed = number, (), engine, False
        self.outputs: list[tuple[str, str, list[int]]] = []

    def set_inputs(self, tracks: Any) -> None:
        self.inputs = tuple(tracks)

    def add_output(self, stream: str, codec: str, *, exclude: Any = (), bitrate_bps: int = 0) -> Any:
        self.outputs.append((stream, codec, list(exclude)))
        track = self.engine.add(stream, Codec(codec, 8000), "audio")

        class Output:
            track_id = track

            def close(output) -> None:
                self.engine.remove(stream)

        return Output()

    def close(self) -> None:
        self.closed = True


class RememberedEngine:
    def __init__(self) -> None:
        self.known: dict[str, list[dict[str, Any]]] = {}
        self.mixers: list[RememberedMixer] = []
        self._tracks = 0

    def add(self, stream: str, codec: Codec, kind: str, width: int = 0, height: int = 0) -> int:
        self._tracks += 1
        facts = {"id": self._tracks, "kind": kind, "codec": codec.name, "clock_hz": codec.clock_hz}
        facts |= {"channels": codec.channels, "width": width, "height": height, "fps": 0.0}
        self.known.setdefault(stream, []).append(facts)
        return self._tracks

    def remove(self, stream: str) -> None:
        self.known.pop(stream, None)

    def streams(self, names: Any = None) -> list[dict[str, Any]]:
        return [
            {"name": name, "tracks": tracks} for name, tracks in self.known.items() if names is None or name in names
        ]

    def track(self, stream: str, kind: str) -> int | None:
        return next((track["id"] for track in self.known.get(stream, ()) if track["kind"] == kind), None)

    def open_mixer(self, label: str = "") -> RememberedMixer:
        self.mixers.append(RememberedMixer(self, 100 + len(self.mixers)))
        return self.mixers[-1]


class RememberedBus(EventEmitter):
    def __init__(self) -> None:
        super().__init__()
        self.engine = RememberedEngine()


class Someone(Session):
    adapter = "test"

    def __init__(
        self,
        bus: RememberedBus,
        name: str,
        room: str,
        *,
        audio: Codec,
        device: bool = False,
        limit: VideoLimit | None = None,
        plays: str | None = None,
        size: tuple[int, int] = (640, 360),
    ) -> None:
        owner = name if device else None
        super().__init__(name, name=name, room=room, remote="r", inbound=True, opened_ns=0, plays=plays, device=owner)
        if plays is None:
            stream = f"{room}/{name}/main"
            self.published = {Role.MAIN: stream}
            self.video = bus.engine.add(stream, H264, "video", *size)
            self.audio = bus.engine.add(stream, audio, "audio")
        self.shown, self.played = RememberedSender(), RememberedSender()
        self.sinks = [
            Sink(Kind.VIDEO, Role.MAIN, H264, self.shown, limit),  # type: ignore[arg-type]
            Sink(Kind.AUDIO, Role.MAIN, audio, self.played),  # type: ignore[arg-type]
        ]
        self.wanted: list[tuple[int, int]] = []
        self.move(State.CONNECTING)
        self.move(State.ACTIVE)

    def want_keyframe(self, track_id: int, attempt: int) -> None:
        self.wanted.append((track_id, attempt))


OR3 = Device(name="or-3", adapter="sip", address="sip:or3@x", room="or-3", rooms=["tumour-*"])


class Core:
    def __init__(self) -> None:
        self.bus = RememberedBus()
        config = Config(devices=[OR3], rooms=[Room(name="or-3", max_participants=3)])
        self.now_ms = 0
        self.rooms = Rooms()
        self.routing = Routing(self.bus, self.rooms, config, lambda: self.now_ms * 1_000_000)  # type: ignore[arg-type]

    def join(self, name: str, room: str = "or-3", **kwargs: Any) -> Someone:
        someone = Someone(self.bus, name, room, **kwargs)
        self.routing.attach(someone)
        return someone


@pytest.fixture
async def core() -> Core:
    return Core()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("wanted", "room"),
    [(None, "or-3"), ("or-3", "or-3"), ("tumour-board", "tumour-board"), ("or-4", "or-3"), ("", "or-3")],
)
def test_where_a_call_goes(wanted: str | None, room: str) -> None:
    assert permitted_room(OR3, wanted) == room


@pytest.mark.parametrize(
    ("wanted", "taken", "name"),
    [
        ("dr-li", [], "dr-li"),
        ("dr-li", ["dr-li"], "dr-li-2"),
        ("a", ["a", "a-2"], "a-3"),
        ("a/b?", [], "a-b-"),
        ("  ", [], "guest"),
    ],
)
def test_names_are_unique_and_divide_no_stream(wanted: str, taken: list[str], name: str) -> None:
    assert unique_name(wanted, taken) == name


async def test_a_device_without_a_room_is_refused(core: Core) -> None:
    with pytest.raises(Refused, match="device d dialled x, which its rooms don't allow, and has no room"):
        core.routing.admit_device(Device(name="d", adapter="sip", address="sip:d@x"), "x")


async def test_a_full_room_refuses_but_not_who_comes_back(core: Core) -> None:
    for name in ("or-3", "b", "c"):
        core.join(name, audio=OPUS)
    with pytest.raises(Refused, match=r"room or-3 is full \(3 participants\)") as caught:
        core.routing.admit_guest("or-3", "d")
    assert caught.value.reason is CloseReason.ROOM_FULL
    assert core.routing.admit_device(OR3, None).room == "or-3"


async def test_a_guest_cannot_take_a_devices_name(core: Core) -> None:
    assert core.routing.admit_guest("or-3", "or-3").name == "or-3-2"


async def test_two_with_one_codec_pass_through(core: Core) -> None:
    one, other = core.join("a", audio=PCMA, device=True), core.join("b", audio=PCMA)
    await settled()
    assert (one.shown.selected, one.played.selected) == (other.video, other.audio)
    assert (other.shown.selected, other.played.selected) == (one.video, one.audio)
    assert core.bus.engine.mixers == []


async def test_codecs_differ_so_sound_is_mixed_and_video_is_not(core: Core) -> None:
    device, guest = core.join("a", audio=G722, device=True), core.join("b", audio=OPUS)
    await settled()
    (mixer,) = core.bus.engine.mixers
    assert set(mixer.inputs) == {device.audio, guest.audio}
    assert sorted((codec, exclude) for _, codec, exclude in mixer.outputs) == [
        ("G722", [device.audio]),
        ("OPUS", [guest.audio]),
    ]
    assert device.shown.selected == guest.video


async def test_the_mixer_goes_when_nobody_needs_it(core: Core) -> None:
    core.join("a", audio=G722, device=True)
    guest = core.join("b", audio=OPUS)
    await settled()
    guest.ended(CloseReason.REMOTE_HANGUP)
    await settled()
    assert core.bus.engine.mixers[0].closed
    assert core.routing.sessions.keys() == {"a"}


async def test_the_speaker_is_shown_with_hysteresis(core: Core) -> None:
    device = core.join("d", audio=G722, device=True)
    one, other = core.join("a", audio=OPUS), core.join("b", audio=OPUS)
    await settled()
    mixer = core.bus.engine.mixers[0]
    for loud, quiet in ((other, one), (one, other)):
        for _ in range(40):
            core.now_ms += 100
            core.bus.emit(
                "levels", mixer.id, [(loud.audio, -20, True), (quiet.audio, -80, False), (device.audio, -90, False)]
            )
        await settled()
        assert device.shown.selected == loud.video
    member = core.rooms.get("or-3").members  # type: ignore[union-attr]
    assert member["a"].speaking
    assert not member["b"].speaking


async def test_a_pin_holds_against_the_speaker_and_ends(core: Core) -> None:
    device = core.join("d", audio=OPUS, device=True)
    one, other = core.join("a", audio=OPUS), core.join("b", audio=OPUS)
    await settled()
    room = core.rooms.get("or-3")
    assert room is not None
    core.routing.pin(room, "d", "b")
    await settled()
    assert device.shown.selected == other.video
    core.routing.pin(room, "d", None)
    other.ended(CloseReason.REMOTE_HANGUP)
    await settled()
    assert device.shown.selected == one.video
    with pytest.raises(ValueError, match="nobody called x"):
        core.routing.pin(room, "d", "x")


async def test_a_picture_too_large_is_withheld_and_said_and_publishers_are_told_the_limit(core: Core) -> None:
    limit = VideoLimit(396, 11880, 384)
    device = core.join("d", audio=OPUS, device=True, limit=limit)
    guest = core.join("a", audio=OPUS, size=(1280, 720))
    await settled()
    assert device.shown.selected is None
    room = core.rooms.get("or-3")
    assert room is not None
    assert "a sends 1280x720" in room.members["d"].notes[0].text
    assert core.routing.limit_for("a") == limit
    assert core.routing.limit_for("d") is None
    assert guest.shown.selected == device.video


async def test_a_late_size_withdraws_the_picture(core: Core) -> None:
    device = core.join("d", audio=OPUS, device=True, limit=VideoLimit(396, 11880))
    guest = core.join("a", audio=OPUS, size=(0, 0))
    await settled()
    assert device.shown.selected == guest.video
    core.bus.engine.known["or-3/a/main"][0].update(width=1280, height=720)
    core.bus.emit("size", guest.video, 1280, 720)
    await settled()
    assert device.shown.selected is None


async def test_on_hold_is_not_shown(core: Core) -> None:
    device, guest = core.join("d", audio=OPUS, device=True), core.join("a", audio=OPUS)
    await settled()
    device.move(State.HELD)
    await settled()
    assert guest.shown.selected is None
    device.move(State.ACTIVE)
    await settled()
    assert guest.shown.selected == device.video


async def test_a_player_gets_the_stream_as_it_is_or_its_sound_transcoded(core: Core) -> None:
    device = core.join("d", audio=G722, device=True)
    same = core.join("p", audio=G722, plays="or-3/d/main")
    other = core.join("q", audio=OPUS, plays="or-3/d/main")
    again = core.join("r", audio=OPUS, plays="or-3/d/main")
    await settled()
    assert (same.shown.selected, same.played.selected) == (device.video, device.audio)
    assert other.shown.selected == device.video
    assert other.played.selected == again.played.selected != device.audio
    transcoder = next(mixer for mixer in core.bus.engine.mixers if mixer.inputs == (device.audio,))
    other.ended(CloseReason.REMOTE_HANGUP)
    assert not transcoder.closed
    again.ended(CloseReason.REMOTE_HANGUP)
    assert transcoder.closed
    assert len(core.rooms.get("or-3").members) == 1  # type: ignore[union-attr]


async def test_a_player_who_came_first_gets_the_stream_when_it_comes(core: Core) -> None:
    player = core.join("p", audio=OPUS, plays="or-3/d/main")
    await settled()
    assert player.shown.selected is None
    device = core.join("d", audio=OPUS, device=True)
    await settled()
    assert (player.shown.selected, player.played.selected) == (device.video, device.audio)


async def test_key_frame_wishes_reach_the_session(core: Core) -> None:
    device = core.join("d", audio=OPUS, device=True)
    core.bus.emit("keyframe_wanted", device.video, 3)
    assert device.wanted == [(device.video, 3)]


async def test_rooms_that_nobody_configured_come_and_go(core: Core) -> None:
    someone = core.join("a", room="ad-hoc", audio=OPUS)
    assert core.rooms.get("ad-hoc") is not None
    assert core.routing.room_of("ad-hoc/a/main") == "ad-hoc"
    someone.ended(CloseReason.REMOTE_HANGUP)
    assert core.rooms.get("ad-hoc") is None
    assert core.routing.room_of("ad-hoc/a/main") is None


async def test_reload_keeps_who_is_in(core: Core) -> None:
    someone = core.join("a", audio=OPUS)
    core.routing.reload(Config(rooms=[Room(name="new")]))
    assert core.rooms.get("new") is not None
    assert "a" in core.rooms.get("or-3").members  # type: ignore[union-attr]
    someone.ended(CloseReason.REMOTE_HANGUP)
    assert core.rooms.get("or-3") is None
