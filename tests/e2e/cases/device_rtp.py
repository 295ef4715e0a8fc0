"""One m-line of a simulated room system: its RTP and RTCP sockets, plain or SRTP (libsrtp), RFC by RFC in Python."""

import asyncio
import contextlib
import itertools
import os
import random
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from device_media import TICKS, Camera, Depacketizer, Ear, Screen, packets_of, tone
from pylibsrtp import Error as SrtpError
from pylibsrtp import Policy, Session

SUITES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
_ports = itertools.count(24000 + os.getpid() % 60 * 16, 2)


def bound_pair(host: str, rtcp_offset: int) -> tuple[socket.socket, socket.socket]:
    """Sockets on an even port and another that lies ``rtcp_offset`` above it."""
    while True:
        port = 24000 + (next(_ports) - 24000) % 980
        pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        try:
            pair[0].bind((host, port))
            pair[1].bind((host, port + rtcp_offset))
        except OSError:
            for one in pair:
                one.close()
            continue
        for one in pair:
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        return pair[0], pair[1]


KEYS = "0123456789*#ABCD"


@dataclass
class Press:
    """A key that came as telephone events (RFC 4733): everything with one timestamp.

    Attributes:
        ticks: its longest duration, of the sound's clock.
        packets, ends: how many came, and how many of them say that it's over.
        began, ended: when the first and the first that says so came.
    """

    key: str
    began: float
    ended: float = 0.0
    ticks: int = 0
    packets: int = 0
    ends: int = 0
    marked: bool = False


class Line:
    """Sends a camera or a tone and takes what comes.

    Attributes:
        peer, rtcp_peer: where to send; None: nowhere yet.
        codec, pt, mode: what is sent, as agreed.
        names: payload type -> codec of what may arrive.
        asked: (when, what) of feedback that came: pli, fir, nack.
        gaps: sequence numbers that are missing between packets that came.
        awaits_keys: encryption was offered, and the answer isn't there yet.
        lose: how many of the next packets get lost on their way.
        heard_ssrc: whom the last packet came from.
        presses: timestamp -> key that came as telephone events, in their order.
        strays: packets whose payload type isn't agreed. undecrypted: that don't decrypt.
    """

    def __init__(self, kind: str, *, host: str = "127.0.0.1", rtcp_offset: int = 1) -> None:
        self.kind, self.host = kind, host
        self._rtp, self._rtcp = bound_pair(host, rtcp_offset)
        self.port, self.rtcp_port = self._rtp.getsockname()[1], self._rtcp.getsockname()[1]
        self.peer: tuple[str, int] | None = None
        self.rtcp_peer: tuple[str, int] | None = None
        self.codec, self.pt, self.mode, self.dtmf_pt = "", 0, 1, -1
        self.names: dict[int, str] = {}
        self.ssrc = random.getrandbits(31) + 1
        self.seq, self.ts = random.getrandbits(14), random.getrandbits(30)
        self.sending, self.awaits_keys = True, False
        self.lose = self.heard_ssrc = 0
        self.packets = self.strays = self.gaps = self.undecrypted = 0
        self.senders: set[tuple[str, int]] = set()
        self.pts: set[int] = set()
        self.asked: list[tuple[float, str]] = []
        self.presses: dict[int, Press] = {}
        self.reports = 0
        self.screen, self.ear, self.depacketizer = Screen(), Ear(), Depacketizer()
        self.on_asked: Callable[[str], None] = lambda what: None
        self._keys: tuple[str, bytes, bytes] | None = None
        self._out: Session | None = None
        self._in: Session | None = None
        self._last_seq: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._sent_packets = self._sent_bytes = 0
        loop = asyncio.get_running_loop()
        loop.add_reader(self._rtp, self._readable, self._rtp)
        loop.add_reader(self._rtcp, self._readable, self._rtcp)

    def encrypt(self, suite: str, outbound: bytes, inbound: bytes) -> None:
        if self._keys == (suite, outbound, inbound):
            return
        self._keys = suite, outbound, inbound
        profile = SUITES[suite]
        self._out = Session(Policy(outbound, Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
        self._in = Session(Policy(inbound, Policy.SSRC_ANY_INBOUND, srtp_profile=profile))

    @property
    def encrypted(self) -> bool:
        return self._out is not None

    def fresh_ssrc(self) -> None:
        self.ssrc = random.getrandbits(31) + 1

    def move(self) -> None:
        """New sockets on other ports, as behind a NAT that forgot, or after a restart of the media process."""
        old = (self._rtp, self._rtcp)
        self._rtp, self._rtcp = bound_pair(self.host, 1)
        self.port, self.rtcp_port = self._rtp.getsockname()[1], self._rtcp.getsockname()[1]
        loop = asyncio.get_running_loop()
        for one in old:
            loop.remove_reader(one)
            one.close()
        loop.add_reader(self._rtp, self._readable, self._rtp)
        loop.add_reader(self._rtcp, self._readable, self._rtcp)

    # sending

    def start(self, source: Camera | int) -> None:
        """Send a camera's pictures, or a tone of so many Hz, until ``close``."""
        self.stop()
        run = self._pictures(source) if isinstance(source, Camera) else self._tone(source)
        self._task = asyncio.get_running_loop().create_task(run)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _pictures(self, camera: Camera) -> None:
        loop = asyncio.get_running_loop()
        due, base, number = loop.time(), self.ts, 0
        while True:
            if self.sending and self.peer is not None and self.codec:
                self.ts = base + number * 90_000 // camera.fps & 0xFFFFFFFF
                payloads = list(packets_of(camera.picture(), self.mode))
                for position, payload in enumerate(payloads):
                    self.send(payload, marker=position == len(payloads) - 1)
            number += 1
            if number % camera.fps == 1:
                self.report()
            due = max(due + 1 / camera.fps, loop.time() - 0.2)
            await asyncio.sleep(max(due - loop.time(), 0.0))

    async def _tone(self, hz: int) -> None:
        loop = asyncio.get_running_loop()
        due, number = loop.time(), 0
        while True:
            if self.codec:
                frames = tone(self.codec, hz)
                if self.sending and self.peer is not None:
                    self.send(frames[number % len(frames)], marker=number == 0)
                self.ts += TICKS[self.codec]
            number += 1
            if number % 50 == 1:
                self.report()
            due = max(due + 0.02, loop.time() - 0.1)
            await asyncio.sleep(max(due - loop.time(), 0.0))

    def send(self, payload: bytes, *, marker: bool, pt: int | None = None, ts: int | None = None) -> None:
        self.seq = self.seq + 1 & 0xFFFF
        stamp = self.ts if ts is None else ts
        second = 0x80 * marker | (self.pt if pt is None else pt)
        packet = struct.pack(">BBHII", 0x80, second, self.seq, stamp & 0xFFFFFFFF, self.ssrc) + payload
        self._sent_packets, self._sent_bytes = self._sent_packets + 1, self._sent_bytes + len(payload)
        self.send_raw(self._out.protect(packet) if self._out else packet)

    def send_raw(self, data: bytes) -> None:
        if self.lose > 0:
            self.lose -= 1
        elif self.peer is not None:
            # lost, as on any network
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                self._rtp.sendto(data, self.peer)

    def press(self, digit: int, duration_ms: int = 100) -> None:
        """A key as RFC 4733 events: five updates, the end three times."""
        stamp, steps = self.ts, 5
        for number in range(1, steps + 3):
            end = number >= steps
            ticks = min(number, steps) * duration_ms * 8 // steps
            payload = struct.pack(">BBH", digit, 0x80 * end | 10, ticks)
            self.send(payload, marker=number == 1, pt=self.dtmf_pt, ts=stamp)

    def report(self) -> None:
        """An RTCP sender report with a CNAME."""
        now = time.time() + 2_208_988_800
        seconds = int(now)
        header = struct.pack(">BBHI", 0x80, 200, 6, self.ssrc)
        ntp = struct.pack(">III", seconds, int((now - seconds) * 2**32), self.ts & 0xFFFFFFFF)
        counts = struct.pack(">II", self._sent_packets & 0xFFFFFFFF, self._sent_bytes & 0xFFFFFFFF)
        chunk = struct.pack(">I", self.ssrc) + b"\x01\x05dev-1" + b"\0"
        self._send_rtcp(header + ntp + counts + struct.pack(">BBH", 0x81, 202, len(chunk) // 4) + chunk)

    def ask(self, media_ssrc: int) -> None:
        """PLI (RFC 4585 6.3.1) for what is received."""
        report = struct.pack(">BBHI", 0x80, 201, 1, self.ssrc)
        self._send_rtcp(report + struct.pack(">BBHII", 0x81, 206, 2, self.ssrc, media_ssrc))

    def _send_rtcp(self, data: bytes) -> None:
        if self.rtcp_peer is None or not self.sending:
            return
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            self._rtcp.sendto(self._out.protect_rtcp(data) if self._out else data, self.rtcp_peer)

    # receiving

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(64):
            try:
                data, source = sock.recvfrom(65536)
            except (BlockingIOError, ConnectionRefusedError):
                return
            if len(data) < 8 or data[0] >> 6 != 2:
                self.strays += 1
            elif 192 <= data[1] <= 223:
                self._control(data)
            else:
                self._media(data, source)

    def _media(self, data: bytes, source: tuple[str, int]) -> None:
        if self.awaits_keys and self._in is None:
            return  # RFC 4568 5.1.1: what comes before the answer with the key can't be used
        try:
            packet = self._in.unprotect(data) if self._in else data
        except SrtpError:
            self.undecrypted += 1
            return
        pt, seq = packet[1] & 0x7F, int.from_bytes(packet[2:4], "big")
        name = self.names.get(pt)
        if name is None and pt != self.dtmf_pt:
            self.strays += 1
            return
        self.packets += 1
        self.heard_ssrc = int.from_bytes(packet[8:12], "big")
        self.pts.add(pt)
        self.senders.add(source)
        if self._last_seq is not None:
            step = seq - self._last_seq & 0xFFFF
            self.gaps += step - 1 if 0 < step < 1000 else 0
        self._last_seq = seq
        payload = packet[12 + 4 * (packet[0] & 0x0F) :]
        if packet[0] & 0x10:
            payload = payload[4 + 4 * int.from_bytes(payload[2:4], "big") :]
        if name is None:
            self._key(int.from_bytes(packet[4:8], "big"), payload, marked=bool(packet[1] & 0x80))
        elif name == "H264":
            picture = self.depacketizer.push(payload, bool(packet[1] & 0x80))
            if picture is not None:
                self.screen.show(picture)
        elif name in TICKS:
            self.ear.hear(name, payload)

    def _key(self, stamp: int, payload: bytes, *, marked: bool) -> None:
        event, flags, ticks = struct.unpack(">BBH", payload[:4])
        press = self.presses.setdefault(stamp, Press(KEYS[event], time.monotonic()))
        assert press.key == KEYS[event], "two keys with one timestamp"
        press.packets, press.ticks = press.packets + 1, max(press.ticks, ticks)
        press.marked = press.marked or marked
        if flags & 0x80:
            press.ended = press.ended or time.monotonic()
            press.ends += 1

    def _control(self, data: bytes) -> None:
        try:
            data = self._in.unprotect_rtcp(data) if self._in else data
        except SrtpError:
            self.undecrypted += 1
            return
        at = 0
        while at + 4 <= len(data):
            kind, count = data[at + 1], data[at] & 0x1F
            what = {(206, 1): "pli", (206, 4): "fir", (205, 1): "nack"}.get((kind, count), "")
            if what:
                self.asked.append((time.monotonic(), what))
                self.on_asked(what)
            self.reports += kind in (200, 201)
            at += 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")

    def close(self) -> None:
        self.stop()
        loop = asyncio.get_running_loop()
        for one in (self._rtp, self._rtcp):
            loop.remove_reader(one)
            one.close()
