"""What a simulated room system says in SDP and reads in SDP: text in, text out, no line of ours.

Ports and addresses are stand-ins until ``raw_device.RawDevice`` writes its own over them.
"""

import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass

from device_rtp import SUITES

STATIC = {0: "PCMU", 8: "PCMA", 9: "G722"}


@dataclass
class Block:
    """One m-line of a description, as text."""

    kind: str
    port: int
    proto: str
    pts: list[int]
    text: str

    def values(self, name: str) -> list[str]:
        return re.findall(rf"^a={name}:(.*?)\r?$", self.text, re.MULTILINE)

    @property
    def names(self) -> dict[int, str]:
        found = {pt: STATIC[pt] for pt in self.pts if pt in STATIC}
        for value in self.values("rtpmap"):
            match = re.match(r"(\d+)\s+([^/\s]+)", value)
            if match and int(match[1]) in self.pts:
                found[int(match[1])] = match[2].upper()
        return found

    def fmtp(self, pt: int) -> str:
        return next((v.partition(" ")[2] for v in self.values("fmtp") if v.split(" ")[0] == str(pt)), "")

    def mode(self, pt: int) -> int:
        match = re.search(r"packetization-mode=(\d)", self.fmtp(pt))
        return int(match[1]) if match else 0

    @property
    def direction(self) -> str:
        match = re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)\r?$", self.text, re.MULTILINE)
        return match[1] if match else "sendrecv"

    def crypto(self) -> dict[int, tuple[str, bytes]]:
        """Tag -> suite and key, without those that want something else than plain SDES."""
        found: dict[int, tuple[str, bytes]] = {}
        for value in self.values("crypto"):
            match = re.match(r"(\d+)\s+(\S+)\s+inline:([^|\s]+)\S*\s*(.*)", value)
            if match and match[2] in SUITES and not match[4].strip():
                found[int(match[1])] = (match[2], b64decode(match[3]))
        return found


def blocks(sdp: str) -> list[Block]:
    found = []
    for part in re.split(r"(?m)^(?=m=)", sdp)[1:]:
        match = re.match(r"m=(\S+) (\d+)\S* (\S+) (.*?)\r?$", part, re.MULTILINE)
        assert match, part
        pts = [int(pt) for pt in match[4].split() if pt.isdigit()]
        found.append(Block(match[1], int(match[2]), match[3], pts, part))
    return found


def host_in(sdp: str, block: Block) -> str:
    own = re.search(r"^c=IN IP[46] (\S+)", block.text, re.MULTILINE) or re.search(
        r"^c=IN IP[46] (\S+)", sdp, re.MULTILINE
    )
    assert own
    return own[1]


def room_system(
    audio: str = "9 8 0 101",
    *,
    modes: tuple[int, ...] = (1, 0),
    profile: str = "42801f",
    more: str = "max-mbps=108000;max-fs=3600",
    feedback: tuple[str, ...] = ("nack pli", "ccm fir"),
    video: bool = True,
    direction: str = "sendrecv",
) -> str:
    """The description of a room system of our invention: G.722 and G.711 and H.264. Ports and addresses are written
    over by ``RawDevice``."""
    lines = ["v=0", "o=dev 99 1 IN IP4 192.0.2.9", "s=-", "c=IN IP4 192.0.2.9", "t=0 0"]
    lines += [f"m=audio 2000 RTP/AVP {audio}", "a=rtpmap:9 G722/8000", "a=rtpmap:8 PCMA/8000", "a=rtpmap:0 PCMU/8000"]
    if "111" in audio.split():
        lines.append("a=rtpmap:111 opus/48000/2")
    if "101" in audio.split():
        lines += ["a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15"]
    if "110" in audio.split():
        lines += ["a=rtpmap:110 telephone-event/48000", "a=fmtp:110 0-15"]
    lines.append(f"a={direction}")
    if video:
        lines.append(f"m=video 2002 RTP/AVP {' '.join(str(96 + mode) for mode in modes)}")
        for mode in modes:
            lines.append(f"a=rtpmap:{96 + mode} H264/90000")
            lines.append(f"a=fmtp:{96 + mode} profile-level-id={profile};packetization-mode={mode};{more}")
        lines += [f"a=rtcp-fb:* {one}" for one in feedback]
        lines.append(f"a={direction}")
    return "\r\n".join(lines) + "\r\n"


KEY_BYTES = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}


def crypto(tag: int, suite: str = "AES_CM_128_HMAC_SHA1_80", tail: str = "") -> str:
    key = b64encode(secrets.token_bytes(KEY_BYTES.get(suite, 30))).decode()
    return f"a=crypto:{tag} {suite} inline:{key}{tail}\r\n"


def with_crypto(make: Callable[[], str], proto: str = "RTP/AVP") -> str:
    """The room system with these lines in both m-lines, each with keys of its own."""
    head, audio, video = room_system().replace("RTP/AVP", proto).split("m=")
    return f"{head}m={audio}{make()}m={video}{make()}"


REVERSED = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}


def mirrored(offer: str, own: str) -> str:
    """What a plain device answers to an offer: its own parameters with the offer's numbers, directions turned round."""
    mine = {block.kind: block for block in reversed(blocks(own)) if "slides" not in block.values("content")}
    head = re.split(r"(?m)^m=", own.replace("\r\n", "\n"))[0]
    made = [head]
    for theirs in blocks(offer):
        block = mine.get(theirs.kind)
        chosen = _chosen(theirs, block) if block is not None and block.port and theirs.port else []
        if block is None or not chosen:
            made.append(f"m={theirs.kind} 0 {theirs.proto} {theirs.pts[0] if theirs.pts else 0}\n")
            continue
        numbers = " ".join(str(pt) for pt, _ in chosen)
        made.append(f"m={theirs.kind} {block.port} {theirs.proto} {numbers}\n")
        for pt, known in chosen:
            written = next(v.partition(" ")[2] for v in theirs.values("rtpmap") if v.split(" ")[0] == str(pt))
            made.append(f"a=rtpmap:{pt} {written}\n")
            if block.fmtp(known):
                made.append(f"a=fmtp:{pt} {block.fmtp(known)}\n")
        made += [f"a=rtcp-fb:{value}\n" for value in block.values("rtcp-fb")]
        for tag, (suite, _) in theirs.crypto().items():
            key = next((key for own_suite, key in block.crypto().values() if own_suite == suite), None)
            if key is not None:
                made.append(f"a=crypto:{tag} {suite} inline:{b64encode(key).decode()}|2^48\n")
                break
        made.append(f"a={REVERSED[theirs.direction]}\n")
    return "".join(made)


def _chosen(theirs: Block, mine: Block) -> list[tuple[int, int]]:
    """(their number, mine) of the first codec that both have, with telephone-event."""
    found: list[tuple[int, int]] = []
    names, own = theirs.names, mine.names
    for pt in theirs.pts:
        same = [
            known
            for known, name in own.items()
            if name == names.get(pt) and (name != "H264" or mine.mode(known) == theirs.mode(pt))
        ]
        events = names.get(pt) == "TELEPHONE-EVENT"
        if same and (events or not found):
            found.append((pt, same[0]))
    return found
