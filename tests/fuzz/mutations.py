"""Mutations of real texts: what a broken device, a bad network box or an attacker makes of a valid message."""

import random

PIECES: tuple[bytes, ...] = (
    b"%", b"\x00", b"\xff\xfe", b"\r\n", b"\r\n\r\n", b"\r\n ", b'"', b"<", b">", b";", b",", b"@", b":", b"*", b"-1",
    b"0", b"4294967296", b"99999999999999999999", b"\xc3\x28", b"\xe2\x80\xa8", b"A" * 3000, b" " * 300,
    b"m=video 0 RTP/AVP\r\n", b"m=audio 9 RTP/SAVPF 111\r\n", b"a=rtpmap:96\r\n", b"a=rtpmap:0 H264/90000\r\n",
    b"a=fmtp:96 profile-level-id=zzzzzz\r\n", b"a=fmtp:97 packetization-mode=2\r\n", b"c=IN IP4\r\n",
    b"c=IN IP6 ::\r\n",
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n", b"a=inactive\r\n", b"a=rtcp-mux\r\n", b"a=setup:active\r\n",
    b"a=fingerprint:sha-256 00\r\n", b"a=ice-ufrag:\r\n", b"a=candidate:1 1 udp 1 127.0.0.1 99999 typ host\r\n",
    b"a=mid:0\r\na=mid:0\r\n", b"a=group:BUNDLE 0 1 2 3\r\n", b"b=AS:0\r\n", b"b=TIAS:-5\r\n", b"a=extmap:15 x\r\n",
    b"Content-Length: -1\r\n", b"Via: SIP/2.0/UDP 255.255.255.255\r\n", b"Route: <sip:127.0.0.1;lr>\r\n",
    b"Session-Expires: 1\r\n", b"Require: 100rel\r\n", b"Contact: *\r\n", b"Max-Forwards: 0\r\n", b"Replaces: a\r\n",
)  # fmt: skip


def mutated(text: bytes, rng: random.Random, most: int = 15_000) -> bytes:
    """A few edits, or none; at most ``most`` bytes, at least one."""
    data = bytearray(text)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0:
                data[at:at] = rng.choice(PIECES)
            case 1:
                del data[at : at + rng.choice((1, 1, 4, 40, 400))]
            case 2:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                data[at:at] = data[at : at + rng.choice((1, 10, 200))]
            case 4:
                if rng.random() < 0.3:
                    del data[at:]
            case 5:
                data = _of_lines(data, rng)
            case 6:
                data = _number(data, rng)
            case _:
                data[at:at] = rng.choice(PIECES) * rng.choice((1, 2, 50))
        if not data:
            return b"\r\n"
    return bytes(data[:most])


def _of_lines(data: bytearray, rng: random.Random) -> bytearray:
    """Lines dropped, doubled, swapped."""
    lines = bytes(data).split(b"\r\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(3):
        case 0:
            del lines[one]
        case 1:
            lines.insert(other, lines[one])
        case _:
            lines[one], lines[other] = lines[other], lines[one]
    return bytearray(b"\r\n".join(lines))


def _number(data: bytearray, rng: random.Random) -> bytearray:
    """Another number where one stands."""
    digits = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if digits:
        at = rng.choice(digits)
        data[at : at + 1] = rng.choice((b"0", b"9", b"-1", b"65536", b"4294967295", b"1e9", b""))
    return data
