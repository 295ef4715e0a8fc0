"""The SDP parser: what it understands, what it tolerates, where it stops."""

import pytest

from orbridge.codecs import sdp
from orbridge.codecs.errors import ParseError

MINIMAL = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


def one(lines: str) -> sdp.Media:
    return sdp.parse(MINIMAL + lines).media[0]


def test_a_plain_description_is_read_whole() -> None:
    description = sdp.parse(
        MINIMAL + "b=AS:512\r\na=tool:x\r\nm=audio 4000/2 RTP/AVP 0 8\r\nb=TIAS:64000\r\na=ptime:20\r\n"
    )
    assert description.origin == sdp.Origin(1, 2, sdp.Address("192.0.2.1"))
    assert description.bandwidth == {"AS": 512}
    assert description.value("tool") == "x"
    (media,) = description.media
    assert (media.kind, media.port, media.proto, media.formats) == ("audio", 4000, "RTP/AVP", ("0", "8"))
    assert media.address == sdp.Address("192.0.2.1")
    assert media.value("ptime") == "20"
    assert description.warnings == ()


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_line_ends_of_any_kind(end: str) -> None:
    text = (MINIMAL + "m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n").replace("\r\n", end)
    description = sdp.parse(text)
    assert description.direction(description.media[0]) == "sendonly"
    assert description.warnings == ()


def test_what_is_written_is_read_back_the_same() -> None:
    description = sdp.parse(
        MINIMAL
        + "b=AS:512\r\na=group:BUNDLE 0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\na=mid:0\r\na=sendrecv\r\n"
        + "m=application 0 UDP/BFCP *\r\n"
    )
    assert sdp.parse(sdp.serialise(description)) == description


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IN IP4 192.0.2.1", sdp.Address("192.0.2.1")),
        ("IN IP4 233.252.0.1/127", sdp.Address("233.252.0.1")),
        ("in ip6 2001:db8::5", sdp.Address("2001:db8::5", ipv6=True)),
        ("IN IP4 2001:db8::5", sdp.Address("2001:db8::5", ipv6=True)),
        ("IN IP4 or3.example.test", sdp.Address("or3.example.test")),
        ("IN IP4", None),
        ("ATM NSAP 47.0091", None),
        ("IN IP4 <script>", None),
    ],
)
def test_addresses(text: str, expected: sdp.Address | None) -> None:
    assert sdp.read_address(text) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("m=audio 4000 RTP/AVP 0\r\na=rtcp:5000\r\n", (5000, None)),
        ("m=audio 4000 RTP/AVP 0\r\na=rtcp:5000 IN IP4 192.0.2.9\r\n", (5000, sdp.Address("192.0.2.9"))),
        ("m=audio 4000 RTP/AVP 0\r\na=rtcp:0\r\n", None),
        ("m=audio 4000 RTP/AVP 0\r\na=rtcp:70000\r\n", None),
        ("m=audio 4000 RTP/AVP 0\r\na=rtcp:x\r\n", None),
        ("m=audio 4000 RTP/AVP 0\r\n", None),
    ],
)
def test_rtcp_attribute(lines: str, expected: tuple[int, sdp.Address | None] | None) -> None:
    assert sdp.read_rtcp(one(lines)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("profile-level-id=42801f;packetization-mode=1", {"profile-level-id": "42801f", "packetization-mode": "1"}),
        ("profile-level-id=42801f; packetization-mode=1; ", {"profile-level-id": "42801f", "packetization-mode": "1"}),
        ("Profile-Level-ID = 42801F ;max-br= 5", {"profile-level-id": "42801F", "max-br": "5"}),
        # Huawei HD9030: spaces instead of semicolons
        ("CIF=1 XMAX=88 YMAX=60 MPI=1", {"cif": "1", "xmax": "88", "ymax": "60", "mpi": "1"}),
        # Axis: base64 with padding, and a list with a space after its comma
        ("sprop-parameter-sets=Z0IA==,aM4=; a=1", {"sprop-parameter-sets": "Z0IA==,aM4=", "a": "1"}),
        ("sprop-parameter-sets=Z0IA==, aM4=", {"sprop-parameter-sets": "Z0IA==, aM4="}),
        ("0-15", {"0-15": ""}),
        ("RvXorAlgo;RvRsAlgo;MaxRsWindowSize=48", {"rvxoralgo": "", "rvrsalgo": "", "maxrswindowsize": "48"}),
        ("a=1;a=2", {"a": "1"}),
        (";;; = ;", {}),
        ("", {}),
    ],
)
def test_fmtp_parameters(text: str, expected: dict[str, str]) -> None:
    assert sdp.read_parameters(text) == expected


def test_formats_with_and_without_rtpmap() -> None:
    formats, problems = sdp.read_formats(
        one("m=audio 1 RTP/AVP 8 96 97 9 200 x\r\na=rtpmap:96 OpUs/48000/2\r\na=fmtp:96 useinbandfec=1\r\n")
    )
    assert [(one.pt, one.name, one.clock_hz, one.channels) for one in formats] == [
        (8, "PCMA", 8000, 1),
        (96, "OPUS", 48000, 2),
        (9, "G722", 8000, 1),
    ]
    assert formats[1].parameters == {"useinbandfec": "1"}
    assert problems == []


def test_a_payload_type_mapped_twice_keeps_its_first_meaning_and_warns() -> None:
    formats, problems = sdp.read_formats(
        one("m=video 1 RTP/AVP 96 96\r\na=rtpmap:96 H264/90000\r\na=rtpmap:96 H263-1998/90000\r\n")
    )
    assert [format_.name for format_ in formats] == ["H264"]
    assert problems == ["payload type 96 of m=video mapped twice"]


def test_two_fmtp_lines_of_one_type_are_put_together() -> None:
    formats, _ = sdp.read_formats(
        one("m=video 1 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 a=1;b=2\r\na=fmtp:96 b=3;c=4\r\n")
    )
    assert formats[0].parameters == {"a": "1", "b": "2", "c": "4"}


@pytest.mark.parametrize(
    ("session", "line", "expected"),
    [
        ("", "", 0),
        ("b=AS:384\r\n", "", 384),
        ("b=CT:99980\r\n", "", 99980),
        ("b=AS:6000\r\n", "b=TIAS:1920000\r\n", 1920),
        ("", "b=AS:1000\r\nb=TIAS:900000\r\n", 900),
        ("", "b=AS:-5\r\n", 0),
        ("", "b=X-YZ:128\r\n", 0),
        ("", "b=AS:512.5\r\n", 512),
    ],
)
def test_bandwidth(session: str, line: str, expected: int) -> None:
    description = sdp.parse(MINIMAL + session + "m=video 1 RTP/AVP 96\r\n" + line)
    assert description.bandwidth_kbps(description.media[0]) == expected


@pytest.mark.parametrize(
    ("session", "line", "expected"),
    [("", "", "sendrecv"), ("a=inactive\r\n", "", "inactive"), ("a=inactive\r\n", "a=recvonly\r\n", "recvonly")],
)
def test_direction_of_the_line_counts_before_the_session_s(session: str, line: str, expected: str) -> None:
    description = sdp.parse(MINIMAL + session + "m=video 1 RTP/AVP 96\r\n" + line)
    assert description.direction(description.media[0]) == expected


@pytest.mark.parametrize(
    ("broken", "warning"),
    [
        ("m=audio nine RTP/AVP 0\r\n", "m=audio without a usable port: taken as refused"),
        ("m=audio 70000 RTP/AVP 0\r\n", "m=audio without a usable port: taken as refused"),
        ("m=audio 5\r\n", "m=audio without formats"),
        ("m=\r\n", "m=unknown without a usable port: taken as refused"),
        ("m=audio 5 RTP/AVP 0\r\nnonsense\r\n", "a line that isn't of the form x=..."),
        ("m=audio 5 RTP/AVP 0\r\nq=1\r\n", "an unknown line q="),
        ("m=audio 5 RTP/AVP 0\r\nc=IN\r\n", "a c= line that can't be read"),
        ("m=audio 5 RTP/AVP 0\r\nb=AS\r\n", "a b= line that can't be read"),
        ("m=audio 5 RTP/AVP 0\r\na=x\x00y\r\n", "control characters or surrogates"),
    ],
)
def test_broken_lines_are_tolerated_and_noted_once(broken: str, warning: str) -> None:
    description = sdp.parse(MINIMAL + broken + broken)
    assert description.warnings.count(warning) == 1
    assert len(description.media) == 2


def test_bytes_that_are_not_utf8_are_tolerated() -> None:
    description = sdp.parse((MINIMAL + "m=audio 5 RTP/AVP 0\r\n").encode().replace(b"s=-", b"s=\xff\xfe"))
    assert description.warnings == ("bytes that aren't UTF-8",)
    assert description.media[0].port == 5


def test_surrogates_do_not_survive() -> None:
    description = sdp.parse(MINIMAL.replace("s=-", "s=a\udcffb"))
    assert description.name == "ab"
    sdp.serialise(description).encode()


def test_missing_version_and_origin_are_tolerated_where_there_is_media() -> None:
    description = sdp.parse("m=audio 5 RTP/AVP 0\r\n")
    assert description.warnings == ("no v= line", "no readable o= line")
    assert description.origin is None


@pytest.mark.parametrize(
    "text",
    ["", "hello", b"\x00\x01\x02", "a=sendrecv\r\n", "INVITE sip:x SIP/2.0\r\n"],
)
def test_what_is_no_sdp_is_refused(text: str | bytes) -> None:
    with pytest.raises(ParseError, match="neither"):
        sdp.parse(text)


def test_work_is_bounded() -> None:
    with pytest.raises(ParseError, match="bytes"):
        sdp.parse("v=0\r\n" + "a=x\r\n" * 20_000)
    with pytest.raises(ParseError, match="lines"):
        sdp.parse("v=0\r\n" + "a=\r\n" * 3_000)
    with pytest.raises(ParseError, match="m="):
        sdp.parse("v=0\r\n" + "m=audio 0 RTP/AVP 0\r\n" * 65)


def test_warnings_are_bounded() -> None:
    text = "v=0\r\n" + "".join(f"{chr(0x4E00 + n)}=1\r\nm={n}x 99999 RTP/AVP\r\n" for n in range(60))
    assert len(sdp.parse(text).warnings) == sdp.MAX_WARNINGS
