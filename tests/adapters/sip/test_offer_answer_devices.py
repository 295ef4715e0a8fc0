"""Every device of the fixtures offers to us, and answers our offer (A1)."""

from base64 import b64decode
from dataclasses import replace
from typing import NamedTuple

import pytest
from sdp_calls import (
    CONTENT,
    DEVICES,
    LOCAL,
    LOCAL_IPV6,
    PLAIN,
    POLICY,
    audio,
    codes,
    device_answer,
    fmtp_of,
    line,
    load,
    media_of,
    video,
)

from orbridge.adapters.sip.offer_answer import Feedback, answer, apply_answer, offer, refuse_all, wanted
from orbridge.codecs import sdp
from orbridge.codecs.media import Kind, Role, VideoLimit


class Case(NamedTuple):
    """What must come out of a device's own offer.

    audio: codec, payload type, telephone-event's. video: payload type, mode, profile-level-id of our answer, limit,
    feedback we may send. A None says that there is no such line; ``notes`` says why.
    """

    audio: tuple[str, int, int | None] | None
    video: tuple[int, int, str, VideoLimit, Feedback] | None
    ports: tuple[int, ...]
    notes: tuple[tuple[str, str], ...] = ()


PLI = Feedback(pli=True)
PLI_FIR = Feedback(pli=True, fir=True)
ALL = Feedback(pli=True, fir=True, tmmbr=True)
A, V = 20_000, 20_002

CASES = {
    "polycom_group": Case(("G722", 9, 119), (110, 1, "42801f", VideoLimit(3600, 108000, 1920), ALL), (A, V, 0, 0)),
    "polycom_vsx7000": Case(
        ("G722", 9, None),
        None,
        (A, 0),
        (("no_h264", "no picture: the device offers only H.263+, H.263 and H.261"),),
    ),
    "polycom_vsx6000a": Case(("G722", 9, None), (109, 0, "42800c", VideoLimit(396, 10000, 625), Feedback()), (A, V)),
    "tandberg_c20": Case(("G722", 9, 101), (98, 1, "428016", VideoLimit(9000, 245000, 4000), PLI), (A, V, 0, 0, 0)),
    "tandberg_e20": Case(("G722", 9, 101), (98, 1, "42800d", VideoLimit(1344, 40500, 906), PLI), (A, V, 0, 0, 0)),
    "cisco_movi": Case(("G722", 9, 101), (123, 1, "42801f", VideoLimit(3600, 108000, 3000), PLI_FIR), (A, V, 0, 0, 0)),
    "cisco_expressway": Case(("G722", 9, 101), (98, 1, "420016", VideoLimit(8160, 245000, 1920), PLI_FIR), (A, V)),
    "cisco_cucm_immersive": Case(("G722", 9, 101), (96, 0, "420016", VideoLimit(3840, 108000, 4000), PLI), (A, V)),
    "cisco_webex": Case(("OPUS", 114, 101), (126, 1, "428016", VideoLimit(8160, 490000, 5000), ALL), (A, V)),
    "huawei_viewpoint_9030": Case(
        ("G722", 9, 101),
        (105, 0, "42801f", VideoLimit(3840, 115000, 1920), Feedback(fir=True, tmmbr=True)),
        (A, V, 0),
    ),
    "huawei_mc850": Case(
        None,
        (100, 0, "420816", VideoLimit(1620, 20250, 768), Feedback()),
        (0, V),
        (("audio_off", "no sound: the device has switched its audio line off"),),
    ),
    "microsoft_lync": Case(
        ("G722", 9, 101),
        None,
        (A, 0),
        (("no_h264", "no picture: the device offers X-H264UC, which is not H.264"),),
    ),
    "avaya_radvision": Case(("G722", 9, 101), (102, 1, "42e01f", VideoLimit(3600, 108000, 1920), PLI_FIR), (A, V)),
    "hikvision": Case(
        None,
        (96, 0, "4d0014", VideoLimit(396, 11880, 2000), Feedback()),
        (V, 0),
        (
            (
                "no_audio_codec",
                "no sound: the device offers only AAC; configured for it: Opus, G.722, G.711 A-law, G.711 µ-law",
            ),
        ),
    ),
    "axis": Case(("PCMA", 8, 97), (96, 1, "420029", VideoLimit(8192, 245760, 50000), Feedback()), (V, A)),
    "baresip": Case(("OPUS", 96, 101), (97, 0, "42e01f", VideoLimit(3600, 108000, 1000), PLI), (A, V)),
}


def test_every_fixture_has_a_case() -> None:
    assert set(CASES) == set(DEVICES)


@pytest.mark.parametrize("device", DEVICES)
def test_the_device_offers(device: str) -> None:
    case = CASES[device]
    text = load(device)
    agreed = answer(text, LOCAL, POLICY)
    theirs, ours = sdp.parse(text), sdp.parse(agreed.text)

    assert [media.kind for media in ours.media] == [media.kind for media in theirs.media]
    assert [media.proto for media in ours.media] == [media.proto for media in theirs.media]
    assert tuple(media.port for media in ours.media) == case.ports
    assert tuple((note.code, note.text) for note in agreed.notes) == case.notes
    assert agreed.warnings == ()
    assert ours.warnings == ()

    sound = agreed.line(Kind.AUDIO)
    assert (sound and (sound.codec.name, sound.pt, sound.dtmf_send)) == case.audio
    if sound is not None:
        assert sound.dtmf_receive == sound.dtmf_send
        assert sound.receives[sound.pt] == sound.codec.name
    picture = agreed.line(Kind.VIDEO)
    if case.video is None:
        assert picture is None
        return
    pt, mode, profile_level, limit, feedback = case.video
    assert picture is not None
    assert (picture.pt, picture.packetization_mode, picture.remote_packetization_mode) == (pt, mode, mode)
    assert (picture.limit, picture.feedback_send) == (limit, feedback)
    assert picture.receives[pt] == "H264"
    # We understand PLI and FIR, never TMMBR.
    assert picture.feedback_receive == replace(feedback, tmmbr=False)
    answered = fmtp_of(agreed.text, picture.index, pt)
    assert answered["profile-level-id"] == profile_level
    assert int(answered.get("packetization-mode", "0")) == mode
    assert ours.media[picture.index].bandwidth == {"AS": 4000}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("end", ["\n", "\r"])
def test_line_ends_change_nothing(device: str, end: str) -> None:
    text = load(device)
    assert answer(text.replace("\r\n", end), LOCAL, POLICY) == answer(text, LOCAL, POLICY)
    assert answer(text.encode(), LOCAL, POLICY) == answer(text, LOCAL, POLICY)


# What they answer: codec and mode of the line we offered; None: none. The fixtures that send keys answer with keys.
ANSWERS: dict[str, tuple[str | None, int | None]] = {
    "polycom_group": ("G722", 1),
    "polycom_vsx7000": ("G722", None),
    "polycom_vsx6000a": ("G722", 0),
    "tandberg_c20": ("G722", 1),
    "tandberg_e20": ("G722", 1),
    "cisco_movi": ("G722", 1),
    "cisco_expressway": ("G722", 1),
    "cisco_cucm_immersive": ("G722", 0),
    "cisco_webex": ("OPUS", 1),
    "huawei_viewpoint_9030": ("G722", 0),
    "huawei_mc850": (None, 0),
    "microsoft_lync": ("G722", None),
    "avaya_radvision": ("G722", 1),
    "hikvision": (None, 0),
    "axis": ("PCMA", 1),
    "baresip": ("OPUS", 0),
}


@pytest.mark.parametrize("device", DEVICES)
def test_the_device_answers(device: str) -> None:
    codec, mode = ANSWERS[device]
    ours = offer(LOCAL, POLICY)
    agreed = apply_answer(ours, device_answer(device, ours.text), POLICY)
    sound, picture = agreed.line(Kind.AUDIO), agreed.line(Kind.VIDEO)
    assert (sound.codec.name if sound else None) == codec
    assert (picture.packetization_mode if picture else None) == mode
    if picture is not None:
        assert picture.pt == (96 if mode else 97)
        assert picture.receives == {96: "H264", 97: "H264"}
        expected = CASES[device].video
        assert expected is not None
        assert picture.feedback_send == expected[4]
        # A device's limits are the same, whoever offers (of Polycom its High line answers mode 1).
        if device != "polycom_group":
            assert picture.limit == expected[3]
    else:
        assert codes(agreed) == ["video_off"]
    keyed = device in ("tandberg_e20", "cisco_expressway", "microsoft_lync")
    assert all((one.srtp is not None) == keyed for one in agreed.lines)


@pytest.mark.parametrize("device", DEVICES)
def test_ipv6_is_the_same_with_other_addresses(device: str) -> None:
    text = load(device)
    for n in range(10, 90):
        text = text.replace(f"IN IP4 192.0.2.{n}\r", f"IN IP6 2001:db8::{n}\r")
    assert "IP4" not in text
    assert wanted(text).ipv6
    agreed = answer(text, LOCAL_IPV6, POLICY)
    assert "c=IN IP6 2001:db8::5\r\n" in agreed.text
    assert "IP4" not in agreed.text
    plain = answer(load(device), LOCAL, POLICY)
    for six, four in zip(agreed.lines, plain.lines, strict=True):
        assert six.remote_host == four.remote_host.replace("192.0.2.", "2001:db8::")
        assert (six.pt, six.codec, six.remote_port, six.limit) == (four.pt, four.codec, four.remote_port, four.limit)


@pytest.mark.parametrize("device", DEVICES)
def test_refuse_all(device: str) -> None:
    text = refuse_all(load(device))
    theirs, ours = sdp.parse(load(device)), sdp.parse(text)
    assert [media.kind for media in ours.media] == [media.kind for media in theirs.media]
    assert all(media.port == 0 and media.address is not None for media in ours.media)


@pytest.mark.parametrize("device", DEVICES)
def test_what_a_device_wants(device: str) -> None:
    found = wanted(load(device))
    assert found.audio == (device != "huawei_mc850")
    assert found.video
    assert found.content == (device in ("tandberg_c20", "tandberg_e20", "cisco_movi"))
    assert not found.ipv6


def test_rtcp_goes_where_the_device_says() -> None:
    agreed = answer(load("cisco_cucm_immersive"), LOCAL, POLICY)
    sound, picture = audio(agreed), video(agreed)
    assert (sound.remote_host, sound.remote_port) == ("192.0.2.25", 41880)
    assert (sound.remote_rtcp_host, sound.remote_rtcp_port) == ("192.0.2.25", 41881)
    assert (picture.remote_host, picture.remote_port) == ("192.0.2.26", 41882)
    assert (picture.remote_rtcp_host, picture.remote_rtcp_port) == ("192.0.2.27", 41889)


def test_without_a_rtcp_attribute_rtcp_is_on_the_next_port() -> None:
    sound = audio(answer(load("tandberg_c20"), LOCAL, POLICY))
    assert (sound.remote_rtcp_host, sound.remote_rtcp_port) == ("192.0.2.20", 2329)


def test_nal_size_is_obeyed_below_a_packet_and_not_above() -> None:
    assert video(answer(load("avaya_radvision"), LOCAL, POLICY)).max_nal_bytes == 1270
    assert video(answer(load("cisco_webex"), LOCAL, POLICY)).max_nal_bytes == 0


def test_parameter_sets_of_a_camera_that_never_sends_them() -> None:
    picture = video(answer(load("axis"), LOCAL, POLICY))
    assert picture.parameter_sets == (b64decode("Z0IAKeKQCgDLYC3AQEBpB4kRUA=="), b64decode("aM48gA=="))
    assert video(answer(load("hikvision"), LOCAL, POLICY)).parameter_sets == ()


def test_a_camera_that_only_sends_is_not_held() -> None:
    agreed = answer(load("hikvision"), LOCAL, POLICY)
    picture = video(agreed)
    assert (picture.direction, picture.hold) == ("recvonly", "none")
    assert not picture.sends
    assert picture.receives_media
    assert not agreed.held_by_peer
    again = answer(load("hikvision"), LOCAL, POLICY, agreed)
    assert video(again).hold == "none"


@pytest.mark.parametrize(
    ("device", "limit"),
    [
        ("tandberg_c20", VideoLimit(3840, 58000, 4000)),
        ("tandberg_e20", VideoLimit(3072, 24300, 906)),
        ("cisco_movi", VideoLimit(8192, 245760, 3000)),
    ],
)
def test_slides_are_a_second_line_for_who_has_a_leg_for_them(device: str, limit: VideoLimit) -> None:
    agreed = answer(load(device), replace(LOCAL, content=CONTENT), POLICY)
    slides = line(agreed, Kind.VIDEO, Role.CONTENT)
    assert (slides.index, slides.limit) == (3, limit)
    assert media_of(agreed.text, 3).port == CONTENT.port
    assert media_of(agreed.text, 3).value("content") == "slides"
    assert video(agreed).index == 1
    # BFCP and H.224 are refused.
    assert [media_of(agreed.text, index).port for index in (2, 4)] == [0, 0]


def test_a_floor_names_the_shared_line_where_the_line_itself_does_not() -> None:
    text = load("tandberg_c20").replace("a=content:slides\r\n", "").replace("mstrm:12", "m-stream:12")
    agreed = answer(text, replace(LOCAL, content=CONTENT), POLICY)
    assert line(agreed, Kind.VIDEO, Role.CONTENT).index == 3
    swapped = text.replace("a=content:main\r\n", "").replace("label:11", "label:1").replace("m-stream:12", "m-stream:1")
    agreed = answer(swapped, replace(LOCAL, content=CONTENT), POLICY)
    assert (video(agreed).index, line(agreed, Kind.VIDEO, Role.CONTENT).index) == (3, 1)


def test_video_that_is_off_by_configuration_is_refused_with_its_reason() -> None:
    agreed = answer(load("tandberg_c20"), replace(LOCAL, video=None), POLICY)
    assert agreed.line(Kind.VIDEO) is None
    assert audio(agreed).codec.name == "G722"
    assert [note.text for note in agreed.notes] == ["no picture: the device is configured without video"]
    assert media_of(agreed.text, 1).port == 0


def test_encryption_that_is_off_leaves_optional_crypto_alone() -> None:
    agreed = answer(load("tandberg_e20"), LOCAL, PLAIN)
    assert all(one.srtp is None for one in agreed.lines)
    assert "crypto" not in agreed.text
    assert len(agreed.lines) == 2
