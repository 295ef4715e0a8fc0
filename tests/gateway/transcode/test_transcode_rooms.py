"""Rooms whose members have no codec in common: encoders, browsers, room systems and outputs, on the real engine."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from functools import lru_cache

import pytest
from media_made import decode_pictures, decode_sound, encode_pictures, encode_sound, level_near, tone
from room_on_bus import ROOM, Core, Ear, Member, until

from orbridge.codecs.media import AAC, G722, H264, H265, OPUS, VP8, AccessUnit, Codec, Kind, VideoLimit
from orbridge.gateway.session import CloseReason
from orbridge.gateway.simulator.picture import read_time_code

BROWSER = ((H264, False), (OPUS, False))
OUTPUT = ((H264, True), (AAC, False))


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = Core()
    yield core
    core.close()


@lru_cache
def pictures(name: str) -> list[AccessUnit]:
    return encode_pictures(name, 60, 320, 240)


@lru_cache
def sound(codec: Codec, hz: float) -> list[AccessUnit]:
    rate = 16_000 if codec.name == "G722" else codec.clock_hz
    return encode_sound(tone(hz, 20.0, rate, codec.channels), codec)[2:]


async def tones(core: Core, track: int | None, seconds: float = 2.0) -> dict[int, float]:
    """Amplitudes of what a listener of this track hears. The mixer moves a pitch a little while it fits its buffer."""
    assert track is not None
    name = core.codec_of(track)
    ear = Ear(core.bus, track)
    frame = 1024 if name == "AAC" else 960
    await until(lambda: len(ear.take()) * frame > seconds * 48_000)
    heard = decode_sound(ear.payloads, name)[0, -48_000:]
    return {hz: round(level_near(heard, hz), 2) for hz in (440, 660, 880)}


async def test_an_encoders_aac_is_heard_in_the_room_and_its_picture_passes_through(core: Core) -> None:
    encoder, browser, room_system = (
        Member("endoscope", (), device=True),
        Member("dr-li", BROWSER),
        Member("or-3", ((H264, False), (G722, False)), device=True),
    )
    publisher = core.join(encoder, H264, AAC)
    core.join(browser)
    core.join(room_system)
    assert publisher is not None
    core.send(publisher, Kind.AUDIO, sound(AAC, 440))
    core.send(publisher, Kind.VIDEO, pictures("H264"))
    await until(lambda: browser.played() is not None and room_system.played() is not None)
    assert core.codec_of(browser.played()) == "OPUS"
    assert core.codec_of(room_system.played()) == "G722"
    assert browser.shown() == room_system.shown() == core.track(encoder, Kind.VIDEO)
    heard = await tones(core, browser.played())
    assert heard[440] == pytest.approx(0.3, abs=0.03)
    assert heard[660] < 0.01
    assert len(core.routing.conversions()["audio"]["running"]) == 1, "one for the whole room"
    encoder.ended(CloseReason.REMOTE_HANGUP)
    publisher.close()
    await until(lambda: not core.made())


async def test_an_output_gets_one_voice_as_it_is_and_several_as_a_mix(core: Core) -> None:
    # Encoding takes a while, in which no live source would stand still.
    low, high = sound(AAC, 440), sound(OPUS, 660)
    output, encoder, browser = (
        Member("archive", OUTPUT, watches=True),
        Member("endoscope", ()),
        Member("dr-li", BROWSER),
    )
    core.join(output)
    publisher = core.join(encoder, H264, AAC)
    assert publisher is not None
    core.send(publisher, Kind.AUDIO, low)
    await until(lambda: output.played() == core.track(encoder, Kind.AUDIO))
    assert core.routing.conversions()["audio"]["running"] == [], "AAC to AAC is passed through"
    voice = core.join(browser, OPUS)
    assert voice is not None
    core.send(voice, Kind.AUDIO, high)
    await until(lambda: core.codec_of(output.played()) == "AAC" and output.played() != core.track(encoder, Kind.AUDIO))
    heard = await tones(core, output.played())
    assert (heard[440], heard[660]) == (pytest.approx(0.3, abs=0.05), pytest.approx(0.3, abs=0.05))
    heard = await tones(core, browser.played())
    assert (heard[440], heard[660]) == (pytest.approx(0.3, abs=0.05), pytest.approx(0.0, abs=0.02))
    browser.ended(CloseReason.REMOTE_HANGUP)
    await until(lambda: output.played() == core.track(encoder, Kind.AUDIO))
    encoder.ended(CloseReason.REMOTE_HANGUP)
    output.ended(CloseReason.REMOTE_HANGUP)
    await until(lambda: not core.made())


async def test_a_voice_in_another_codec_is_converted_for_an_output_without_a_mixer(core: Core) -> None:
    output, browser = Member("archive", OUTPUT, watches=True), Member("dr-li", ())
    core.join(output)
    voice = core.join(browser, OPUS)
    assert voice is not None
    core.send(voice, Kind.AUDIO, sound(OPUS, 880))
    await until(lambda: core.codec_of(output.played()) == "AAC" and core.made()[-1].startswith("transcoded/"))
    assert (await tones(core, output.played()))[880] == pytest.approx(0.3, abs=0.03)
    assert not [name for name in core.made() if "/mix/" in name]


async def test_nobody_here_is_shown_as_a_slate_with_silence(core: Core) -> None:
    output = Member("archive", OUTPUT, watches=True)
    core.join(output)
    await until(lambda: output.shown() is not None and output.played() is not None)
    assert core.made() == ["slate/main"]
    picture, silence = Ear(core.bus, output.shown() or 0), Ear(core.bus, output.played() or 0)
    await until(lambda: len(picture.take()) >= 12 and len(silence.take()) >= 60)
    images = decode_pictures(picture.payloads)
    assert images[0].shape == (1080, 1280)
    assert {unit.pts % 18_000 for unit in picture.units} == {0}
    assert picture.units[0].keyframe
    assert sum(unit.keyframe for unit in picture.units) >= 2
    assert decode_sound(silence.payloads, "AAC").max() < 0.001
    steps = {later.pts - one.pts for one, later in itertools.pairwise(silence.units)}
    assert steps == {1024}
    person = Member("dr-li", ())
    publisher = core.join(person, H264, AAC)
    assert publisher is not None
    await until(lambda: output.shown() == core.track(person, Kind.VIDEO))
    assert output.played() == core.track(person, Kind.AUDIO)
    await until(lambda: not core.made())
    person.ended(CloseReason.REMOTE_HANGUP)
    publisher.close()
    await until(lambda: core.made() == ["slate/main"])
    output.ended(CloseReason.REMOTE_HANGUP)
    await until(lambda: not core.made())


async def test_an_output_is_nobody_that_others_see_or_hear(core: Core) -> None:
    output, browser = Member("archive", OUTPUT, watches=True), Member("dr-li", BROWSER)
    core.join(output)
    publisher = core.join(browser, H264, OPUS)
    assert publisher is not None
    await until(lambda: output.shown() == core.track(browser, Kind.VIDEO))
    assert browser.shown() is None
    assert browser.played() is None
    assert core.participant(output).kind == "output"
    assert core.routing.limit_for("dr-li") is None


@pytest.mark.parametrize("codec", [H265, Codec("VP9", 90_000), Codec("AV1", 90_000), VP8], ids=lambda codec: codec.name)
async def test_a_picture_that_a_browser_cannot_take_is_converted_once_for_all(core: Core, codec: Codec) -> None:
    encoder, one, other = Member("endoscope", (), device=True), Member("dr-li", BROWSER), Member("dr-ada", BROWSER)
    publisher = core.join(encoder, codec)
    core.join(one)
    core.join(other)
    assert publisher is not None
    core.send(publisher, Kind.VIDEO, pictures(codec.name))
    await until(lambda: one.shown() is not None)
    assert one.shown() == other.shown() != core.track(encoder, Kind.VIDEO)
    assert core.codec_of(one.shown()) == "H264"
    eye = Ear(core.bus, one.shown() or 0)
    await until(lambda: len(eye.take()) > 30)
    assert eye.units[0].keyframe
    image = decode_pictures(eye.payloads)[-1]
    assert image.shape == (360, 320)
    assert read_time_code(image[:240]) in range(0, 60 * 33, 33)
    (facts,) = core.routing.conversions()["video"]["running"]
    assert facts["users"] == ["dr-ada", "dr-li"]
    assert core.routing.source_of(one.shown() or 0) == core.track(encoder, Kind.VIDEO)
    (note,) = core.participant(one).notes
    assert (note.code, note.text) == (
        "picture_converted",
        f"endoscope sends {codec.name}, this side takes H264, so it is converted",
    )
    one.ended(CloseReason.REMOTE_HANGUP)
    other.ended(CloseReason.REMOTE_HANGUP)
    await until(lambda: core.routing.conversions()["video"]["running"][0]["users"] == [])
    assert core.made(), "it goes on for a moment, until something else has come"
    await until(lambda: not core.made())


async def test_a_key_frame_that_a_viewer_wants_comes_from_the_converter(core: Core) -> None:
    encoder, one = Member("endoscope", (), device=True), Member("dr-li", BROWSER)
    publisher = core.join(encoder, H265)
    core.join(one)
    assert publisher is not None
    core.send(publisher, Kind.VIDEO, pictures("H265"))
    await until(lambda: one.shown() is not None)
    eye = Ear(core.bus, one.shown() or 0)
    await until(lambda: len(eye.take()) > 10)
    before = len(eye.units)
    core.bus.engine.want_keyframe(one.shown() or 0)
    await until(lambda: any(unit.keyframe for unit in eye.take()[before:]), 1.0)


async def test_b_pictures_are_put_in_order_for_who_cannot_and_passed_to_who_can(core: Core) -> None:
    encoder, browser = Member("endoscope", (), device=True), Member("dr-li", BROWSER)
    output = Member("archive", OUTPUT, watches=True)
    publisher = core.join(encoder, H264)
    core.join(browser)
    core.join(output)
    assert publisher is not None
    await until(lambda: browser.shown() == core.track(encoder, Kind.VIDEO))
    core.send(publisher, Kind.VIDEO, pictures("B"))
    await until(lambda: browser.shown() not in (None, core.track(encoder, Kind.VIDEO)))
    assert output.shown() == core.track(encoder, Kind.VIDEO)
    eye = Ear(core.bus, browser.shown() or 0)
    await until(lambda: len(eye.take()) > 40)
    assert [unit.pts for unit in eye.units] == sorted(unit.pts for unit in eye.units)
    shown = [read_time_code(image[:240]) or 0 for image in decode_pictures(eye.payloads)]
    steps = {(later - one) % (60 * 33) for one, later in itertools.pairwise(shown)}
    assert steps == {33}
    assert "B-pictures" in core.participant(browser).notes[0].text
    assert core.participant(output).notes == []


async def test_over_the_limit_the_viewer_is_told_what_to_do(core: Core) -> None:
    core.close()
    core = Core(max_video_transcodes=1)
    one, other = Member("endoscope", (), device=True), Member("microscope", (), device=True)
    viewers = [Member("dr-li", BROWSER), Member("dr-ada", BROWSER)]
    for encoder in (one, other):
        publisher = core.join(encoder, H265)
        assert publisher is not None
        core.send(publisher, Kind.VIDEO, pictures("H265"))
    for viewer in viewers:
        core.join(viewer)
    room = core.rooms.get(ROOM)
    assert room is not None
    await until(lambda: all(viewer.shown() is not None for viewer in viewers))
    core.routing.pin(room, "dr-ada", "microscope")
    await until(lambda: core.participant(viewers[1]).problem)
    assert core.participant(viewers[1]).problem == (
        "microscope sends H265, this side takes H264, and 1 picture is being converted already, the most that is "
        "allowed: raise media.max_video_transcodes where the processor has room, or let microscope send H264 without "
        "B-pictures"
    )
    assert viewers[1].shown() == viewers[0].shown(), "what can be shown instead is shown"
    facts = core.routing.conversions()["video"]
    assert (facts["limit"], len(facts["running"]), facts["refused"]) == (1, 1, 1)
    core.close()


async def test_with_conversion_switched_off_b_pictures_pass_and_other_codecs_are_refused(core: Core) -> None:
    core.close()
    core = Core(max_video_transcodes=0)
    encoder, browser = Member("endoscope", (), device=True), Member("dr-li", BROWSER)
    publisher = core.join(encoder, H264)
    core.join(browser)
    assert publisher is not None
    core.send(publisher, Kind.VIDEO, pictures("B"))
    await until(lambda: core.participant(browser).problem)
    assert browser.shown() == core.track(encoder, Kind.VIDEO)
    assert "converting pictures is switched off: raise media.max_video_transcodes" in core.participant(browser).problem
    publisher.update(H265)
    encoder.emit("media_changed", encoder)
    await until(lambda: browser.shown() is None)
    assert "endoscope sends H265, this side takes H264, and converting" in core.participant(browser).problem
    core.close()


async def test_a_small_decoder_gets_a_small_picture_beside_who_takes_all(core: Core) -> None:
    encoder, browser = Member("endoscope", (), device=True), Member("dr-li", BROWSER)
    old = Member("or-3", BROWSER, device=True, limit=VideoLimit(99, 1485, 64))
    publisher = core.join(encoder, H265)
    core.join(browser)
    core.join(old)
    assert publisher is not None
    core.send(publisher, Kind.VIDEO, pictures("H265"))
    await until(lambda: browser.shown() is not None and old.shown() not in (None, browser.shown()))
    eyes = [Ear(core.bus, browser.shown() or 0), Ear(core.bus, old.shown() or 0)]
    await until(lambda: all(len(eye.take()) > 20 for eye in eyes))
    large, small = (decode_pictures(eye.payloads)[-1].shape for eye in eyes)
    assert large == (360, 320)
    assert small[1] / 16 * small[0] * 2 / 3 / 16 <= 99


async def test_garbage_ends_the_conversion_with_a_word_and_nothing_else(core: Core) -> None:
    encoder, browser, other = (
        Member("endoscope", (), device=True),
        Member("dr-li", BROWSER),
        Member("dr-ada", BROWSER),
    )
    publisher = core.join(encoder, H265, AAC)
    core.join(browser)
    voice = core.join(other, H264, OPUS)
    assert publisher is not None
    assert voice is not None
    core.send(voice, Kind.AUDIO, sound(OPUS, 660))
    room = core.rooms.get(ROOM)
    assert room is not None
    core.routing.pin(room, "dr-li", "endoscope")
    rubbish = (50).to_bytes(4, "big") + bytes(range(50))
    await until(lambda: core.codec_of(browser.shown()) == "H264" and core.routing.conversions()["video"]["running"])
    for number in range(200):
        publisher.write(Kind.VIDEO, number * 3000, rubbish, keyframe=True)
        publisher.write(Kind.AUDIO, number * 1024, b"\xff\x00" * 30)
    await until(lambda: core.participant(browser).problem)
    assert "150 pictures in a row can't be decoded as H265" in core.participant(browser).problem
    assert browser.shown() == core.track(other, Kind.VIDEO), "somebody else is shown"
    await until(lambda: any(note.code == "sound_withheld" for note in core.participant(encoder).notes))
    note = next(note for note in core.participant(encoder).notes if note.code == "sound_withheld")
    assert note.text == "its sound isn't heard in the room: 100 frames in a row can't be decoded as AAC"
    assert core.routing.conversions()["video"]["failed"] == 1
    assert (await tones(core, browser.played()))[660] == pytest.approx(0.3, abs=0.05)


async def test_a_viewer_of_one_stream_gets_it_converted(core: Core) -> None:
    encoder = Member("endoscope", (), device=True)
    publisher = core.join(encoder, H265, AAC)
    assert publisher is not None
    player = Member("dr-li", BROWSER, plays=f"{ROOM}/endoscope/main")
    rtmp = Member("vlc", ((H265, True), (AAC, False)), plays=f"{ROOM}/endoscope/main")
    core.join(player)
    core.join(rtmp)
    core.send(publisher, Kind.VIDEO, pictures("H265"))
    await until(lambda: core.codec_of(player.shown()) == "H264" and core.codec_of(player.played()) == "OPUS")
    assert (rtmp.shown(), rtmp.played()) == (core.track(encoder, Kind.VIDEO), core.track(encoder, Kind.AUDIO))
    assert [note.code for note in player.notes] == ["picture_converted"]
    player.ended(CloseReason.REMOTE_HANGUP)
    await until(lambda: not core.made())


async def test_aac_that_changes_its_rate_goes_on(core: Core) -> None:
    encoder, browser = Member("endoscope", (), device=True), Member("dr-li", BROWSER)
    publisher = core.join(encoder, AAC)
    core.join(browser)
    assert publisher is not None
    core.send(publisher, Kind.AUDIO, sound(AAC, 440))
    await until(lambda: core.codec_of(browser.played()) == "OPUS")
    first = browser.played()
    for task in core.sources:
        task.cancel()
    other = Codec("AAC", 44_100, 2)
    publisher.update(other)
    encoder.emit("media_changed", encoder)
    core.send(publisher, Kind.AUDIO, sound(other, 660))
    await until(lambda: core.codec_of(browser.played()) == "OPUS" and browser.played() != first)
    assert (await tones(core, browser.played()))[660] == pytest.approx(0.3, abs=0.03)
    assert len(core.routing.conversions()["audio"]["running"]) == 1
