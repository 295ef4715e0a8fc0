"""Our offers, and answers to them that are as they should be or aren't (A2, A4)."""

from dataclasses import replace

import pytest
from sdp_calls import (
    AUDIO,
    CONTENT,
    HEAD,
    LOCAL,
    LOCAL_IPV6,
    PLAIN,
    VIDEO,
    audio,
    codes,
    fmtp_of,
    line,
    media_of,
    video,
)

from orbridge.adapters.sip.offer_answer import Offer, Policy, apply_answer, offer
from orbridge.codecs import sdp
from orbridge.codecs.errors import ParseError
from orbridge.codecs.media import Kind, Role, VideoLimit

SOUND = "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
PICTURE = (
    "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n"
)


@pytest.fixture
def ours() -> Offer:
    return offer(LOCAL, PLAIN)


def test_a_first_offer_word_for_word(ours: Offer) -> None:
    assert ours.text.split("\r\n") == [
        "v=0",
        "o=- 4711 1 IN IP4 203.0.113.5",
        "s=-",
        "c=IN IP4 203.0.113.5",
        "t=0 0",
        "m=audio 20000 RTP/AVP 111 9 8 0 101 110",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 useinbandfec=1",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=rtpmap:110 telephone-event/48000",
        "a=fmtp:110 0-15",
        "a=ptime:20",
        "a=ssrc:286331153 cname:orbridge-1",
        "a=sendrecv",
        "m=video 20002 RTP/AVP 96 97",
        "b=AS:4000",
        "a=rtpmap:96 H264/90000",
        "a=fmtp:96 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1;max-mbps=245760;max-fs=8192",
        "a=rtpmap:97 H264/90000",
        "a=fmtp:97 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=0;max-mbps=245760;max-fs=8192",
        "a=rtcp-fb:* nack",
        "a=rtcp-fb:* nack pli",
        "a=rtcp-fb:* ccm fir",
        "a=ssrc:572662306 cname:orbridge-1",
        "a=sendrecv",
        "",
    ]
    assert ours.version == 1


def test_the_same_arguments_give_the_same_text(ours: Offer) -> None:
    assert offer(LOCAL, PLAIN) == ours


def test_audio_codecs_in_the_configured_order() -> None:
    text = offer(LOCAL, Policy(srtp="off", audio_codecs=("PCMU", "G722"))).text
    assert media_of(text, 0).formats == ("0", "9", "101")


def test_legs_that_are_not_there_are_not_offered() -> None:
    assert [media.kind for media in sdp.parse(offer(replace(LOCAL, video=None), PLAIN).text).media] == ["audio"]
    assert [media.kind for media in sdp.parse(offer(replace(LOCAL, audio=None), PLAIN).text).media] == ["video"]


def test_modes_in_the_order_of_the_profile() -> None:
    text = offer(LOCAL, replace(PLAIN, h264_modes=(0,))).text
    assert media_of(text, 1).formats == ("97",)
    assert fmtp_of(text, 1, 97)["packetization-mode"] == "0"


def test_rtcp_mux_is_offered_only_where_configured(ours: Offer) -> None:
    assert "rtcp-mux" not in ours.text
    offered = offer(LOCAL, replace(PLAIN, rtcp_mux=True))
    assert media_of(offered.text, 0).has("rtcp-mux")
    agreed = apply_answer(offered, HEAD + SOUND + "a=rtcp-mux\r\n" + PICTURE, PLAIN)
    assert (audio(agreed).rtcp_mux, video(agreed).rtcp_mux) == (True, False)
    # Nobody may accept what wasn't offered.
    assert not audio(apply_answer(ours, HEAD + SOUND + "a=rtcp-mux\r\n" + PICTURE, PLAIN)).rtcp_mux


def test_content_is_offered_with_its_leg() -> None:
    text = offer(replace(LOCAL, content=CONTENT), PLAIN).text
    assert [media.value("content") for media in sdp.parse(text).media] == [None, "main", "slides"]
    agreed = apply_answer(
        offer(replace(LOCAL, content=CONTENT), PLAIN), HEAD + SOUND + PICTURE + PICTURE.replace("4002", "4004"), PLAIN
    )
    assert line(agreed, Kind.VIDEO, Role.CONTENT).remote_port == 4004


def test_ipv6() -> None:
    text = offer(LOCAL_IPV6, PLAIN).text
    assert "o=- 4711 1 IN IP6 2001:db8::5\r\n" in text
    assert "c=IN IP6 2001:db8::5\r\n" in text


def test_an_answer_as_it_should_be(ours: Offer) -> None:
    agreed = apply_answer(ours, HEAD + SOUND + PICTURE, PLAIN)
    sound, picture = audio(agreed), video(agreed)
    assert (sound.codec.name, sound.pt, sound.dtmf_send, sound.dtmf_receive) == ("PCMA", 8, 101, 101)
    assert sound.receives == {111: "OPUS", 9: "G722", 8: "PCMA", 0: "PCMU"}
    assert (picture.pt, picture.packetization_mode) == (96, 1)
    assert picture.limit == VideoLimit(3600, 108000, 14000)
    assert (agreed.notes, agreed.warnings, agreed.text, agreed.version) == ((), (), ours.text, 1)


@pytest.mark.parametrize(
    ("picture", "pt", "mode"),
    [
        # no fmtp, no mode: 0, whatever we offered under that number
        ("m=video 1 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n", 96, 0),
        ("m=video 1 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 profile-level-id=42801f\r\n", 97, 0),
        # no rtpmap either: the number is ours
        ("m=video 1 RTP/AVP 97\r\n", 97, 0),
        # both modes: 1
        (
            "m=video 1 RTP/AVP 97 96\r\na=rtpmap:96 H264/90000\r\na=rtpmap:97 H264/90000\r\n"
            "a=fmtp:96 packetization-mode=1\r\n",
            96,
            1,
        ),
        # numbers of its own
        ("m=video 1 RTP/AVP 109\r\na=rtpmap:109 H264/90000\r\na=fmtp:109 packetization-mode=1\r\n", 109, 1),
    ],
)
def test_modes_and_numbers_of_an_answer(ours: Offer, picture: str, pt: int, mode: int) -> None:
    agreed = apply_answer(ours, HEAD + SOUND + picture, PLAIN)
    assert (video(agreed).pt, video(agreed).packetization_mode) == (pt, mode)
    assert {96, 97, pt} == set(video(agreed).receives)


def test_numbers_of_its_own_for_sound(ours: Offer) -> None:
    text = HEAD + "m=audio 1 RTP/AVP 96 100\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:100 telephone-event/48000\r\n"
    sound = audio(apply_answer(ours, text + PICTURE, PLAIN))
    assert (sound.pt, sound.dtmf_send, sound.dtmf_receive) == (96, 100, 110)
    assert sound.receives == {96: "OPUS", 111: "OPUS", 9: "G722", 8: "PCMA", 0: "PCMU"}


def test_its_number_for_sound_is_ours_for_events(ours: Offer) -> None:
    text = HEAD + "m=audio 1 RTP/AVP 101 96\r\na=rtpmap:101 G722/8000\r\na=rtpmap:96 telephone-event/8000\r\n"
    sound = audio(apply_answer(ours, text + PICTURE, PLAIN))
    assert (sound.pt, sound.dtmf_send, sound.dtmf_receive) == (101, 96, 101)
    assert sound.receives == {111: "OPUS", 9: "G722", 8: "PCMA", 0: "PCMU"}


def test_the_answerer_s_first_codec_counts(ours: Offer) -> None:
    sound = audio(apply_answer(ours, HEAD + "m=audio 1 RTP/AVP 0 9 8\r\n" + PICTURE, PLAIN))
    assert sound.codec.name == "PCMU"


def test_without_telephone_event_there_is_none(ours: Offer) -> None:
    sound = audio(apply_answer(ours, HEAD + "m=audio 1 RTP/AVP 8\r\n" + PICTURE, PLAIN))
    assert (sound.dtmf_send, sound.dtmf_receive) == (None, None)


BFCP = "m=application 5070 UDP/BFCP *\r\n"


@pytest.mark.parametrize(
    ("answer_lines", "sound", "picture", "noted"),
    [
        # one more
        (SOUND + PICTURE + BFCP, 0, 1, []),
        (SOUND + PICTURE + PICTURE.replace("4002", "4010"), 0, 1, []),
        # one less
        (SOUND, 0, None, ["no_video_line"]),
        (PICTURE, None, 1, ["no_audio_line"]),
        # another order
        (PICTURE + SOUND, 0, 1, []),
        (BFCP + SOUND + PICTURE, 0, 1, []),
        (SOUND + BFCP + PICTURE, 0, 1, []),
        ("", None, None, ["no_audio_line", "no_video_line"]),
    ],
)
def test_an_answer_with_other_lines_than_ours(
    ours: Offer, answer_lines: str, sound: int | None, picture: int | None, noted: list[str]
) -> None:
    agreed = apply_answer(ours, HEAD + answer_lines, PLAIN)
    heard, seen = agreed.line(Kind.AUDIO), agreed.line(Kind.VIDEO)
    assert (heard.index if heard else None, seen.index if seen else None) == (sound, picture)
    if heard:
        assert heard.remote_port == 4000
    if seen:
        assert seen.remote_port == 4002
    assert codes(agreed) == noted
    assert any("m-lines" in warning for warning in agreed.warnings)


def test_which_of_two_video_lines_in_another_place() -> None:
    ours = offer(replace(LOCAL, content=CONTENT), PLAIN)
    slides = PICTURE.replace("4002", "4010") + "a=content:slides\r\n"
    agreed = apply_answer(ours, HEAD + slides + SOUND + PICTURE + "a=content:main\r\n", PLAIN)
    assert audio(agreed).remote_port == 4000
    assert video(agreed).remote_port == 4002
    assert line(agreed, Kind.VIDEO, Role.CONTENT).remote_port == 4010


def test_a_line_in_its_place_needs_no_name() -> None:
    ours = offer(replace(LOCAL, content=CONTENT), PLAIN)
    wrong = PICTURE.replace("4002", "4010") + "a=content:main\r\n"
    agreed = apply_answer(ours, HEAD + SOUND + PICTURE + wrong, PLAIN)
    assert line(agreed, Kind.VIDEO, Role.CONTENT).remote_port == 4010


@pytest.mark.parametrize(
    ("lines", "noted"),
    [
        (SOUND + "m=video 0 RTP/AVP 96\r\n", "no picture: the device has switched its video line off"),
        (SOUND + "m=video 5 RTP/AVP 34\r\n", "no picture: the device answers with only H.263"),
        (
            "m=audio 5 RTP/AVP 18\r\n" + PICTURE,
            "no sound: the device answers with only G.729; configured for it: Opus, G.722, G.711 A-law, G.711 µ-law",
        ),
    ],
)
def test_what_an_answer_refuses_is_told(ours: Offer, lines: str, noted: str) -> None:
    agreed = apply_answer(ours, HEAD + lines, PLAIN)
    assert [note.text for note in agreed.notes] == [noted]
    assert len(agreed.lines) == 1


@pytest.mark.parametrize(
    ("theirs", "hold", "direction", "held"),
    [
        ("sendrecv", False, "sendrecv", "none"),
        ("recvonly", False, "sendonly", "none"),
        ("inactive", False, "inactive", "peer"),
        ("recvonly", True, "sendonly", "ours"),
        # a device that doesn't understand our hold
        ("sendrecv", True, "sendonly", "ours"),
        # who has never taken anything isn't holding
        ("inactive", True, "inactive", "ours"),
    ],
)
def test_directions_of_an_answer(theirs: str, hold: bool, direction: str, held: str) -> None:
    ours = offer(LOCAL, PLAIN, hold=hold)
    agreed = apply_answer(ours, HEAD + SOUND + f"a={theirs}\r\n" + PICTURE, PLAIN)
    assert (audio(agreed).direction, audio(agreed).hold) == (direction, held)


def test_feedback_and_bandwidth_of_an_answer(ours: Offer) -> None:
    agreed = apply_answer(ours, HEAD + SOUND + PICTURE + "b=AS:768\r\na=rtcp-fb:96 ccm fir\r\n", PLAIN)
    picture = video(agreed)
    assert (picture.max_kbps, picture.limit) == (768, VideoLimit(3600, 108000, 768))
    assert (picture.feedback_send.fir, picture.feedback_send.pli, picture.feedback_receive.fir) == (True, False, True)


def test_an_answer_that_is_no_sdp_raises(ours: Offer) -> None:
    with pytest.raises(ParseError):
        apply_answer(ours, "486 Busy", PLAIN)


def test_legs_are_where_they_were_given(ours: Offer) -> None:
    assert [media.port for media in sdp.parse(ours.text).media] == [AUDIO.port, VIDEO.port]
