"""Both sides of a negotiation for tests: our legs, the devices' descriptions, and a device that answers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orbridge.adapters.sip.offer_answer import Agreed, LocalLine, LocalMedia, NegotiatedLine, Policy
from orbridge.codecs import h264, sdes, sdp
from orbridge.codecs.media import Kind, Role

FOLDER = Path(__file__).parents[2] / "data" / "sdp"
DEVICES = tuple(sorted(path.stem for path in FOLDER.glob("*.sdp")))


def keys(first: int) -> dict[str, bytes]:
    return {suite: bytes((first + n) % 256 for n in range(length)) for suite, length in sdes.KEY_BYTES.items()}


AUDIO = LocalLine(20_000, 20_001, 0x11111111, keys(100))
VIDEO = LocalLine(20_002, 20_003, 0x22222222, keys(150))
CONTENT = LocalLine(20_004, 20_005, 0x33333333, keys(200))
LOCAL = LocalMedia("203.0.113.5", "orbridge-1", 4711, AUDIO, VIDEO)
LOCAL_IPV6 = replace(LOCAL, host="2001:db8::5")
POLICY = Policy()
PLAIN = Policy(srtp="off")
MANDATORY = Policy(srtp="mandatory")

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
PCMA_LINE = "m=audio 4000 RTP/AVP 8\r\n"


def load(device: str) -> str:
    """A device's offer as it comes from the wire."""
    return (FOLDER / f"{device}.sdp").read_text().replace("\n", "\r\n")


def video_offer(*formats: str, more: str = "") -> str:
    """An offer of PCMA and H.264 with these fmtp texts (``-`` for none), at payload types 96, 97, ..."""
    lines = [f"m=video 4002 RTP/AVP {' '.join(str(96 + n) for n in range(len(formats)))}"]
    for pt, text in enumerate(formats, 96):
        lines.append(f"a=rtpmap:{pt} H264/90000")
        if text != "-":
            lines.append(f"a=fmtp:{pt} {text}")
    return HEAD + PCMA_LINE + "".join(line + "\r\n" for line in lines) + more


def line(agreed: Agreed, kind: Kind, role: Role = Role.MAIN) -> NegotiatedLine:
    found = agreed.line(kind, role)
    assert found is not None, f"no {kind} {role}: {agreed.notes}"
    return found


def audio(agreed: Agreed) -> NegotiatedLine:
    return line(agreed, Kind.AUDIO)


def video(agreed: Agreed) -> NegotiatedLine:
    return line(agreed, Kind.VIDEO)


def codes(agreed: Agreed) -> list[str]:
    return [note.code for note in agreed.notes]


def media_of(text: str, index: int) -> sdp.Media:
    return sdp.parse(text).media[index]


def fmtp_of(text: str, index: int, pt: int) -> dict[str, str]:
    formats, _ = sdp.read_formats(media_of(text, index))
    return dict(next(one.parameters for one in formats if one.pt == pt))


def version_of(text: str) -> int:
    origin = sdp.parse(text).origin
    assert origin is not None
    return origin.version


def device_answer(device: str, offer_text: str) -> str:
    """What the device of a fixture answers to an offer, by RFC 3264: our numbers, its parameters, its addresses.

    It takes the first codec of ours that it offers itself, of H.264 the first mode that it has; content lines and what
    it doesn't know get port 0. Crypto is taken when it offers crypto itself: the first suite of ours that it names.
    """
    theirs = sdp.parse(load(device))
    own = {media.kind: media for media in reversed(theirs.media) if media.value("content") != "slides"}
    answered: list[sdp.Media] = []
    for media in sdp.parse(offer_text).media:
        mine = own.get(media.kind)
        formats, _ = sdp.read_formats(media)
        chosen = _device_choice(formats, sdp.read_formats(mine)[0]) if mine is not None and mine.port else []
        if mine is None or not chosen:
            answered.append(sdp.Media(media.kind, 0, media.proto, media.formats[:1]))
            continue
        attributes: list[sdp.Attribute] = []
        for ours, known in chosen:
            attributes.append(sdp.Attribute("rtpmap", f"{ours.pt} {known.name}/{known.clock_hz}"))
            if known.raw is not None:
                attributes.append(sdp.Attribute("fmtp", f"{ours.pt} {known.raw}"))
        attributes += [one for one in mine.attributes if one.name in ("rtcp-fb", "rtcp", *sdp.DIRECTIONS)]
        attributes += _device_crypto(media, mine)
        formats_text = tuple(str(ours.pt) for ours, _ in chosen)
        answered.append(
            sdp.Media(media.kind, mine.port, media.proto, formats_text, mine.address, mine.bandwidth, tuple(attributes))
        )
    return sdp.serialise(replace(theirs, media=tuple(answered), attributes=()))


def _device_choice(offered: Sequence[sdp.Format], known: Sequence[sdp.Format]) -> list[tuple[sdp.Format, sdp.Format]]:
    chosen: list[tuple[sdp.Format, sdp.Format]] = []
    for ours in offered:
        same = [
            one
            for one in known
            if (one.name, one.clock_hz) == (ours.name, ours.clock_hz)
            and (one.name != "H264" or _mode(one) == _mode(ours))
        ]
        events = ours.name == "TELEPHONE-EVENT"
        if same and (events or not any(one.name != "TELEPHONE-EVENT" for _, one in chosen)):
            chosen.append((ours, same[0]))
    return chosen if any(one.name != "TELEPHONE-EVENT" for _, one in chosen) else []


def _mode(one: sdp.Format) -> int:
    return h264.packetization_mode(one.parameters)


def _device_crypto(ours: sdp.Media, mine: sdp.Media) -> list[sdp.Attribute]:
    able = [crypto for value in mine.values("crypto") if (crypto := sdes.parse(value)) and not crypto.problem]
    for value in ours.values("crypto"):
        offered = sdes.parse(value)
        if offered is None:
            continue
        for crypto in able:
            if crypto.suite == offered.suite:
                return [sdp.Attribute("crypto", sdes.serialise(offered.tag, crypto.suite, crypto.key) + "|2^48")]
    return []
