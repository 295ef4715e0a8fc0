"""Traces for ``replay.c``: which packets leave when, from which of the peers' sockets, and where they are expected."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.programs import BUILD, Program, ProgramError, built, processors

NS = 1_000_000_000
_HEADER = struct.Struct("<4sIII")
_SOCKET = struct.Struct("<HH")
_FLOW = struct.Struct("<HHHHH")
_RECORD = struct.Struct("<QHHHH")


@dataclass(frozen=True, slots=True)
class FlowCount:
    """What ``replay`` counted of one flow."""

    sent: int
    packets: int
    markers: int
    payload_bytes: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What one run of ``replay`` gave.

    Attributes:
        late_us: the most that the sender was behind its own schedule.
        stray: packets that belong to no flow.
        delays: of the timed packets: count, p50_us, p99_us, p999_us, max_us.
    """

    sent: int
    packets: int
    errors: int
    late_us: int
    rtcp: int
    stray: int
    lost_in_buffer: int
    cpu_s: float
    delays: dict[str, float]
    flows: list[FlowCount]

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Counted:
        return cls(**facts | {"flows": [FlowCount(*flow) for flow in facts["flows"]]})


@dataclass(slots=True)
class Trace:
    """Sockets, flows and packets, in the order in which they were added; packets are sorted by time when written."""

    sockets: list[int] = field(default_factory=list)
    flows: list[tuple[int, int, int]] = field(default_factory=list)
    _records: list[tuple[int, int, bytes]] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)

    def socket(self, local_port: int) -> int:
        """A socket of a peer; returns its index."""
        self.sockets.append(local_port)
        return len(self.sockets) - 1

    def flow(self, into: int, out: int, payload_type: int) -> int:
        """A flow that leaves from socket ``into`` and is expected at socket ``out``; returns its index."""
        self.flows.append((into, out, payload_type))
        self._counts.append(0)
        return len(self.flows) - 1

    def packet(self, at_ns: int, flow: int, given: bytes, *, length: int = 0, timed: bool = False) -> None:
        """``length``: the packet is filled up to it with bytes that don't matter."""
        length = max(length, len(given))
        self._records.append((at_ns, len(self._records), _RECORD.pack(at_ns, flow, length, len(given), timed) + given))
        self._counts[flow] += 1

    def write(self, path: Path, remote_ports: Sequence[int]) -> None:
        """``remote_ports``: where each socket sends to, 0 for one that only receives."""
        with path.open("wb") as file:
            file.write(_HEADER.pack(b"OBT1", len(self.sockets), len(self.flows), len(self._records)))
            for local, remote in zip(self.sockets, remote_ports, strict=True):
                file.write(_SOCKET.pack(local, remote))
            for (into, out, payload_type), count in zip(self.flows, self._counts, strict=True):
                file.write(_FLOW.pack(into, out, payload_type, count & 0xFFFF, count >> 16))
            self._records.sort()
            file.write(b"".join(packed for _, _, packed in self._records))

    @property
    def seconds(self) -> float:
        return max((at for at, _, _ in self._records), default=0) / NS


def replayer(trace: Trace, remote_ports: Sequence[int], name: str) -> Program:
    """``replay`` with a trace, on the traffic's processor; give the program to ``replay``."""
    path = BUILD / f"{name}.trace"
    BUILD.mkdir(parents=True, exist_ok=True)
    trace.write(path, remote_ports)
    return Program([str(built("replay")), str(path)], processor=processors()[0], log=f"{name}-replay")


def replay(program: Program, seconds: float, processor_ns: Callable[[], int]) -> tuple[Counted, int]:
    """Send it all; (what was counted, CPU ns that ``processor_ns`` advanced by from the first to the last packet)."""
    if program.line() != "ready":
        raise ProgramError("the traffic generator isn't ready")
    before = processor_ns()
    program.tell("go")
    if program.line(seconds + 20) != "sent":
        raise ProgramError("the traffic generator didn't send")
    used = processor_ns() - before
    return Counted.from_json(program.answer()), used


def rtp_header(pt: int, seq: int, timestamp: int, ssrc: int, *, marker: bool) -> bytes:
    """RFC 3550 5.1."""
    return struct.pack("!BBHII", 0x80, pt | marker << 7, seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)


@dataclass(frozen=True, slots=True)
class Camera:
    """H.264 as a device sends it: one slice a picture, in FU-A fragments of one size, a key frame at first and every 2
    seconds. Cameras aren't in step: ``place`` of 0..1 says where in its two seconds one begins.

    Attributes:
        fragments: packets a picture.
        packet_bytes: of each, with its RTP header.
    """

    fps: int = 30
    fragments: int = 11
    packet_bytes: int = 1200

    @property
    def nal_bytes(self) -> int:
        """Of a picture's one NAL unit: the fragments' bodies and the header that FU-A took apart (RFC 6184 5.8)."""
        return 1 + self.fragments * (self.packet_bytes - 14)

    def packets(self, seconds: float, pt: int, ssrc: int, *, place: float = 0.0) -> Iterator[tuple[int, bytes, bool]]:
        """(time in ns of its picture, the packet's first bytes, ends a picture). The rest is slice data: anything."""
        seq, offset = 1000, round(place * 2 * self.fps)
        for number in range(round(seconds * self.fps)):
            keyframe = number == 0 or (number + offset) % (2 * self.fps) == 0
            for fragment in range(self.fragments):
                first, last = fragment == 0, fragment == self.fragments - 1
                head = rtp_header(pt, seq, number * 90_000 // self.fps + 777, ssrc, marker=last)
                # nal_ref_idc 3, FU-A; start and end bits, type 5 (IDR) or 1. A slice begins with first_mb_in_slice 0
                # and slice_type 7 or 5 as Exp-Golomb codes.
                fragmented = bytes([0x7C, first << 7 | last << 6 | (5 if keyframe else 1)])
                slice_header = (b"\x88\x84" if keyframe else b"\x9a\x02") if first else b""
                yield number * NS // self.fps, head + fragmented + slice_header, last
                seq += 1
