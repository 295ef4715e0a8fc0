"""Offers of other people's programs: read, matched, answered."""

import re
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbridge.adapters.webrtc.description import (
    MID,
    Line,
    Local,
    UnusableOffer,
    match_offer,
    transport,
    write_answer,
)
from orbridge.adapters.webrtc.offer import Offer, parse_offer
from orbridge.codecs.errors import ParseError
from orbridge.codecs.media import Kind

FOLDER = Path(__file__).parents[2] / "data" / "webrtc"
OFFERS = {path.stem: path.read_bytes().decode() for path in sorted(FOLDER.glob("*.sdp"))}
FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
LOCAL = Local("ours1234", "ourpassword0123456789ab", ("1 1 udp 1 127.0.0.1 20000 typ host",), FINGERPRINT, "passive")
AUDIO, VIDEO = ("OPUS", "G722", "PCMA", "PCMU"), ("H264", "VP8")

Ours = Literal["sendonly", "recvonly"]


def matched(text: str, direction: Ours, audio: tuple[str, ...] = AUDIO) -> tuple[Offer, dict[Kind, Line]]:
    offer = parse_offer(text)
    lines, _ = match_offer(offer, direction, audio=audio, video=VIDEO)
    return offer, {line.kind: line for line in lines}


def answer(text: str, direction: Ours) -> str:
    offer = parse_offer(text)
    lines, _ = match_offer(offer, direction, audio=AUDIO, video=VIDEO)
    for number, line in enumerate(lines, 1):
        line.ssrc, line.rtx_ssrc = number * 2, number * 2 + 1
    return write_answer(
        offer, lines, LOCAL, session_id=7, cname="c", stream="s", max_video_kbps=3000 if direction == "recvonly" else 0
    )


def section(text: str, kind: str) -> list[str]:
    return next(part for part in re.split(r"(?m)^(?=m=)", text) if part.startswith(f"m={kind} ")).split("\r\n")


@pytest.mark.parametrize(
    ("name", "direction", "video", "profile", "audio"),
    [
        ("chromium_sendonly", "recvonly", 108, "42e01f", 111),
        ("chromium_sendrecv", "recvonly", 108, "42e01f", 111),
        ("chromium_recvonly", "sendonly", None, "42e01f", 111),
        ("chromium_sendrecv", "sendonly", 108, "42e01f", 111),
        ("firefox_sendonly", "recvonly", 126, "42e01f", 109),
        ("firefox_recvonly", "sendonly", 126, "42e01f", 109),
        ("ffmpeg_sendonly", "recvonly", 106, "42001e", 111),
        ("pion_recvonly", "sendonly", 125, "640032", 111),
    ],
)
def test_the_right_line_is_chosen(name: str, direction: Ours, video: int | None, profile: str, audio: int) -> None:
    _, lines = matched(OFFERS[name], direction)
    chosen = lines[Kind.VIDEO].format
    assert video is None or chosen.pt == video
    assert chosen.parameters["profile-level-id"] == profile
    assert lines[Kind.VIDEO].packetization_mode == 1
    assert lines[Kind.AUDIO].format.pt == audio
    assert lines[Kind.AUDIO].codec.name == "OPUS"
    if "rtx" in OFFERS[name]:
        rtx = lines[Kind.VIDEO].rtx
        assert rtx is not None
        assert rtx.parameters["apt"] == str(chosen.pt)


def test_a_publisher_keeps_to_what_devices_decode_and_a_player_takes_the_most() -> None:
    both = OFFERS["pion_recvonly"]
    assert matched(both.replace("recvonly", "sendonly"), "recvonly")[1][Kind.VIDEO].format.pt == 102
    assert matched(both, "sendonly")[1][Kind.VIDEO].format.pt == 125


@pytest.mark.parametrize("codec", ["G722", "PCMU", "PCMA"])
def test_a_streams_own_audio_codec_wins(codec: str) -> None:
    _, lines = matched(OFFERS["chromium_recvonly"], "sendonly", (codec, "OPUS"))
    assert lines[Kind.AUDIO].codec.name == codec


def test_chromium_answer_has_what_it_needs() -> None:
    text = answer(OFFERS["chromium_sendonly"], "recvonly")
    video, audio = section(text, "video"), section(text, "audio")
    assert {"a=rtcp-fb:108 goog-remb", "a=rtcp-fb:108 nack", "a=rtcp-fb:108 nack pli", "a=rtcp-fb:108 ccm fir"} <= {
        *video
    }
    assert {"a=recvonly", "a=rtcp-mux", "a=setup:passive", "a=mid:1", "b=TIAS:3000000"} <= {*video}
    assert any(re.fullmatch(r"a=rtpmap:\d+ rtx/90000", row) for row in video)
    assert {"a=fmtp:111 minptime=10;useinbandfec=1", "a=rtpmap:111 opus/48000/2"} <= {*audio}
    assert f"a=extmap:4 {MID}" in audio
    assert "transport-cc" not in text
    assert text.count("a=candidate:") == 1
    assert "a=group:BUNDLE 0 1\r\n" in text


def test_what_we_send_is_named_with_its_ssrcs() -> None:
    text = answer(OFFERS["firefox_recvonly"], "sendonly")
    assert {"a=sendonly", "a=msid:s video", "a=ssrc-group:FID 4 5", "a=ssrc:4 cname:c", "a=ssrc:5 cname:c"} <= {
        *section(text, "video")
    }


def test_a_data_channel_is_refused_and_the_rest_is_taken() -> None:
    text = answer(OFFERS["chromium_sendrecv"], "recvonly")
    channel = section(text, "application")
    assert channel[0] == "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"
    assert "a=inactive" in channel
    mids = re.search(r"a=group:BUNDLE (.*)\r\n", text)
    assert mids is not None
    assert f"a=mid:{mids[1].split()[0]}" in section(text, "audio")
    assert len(mids[1].split()) == 2
    kinds = re.findall(r"(?m)^m=(\w+)", text)
    assert kinds == re.findall(r"(?m)^m=(\w+)", OFFERS["chromium_sendrecv"])


def test_a_second_video_line_and_a_refused_line_are_left_out() -> None:
    offer = OFFERS["firefox_sendonly"]
    video = offer[offer.index("m=video") :]
    twice = offer.replace("BUNDLE 0 1", "BUNDLE 0 1 2") + video.replace("a=mid:1", "a=mid:2")
    assert re.findall(r"(?m)^m=(\w+ \d)", answer(twice, "recvonly")) == ["audio 9", "video 9", "video 0"]
    refused = offer.replace("m=video 9", "m=video 0")
    assert re.findall(r"(?m)^m=(\w+ \d)", answer(refused, "recvonly")) == ["audio 9", "video 0"]


def test_dtls_roles() -> None:
    for name, ours in (("chromium_sendonly", "passive"), ("ffmpeg_sendonly", "active")):
        offer = parse_offer(OFFERS[name])
        lines, _ = match_offer(offer, "recvonly", audio=AUDIO, video=VIDEO)
        assert transport(offer, lines).setup == ours


def test_candidates_are_the_bundles_first_line_s() -> None:
    offer = parse_offer(OFFERS["chromium_sendonly"])
    lines, _ = match_offer(offer, "recvonly", audio=AUDIO, video=VIDEO)
    found = transport(offer, lines)
    assert len(found.candidates) == 8
    assert found.ufrag == offer.media[0].ufrag


def test_h264_in_mode_0_and_vp8_are_better_than_nothing() -> None:
    only = OFFERS["firefox_sendonly"]
    without = only.replace("packetization-mode=1", "packetization-mode=0")
    assert matched(without, "recvonly")[1][Kind.VIDEO].packetization_mode == 0
    without = only.replace("H264/90000", "H266/90000")
    assert matched(without, "recvonly")[1][Kind.VIDEO].codec.name == "VP8"


@pytest.mark.parametrize(
    ("change", "problem", "codec_only"),
    [
        (("a=rtcp-mux\r\n", ""), "no rtcp-mux", False),
        (("a=group:BUNDLE 0 1\r\n", ""), "isn't in the BUNDLE group", False),
        (("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "isn't RTP over DTLS-SRTP", False),
        (("a=sendonly", "a=recvonly"), "is recvonly, so nothing can be published", False),
        (("/90000", "/90001"), "none of H264, VP8", True),
    ],
)
def test_unusable_offers(change: tuple[str, str], problem: str, codec_only: bool) -> None:
    text = OFFERS["firefox_sendonly"].replace(*change)
    if codec_only:
        text = text.replace("opus/48000/2", "speex/48000").replace("G722/8000/1", "g/1")
        text = text.replace("PCMU/8000", "u/1").replace("PCMA/8000", "a/1")
    with pytest.raises(UnusableOffer, match=problem) as caught:
        matched(text, "recvonly")
    assert caught.value.common_codec is not codec_only


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (r"a=ice-\S+\r\n", "no ice-ufrag"),
        (r"a=fingerprint:.*\r\n", "no fingerprint"),
        (r"(?<=a=setup:)actpass", "holdconn"),
    ],
)
def test_offers_without_a_transport(pattern: str, problem: str) -> None:
    offer = parse_offer(re.sub(pattern, "" if "\\r" in pattern else "holdconn", OFFERS["firefox_sendonly"]))
    lines, _ = match_offer(offer, "recvonly", audio=AUDIO, video=VIDEO)
    with pytest.raises(UnusableOffer, match=problem):
        transport(offer, lines)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("a=mid:1", "a=mid:0"), "names two lines alike"),
        (("a=ice-ufrag:a17c40fe", "a=ice-ufrag:a"), "ice-ufrag"),
        (("a=setup:actpass", "a=setup:both"), "setup"),
        (("a=fingerprint:sha-256 B4:", "a=fingerprint:sha-256 X4:"), "fingerprint"),
        (("a=mid:0", "a=mid:" + "m" * 33), "mid"),
    ],
)
def test_malformed_offers(change: tuple[str, str], problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_offer(OFFERS["firefox_sendonly"].replace(*change))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(OFFERS)), st.data())
def test_any_text_is_answered_or_refused(name: str, data: st.DataObject) -> None:
    rows = OFFERS[name].split("\r\n")
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(rows) - 1))
        how = data.draw(st.sampled_from(["drop", "double", "swap", "cut", "noise", "number"]))
        row = rows[at]
        if how == "drop":
            del rows[at]
        elif how == "double":
            rows.insert(data.draw(st.integers(0, len(rows))), row)
        elif how == "swap":
            other = data.draw(st.integers(0, len(rows) - 1))
            rows[at], rows[other] = rows[other], rows[at]
        elif how == "cut":
            rows[at] = row[: data.draw(st.integers(0, len(row)))]
        elif how == "noise":
            rows[at] = row[: len(row) // 2] + data.draw(st.text(max_size=20))
        else:
            rows[at] = re.sub(r"\d+", str(data.draw(st.integers(-1, 10**12))), row, count=1)
        if not rows:
            return
    text = "\r\n".join(rows)
    for direction in ("recvonly", "sendonly"):
        try:
            offer = parse_offer(text)
            lines, _ = match_offer(offer, direction, audio=AUDIO, video=VIDEO)
            transport(offer, lines)
        except (ParseError, UnusableOffer):
            continue
        written = write_answer(offer, lines, LOCAL, session_id=1, cname="c", stream="s")
        assert len(parse_offer(written).media) == len(offer.media)
