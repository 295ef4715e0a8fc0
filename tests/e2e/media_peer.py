"""A room system whose every packet a test decides: SIP as ``RawPeer``, and two RTP sockets."""

import asyncio
import base64
import contextlib
import re
import struct
from collections.abc import Iterable

from ports import free_port
from rawpeer import Dialog, RawPeer, body, description, status

# Parameter sets of x264's: 640x360, Constrained Baseline, level 3.
SPS = base64.b64decode("Z0LAHtkAoC/5cBEAAAMAAQAAAwAyDxYuSA==")
PPS = base64.b64decode("aMuDyyA=")
IDR = b"\x65\x88\x84" + bytes(200)
PCMA, H264 = 8, 96


def rtp(pt: int, seq: int, timestamp: int, ssrc: int, payload: bytes, *, marker: bool = False) -> bytes:
    """One packet without extensions (RFC 3550 5.1)."""
    head = struct.pack("!BBHII", 0x80, pt | marker << 7, seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    return head + payload


class Line(asyncio.DatagramProtocol):
    """One RTP socket: what came, by payload type, and where to send."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.came: dict[int, int] = {}
        self.gateway: tuple[str, int] = ("127.0.0.1", 0)
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> "Line":
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        return self

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) >= 12 and not 192 <= data[1] <= 223:
            pt = data[1] & 127
            self.came[pt] = self.came.get(pt, 0) + 1

    def error_received(self, exc: Exception) -> None:
        """The gateway closed its port: what a device sees as well when it hangs up late."""

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.sendto(data, self.gateway)

    @property
    def total(self) -> int:
        return sum(self.came.values())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class MediaPeer:
    """``async with`` it: then ``call`` the gateway. Sends 50 audio packets and 25 pictures a second while in a call."""

    def __init__(self, gateway_sip: int, user: str) -> None:
        self.sip = RawPeer(free_port(), gateway_sip, user=user)
        self.audio, self.video = Line(free_port()), Line(free_port())
        self.dialog: Dialog | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def uri(self) -> str:
        return self.sip.contact

    async def __aenter__(self) -> "MediaPeer":
        await self.sip.open()
        await self.audio.open()
        await self.video.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.vanish()

    def offer(self, **more: object) -> str:
        return description(audio=self.audio.port, video=self.video.port, **more)  # type: ignore[arg-type]

    async def call(self, room: str) -> str:
        """Call and begin to send. Fails when it isn't taken; returns the answer's SDP."""
        self.dialog, final = await self.sip.invite(self.offer(), room=room)
        assert status(final) == 200, final
        answer = body(final)
        for line, kind in ((self.audio, "audio"), (self.video, "video")):
            found = re.search(rf"^m={kind} (\d+)", answer, re.MULTILINE)
            assert found is not None
            line.gateway = ("127.0.0.1", int(found[1]))
        self._task = asyncio.create_task(self._send())
        return answer

    async def hangup(self) -> None:
        assert self.dialog is not None
        assert status(await self.sip.transact("BYE", self.dialog)) == 200
        await self.vanish()

    async def vanish(self) -> None:
        """Without a word. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        for closing in (self.sip, self.audio, self.video):
            closing.close()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        began, step = loop.time(), 0
        picture = 0
        while True:
            self.audio.send(rtp(PCMA, step, step * 160, 11, b"\xd5" * 160))
            if step % 2 == 0:
                for nal in (SPS, PPS, IDR):
                    self.video.send(rtp(H264, picture, step * 1800, 12, nal, marker=nal is IDR))
                    picture += 1
            step += 1
            await asyncio.sleep(max(0.0, began + step * 0.02 - loop.time()))


async def rates(lines: Iterable[Line], seconds: float) -> list[float]:
    """Packets a second that arrive at each, over this time."""
    lines = list(lines)
    before = [line.total for line in lines]
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(seconds)
    took = loop.time() - began
    return [(line.total - old) / took for line, old in zip(lines, before, strict=True)]
