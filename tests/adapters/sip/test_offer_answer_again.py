"""What changes in a call: hold and resume, ports, codecs, video that comes and goes (A7, A8, A11)."""

from dataclasses import replace

import pytest
from sdp_calls import (
    AUDIO,
    CONTENT,
    DEVICES,
    HEAD,
    LOCAL,
    PCMA_LINE,
    PLAIN,
    POLICY,
    audio,
    codes,
    device_answer,
    load,
    media_of,
    version_of,
    video,
    video_offer,
)

from orbridge.adapters.sip.offer_answer import Agreed, LocalLine, answer, apply_answer, offer, rejected
from orbridge.codecs import sdes, sdp
from orbridge.codecs.media import Kind

C20 = load("tandberg_c20")
BASE = "profile-level-id=42801f;packetization-mode=1"


def with_direction(text: str, direction: str) -> str:
    return text.replace("a=sendrecv", f"a={direction}")


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_offer_again_gives_the_same_answer(device: str) -> None:
    first = answer(load(device), LOCAL, POLICY)
    again = answer(load(device), LOCAL, POLICY, first)
    assert again.text == first.text
    assert again.version == first.version == 1
    assert again.lines == first.lines


@pytest.mark.parametrize(
    ("direction", "ours", "held"),
    [("sendonly", "recvonly", True), ("inactive", "inactive", True), ("recvonly", "sendonly", False)],
)
def test_hold_and_resume_by_the_peer(direction: str, ours: str, held: bool) -> None:
    first = answer(C20, LOCAL, POLICY)
    second = answer(with_direction(C20, direction), LOCAL, POLICY, first)
    assert [line.direction for line in second.lines] == [ours, ours]
    assert [line.hold for line in second.lines] == ["peer" if held else "none"] * 2
    assert second.held_by_peer == held
    assert version_of(second.text) == 2
    third = answer(C20, LOCAL, POLICY, second)
    assert [(line.direction, line.hold) for line in third.lines] == [("sendrecv", "none")] * 2
    assert version_of(third.text) == 3
    # Nothing else moved.
    assert third.text.replace("o=- 4711 3", "o=- 4711 1") == first.text


def test_hold_by_an_address_of_zeros() -> None:
    first = answer(C20, LOCAL, POLICY)
    held = answer(C20.replace("c=IN IP4 192.0.2.20", "c=IN IP4 0.0.0.0"), LOCAL, POLICY, first)
    assert held.held_by_peer
    assert [(line.direction, line.remote_host) for line in held.lines] == [("recvonly", "")] * 2
    assert "address_learned" not in codes(held)
    inactive = C20.replace("c=IN IP4 192.0.2.20", "c=IN IP6 ::").replace("a=sendrecv", "a=inactive")
    assert audio(answer(inactive, LOCAL, POLICY, first)).direction == "inactive"
    assert not answer(C20, LOCAL, POLICY, held).held_by_peer


def test_our_hold_goes_on_while_the_peer_offers_again() -> None:
    first = answer(C20, LOCAL, POLICY)
    held = answer(C20, LOCAL, POLICY, first, hold=True)
    assert [(line.direction, line.hold) for line in held.lines] == [("sendonly", "ours")] * 2
    both = answer(with_direction(C20, "sendonly"), LOCAL, POLICY, held, hold=True)
    assert [(line.direction, line.hold) for line in both.lines] == [("inactive", "both")] * 2


@pytest.mark.parametrize("device", DEVICES)
def test_hold_and_resume_by_us(device: str) -> None:
    first = answer(load(device), LOCAL, POLICY)
    ours = offer(LOCAL, POLICY, first, hold=True)
    assert ours.version == 2
    theirs, held = sdp.parse(first.text), sdp.parse(ours.text)
    # Every line stays in its place, with what was agreed on it first.
    assert [media.kind for media in held.media] == [media.kind for media in theirs.media]
    for line in first.lines:
        assert held.media[line.index].formats[0] == str(line.pt)
        assert held.media[line.index].proto == theirs.media[line.index].proto
        assert held.media[line.index].port == theirs.media[line.index].port
        assert held.direction(held.media[line.index]) == "sendonly"
    # A camera, which only sends, has nothing left to do.
    text = with_direction(device_answer(device, ours.text).replace("a=sendonly", "a=inactive"), "recvonly")
    agreed = apply_answer(ours, text, POLICY)
    for before, after in zip(first.lines, agreed.lines, strict=True):
        assert (after.kind, after.index, after.codec.name) == (before.kind, before.index, before.codec.name)
        assert after.hold == "ours"
        assert after.direction == ("sendonly" if before.sends else "inactive")
    resumed = offer(LOCAL, POLICY, agreed)
    assert resumed.version == 3
    back = apply_answer(resumed, device_answer(device, resumed.text), POLICY)
    assert [line.hold for line in back.lines] == ["none"] * len(back.lines)
    assert [line.codec.name for line in back.lines] == [line.codec.name for line in first.lines]


def test_numbers_keep_their_meaning_when_we_offer_again() -> None:
    first = answer(load("polycom_group"), LOCAL, POLICY)
    ours = offer(LOCAL, POLICY, first)
    theirs = sdp.parse(load("polycom_group"))
    for index in (0, 1):
        meant = {one.pt: one.name for one in sdp.read_formats(theirs.media[index])[0]}
        formats, _ = sdp.read_formats(media_of(ours.text, index))
        for one in formats:
            assert meant.get(one.pt, one.name) == one.name
    # Baseline in mode 1 was agreed as 110 and stays it, at its profile.
    picture = media_of(ours.text, 1)
    assert picture.formats[0] == "110"
    formats, _ = sdp.read_formats(picture)
    assert formats[0].parameters["profile-level-id"] == "42801f"
    assert "119" in media_of(ours.text, 0).formats
    # BFCP and H.224 stay refused.
    assert [media_of(ours.text, index).port for index in (2, 3)] == [0, 0]


def test_numbers_of_a_peer_s_answer_are_used_up() -> None:
    ours = offer(replace(LOCAL, video=None), PLAIN)
    text = HEAD + "m=audio 1 RTP/AVP 112 96\r\na=rtpmap:112 opus/48000/2\r\na=rtpmap:96 L16/44100\r\n"
    agreed = apply_answer(ours, text, PLAIN)
    assert audio(agreed).pt == 112
    again = offer(LOCAL, PLAIN, agreed)
    assert media_of(again.text, 0) == media_of(ours.text, 0)
    assert {112, 96} <= agreed.slots[0].used.keys()


def test_every_dynamic_number_is_taken() -> None:
    pts = range(96, 128)
    text = HEAD + f"m=audio 5 RTP/AVP 8 {' '.join(map(str, pts))}\r\n"
    text += "".join(f"a=rtpmap:{pt} X{pt}/8000\r\n" for pt in pts)
    again = offer(LOCAL, PLAIN, answer(text, LOCAL, PLAIN))
    assert media_of(again.text, 0).formats == ("8", "9", "0")


def test_moved_ports_and_addresses_are_followed() -> None:
    first = answer(C20, LOCAL, POLICY)
    moved = C20.replace("m=audio 2328", "m=audio 3328").replace("c=IN IP4 192.0.2.20", "c=IN IP4 192.0.2.99")
    second = answer(moved, LOCAL, POLICY, first)
    assert (audio(second).remote_host, audio(second).remote_port) == ("192.0.2.99", 3328)
    assert second.text == first.text


def test_our_ports_may_move() -> None:
    first = answer(C20, LOCAL, POLICY)
    second = answer(C20, replace(LOCAL, audio=replace(AUDIO, port=21_000, rtcp_port=21_001)), POLICY, first)
    assert (media_of(second.text, 0).port, version_of(second.text)) == (21_000, 2)


def test_the_codec_changes_with_the_peer_s_offer() -> None:
    first = answer(C20, LOCAL, POLICY)
    second = answer(C20.replace("105 9 18 8 0 101", "8 0 101"), LOCAL, POLICY, first)
    assert (audio(first).codec.name, audio(second).codec.name) == ("G722", "PCMA")
    mode_0 = answer(C20.replace("RTP/AVP 97 98 99", "RTP/AVP 97 99"), LOCAL, POLICY, second)
    assert (video(second).packetization_mode, video(mode_0).packetization_mode) == (1, 0)


def test_video_is_added_later_and_removed_and_added_again() -> None:
    sound = HEAD + PCMA_LINE
    agreed = answer(sound, LOCAL, POLICY)
    assert codes(agreed) == ["no_video_line"]
    first = audio(agreed)
    with_picture = video_offer(BASE)
    for text, there in ((with_picture, True), (sound + "m=video 0 RTP/AVP 96\r\n", False), (with_picture, True)):
        agreed = answer(text, LOCAL, POLICY, agreed)
        assert (agreed.line(Kind.VIDEO) is not None) == there
        # Sound never drops, nor changes.
        assert audio(agreed) == first
    assert agreed.version == 4


def test_we_add_video_and_remove_it() -> None:
    sound_only = replace(LOCAL, video=None)
    agreed = answer(HEAD + PCMA_LINE, sound_only, PLAIN)
    ours = offer(LOCAL, PLAIN, agreed)
    assert [media.kind for media in sdp.parse(ours.text).media] == ["audio", "video"]
    agreed = apply_answer(ours, video_offer(BASE), PLAIN)
    assert video(agreed).index == 1
    ours = offer(sound_only, PLAIN, agreed)
    assert [(media.kind, media.port) for media in sdp.parse(ours.text).media] == [("audio", 20_000), ("video", 0)]
    agreed = apply_answer(ours, HEAD + PCMA_LINE + "m=video 0 RTP/AVP 96\r\n", PLAIN)
    assert agreed.line(Kind.VIDEO) is None
    assert codes(agreed) == []
    ours = offer(LOCAL, PLAIN, agreed)
    assert [(media.kind, media.port) for media in sdp.parse(ours.text).media] == [("audio", 20_000), ("video", 20_002)]
    assert ours.version == 4


def test_a_refused_video_line_is_offered_again_in_its_place() -> None:
    agreed = answer(load("polycom_vsx7000"), LOCAL, PLAIN)
    ours = sdp.parse(offer(LOCAL, PLAIN, agreed).text)
    assert [(media.kind, media.port) for media in ours.media] == [("audio", 20_000), ("video", 20_002)]
    # 96 is H.263 there for the rest of the call.
    assert "96" not in ours.media[1].formats


def test_slides_are_added_by_us_in_a_line_of_their_own() -> None:
    agreed = answer(video_offer(BASE), LOCAL, PLAIN)
    ours = sdp.parse(offer(replace(LOCAL, content=CONTENT), PLAIN, agreed).text)
    assert [media.value("content") for media in ours.media] == [None, "main", "slides"]
    c20 = answer(C20, LOCAL, PLAIN)
    ours = sdp.parse(offer(replace(LOCAL, content=CONTENT), PLAIN, c20).text)
    assert [media.port for media in ours.media] == [20_000, 20_002, 0, 20_004, 0]


def test_a_second_offer_in_another_order_keeps_the_legs() -> None:
    h264 = "a=rtpmap:96 H264/90000\r\n"
    first = answer(HEAD + PCMA_LINE + f"m=video 0 RTP/AVP 96\r\nm=video 9 RTP/AVP 96\r\n{h264}", LOCAL, PLAIN)
    assert video(first).index == 2
    second = answer(
        HEAD + PCMA_LINE + f"m=video 7 RTP/AVP 96\r\n{h264}m=video 9 RTP/AVP 96\r\n{h264}", LOCAL, PLAIN, first
    )
    assert video(second).index == 2


def test_versions_are_never_used_twice_after_a_refusal() -> None:
    first = answer(C20, LOCAL, POLICY)
    failed = offer(LOCAL, POLICY, first, hold=True)
    again = offer(LOCAL, POLICY, rejected(first, failed), hold=True)
    assert (failed.version, again.version) == (2, 3)
    assert answer(C20, LOCAL, POLICY, rejected(first, failed)).version == 3


def test_an_offer_that_changes_nothing_keeps_its_version() -> None:
    ours = offer(LOCAL, PLAIN)
    agreed = apply_answer(ours, device_answer("cisco_webex", ours.text), PLAIN)
    again = offer(LOCAL, PLAIN, agreed)
    assert (again.text, again.version) == (ours.text, 1)


def test_keys_and_ssrc_stay() -> None:
    def secrets_of(agreed: Agreed) -> list[str | None]:
        return [media_of(agreed.text, index).value(name) for index in (0, 1) for name in ("crypto", "ssrc")]

    first = answer(load("tandberg_e20"), LOCAL, POLICY)
    second = answer(with_direction(load("tandberg_e20"), "sendonly"), LOCAL, POLICY, first)
    assert secrets_of(first) == secrets_of(second)


def test_new_keys_of_the_peer_are_taken() -> None:
    first = answer(load("tandberg_e20"), LOCAL, POLICY)
    changed = load("tandberg_e20").replace("inline:AAEC", "inline:BBEC")
    second = answer(changed, LOCAL, POLICY, first)
    old, new = audio(first).srtp, audio(second).srtp
    assert old is not None
    assert new is not None
    assert old.inbound != new.inbound
    assert old.outbound == new.outbound


def test_a_late_offer_is_an_offer() -> None:
    """An INVITE without SDP is answered with our offer; the ACK brings the answer, and the peer may offer next."""
    ours = offer(LOCAL, POLICY)
    agreed = apply_answer(ours, device_answer("tandberg_c20", ours.text), POLICY)
    held = answer(with_direction(video_offer(BASE, more="a=sendrecv\r\n"), "sendonly"), LOCAL, POLICY, agreed)
    assert video(held).hold == "peer"
    assert version_of(held.text) == 2


def test_lines_of_one_leg_only() -> None:
    leg = LocalLine(1, 2, 3, sdes.fresh_keys())
    agreed = answer(C20, replace(LOCAL, audio=None, video=leg), PLAIN)
    assert [line.kind for line in agreed.lines] == [Kind.VIDEO]
