"""A SIP room system that does what a test says: raw SIP over UDP or TCP, its own SDP, RTP and SRTP, no line of ours.

It says what a fixture of ``tests/data/sdp`` says (with loopback addresses and its own ports), calls or is called, shows
a camera and a tone, decodes what it gets, and answers requests within the call as it was told.
"""

import asyncio
import re
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from device_media import Camera
from device_rtp import SUITES, Line
from ports import free_port
from rawpeer import Dialog, RawPeer, StreamPeer, body, header, headers, status
from running_gateway import Gateway
from waiting import until

STATIC = {0: "PCMU", 8: "PCMA", 9: "G722"}
FAST_UPDATE = "picture_fast_update"


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
        info_status: what it answers to INFO.
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
