"""The rules by which codecs, modes, profiles and lines are chosen, for devices nobody has seen yet (A2, A3)."""

from dataclasses import replace

import pytest
from sdp_calls import (
    HEAD,
    LOCAL,
    PCMA_LINE,
    POLICY,
    audio,
    codes,
    fmtp_of,
    media_of,
    video,
    video_offer,
)

from orbridge.adapters.sip.offer_answer import Policy, answer, wanted
from orbridge.codecs import sdp
from orbridge.codecs.errors import ParseError
from orbridge.codecs.media import Kind, VideoLimit

LOW = "profile-level-id=42e00a"
BASE = "profile-level-id=42801f"
CONSTRAINED = "profile-level-id=42e01f"
MAIN = "profile-level-id=4d001f"
HIGH = "profile-level-id=64001f"
MODE_0, MODE_1 = "packetization-mode=0", "packetization-mode=1"


@pytest.mark.parametrize(
    ("formats", "chosen"),
    [
        # mode 1 before 0, wherever it stands; absent is 0
        ([BASE, f"{BASE};{MODE_1}"], 1),
        ([f"{BASE};{MODE_1}", BASE], 0),
        ([f"{BASE};{MODE_0}", f"{HIGH};{MODE_1}"], 1),
        (["-", f"{BASE};{MODE_1}"], 1),
        (["-"], 0),
        ([f"{BASE};{MODE_0}"], 0),
        # among the same mode what browsers decode, then the device's order
        ([f"{HIGH};{MODE_1}", f"{BASE};{MODE_1}"], 1),
        ([f"{HIGH};{MODE_1}", f"{BASE};{MODE_1}", f"{CONSTRAINED};{MODE_1}"], 2),
        ([f"{MAIN};{MODE_1}", f"{HIGH};{MODE_1}"], 0),
        ([f"{HIGH};{MODE_1}", f"{MAIN};{MODE_1}"], 0),
        ([f"profile-level-id=7a001f;{MODE_1}", f"{HIGH};{MODE_1}"], 1),
        # a baseline that is much smaller than the other isn't worth it
        ([f"{HIGH};{MODE_1}", f"{LOW};{MODE_1}"], 0),
        ([f"{LOW};{MODE_1}", f"{HIGH};{MODE_1}"], 0),
        ([f"{HIGH};{MODE_1}", f"{LOW};{MODE_1};max-fs=3600;max-mbps=108000"], 1),
        # interleaved isn't done
        ([f"{BASE};packetization-mode=2", BASE], 1),
    ],
)
def test_which_h264_is_taken(formats: list[str], chosen: int) -> None:
    assert video(answer(video_offer(*formats), LOCAL, POLICY)).pt == 96 + chosen


def test_modes_may_be_preferred_otherwise() -> None:
    text = video_offer(f"{BASE};{MODE_1}", BASE)
    assert video(answer(text, LOCAL, replace(POLICY, h264_modes=(0, 1)))).pt == 97
    assert video(answer(video_offer(f"{BASE};{MODE_1}"), LOCAL, replace(POLICY, h264_modes=(0,)))).pt == 96


def test_interleaved_alone_is_refused_with_its_reason() -> None:
    agreed = answer(video_offer(f"{BASE};packetization-mode=2"), LOCAL, POLICY)
    assert agreed.line(Kind.VIDEO) is None
    assert codes(agreed) == ["h264_unusable"]
    assert audio(agreed).codec.name == "PCMA"


@pytest.mark.parametrize(
    ("formats", "limit"),
    [
        ("profile-level-id=42801", None),
        ("profile-level-id=42801fe0; packetization-mode=1", None),
        ("profile-level-id=wxyz12", None),
        ("-", None),
        ("PROFILE-LEVEL-ID=42801F; PACKETIZATION-MODE=1 ;max-fs=8192", VideoLimit(8192, 122880, 14000)),
        ("profile-level-id=42801f packetization-mode=1", VideoLimit(3600, 108000, 14000)),
    ],
)
def test_malformed_parameters_still_give_a_picture(formats: str, limit: VideoLimit | None) -> None:
    agreed = answer(video_offer(formats), LOCAL, POLICY)
    picture = video(agreed)
    assert picture.limit == limit
    assert picture.packetization_mode == (1 if "ode=1" in formats.replace("MODE", "ode") else 0)
    assert fmtp_of(agreed.text, 1, 96)["profile-level-id"] == ("42801f" if limit else "42e01f")


def test_a_type_mapped_twice_is_parsed_by_rule_and_warned_once() -> None:
    text = video_offer(f"{BASE};{MODE_1}", more="a=rtpmap:96 H263-1998/90000\r\na=rtpmap:96 VP8/90000\r\n")
    agreed = answer(text, LOCAL, POLICY)
    assert video(agreed).pt == 96
    assert agreed.warnings == ("payload type 96 of m=video mapped twice",)


@pytest.mark.parametrize(
    ("lines", "codec", "pt"),
    [
        ("m=audio 1 RTP/AVP 0 8 9\r\n", "G722", 9),
        ("m=audio 1 RTP/AVP 0 8\r\n", "PCMA", 8),
        ("m=audio 1 RTP/AVP 18 0\r\n", "PCMU", 0),
        ("m=audio 1 RTP/AVP 0 97\r\na=rtpmap:97 opus/48000/2\r\n", "OPUS", 97),
        ("m=audio 1 RTP/AVP 0 97\r\na=rtpmap:97 OPUS/48000\r\n", "OPUS", 97),
        ("m=audio 1 RTP/AVP 0 97\r\na=rtpmap:97 opus/16000/2\r\n", "PCMU", 0),
        ("m=audio 1 RTP/AVP 97\r\na=rtpmap:97 g722/16000\r\n", "G722", 97),
        ("m=audio 1 RTP/AVP 97\r\na=rtpmap:97 PCMA/8000\r\n", "PCMA", 97),
        ("m=audio 1 RTP/AVP 97 8\r\na=rtpmap:97 PCMA/16000\r\n", "PCMA", 8),
    ],
)
def test_which_audio_is_taken(lines: str, codec: str, pt: int) -> None:
    sound = audio(answer(HEAD + lines, LOCAL, POLICY))
    assert (sound.codec.name, sound.pt) == (codec, pt)


def test_the_configured_order_decides() -> None:
    sound = audio(answer(HEAD + "m=audio 1 RTP/AVP 0 8 9\r\n", LOCAL, Policy(audio_codecs=("PCMU", "G722"))))
    assert sound.codec.name == "PCMU"
    # What isn't configured isn't taken, and isn't expected.
    assert sound.receives == {0: "PCMU", 9: "G722"}


def test_g722_counts_at_8_khz_in_our_answer_whatever_was_offered() -> None:
    text = answer(HEAD + "m=audio 1 RTP/AVP 97\r\na=rtpmap:97 G722/16000\r\n", LOCAL, POLICY).text
    assert media_of(text, 0).value("rtpmap") == "97 G722/8000"


@pytest.mark.parametrize(
    ("lines", "events"),
    [
        (
            "m=audio 1 RTP/AVP 97 98 99\r\na=rtpmap:97 opus/48000/2\r\na=rtpmap:98 telephone-event/8000\r\n"
            "a=rtpmap:99 telephone-event/48000\r\n",
            99,
        ),
        ("m=audio 1 RTP/AVP 97 98\r\na=rtpmap:97 opus/48000/2\r\na=rtpmap:98 telephone-event/8000\r\n", 98),
        ("m=audio 1 RTP/AVP 8 99 98\r\na=rtpmap:98 telephone-event/8000\r\na=rtpmap:99 telephone-event/48000\r\n", 98),
        ("m=audio 1 RTP/AVP 8\r\n", None),
    ],
)
def test_telephone_event_goes_with_the_codec_s_clock(lines: str, events: int | None) -> None:
    agreed = answer(HEAD + lines, LOCAL, POLICY)
    assert audio(agreed).dtmf_send == events
    assert audio(agreed).dtmf_receive == events
    if events is not None:
        assert f"a=fmtp:{events} 0-15\r\n" in agreed.text


@pytest.mark.parametrize(
    ("lines", "code", "text"),
    [
        (PCMA_LINE, "no_video_line", "no picture: the device offers no video"),
        (PCMA_LINE + "m=video 0 RTP/AVP 96\r\n", "video_off", "no picture: the device has switched its video line off"),
        (PCMA_LINE + "m=video 5 RTP/AVP 34\r\n", "no_h264", "no picture: the device offers only H.263"),
        (PCMA_LINE + "m=video 5 RTP/AVP 34 31\r\n", "no_h264", "no picture: the device offers only H.263 and H.261"),
        (
            PCMA_LINE + "m=video 5 RTP/AVP 96 97\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n",
            "no_h264",
            "no picture: the device offers only VP8",
        ),
        (
            PCMA_LINE + "m=video 5 RTP/AVP 96\r\na=rtpmap:96 H264-SVC/90000\r\n",
            "no_h264",
            "no picture: the device offers H.264 SVC without plain H.264",
        ),
        (PCMA_LINE + "m=video 5 RTP/AVP 96\r\n", "no_h264", "no picture: the device offers only codecs without a name"),
        (
            PCMA_LINE + "m=video 5 TCP/RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
            "no_rtp",
            "no picture: the device offers video over TCP/RTP/AVP, which is not done here",
        ),
    ],
)
def test_sound_alone_has_a_named_reason(lines: str, code: str, text: str) -> None:
    agreed = answer(HEAD + lines, LOCAL, POLICY)
    assert [(note.code, note.text) for note in agreed.notes] == [(code, text)]
    assert audio(agreed).codec.name == "PCMA"


def test_many_codecs_are_not_all_named() -> None:
    lines = "m=audio 5 RTP/AVP 96 97 98 99 100 101 102 103\r\n"
    lines += "".join(f"a=rtpmap:{pt} X{pt}/8000\r\n" for pt in range(96, 104))
    agreed = answer(HEAD + lines, LOCAL, POLICY)
    assert agreed.lines == ()
    assert agreed.notes[0].text.startswith(
        "no sound: the device offers only X96, X97, X98, X99, X100, X101 and 2 more;"
    )


def test_video_alone_is_taken() -> None:
    agreed = answer(HEAD + f"m=video 5 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 {BASE}\r\n", LOCAL, POLICY)
    assert video(agreed).index == 0
    assert codes(agreed) == ["no_audio_line"]


def test_nothing_in_common_gives_no_line() -> None:
    agreed = answer(HEAD + "m=audio 5 RTP/AVP 18\r\nm=video 7 RTP/AVP 34\r\n", LOCAL, POLICY)
    assert agreed.lines == ()
    assert codes(agreed) == ["no_audio_codec", "no_h264"]
    assert [media.port for media in sdp.parse(agreed.text).media] == [0, 0]


def test_the_first_usable_line_of_each_kind_is_taken() -> None:
    h264 = "a=rtpmap:96 H264/90000\r\n"
    lines = "m=audio 5 RTP/AVP 18\r\nm=audio 7 RTP/AVP 8\r\nm=audio 9 RTP/AVP 0\r\n"
    lines += f"m=video 11 RTP/AVP 34\r\nm=video 13 RTP/AVP 96\r\n{h264}m=video 15 RTP/AVP 96\r\n{h264}"
    lines += "m=text 17 RTP/AVP 98\r\n"
    agreed = answer(HEAD + lines, LOCAL, POLICY)
    assert [media.port for media in sdp.parse(agreed.text).media] == [0, 20_000, 0, 0, 20_002, 0, 0]
    assert codes(agreed) == []


@pytest.mark.parametrize(
    ("offered", "direction", "hold"),
    [
        ("sendrecv", "sendrecv", "none"),
        ("sendonly", "recvonly", "none"),
        ("recvonly", "sendonly", "none"),
        ("inactive", "inactive", "peer"),
    ],
)
def test_directions_of_a_first_offer(offered: str, direction: str, hold: str) -> None:
    agreed = answer(HEAD + PCMA_LINE + f"a={offered}\r\n", LOCAL, POLICY)
    assert (audio(agreed).direction, audio(agreed).hold) == (direction, hold)
    assert f"a={direction}\r\n" in agreed.text


@pytest.mark.parametrize(
    ("connection", "host", "noted"),
    [
        ("IN IP4 192.0.2.9", "192.0.2.9", []),
        ("IN IP4 or3.example.test", "", ["address_learned"]),
        ("IN IP4 233.252.0.1/127", "", ["address_learned"]),
    ],
)
def test_addresses_that_cannot_be_sent_to_are_learned(connection: str, host: str, noted: list[str]) -> None:
    text = HEAD.replace("c=IN IP4 192.0.2.1", f"c={connection}") + PCMA_LINE + "m=video 0 RTP/AVP 96\r\n"
    agreed = answer(text, LOCAL, POLICY)
    assert (audio(agreed).remote_host, audio(agreed).sends) == (host, True)
    assert [code for code in codes(agreed) if code != "video_off"] == noted


def test_rtcp_mux_is_accepted_where_it_is_offered() -> None:
    agreed = answer(HEAD + PCMA_LINE + "a=rtcp-mux\r\na=rtcp:4999\r\n", LOCAL, POLICY)
    sound = audio(agreed)
    assert sound.rtcp_mux
    assert (sound.remote_rtcp_host, sound.remote_rtcp_port) == (sound.remote_host, sound.remote_port)
    assert "a=rtcp-mux\r\n" in agreed.text
    plain = answer(HEAD + PCMA_LINE, LOCAL, POLICY)
    assert not audio(plain).rtcp_mux
    assert "rtcp-mux" not in plain.text


def test_our_rtcp_port_is_named_where_it_is_not_the_next() -> None:
    assert LOCAL.audio is not None
    text = answer(HEAD + PCMA_LINE, replace(LOCAL, audio=replace(LOCAL.audio, rtcp_port=25_000)), POLICY).text
    assert media_of(text, 0).value("rtcp") == "25000"
    assert media_of(answer(HEAD + PCMA_LINE, LOCAL, POLICY).text, 0).value("rtcp") is None


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n", ["96 nack", "96 nack pli"]),
        ("a=rtcp-fb:* nack pli\r\na=rtcp-fb:96 ccm fir\r\n", ["* nack pli", "* ccm fir"]),
        ("a=rtcp-fb:97 nack pli\r\n", []),
        ("a=rtcp-fb:* x-message app send:src,x-pli recv:src,x-pli\r\n", []),
        ("a=rtcp-fb:96 ccm tmmbr smaxpr=120\r\na=rtcp-fb:96 CCM FIR\r\n", ["96 ccm fir"]),
        ("a=rtcp-fb:96 goog-remb\r\na=rtcp-fb\r\n", []),
    ],
)
def test_feedback_is_answered_as_far_as_we_do_it(offered: str, answered: list[str]) -> None:
    text = answer(video_offer(BASE, more=offered), LOCAL, POLICY).text
    assert list(media_of(text, 1).values("rtcp-fb")) == answered


@pytest.mark.parametrize(
    ("lines", "expected"),
    [("a=ptime:30\r\n", 30), ("a=maxptime:10\r\na=ptime:20\r\n", 10), ("a=ptime:0\r\n", None), ("a=ptime:x\r\n", None)],
)
def test_packet_time(lines: str, expected: int | None) -> None:
    assert audio(answer(HEAD + PCMA_LINE + lines, LOCAL, POLICY)).ptime_ms == expected


def test_mid_and_content_come_back() -> None:
    text = answer(video_offer(BASE, more="a=mid:v1\r\na=content:main\r\n"), LOCAL, POLICY).text
    assert media_of(text, 1).value("mid") == "v1"
    assert media_of(text, 1).value("content") == "main"


def test_ours_says_ssrc_and_cname() -> None:
    text = answer(video_offer(BASE), LOCAL, POLICY).text
    assert media_of(text, 0).value("ssrc") == f"{0x11111111} cname:orbridge-1"
    assert media_of(text, 1).value("ssrc") == f"{0x22222222} cname:orbridge-1"


def test_no_bandwidth_is_named_where_none_is_set() -> None:
    assert "b=" not in answer(video_offer(BASE), LOCAL, replace(POLICY, max_video_kbps=0)).text


def test_a_session_without_media_wants_nothing() -> None:
    assert not any((wanted(HEAD).audio, wanted(HEAD).video, wanted(HEAD).content))
    agreed = answer(HEAD, LOCAL, POLICY)
    assert agreed.lines == ()
    assert codes(agreed) == ["no_audio_line", "no_video_line"]


def test_what_is_no_sdp_raises() -> None:
    with pytest.raises(ParseError):
        answer("", LOCAL, POLICY)
