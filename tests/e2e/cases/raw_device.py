"""A SIP room system that does what a test says: raw SIP over UDP or TCP, its own SDP, RTP and SRTP, no line of ours.

It says what a fixture of ``tests/data/sdp`` says (with loopback addresses and its own ports), calls or is called, shows
a camera and a tone, decodes what it gets, and answers requests within the call as it was told.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from device_media import Camera
from device_rtp import Line
from device_sdp import Block, blocks, host_in, mirrored
from ports import free_port
from rawpeer import Dialog, RawPeer, StreamPeer, body, header, headers, status
from running_gateway import Gateway
from waiting import until

FAST_UPDATE = "picture_fast_update"


class _Hooked:
    """Tells what arrives, beside keeping it for ``wait``."""

    told: Callable[[str], None] = staticmethod(lambda text: None)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        super().datagram_received(data, addr)  # type: ignore[misc]
        text = data.decode("utf-8", "replace")
        if text.strip():
            self.told(text)


class _UdpPeer(_Hooked, RawPeer):
    pass


class _TcpPeer(_Hooked, StreamPeer):
    pass


@dataclass
class RawDevice:
    """One device. ``async with`` it.

    Attributes:
        sdp: its description, of a fixture or of ``room_system``.
        obeys: what makes it send a key frame: any of ``pli``, ``fir``, ``info``.
        info_status: what it answers to INFO; 0: nothing.
        reoffers: whether it answers re-INVITEs of the gateway by itself.
        takes_update: whether its Allow names UPDATE.
        said_host: the address in its SDP, when that isn't where it is.
        requests: (when, method) of what the gateway asked within calls.
    """

    gateway: Gateway
    name: str
    sdp: str
    who: int = 1
    hz: int = 440
    user_agent: str = ""
    transport: str = "udp"
    obeys: frozenset[str] = frozenset({"pli", "fir", "info"})
    info_status: int = 200
    reoffers: bool = True
    takes_update: bool = True
    said_host: str = ""
    camera: dict[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    version: int = 1
    requests: list[tuple[float, str]] = field(default_factory=list)
    lines: list[Line | None] = field(default_factory=list)

    async def __aenter__(self) -> "RawDevice":
        kind = _UdpPeer if self.transport == "udp" else _TcpPeer
        self.sip = await kind(self.port, self.gateway.sip, user=self.name, host=self.host).open()
        self.sip.told = self._told
        if not self.takes_update:
            self._without_update()
        self.dialog: Dialog | None = None
        self.session = ""
        self.over = asyncio.Event()
        self.described = ""
        self.source: Camera | None = None
        self._cancelled: set[str] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.dialog is not None and not self.over.is_set():
            await self.hang_up()
        for line in self.lines:
            if line is not None:
                line.close()
        self.sip.close()

    @property
    def extra(self) -> tuple[str, ...]:
        return (f"User-Agent: {self.user_agent}",) if self.user_agent else ()

    @property
    def said(self) -> str:
        return self.said_host or self.host

    @property
    def audio(self) -> Line:
        return self._line("audio")

    @property
    def video(self) -> Line:
        return self._line("video")

    @property
    def has_video(self) -> bool:
        return any(line is not None and line.kind == "video" and line.codec for line in self.lines)

    def _line(self, kind: str) -> Line:
        found = next((line for line in self.lines if line is not None and line.kind == kind), None)
        assert found is not None, f"{self.name} has no {kind} line"
        return found

    # descriptions

    def describe(self, sdp: str = "", *, direction: str = "", bump: bool = True) -> str:
        """Its description with its own addresses and ports; lines are opened the first time."""
        text = sdp or self.sdp
        self.version += bump
        parts = re.split(r"(?m)^(?=m=)", text.replace("\r\n", "\n"))
        found = blocks(text)
        while len(self.lines) < len(found):
            self.lines.append(None)
        head = re.sub(r"^(o=\S+ \S+) \S+ .*$", rf"\1 {self.version} IN IP4 {self.said}", parts[0], flags=re.MULTILINE)
        made = [re.sub(r"^c=.*$", f"c=IN IP4 {self.said}", head, flags=re.MULTILINE)]
        for index, (block, part) in enumerate(zip(found, parts[1:], strict=True)):
            if block.kind in ("audio", "video") and block.port:
                made.append(self._own(index, block, part, direction))
            else:
                made.append(re.sub(r"^c=.*$", f"c=IN IP4 {self.said}", part, flags=re.MULTILINE))
        self.described = "".join(made).replace("\n", "\r\n")
        return self.described

    def _own(self, index: int, block: Block, part: str, direction: str) -> str:
        rtcp = next(iter(block.values("rtcp")), "")
        line = self.lines[index]
        if line is None:
            apart = rtcp and int(rtcp.split()[0]) - block.port > 1
            line = self.lines[index] = Line(block.kind, host=self.host, rtcp_offset=7 if apart else 1)
            line.on_asked = self._asked
            # RFC 3264 5.1: who offers takes media before the answer is there
            line.names = {pt: name for pt, name in block.names.items() if name != "TELEPHONE-EVENT"}
            line.awaits_keys = bool(block.crypto())
        part = re.sub(r"^m=(\S+) \d+", rf"m=\1 {line.port}", part)
        part = re.sub(r"^c=.*$", f"c=IN IP4 {self.said}", part, flags=re.MULTILINE)
        if rtcp:
            address = f" IN IP4 {self.said}" if " " in rtcp else ""
            part = re.sub(r"^a=rtcp:.*$", f"a=rtcp:{line.rtcp_port}{address}", part, flags=re.MULTILINE)
        if direction:
            part = re.sub(r"^a=(sendrecv|sendonly|recvonly|inactive)$\n?", "", part, flags=re.MULTILINE)
            part += f"a={direction}\n"
        return part

    def agree(self, ours: str, theirs: str, *, we_answered: bool) -> None:
        """Both descriptions are there: set the lines up by them."""
        other = blocks(theirs)
        for index, mine in enumerate(blocks(ours)):
            line = self.lines[index] if index < len(self.lines) else None
            if line is None:
                continue
            block = other[index] if index < len(other) and other[index].kind == mine.kind else None
            if block is None and we_answered:
                block = next((one for one in other if one.kind == mine.kind), None)
            if block is None or block.port == 0 or mine.port == 0:
                line.codec, line.peer, line.rtcp_peer = "", None, None
                continue
            answer = mine if we_answered else block
            names = {**block.names, **mine.names}
            line.pt = answer.pts[0]
            line.codec, line.mode = names[line.pt], answer.mode(line.pt)
            line.names = {pt: name for pt, name in answer.names.items() if name != "TELEPHONE-EVENT"}
            line.dtmf_pt = next((pt for pt, name in names.items() if name == "TELEPHONE-EVENT"), -1)
            rtcp = next(iter(block.values("rtcp")), "")
            host = host_in(theirs, block)
            line.peer = (host, block.port)
            line.rtcp_peer = (host, int(rtcp.split()[0]) if rtcp else block.port + 1)
            if re.search(r"^a=rtcp-mux\r?$", answer.text, re.MULTILINE):
                line.rtcp_peer = line.peer
            line.sending = answer.direction != "inactive"
            keys, line.awaits_keys = answer.crypto(), False
            if keys:
                tag, (suite, key) = next(iter(keys.items()))
                offered = (block if we_answered else mine).crypto()[tag][1]
                line.encrypt(suite, *((key, offered) if we_answered else (offered, key)))

    # calls

    async def call(self, room: str, *, sdp: str = "", extra: tuple[str, ...] = ()) -> str:
        """Call the gateway and begin to send; gives the answer's SDP. Fails unless it is 200."""
        ours = self.describe(sdp)
        self.dialog, answer = await self.sip.invite(ours, room=room, extra=(*self.extra, *extra))
        assert status(answer) == 200, answer
        self.agree(ours, body(answer), we_answered=False)
        await self._begun()
        return body(answer)

    async def refused(self, room: str, *, sdp: str = "", extra: tuple[str, ...] = ()) -> str:
        """Call the gateway and be refused; gives the final response."""
        _, answer = await self.sip.invite(self.describe(sdp), room=room, extra=(*self.extra, *extra))
        assert status(answer) >= 300, answer
        return answer

    async def call_late(self, room: str) -> str:
        """INVITE without SDP: the gateway's 200 offers, the ACK answers. Gives the offer."""
        self.dialog, answer = await self.sip.invite("", room=room, extra=self.extra, ack=False)
        assert status(answer) == 200, answer
        return await self._ack_with_answer(answer, begin=True)

    async def reoffer_late(self) -> str:
        """The same within the call."""
        assert self.dialog is not None
        _, answer = await self.sip.invite("", self.dialog, ack=False)
        assert status(answer) == 200, answer
        return await self._ack_with_answer(answer, begin=False)

    async def _ack_with_answer(self, ok: str, *, begin: bool) -> str:
        assert self.dialog is not None
        offer = body(ok)
        ours = self.describe(mirrored(offer, self.sdp))
        self.sip.request("ACK", self.dialog, content=ours, cseq=self.dialog.invite_cseq)
        self.agree(ours, offer, we_answered=True)
        if begin:
            await self._begun()
        return offer

    async def take_call(
        self, answer: Callable[[str], str] | None = None, *, within: float = 4.0, extra: tuple[str, ...] = ()
    ) -> str:
        """Take the call that the gateway places; gives its offer. ``answer``: our SDP from the offer."""
        invite = await self.sip.wait("INVITE ", within)
        self.sip.reply(invite, 180, "Ringing", extra=self.extra)
        offer = body(invite)
        made = answer(offer) if answer else mirrored(offer, self.sdp)
        ours = self.describe(made)
        self.sip.reply(invite, 200, "OK", sdp=ours, extra=(*self.extra, *extra))
        await self.sip.wait("ACK ", within)
        self.dialog = self.sip.dialog_of(invite)
        self.agree(ours, offer, we_answered=True)
        await self._begun()
        return offer

    async def take_call_late(self, *, within: float = 4.0) -> str:
        """Take a call without SDP: our 200 offers; gives the gateway's answer, which its ACK brings."""
        invite = await self.sip.wait("INVITE ", within)
        assert not body(invite), invite
        self.sip.reply(invite, 180, "Ringing", extra=self.extra)
        ours = self.describe()
        self.sip.reply(invite, 200, "OK", sdp=ours, extra=self.extra)
        answer = body(await self.sip.wait("ACK ", within))
        self.dialog = self.sip.dialog_of(invite)
        self.agree(ours, answer, we_answered=False)
        await self._begun()
        return answer

    async def _begun(self) -> None:
        self.over.clear()
        self.started = time.monotonic()
        if any(line is not None and line.kind == "video" for line in self.lines) and self.video.codec:
            self.show(**self.camera)
        if any(line is not None and line.kind == "audio" for line in self.lines) and self.audio.codec:
            self.audio.start(self.hz)

    def show(self, **settings: Any) -> Camera:
        """Send another camera's pictures from now on."""
        slices = {"max_nal_bytes": 1200} if self.video.mode == 0 else {}
        self.source = Camera(self.who, **{**slices, **settings})
        self.video.start(self.source)
        return self.source

    async def reoffer(self, *, direction: str = "", sdp: str = "", method: str = "INVITE") -> str:
        """Re-INVITE (or UPDATE) with our side; gives the answer's SDP."""
        assert self.dialog is not None
        ours = self.describe(sdp, direction=direction)
        if method == "INVITE":
            _, answer = await self.sip.invite(ours, self.dialog)
        else:
            answer = await self.sip.transact(method, self.dialog, content=ours)
        assert status(answer) == 200, answer
        self.agree(ours, body(answer), we_answered=False)
        return body(answer)

    async def hold(self) -> str:
        answer = await self.reoffer(direction="sendonly")
        for line in self.lines:
            if line is not None:
                line.sending = False
        return answer

    async def resume(self) -> str:
        return await self.reoffer(direction="sendrecv")

    async def hang_up(self) -> None:
        assert self.dialog is not None
        self.over.set()
        await self.sip.transact("BYE", self.dialog)
        self.dialog = None

    async def facts(self) -> dict[str, Any]:
        """Its session as the API has it."""
        return await until(f"{self.name} has a session", self._facts)

    async def _facts(self) -> dict[str, Any] | None:
        return next((one for one in await self.gateway.sessions() if one["device"] == self.name), None)

    async def notes(self) -> dict[str, str]:
        return {note["code"]: note["text"] for note in (await self.facts())["notes"]}

    async def gone(self, within_s: float = 5.0) -> None:
        async def is_gone() -> bool:
            return await self._facts() is None

        await until(f"{self.name} has no session any more", is_gone, within_s)

    def asked_of(self, what: str) -> int:
        if what == "info":
            return sum(1 for _, method in self.requests if method == "INFO")
        return sum(1 for line in self.lines if line for _, kind in line.asked if kind == what)

    def _without_update(self) -> None:
        send = self.sip.send
        self.sip.send = lambda message: send(  # type: ignore[method-assign]
            message.replace("CANCEL, UPDATE, INFO", "CANCEL, INFO") if isinstance(message, str) else message
        )

    # what the gateway asks

    def _asked(self, what: str) -> None:
        if what in self.obeys and self.source is not None:
            self.source.keyframe()

    def _told(self, message: str) -> None:
        method = message.split(" ", 1)[0]
        if method in ("SIP/2.0", "ACK"):
            return
        in_dialog = "tag=" in header(message, "To")
        if in_dialog:
            self.requests.append((time.monotonic(), method))
        if method == "INFO":
            if self.info_status:
                self.sip.reply(message, self.info_status, "X")
            if FAST_UPDATE in message:
                self._asked("info")
        elif method == "BYE":
            self.over.set()
            self.sip.reply(message, 200, "OK")
        elif method == "OPTIONS":
            self.sip.reply(message, 200, "OK")
        elif method in ("INVITE", "UPDATE") and in_dialog and self.reoffers:
            self._reoffered(message, method)

    def _reoffered(self, message: str, method: str) -> None:
        offer = body(message)
        extra = tuple(f"Session-Expires: {value}" for value in headers(message, "Session-Expires"))
        if not offer:
            self.sip.reply(message, 200, "OK", extra=extra)
            return
        ours = self.describe(mirrored(offer, self.sdp))
        self.sip.reply(message, 200, "OK", sdp=ours, extra=extra)
        self.agree(ours, offer, we_answered=True)
