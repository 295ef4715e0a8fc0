"""A SIP device that does exactly what a test says: raw UDP, every message kept."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

Test = Callable[[str], bool]


def header(message: str, name: str) -> str:
    found = re.search(rf"^{name}:[ \t]*(.*?)\r?$", message, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def headers(message: str, name: str) -> list[str]:
    return re.findall(rf"^{name}:[ \t]*(.*?)\r?$", message.partition("\r\n\r\n")[0], re.MULTILINE | re.IGNORECASE)


def body(message: str) -> str:
    return message.partition("\r\n\r\n")[2]


def status(message: str | None) -> int:
    return int(message.split(" ")[1]) if message and message.startswith("SIP/2.0 ") else 0


def uri_in(value: str) -> str:
    found = re.search(r"<([^>]+)>", value)
    return found[1] if found else value


@dataclass
class Dialog:
    """One dialog, from the peer's side. ``remote`` and ``local`` are complete From/To values."""

    call_id: str
    local: str
    remote: str
    target: str
    cseq: int = 0
    invite_cseq: int = 0
    branch: str = ""
    auth: list[str] = field(default_factory=list)


class RawPeer(asyncio.DatagramProtocol):
    """``name@host:port`` speaking SIP over UDP with a gateway."""

    via = "UDP"

    def __init__(self, port: int, gateway: int, *, user: str = "or3", host: str = "127.0.0.1") -> None:
        self.port, self.gateway, self.user, self.host = port, gateway, user, host
        self.seen: list[str] = []
        self._inbox: asyncio.Queue[str] = asyncio.Queue()
        self._count = itertools.count(1)
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> RawPeer:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, self.port))
        return self

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        text = data.decode("utf-8", "replace")
        if text.strip():
            self.seen.append(text)
            self._inbox.put_nowait(text)

    @property
    def contact(self) -> str:
        return f"sip:{self.user}@{self.at}" + ("" if self.via == "UDP" else f";transport={self.via.lower()}")

    @property
    def at(self) -> str:
        return f"{'[' + self.host + ']' if ':' in self.host else self.host}:{self.port}"

    @property
    def gateway_at(self) -> str:
        return f"{'[' + self.host + ']' if ':' in self.host else self.host}:{self.gateway}"

    def send(self, message: str | bytes) -> None:
        assert self._transport is not None
        data = message if isinstance(message, bytes) else message.encode()
        self._transport.sendto(data, (self.host, self.gateway))

    async def wait(self, wanted: str | Test, within: float = 3.0) -> str:
        """The next message that fits; others are passed over. Raises TimeoutError."""
        test = (lambda text: text.startswith(wanted)) if isinstance(wanted, str) else wanted
        async with asyncio.timeout(within):
            while True:
                message = await self._inbox.get()
                if test(message):
                    return message

    async def nothing(self, wanted: str | Test, during: float) -> None:
        """Fails when such a message comes."""
        try:
            message = await self.wait(wanted, during)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected: {message.splitlines()[0]}")

    def forget(self) -> None:
        while not self._inbox.empty():
            self._inbox.get_nowait()

    # requests

    def dialog(self, room: str = "gw") -> Dialog:
        number = next(self._count)
        return Dialog(
            f"{random.getrandbits(40):x}-{number}@{self.at}",
            f"<sip:{self.user}@{self.at}>;tag=p{number}x{random.getrandbits(24):x}",
            f"<sip:{room}@{self.gateway_at}>",
            f"sip:{room}@{self.gateway_at}",
        )

    def request(
        self,
        method: str,
        dialog: Dialog,
        *,
        content: str = "",
        content_type: str = "application/sdp",
        extra: tuple[str, ...] = (),
        cseq: int | None = None,
        branch: str | None = None,
    ) -> None:
        if cseq is None:
            dialog.cseq += 1
            cseq = dialog.cseq
        dialog.branch = branch or f"z9hG4bK{random.getrandbits(48):x}"
        if method == "INVITE":
            dialog.invite_cseq = cseq
        lines = [
            f"{method} {dialog.target} SIP/2.0",
            f"Via: SIP/2.0/{self.via} {self.at};branch={dialog.branch};rport",
            "Max-Forwards: 70",
            f"From: {dialog.local}",
            f"To: {dialog.remote}",
            f"Call-ID: {dialog.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <{self.contact}>",
            "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, INFO, OPTIONS",
            *extra,
        ]
        if content:
            lines.append(f"Content-Type: {content_type}")
        lines.append(f"Content-Length: {len(content.encode())}")
        self.send("\r\n".join(lines) + "\r\n\r\n" + content)

    async def transact(self, method: str, dialog: Dialog, within: float = 3.0, **more: object) -> str:
        """Send a request and give its final response."""
        self.request(method, dialog, **more)  # type: ignore[arg-type]
        mark = f"{dialog.cseq} {method}"
        return await self.wait(
            lambda m: m.startswith("SIP/2.0 ") and status(m) >= 200 and header(m, "CSeq") == mark, within
        )

    async def invite(
        self,
        sdp: str,
        dialog: Dialog | None = None,
        *,
        room: str = "gw",
        extra: tuple[str, ...] = (),
        ack: bool = True,
        ack_sdp: str = "",
        within: float = 4.0,
    ) -> tuple[Dialog, str]:
        """INVITE (or re-INVITE in a dialog), its final response, and the ACK."""
        dialog = dialog or self.dialog(room)
        final = await self.transact("INVITE", dialog, within, content=sdp, extra=extra)
        ok = status(final) // 100 == 2
        branch = dialog.branch
        if ok:
            dialog.remote = header(final, "To")
            dialog.target = uri_in(header(final, "Contact"))
        elif "tag=" not in dialog.remote:
            kept, dialog.remote = dialog.remote, header(final, "To")
            if ack:
                self.request("ACK", dialog, cseq=dialog.invite_cseq, branch=branch)
            dialog.remote = kept
            return dialog, final
        if ack:
            self.request("ACK", dialog, content=ack_sdp, cseq=dialog.invite_cseq, branch=None if ok else branch)
        return dialog, final

    # answers

    def reply(
        self,
        request: str,
        code: int,
        reason: str = "X",
        *,
        sdp: str = "",
        extra: tuple[str, ...] = (),
        tag: str = "peer",
    ) -> None:
        to = header(request, "To")
        if "tag=" not in to and code > 100:
            to += f";tag={tag}"
        lines = [
            f"SIP/2.0 {code} {reason}",
            *(f"Via: {value}" for value in headers(request, "Via")),
            *(f"Record-Route: {value}" for value in headers(request, "Record-Route")),
            f"From: {header(request, 'From')}",
            f"To: {to}",
            f"Call-ID: {header(request, 'Call-ID')}",
            f"CSeq: {header(request, 'CSeq')}",
            f"Contact: <{self.contact}>",
            "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, INFO, OPTIONS",
            *extra,
        ]
        if sdp:
            lines.append("Content-Type: application/sdp")
        lines.append(f"Content-Length: {len(sdp.encode())}")
        self.send("\r\n".join(lines) + "\r\n\r\n" + sdp)

    def dialog_of(self, invite: str, tag: str = "peer") -> Dialog:
        """The dialog of an INVITE that we received and answered with ``tag``."""
        to = header(invite, "To")
        return Dialog(
            header(invite, "Call-ID"),
            to if "tag=" in to else f"{to};tag={tag}",
            header(invite, "From"),
            uri_in(header(invite, "Contact")),
            cseq=100,
        )

    async def take_call(self, sdp: str, within: float = 3.0, extra: tuple[str, ...] = ()) -> tuple[Dialog, str]:
        """Wait for an INVITE, ring, answer it; gives the dialog and the INVITE once the ACK is in."""
        invite = await self.wait("INVITE ", within)
        self.reply(invite, 180, "Ringing")
        self.reply(invite, 200, "OK", sdp=sdp, extra=extra)
        await self.wait("ACK ", within)
        return self.dialog_of(invite), invite


class StreamPeer(RawPeer):
    """The same over TCP, or TLS with a context; one connection to the gateway, made in ``open``."""

    via = "TCP"

    def __init__(self, port: int, gateway: int, *, tls: ssl.SSLContext | None = None, **more: str) -> None:
        super().__init__(port, gateway, **more)
        self._tls = tls
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        if tls is not None:
            self.via = "TLS"

    async def open(self) -> StreamPeer:
        reader, self._writer = await asyncio.open_connection(self.host, self.gateway, ssl=self._tls)
        self.port = self._writer.get_extra_info("sockname")[1]
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).lstrip(b"\r\n")
            except asyncio.IncompleteReadError:
                return
            length = re.search(rb"Content-Length:\s*(\d+)", head, re.IGNORECASE)
            data = head + (await reader.readexactly(int(length[1])) if length else b"")
            self.datagram_received(data, (self.host, self.gateway))

    def send(self, message: str | bytes) -> None:
        assert self._writer is not None
        self._writer.write(message if isinstance(message, bytes) else message.encode())

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()


def description(
    host: str = "127.0.0.1",
    *,
    audio: int = 30000,
    video: int | None = 30002,
    direction: str = "sendrecv",
    version: int = 1,
    audio_formats: str = "8 0 101",
    video_pt: str = "97 96",
    tail: str = "",
) -> str:
    """What a room system of our invention describes itself with."""
    family = "IP6" if ":" in host else "IP4"
    lines = ["v=0", f"o=dev 99 {version} IN {family} {host}", "s=-", f"c=IN {family} {host}", "t=0 0"]
    lines += [
        f"m=audio {audio} RTP/AVP {audio_formats}",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        f"a={direction}",
    ]
    if video is not None:
        lines.append(f"m=video {video} RTP/AVP {video_pt}")
        for pt in video_pt.split():
            mode = 0 if pt == "97" else 1
            lines += [f"a=rtpmap:{pt} H264/90000", f"a=fmtp:{pt} profile-level-id=42801e;packetization-mode={mode}"]
        lines += ["a=rtcp-fb:* nack pli", "a=rtcp-fb:* ccm fir", f"a={direction}"]
    return "\r\n".join(lines) + "\r\n" + tail


def answer_to(offer: str, **more: object) -> str:
    """An answer that takes the first H.264 payload type of an offer."""
    found = re.search(r"^m=video \d+ \S+ (\d+)", offer, re.MULTILINE)
    text = description(video_pt="96", **more)  # type: ignore[arg-type]
    if found is None:
        return text.partition("m=video")[0]
    return re.sub(r"(?<=[ :])96(?=[ \r])", found[1], text)


def media_lines(sdp: str) -> list[str]:
    return [line.strip() for line in sdp.splitlines() if line.startswith("m=")]


def directions(sdp: str) -> list[str]:
    return re.findall(r"^a=(sendrecv|sendonly|recvonly|inactive)\r?$", sdp, re.MULTILINE)
