"""A path between a browser and the gateway that loses datagrams and, as a NAT does, may change its port."""

import asyncio
import random
from collections.abc import Callable
from typing import cast

Received = Callable[[bytes, tuple[str, int]], None]


class BadPath:
    """Listens for the browser at ``port`` and speaks to the gateway from another."""

    def __init__(self, *, loss: float = 0.0, seed: int = 7) -> None:
        self.loss, self.lost, self.carried = loss, 0, 0
        self._random = random.Random(seed)
        self._browser: tuple[str, int] | None = None
        self._gateway: tuple[str, int] | None = None
        self._front: asyncio.DatagramTransport
        self._back: asyncio.DatagramTransport | None = None

    async def start(self) -> int:
        self._front = await self._socket(self._from_browser)
        await self.change_port()
        return cast(int, self._front.get_extra_info("sockname")[1])

    def lead_to(self, host: str, port: int) -> None:
        self._gateway = (host, port)

    async def change_port(self) -> None:
        """From now on the gateway sees another address; what it sends to the old one is lost."""
        before, self._back = self._back, await self._socket(self._from_gateway)
        if before is not None:
            before.close()

    def close(self) -> None:
        self._front.close()
        if self._back is not None:
            self._back.close()

    def _from_browser(self, data: bytes, address: tuple[str, int]) -> None:
        self._browser = address
        if self._gateway is not None and self._back is not None:
            self._back.sendto(data, self._gateway)

    def _from_gateway(self, data: bytes, _address: tuple[str, int]) -> None:
        # Only media is lost (RFC 7983): a lost STUN or DTLS message would only make the test slower.
        if data[:1] and 128 <= data[0] < 192 and self._random.random() < self.loss:
            self.lost += 1
        elif self._browser is not None:
            self.carried += 1
            self._front.sendto(data, self._browser)

    async def _socket(self, received: Received) -> asyncio.DatagramTransport:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Protocol(received), ("127.0.0.1", 0)
        )
        return transport


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, received: Received) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._received(data, addr)
