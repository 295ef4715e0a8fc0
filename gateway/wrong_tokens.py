"""How often an address may try wrong tokens and keys, over whatever protocol."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable


class WrongTokens:
    """Limits how often an address may try wrong tokens or keys: a bucket of ``BURST`` that refills one in ``REFILL_S``.

    An address that used a token successfully keeps it while others behind the same address guess. Both tables are
    bounded; the oldest entry goes first.
    """

    BURST = 10
    REFILL_S = 6.0
    TABLE_LIMIT = 4096

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._proven: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def wait_s(self, address: str, digest: bytes) -> float:
        """0 when this address may try this token now, else the seconds until it may."""
        if (address, digest) in self._proven:
            return 0.0
        left = self._left(address)
        return 0.0 if left >= 1 else (1 - left) * self.REFILL_S

    def wrong(self, address: str) -> None:
        left = self._left(address)
        self._buckets[address] = (max(0.0, left - 1), self._clock())
        self._buckets.move_to_end(address)
        if len(self._buckets) > self.TABLE_LIMIT:
            self._buckets.popitem(last=False)

    def right(self, address: str, digest: bytes) -> None:
        self._proven[address, digest] = None
        self._proven.move_to_end((address, digest))
        if len(self._proven) > self.TABLE_LIMIT:
            self._proven.popitem(last=False)

    def _left(self, address: str) -> float:
        left, then = self._buckets.get(address, (float(self.BURST), self._clock()))
        return min(float(self.BURST), left + (self._clock() - then) / self.REFILL_S)


def network_of(address: str) -> str:
    """What counts as one asker: an IPv4 address, or the /64 that an IPv6 host has to itself (RFC 6177 2)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
