"""rtpengine in userspace as the peer: its ng control protocol (bencoded, over UDP), offers and answers by hand."""

from __future__ import annotations

import base64
import itertools
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from tests.bench.keys import OUTBOUND, sized
from tests.bench.programs import processor_ns, processors, running

Value: TypeAlias = "int | str | bytes | Sequence[Value] | dict[str, Value]"

NG_PORT = 65501
WAIT_S = 3.0
START_TRIES = 20


def bencode(value: Value) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    if isinstance(value, dict):
        return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"
    return b"l" + b"".join(bencode(item) for item in value) + b"e"


def bdecode(data: bytes, at: int = 0) -> tuple[Any, int]:
    """(value, where it ends); strings stay bytes, keys become text."""
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        at += 1
        items = []
        while data[at : at + 1] != b"e":
            item, at = bdecode(data, at)
            items.append(item)
        if kind == b"l":
            return items, at + 1
        return {key.decode(): value for key, value in zip(items[::2], items[1::2], strict=True)}, at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end], end


class Rtpengine:
    """A running one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(WAIT_S)
        self._cookies = itertools.count()
        self._calls = itertools.count()

    def close(self) -> None:
        self._socket.close()

    def processor_ns(self) -> int:
        return processor_ns(self.pid)

    def command(self, what: dict[str, Value]) -> dict[str, Any]:
        """Raises TimeoutError, RuntimeError with its own words."""
        cookie = b"%d " % next(self._cookies)
        self._socket.sendto(cookie + bencode(what), ("127.0.0.1", NG_PORT))
        while True:
            answer = self._socket.recv(65535)
            if answer.startswith(cookie):
                break
        result: dict[str, Any] = bdecode(answer[len(cookie) :])[0]
        if result["result"] == b"error":
            raise RuntimeError(f"rtpengine: {result['error-reason'].decode()}")
        return result

    def relay(self, profile: str, source_port: int, sink_port: int) -> tuple[int, str]:
        """Plain RTP from ``source_port``, out to ``sink_port`` in ``profile``; (port to send to, call id)."""
        call_id = f"bench-{next(self._calls)}"
        secure = profile != "plain"
        protocol = "RTP/SAVP" if secure else "RTP/AVP"
        ours: dict[str, Value] = {"call-id": call_id, "from-tag": "a", "ICE": "remove", "flags": ["trust-address"]}
        offer = ours | {"command": "offer", "transport-protocol": protocol, "rtcp-mux": ["demux"]}
        offered = self.command(offer | {"sdp": _sdp(source_port, "RTP/AVP")})["sdp"].decode()
        answer: dict[str, Value] = ours | {"command": "answer", "to-tag": "b"}
        crypto = _crypto(offered, profile) if secure else ""
        answered = self.command(answer | {"sdp": _sdp(sink_port, protocol, crypto)})
        found = re.search(r"m=video (\d+)", answered["sdp"].decode())
        assert found is not None
        return int(found[1]), call_id

    def delete(self, call_id: str) -> None:
        self.command({"command": "delete", "call-id": call_id, "from-tag": "a", "delete-delay": 0})


def _sdp(port: int, protocol: str, crypto: str = "") -> str:
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
    lines += [f"m=video {port} {protocol} 96", "a=rtpmap:96 H264/90000", "a=sendrecv"]
    return "\r\n".join([*lines, *([crypto] if crypto else [])]) + "\r\n"


def _crypto(offered: str, profile: str) -> str:
    """The line of an answer that takes ``profile`` out of an offer (RFC 4568 5.1)."""
    tag = re.search(rf"a=crypto:(\d+) {profile} ", offered)
    if tag is None:
        raise RuntimeError(f"rtpengine doesn't offer {profile}")
    key = base64.b64encode(sized(OUTBOUND, profile)).decode()
    return f"a=crypto:{tag[1]} {profile} inline:{key}"


@contextmanager
def rtpengine(ports: tuple[int, int]) -> Iterator[Rtpengine]:
    """One in userspace (no kernel table), on the processor of what is measured."""
    command = ["rtpengine", "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{NG_PORT}", "--foreground"]
    command += [f"--port-min={ports[0]}", f"--port-max={ports[1]}", "--log-stderr", "--log-level=4"]
    command += ["--table=-1", "--num-threads=2"]
    with running(command, processor=processors()[1], log="rtpengine") as process:
        peer = Rtpengine(process.pid)
        try:
            _wait_until_it_answers(peer)
            yield peer
        finally:
            peer.close()


def _wait_until_it_answers(peer: Rtpengine) -> None:
    peer._socket.settimeout(WAIT_S / START_TRIES)
    for attempt in range(START_TRIES):
        try:
            peer.command({"command": "ping"})
            break
        except (TimeoutError, ConnectionError):
            if attempt == START_TRIES - 1:
                raise
    peer._socket.settimeout(WAIT_S)
