"""A peer of the engine for tests: a UDP socket that speaks RTP, RTCP and SRTP (libsrtp). Shares no code with it."""

from __future__ import annotations

import base64
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pylibsrtp import Policy, Session

from orbridge.codecs._engine import Engine, Leg

# What an Axis camera says in its SDP (tests/data has the whole): 1280x800, Baseline.
SPS = base64.b64decode("Z0IAKeKQCgDLYC3AQEBpB4kRUA==")
PPS = base64.b64decode("aM48gA==")
PORTS = (21200, 21279)


@dataclass(frozen=True, slots=True)
class Rtp:
    pt: int
    seq: int
    timestamp: int
    ssrc: int
    marker: bool
    payload: bytes
    extensions: dict[int, bytes] = field(default_factory=dict)


def pack(packet: Rtp) -> bytes:
    head = struct.pack(
        "!BBHII", 0x80, packet.pt | packet.marker << 7, packet.seq & 0xFFFF, packet.timestamp & 0xFFFFFFFF, packet.ssrc
    )
    return head + packet.payload


def parse(data: bytes) -> Rtp:
    first, second, seq, timestamp, ssrc = struct.unpack_from("!BBHII", data)
    assert first >> 6 == 2
    at = 12 + 4 * (first & 15)
    extensions = {}
    if first & 0x10:
        profile, words = struct.unpack_from("!HH", data, at)
        body = data[at + 4 : at + 4 + 4 * words]
        at += 4 + 4 * words
        while profile == 0xBEDE and body:
            if not body[0]:
                body = body[1:]
                continue
            length = (body[0] & 15) + 1
            extensions[body[0] >> 4] = body[1 : 1 + length]
            body = body[1 + length :]
    return Rtp(second & 127, seq, timestamp, ssrc, bool(second >> 7), data[at:], extensions)


def is_rtcp(data: bytes) -> bool:
    return 192 <= data[1] <= 223


def rtcp_packets(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(packet type, count or format, body after the first word) of a compound."""
    while data:
        first, kind, words = struct.unpack_from("!BBH", data)
        yield kind, first & 31, data[4 : 4 + 4 * words]
        data = data[4 + 4 * words :]


class Peer:
    """One socket. ``protect`` takes the engine's inbound keys, ``unprotect`` its outbound ones."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((host, 0))
        self.host, self.port = self.socket.getsockname()[:2]
        self.to: tuple[str, int] = (host, 0)
        self.outbound: Session | None = None
        self.inbound: Session | None = None
        self.seq: dict[int, int] = {}
        self.rtcp: list[bytes] = []

    def meet(self, leg: Leg) -> None:
        """Each knows the other's address."""
        self.to = (leg.host, leg.port)
        leg.set_peer(self.host, self.port)

    def set_keys(self, profile: int, ours: bytes, theirs: bytes) -> None:
        self.outbound = Session(Policy(key=ours, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
        self.inbound = Session(Policy(key=theirs, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=profile))

    def send(self, pt: int, timestamp: int, payload: bytes, *, ssrc: int = 0x1234, marker: bool = False) -> None:
        seq = self.seq[ssrc] = self.seq.get(ssrc, 1000) + 1
        data = pack(Rtp(pt, seq, timestamp, ssrc, marker, payload))
        self.socket.sendto(self.outbound.protect(data) if self.outbound else data, self.to)

    def send_rtcp(self, data: bytes) -> None:
        self.socket.sendto(self.outbound.protect_rtcp(data) if self.outbound else data, self.to)

    def send_picture(self, pt: int, timestamp: int, nals: list[bytes], *, ssrc: int = 0x1234, size: int = 1100) -> None:
        """RFC 6184: single NAL units, and FU-A where one is larger than ``size``."""
        for index, nal in enumerate(nals):
            last_nal = index == len(nals) - 1
            if len(nal) <= size:
                self.send(pt, timestamp, nal, ssrc=ssrc, marker=last_nal)
                continue
            body = nal[1:]
            for at in range(0, len(body), size):
                first, last = at == 0, at + size >= len(body)
                head = bytes([nal[0] & 0x60 | 28, first << 7 | last << 6 | nal[0] & 31])
                self.send(pt, timestamp, head + body[at : at + size], ssrc=ssrc, marker=last_nal and last)

    def receive_datagrams(self, wait_s: float, enough: Callable[[list[bytes]], bool] | None = None) -> list[bytes]:
        """Whatever comes within ``wait_s``, decrypted; RTCP is put into ``self.rtcp``."""
        deadline = time.monotonic() + wait_s
        got: list[bytes] = []
        while not (enough and enough(got)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                break
            data = self.socket.recv(65536)
            if is_rtcp(data):
                self.rtcp.append(self.inbound.unprotect_rtcp(data) if self.inbound else data)
            else:
                got.append(self.inbound.unprotect(data) if self.inbound else data)
        return got

    def receive(self, wait_s: float = 0.3, count: int | None = None) -> list[Rtp]:
        enough = (lambda got: len(got) >= count) if count is not None else None
        return [parse(data) for data in self.receive_datagrams(wait_s, enough)]

    def receive_until_marker(self, count: int = 1, wait_s: float = 8.0) -> list[Rtp]:
        """Up to the end of that many pictures; a busy computer may take its time."""
        return [
            parse(data) for data in self.receive_datagrams(wait_s, lambda got: sum(d[1] >> 7 for d in got) >= count)
        ]

    def receive_rtcp(self, kind: int, fmt: int | None = None, wait_s: float = 8.0) -> bytes | None:
        """The body of the first RTCP packet of a type (and format) that comes."""
        deadline = time.monotonic() + wait_s
        while True:
            while self.rtcp:
                for found, count, body in rtcp_packets(self.rtcp.pop(0)):
                    if found == kind and fmt in (None, count):
                        return body
            if time.monotonic() >= deadline:
                return None
            self.receive_datagrams(0.05, lambda _: bool(self.rtcp))

    def close(self) -> None:
        self.socket.close()


def pictures(packets: list[Rtp]) -> list[list[bytes]]:
    """NAL units of each picture, by marker (RFC 6184 5.6, 5.7.1, 5.8)."""
    out: list[list[bytes]] = [[]]
    for packet in packets:
        kind = packet.payload[0] & 31
        if kind == 28:
            if packet.payload[1] & 0x80:
                out[-1].append(bytes([packet.payload[0] & 0xE0 | packet.payload[1] & 31]))
            out[-1][-1] += packet.payload[2:]
        elif kind == 24:
            at = 1
            while at < len(packet.payload):
                (length,) = struct.unpack_from("!H", packet.payload, at)
                out[-1].append(packet.payload[at + 2 : at + 2 + length])
                at += 2 + length
        else:
            out[-1].append(packet.payload)
        if packet.marker:
            out.append([])
    return out[:-1]


def picture(number: int, size: int, *, keyframe: bool = False) -> list[bytes]:
    """NAL units with a slice header that begins a picture (first_mb 0) and a body that names its number."""
    body = bytes((number * 7 + at) % 251 + 1 for at in range(size))
    # slice header: first_mb_in_slice 0, slice_type 7 (all I) or 5 (all P), pic_parameter_set_id 0
    header = bytes([0x65, 0x88]) if keyframe else bytes([0x41, 0x9A])
    return ([SPS, PPS] if keyframe else []) + [header + body]


def prefixed(nals: list[bytes]) -> bytes:
    return b"".join(struct.pack("!I", len(nal)) + nal for nal in nals)


def wait_event(engine: Engine, name: str, wait_s: float = 8.0, seen: list[Any] | None = None) -> Any:
    """The next event of that name; what comes before it goes into ``seen``."""
    deadline = time.monotonic() + wait_s
    while True:
        for event in engine.drain(1):
            if event[0] == name:
                return event
            if seen is not None:
                seen.append(event)
            break
        else:
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"no event {name}")
            select.select([engine], [], [], left)


def wait_for(claim: Callable[[], Any], wait_s: float = 8.0) -> Any:
    """Asked again and again until it is true; what it then is."""
    deadline = time.monotonic() + wait_s
    while not (result := claim()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.005)
    return result
