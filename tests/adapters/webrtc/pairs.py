"""Two peers of ours, one beside the other, and waiting for what shall come about."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from orbridge.adapters.webrtc.description import Local, Transport
from orbridge.adapters.webrtc.dtls import Certificate
from orbridge.adapters.webrtc.peer import Peer
from orbridge.gateway.adapter import Engines
from orbridge.gateway.session import CloseReason


async def until(claim: Callable[[], Any], timeout_s: float = 8.0) -> None:
    """Wait until the claim holds; its source is in the failure."""
    end = asyncio.get_running_loop().time() + timeout_s
    while not claim():
        assert asyncio.get_running_loop().time() < end, f"not within {timeout_s} s: {inspect.getsource(claim).strip()}"
        await asyncio.sleep(0.01)


class Side:
    """A peer and what it reported."""

    def __init__(
        self,
        bus: Engines,
        hosts: Sequence[str] = ("127.0.0.1",),
        *,
        controlling: bool = False,
        stun_server: tuple[str, int] | None = None,
    ) -> None:
        self.connections = 0
        self.ends: list[tuple[CloseReason, str]] = []
        self.events: list[tuple[Any, ...]] = []
        self.peer = Peer(
            bus,
            hosts,
            Certificate.generateCertificate(),
            on_connected=self._connected,
            on_closed=lambda reason, text: self.ends.append((reason, text)),
            on_event=self.events.append,
            controlling=controlling,
            stun_server=stun_server,
        )

    def _connected(self) -> None:
        self.connections += 1

    @property
    def connected(self) -> bool:
        return self.peer.connected


def remote(local: Local, *, ours: str, candidates: Sequence[str] | None = None, fingerprint: str = "") -> Transport:
    """What one side's description means to the other, which takes the DTLS role ``ours``."""
    digest, _, value = (fingerprint or local.fingerprint).partition(" ")
    return Transport(
        local.ufrag,
        local.password,
        ((digest, value),),
        "active" if ours == "active" else "passive",
        local.candidates if candidates is None else tuple(candidates),
    )


async def joined(one: Side, other: Side, *, one_role: str = "active") -> None:
    """Connect the two."""
    first, second = await one.peer.gather("active"), await other.peer.gather("passive")
    other_role = "passive" if one_role == "active" else "active"
    one.peer.connect(remote(second, ours=one_role))
    other.peer.connect(remote(first, ours=other_role))
    await until(lambda: one.connected and other.connected)
