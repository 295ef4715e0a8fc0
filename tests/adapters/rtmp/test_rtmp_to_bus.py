"""What a peer publishes, as access units: tables, and a clock that goes as the test says."""

import itertools
import time
from collections.abc import Iterator

import pytest
from rtmp_peer import audio_header, recording, video_header

from orbridge.adapters.rtmp.to_bus import ToBus
from orbridge.codecs import avcc, flv
from orbridge.codecs._engine import Engine, Subscription
from orbridge.codecs.media import AccessUnit

STREAM = "tower/main"
MS = 1_000_000


class Rig:
    """A ``ToBus`` on a real engine with a fake clock, and everything that comes out."""

    def __init__(self, engine: Engine, **more: bool) -> None:
        self.engine, self.now_ns, self.changes = engine, 1_000_000 * MS, 0
        self.to_bus = ToBus(engine, STREAM, lambda: self.now_ns, **more)
        self.to_bus.on_changed = self._changed
        self.subscriptions: dict[int, Subscription] = {}

    def _changed(self) -> None:
        self.changes += 1
        for kind in ("audio", "video"):
            track = self.engine.track(STREAM, kind)  # type: ignore[arg-type]
            if track is not None and track not in self.subscriptions:
                self.subscriptions[track] = self.engine.subscribe([track], queue_ms=100_000, queue_bytes=1 << 28)

    def video(self, at_ms: int, payload: bytes, *, keyframe: bool = False, composition_ms: int = 0) -> None:
        body = flv.serialise_video(
            "H264", "coded_frames", payload, keyframe=keyframe, composition_ms=composition_ms, enhanced=False
        )
        self.to_bus.media("video", at_ms, body)

    def header(self) -> None:
        self.to_bus.media("video", 0, video_header(recording()))

    def audio(self, at_ms: int, payload: bytes = b"frame") -> None:
        self.to_bus.media("audio", at_ms, flv.serialise_audio("AAC", "frames", payload))

    def units(self, kind: str, count: int) -> list[AccessUnit]:
        """The units of the newest track of a kind, once so many are there."""
        track = self.engine.track(STREAM, kind)  # type: ignore[arg-type]
        assert track is not None
        ends, got = time.monotonic() + 5, list[AccessUnit]()
        while len(got) < count and time.monotonic() < ends:
            got += [AccessUnit(*fields) for fields in self.subscriptions[track].take()]
            time.sleep(0.005)
        return got

    @property
    def notes(self) -> dict[str, str]:
        self.to_bus.look()
        return {note.code: note.text for note in self.to_bus.notes()}

    @property
    def codecs(self) -> list[tuple[str, int, int]]:
        found = self.engine.streams([STREAM])[0]["tracks"]
        return [(track["codec"], track["clock_hz"], track["channels"]) for track in found]


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(udp_ports=(46_400, 46_420))
    yield made
    made.close()


@pytest.fixture
def rig(engine: Engine) -> Iterator[Rig]:
    made = Rig(engine)
    yield made
    made.to_bus.close()
    assert engine.streams() == []


def sets_of(payload: bytes) -> list[int]:
    return [nal[0] & 0x1F for nal in avcc.split_lengths(payload)]


def test_parameter_sets_go_before_key_frames_and_nowhere_else(rig: Rig) -> None:
    rig.header()
    for number, (keyframe, payload) in enumerate(recording().pictures[:50]):
        rig.now_ns += 40 * MS
        rig.video(number * 40, payload, keyframe=keyframe)
    units = rig.units("video", 50)
    assert [unit.keyframe for unit in units] == [keyframe for keyframe, _ in recording().pictures[:50]]
    for unit in units:
        assert sets_of(unit.payload)[:2] == [7, 8] if unit.keyframe else 7 not in sets_of(unit.payload)
    assert {after.dts - before.dts for before, after in itertools.pairwise(units)} == {3600}
    assert rig.codecs == [("H264", 90_000, 1)]


@pytest.mark.parametrize("form", ["two bytes", "one byte", "start codes", "in-band sets"])
def test_every_form_of_nal_units_becomes_one(rig: Rig, form: str) -> None:
    made = recording(10, 10, 64, 48)
    config = avcc.parse(made.header)
    nals = [bytes(nal) for nal in avcc.split_lengths(made.pictures[0][1])]
    sets = [*config.sps, *config.pps]
    payload = avcc.join_lengths(nals)
    size = {"two bytes": 2, "one byte": 1}.get(form, 4)
    if size < 4:
        nals = [nal[:200] for nal in nals]
        payload = b"".join(len(nal).to_bytes(size, "big") + nal for nal in nals)
    elif form == "start codes":
        payload = b"".join(b"\0\0\0\1" + nal for nal in nals)
    elif form == "in-band sets":
        payload = avcc.join_lengths([*sets, *nals])
    record = avcc.AvcConfig(
        config.profile_idc, config.constraints, config.level_idc, size, config.sps, config.pps
    ).serialise()
    rig.to_bus.media("video", 0, flv.serialise_video("H264", "sequence_header", record))
    rig.video(0, payload, keyframe=True)
    (unit,) = rig.units("video", 1)
    assert [bytes(nal) for nal in avcc.split_lengths(unit.payload)] == [*sets, *nals]


def test_composition_times_become_presentation_times_and_are_said(rig: Rig) -> None:
    rig.header()
    pictures = recording().pictures
    for number, composition in enumerate((80, 160, 0, 40, 80)):
        rig.now_ns += 40 * MS
        rig.video(number * 40, pictures[number][1], keyframe=number == 0, composition_ms=composition)
    units = rig.units("video", 5)
    assert [(unit.pts - unit.dts) // 90 for unit in units] == [80, 160, 0, 40, 80]
    assert "up to 160 ms" in rig.notes["reordered"]
    assert rig.to_bus.stats()["composition_ms"] == 160
    assert units[1].capture_ns - units[0].capture_ns == pytest.approx(120 * MS, abs=MS)


def test_parameter_sets_that_change_in_the_middle(rig: Rig) -> None:
    rig.header()
    rig.video(0, recording().pictures[0][1], keyframe=True)
    other = recording(10, 10, 64, 48)
    rig.to_bus.media("video", 40, video_header(other))
    rig.video(40, other.pictures[0][1], keyframe=True)
    one, two = rig.units("video", 2)
    assert one.payload != two.payload
    assert next(bytes(nal) for nal in avcc.split_lengths(two.payload)) == avcc.parse(other.header).sps[0]
    facts = rig.engine.streams([STREAM])[0]["tracks"][0]
    assert (facts["width"], facts["height"]) == (64, 48)


def test_sound_keeps_its_own_clock(rig: Rig) -> None:
    rig.to_bus.media("audio", 0, audio_header(44_100))
    for number in range(100):
        rig.now_ns = (1_000_000 + number * 23) * MS
        rig.audio(int(number * 1024 / 44.1))
    units = rig.units("audio", 100)
    assert {after.pts - before.pts for before, after in itertools.pairwise(units)} == {1024}
    assert rig.codecs == [("AAC", 44_100, 2)]


def test_an_encoder_that_changes_its_sound_gets_another_track(rig: Rig) -> None:
    rig.to_bus.media("audio", 0, audio_header(44_100))
    first = rig.engine.track(STREAM, "audio")
    rig.audio(0)
    rig.to_bus.media("audio", 10, audio_header(44_100))
    assert rig.engine.track(STREAM, "audio") == first
    changes = rig.changes
    rig.to_bus.media("audio", 20, audio_header(48_000, 1))
    assert rig.engine.track(STREAM, "audio") != first
    assert rig.changes > changes
    rig.audio(20)
    assert rig.codecs == [("AAC", 48_000, 1)]


@pytest.mark.parametrize(
    ("codec", "payload", "codecs", "ticks"),
    [
        ("PCMA", bytes(160), ("PCMA", 8000, 1), 160),
        ("PCMU", bytes(160), ("PCMU", 8000, 1), 160),
        ("OPUS", b"\xf8" + bytes(20), ("OPUS", 48_000, 2), 960),
    ],
)
def test_other_sound(rig: Rig, codec: str, payload: bytes, codecs: tuple[str, int, int], ticks: int) -> None:
    for number in range(3):
        rig.now_ns += 20 * MS
        rig.to_bus.media("audio", number * 20, flv.serialise_audio(codec, "frames", payload, channels=1))
    units = rig.units("audio", 3)
    assert {after.pts - before.pts for before, after in itertools.pairwise(units)} == {ticks}
    assert rig.codecs == [codecs]


@pytest.mark.parametrize(
    ("payload", "code", "words"),
    [
        (b"\x22\0\0", "video_refused", "picture is H263"),
        (b"\x14\0\0", "video_refused", "picture is VP6"),
    ],
)
def test_pictures_that_are_not_taken_are_refused_in_words(rig: Rig, payload: bytes, code: str, words: str) -> None:
    rig.to_bus.media("video", 0, payload)
    assert words in rig.notes[code]
    rig.header()
    assert code not in rig.notes


@pytest.mark.parametrize(("payload", "words"), [(b"\x2f\xff\xfb", "MP3"), (b"\xb2\0", "SPEEX"), (b"\x10\0", "ADPCM")])
def test_sound_that_is_not_taken_is_refused_in_words(rig: Rig, payload: bytes, words: str) -> None:
    rig.to_bus.media("audio", 0, payload)
    assert f"sound is {words}" in rig.notes["audio_refused"]
    rig.to_bus.media("audio", 0, audio_header())
    assert "audio_refused" not in rig.notes


def test_rare_aac_is_refused_in_words(rig: Rig) -> None:
    rig.to_bus.media("audio", 0, flv.serialise_audio("AAC", "sequence_header", bytes((1 << 3 | 1, 0x90))))
    assert "set it to AAC-LC" in rig.notes["audio_refused"]
    assert rig.engine.track(STREAM, "audio") is None


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("video", b"\x17"),
        ("video", b"\x17\0\0\0\0\x09"),
        ("video", b"\x90hvc1\x01"),
        ("video", b"\xf6\0\0"),
        ("audio", b"\xaf"),
        ("audio", b"\xaf\0"),
        ("audio", b"\x95\0"),
        ("data", b"\xff\xff"),
    ],
)
def test_nonsense_is_counted_and_hurts_nothing(rig: Rig, kind: str, payload: bytes) -> None:
    rig.to_bus.media(kind, 0, payload)  # type: ignore[arg-type]
    assert rig.to_bus.counts["broken"] == 1
    assert rig.notes["broken"].startswith("the encoder sends what can't be understood: ")
    rig.header()
    rig.video(0, recording().pictures[0][1], keyframe=True)
    assert len(rig.units("video", 1)) == 1


def test_pictures_before_their_header_are_left_out(rig: Rig) -> None:
    rig.video(0, recording().pictures[0][1], keyframe=True)
    rig.audio(0)
    assert rig.to_bus.counts["before_header"] == 2


def test_rare_key_frames_are_said_and_taken_back(rig: Rig) -> None:
    rig.header()
    pictures = recording().pictures
    for number in range(250):
        rig.now_ns += 40 * MS
        rig.video(number * 40, pictures[0 if number == 0 else 1][1], keyframe=number == 0)
    assert "rare_keyframes" in rig.notes
    for number in range(250, 252):
        rig.now_ns += 40 * MS
        rig.video(number * 40, pictures[0][1], keyframe=True)
    assert "rare_keyframes" not in rig.notes
    assert rig.to_bus.stats()["keyframe_interval_ms"] == 40


def test_what_is_missing_is_said_and_taken_back(rig: Rig) -> None:
    rig.header()
    for number in range(150):
        rig.now_ns += 40 * MS
        rig.video(number * 40, recording().pictures[0][1], keyframe=True)
        if number == 1:
            assert rig.notes == {}
    assert rig.notes == {"no_audio": "the encoder sends no sound"}
    rig.to_bus.media("audio", 6000, audio_header())
    assert rig.notes == {}


def test_jumping_timestamps_are_said_and_taken_out(rig: Rig) -> None:
    rig.header()
    for number in range(20):
        rig.now_ns += 40 * MS
        rig.video(number * 40 + (3_600_000 if number >= 10 else 0), recording().pictures[0][1], keyframe=True)
    units = rig.units("video", 20)
    assert all(0 < after.dts - before.dts <= 7200 for before, after in itertools.pairwise(units))
    assert "timestamps" in rig.notes
    assert rig.to_bus.stats()["timestamp_jumps"] == 1


@pytest.mark.parametrize("ppm", [-200, 200])
def test_sound_and_picture_stay_together_for_ten_minutes_at_skew(rig: Rig, ppm: int) -> None:
    """What was captured at one moment has one capture time, within 45 ms, however the encoder's clock runs."""
    rig.header()
    rig.to_bus.media("audio", 0, audio_header())
    keyframe = recording(10, 10, 64, 48).pictures[0][1]
    begin_ns, captured = rig.now_ns, dict[str, list[tuple[float, int]]](audio=[], video=[])
    moments = sorted(
        [(number * 40.0, "video") for number in range(15_000)]
        + [(number * 1024 / 48, "audio") for number in range(28_125)]
    )
    pending: dict[str, list[float]] = {"audio": [], "video": []}
    for count, (source_ms, kind) in enumerate(moments):
        true_ms = source_ms / (1 + ppm / 1e6)
        rig.now_ns = begin_ns + int(true_ms * MS) + 5 * MS
        if kind == "video":
            rig.video(int(source_ms), keyframe, keyframe=True)
        else:
            rig.audio(int(source_ms))
        pending[kind].append(true_ms)
        if count % 400 == 399 or count == len(moments) - 1:
            for of, wanted in pending.items():
                units = rig.units(of, len(wanted))
                assert len(units) == len(wanted)
                captured[of] += [(true, unit.capture_ns - begin_ns) for true, unit in zip(wanted, units, strict=True)]
                wanted.clear()
    errors = {of: [at / MS - true for true, at in found[-1000:]] for of, found in captured.items()}
    assert max(errors["audio"]) - min(errors["video"]) < 45
    assert max(errors["video"]) - min(errors["audio"]) < 45


def test_metadata_is_kept_for_people_and_bounded(rig: Rig) -> None:
    body = flv.serialise_metadata(
        {"encoder": "Box\n" + "x" * 500, "width": 1280.0, "secret": "hidden"}, set_data_frame=True
    )
    rig.to_bus.media("data", 0, body)
    metadata = rig.to_bus.stats()["metadata"]
    assert metadata["width"] == 1280
    assert metadata["encoder"].startswith("Boxxx")
    assert len(metadata["encoder"]) == 60
    assert "secret" not in metadata


def test_a_picture_that_is_not_wanted_is_left_out(engine: Engine) -> None:
    rig = Rig(engine, video=False)
    rig.header()
    rig.video(0, recording().pictures[0][1], keyframe=True)
    assert rig.engine.track(STREAM, "video") is None
    rig.to_bus.close()


def test_the_name_is_taken_once(engine: Engine, rig: Rig) -> None:
    with pytest.raises(ValueError, match="already has a publisher"):
        ToBus(engine, STREAM, lambda: 0)
