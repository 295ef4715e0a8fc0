"""Program: what carries datagrams where there is no engine: a datagram protocol of asyncio on uvloop, no encryption.

``python_forwarder STREAMS FIRST_PORT FIRST_SINK_PORT MODE``; says its ports as JSON, ends with its input. MODE as in
``engine_relay``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys

import uvloop

from tests.bench.engine_relay import block, calls_for_300_ms
from tests.bench.programs import Lines

BUFFER_BYTES = 4 << 20


class Forwarder(asyncio.DatagramProtocol):
    """The least that a relay does: look at the header, put its own SSRC in, send."""

    def __init__(self, number: int) -> None:
        self._ssrc = struct.pack("!I", 5000 + number)
        self.out: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) < 12 or data[0] >> 6 != 2 or self.out is None:
            return
        self.out.sendto(data[:8] + self._ssrc + data[12:])


def bound(port: int, peer: tuple[str, int] | None = None) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    made.bind(("127.0.0.1", port))
    if peer is not None:
        made.connect(peer)
    return made


async def main(streams: int, first_port: int, first_sink: int, mode: str) -> None:
    loop = asyncio.get_running_loop()
    ports = []
    for number in range(streams):
        port = first_port + 2 * number
        forwarder = Forwarder(number)
        await loop.create_datagram_endpoint(lambda made=forwarder: made, sock=bound(port))  # type: ignore[misc]
        out = bound(0, ("127.0.0.1", first_sink + 2 * number))
        forwarder.out, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=out)
        ports.append(port)
    ended = asyncio.Event()
    loop.add_reader(0, lambda: None if os.read(0, 4096) else ended.set())
    blocking = loop.create_task(block(calls_for_300_ms())) if mode == "blocked" else None
    Lines.say(ports)
    await ended.wait()
    if blocking is not None:
        blocking.cancel()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
