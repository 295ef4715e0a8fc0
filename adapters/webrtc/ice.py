"""ICE by aioice over the engine's sockets: host candidates, ICE sessions, consent.

The one file that may use names which aioice doesn't document; ``PRIVATE`` lists them and
``tests/adapters/webrtc/test_contract.py`` holds them to the installed version.

Every UDP socket is the engine's from the start. STUN and DTLS datagrams come up as ``("datagram", ...)`` events and are
handed to aioice over a transport of ours. Not done: relayed candidates of our own (the browser's relay is enough for
us to reach it), ICE over TCP, looking up ``.local`` names (the browser's own checks find us).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import string
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import aioice
from aioice import stun
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol, server_reflexive_candidate

from orbridge.gateway.adapter import Engines

if TYPE_CHECKING:
    from orbridge.codecs._engine import Event, Leg

PRIVATE = {
    "Connection": (
        "_local_candidates",
        "_local_candidates_end",
        "_local_candidates_start",
        "_nominated",
        "_protocols",
        "build_request",
        "check_complete",
        "check_incoming",
        "data_received",
        "gather_candidates",
        "get_component_candidates",
        "query_consent",
    ),
    "StunProtocol": ("connection_made", "datagram_received", "receiver", "request", "transactions"),
}

REFLEXIVE_TIMEOUT_S = 1.0
SILENCE_MS = 5000
# Consent (RFC 7675 allows up to 30 s without an answer): a browser that vanished shall be gone within 30 s, and sooner
# when its media stopped too.
CONSENT_INTERVAL_S, CONSENT_RETRY_S = 4.0, 1.0
CONSENT_EXPIRY_S, CONSENT_SILENT_EXPIRY_S = 22.0, 15.0
MAX_REMOTE = 64
# What aioice raises on malformed or incomplete STUN; each costs that datagram only.
_MALFORMED = (ValueError, LookupError, AssertionError, struct.error)
_ICE_CHARACTERS = string.ascii_letters + string.digits


class Owner(Protocol):
    """Whom sockets and ICE sessions report to."""

    sockets: list[Socket]

    def leg_event(self, socket: Socket, event: Event) -> None:
        """An event of the leg other than STUN and DTLS."""
        ...

    def dtls_received(self, data: bytes, address: tuple[str, int]) -> None: ...

    def nominated(self, generation: Generation, socket: Socket, address: tuple[str, int]) -> None:
        """Media goes out of this socket to this address from now on: the first or a later nomination."""
        ...

    def consent_lost(self, generation: Generation) -> None: ...


class Socket:
    """An engine leg as a host candidate. Two ICE generations share it while ICE restarts."""

    def __init__(self, owner: Owner, bus: Engines, host: str, label: str, dscp: int) -> None:
        self._owner, self._bus = owner, bus
        self.leg: Leg = bus.engine.open_leg(
            host, secure=True, learn=False, silence_ms=SILENCE_MS, dscp=dscp, label=label
        )
        self.name = (self.leg.host, self.leg.port)
        self.transports: list[LegTransport] = []
        self.malformed = 0
        bus.on_leg(self.leg.id, self._event)

    def close(self) -> None:
        self._bus.off_leg(self.leg.id)
        self.leg.close()

    def exchange(self, other: Socket) -> None:
        """Put our leg, with its keys, receivers and senders, on the other's socket, and the other's on ours."""
        self.leg.exchange_sockets(other.leg)
        self.leg, other.leg = other.leg, self.leg
        for each in (self, other):
            self._bus.on_leg(each.leg.id, each._event)

    def _event(self, event: Event) -> None:
        if event[0] == "datagram":
            self._feed(event[2], (event[3], event[4]))
        else:
            self._owner.leg_event(self, event)

    def _feed(self, data: bytes, address: tuple[str, int]) -> None:
        if data[:1] and data[0] >= 20:
            self._owner.dtls_received(data, address)
            return
        try:
            transport = self._transport_for(data)
            if transport is not None:
                transport.protocol.datagram_received(data, address)
        except _MALFORMED:
            self.malformed += 1

    def _transport_for(self, data: bytes) -> LegTransport | None:
        """Whose STUN message it is: its transaction's, or by the first half of USERNAME (RFC 8445 7.2.2)."""
        if len(self.transports) < 2:
            return self.transports[0] if self.transports else None
        message = stun.parse_message(data)
        ufrag = str(message.attributes.get("USERNAME", "")).partition(":")[0]
        for transport in self.transports:
            protocol = transport.protocol
            if message.transaction_id in protocol.transactions or protocol.receiver.local_username == ufrag:
                return transport
        return None


class LegTransport(asyncio.DatagramTransport):
    """What asyncio would give aioice, over a socket that the engine owns."""

    def __init__(self, socket: Socket, protocol: StunProtocol) -> None:
        super().__init__()
        self.socket, self.protocol, self._closed = socket, protocol, False
        socket.transports.append(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket.name if name == "sockname" else default

    def is_closing(self) -> bool:
        return self._closed

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not self._closed:
            self.socket.leg.send_datagram(bytes(data), addr[0], addr[1])

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.socket.transports.remove(self)
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


class Generation(aioice.Connection):
    """One ICE session (RFC 8445 2.6: a restart makes another) over the peer's sockets.

    Attributes:
        proven: addresses that showed they know our password, so that DTLS from them is listened to.
        answered_at: when consent was last given, loop time.
    """

    def __init__(self, owner: Owner, *, controlling: bool, stun_server: tuple[str, int] | None) -> None:
        super().__init__(
            controlling,
            stun_server=stun_server,
            local_username="".join(secrets.choice(_ICE_CHARACTERS) for _ in range(8)),
            local_password="".join(secrets.choice(_ICE_CHARACTERS) for _ in range(24)),
        )
        self._owner = owner
        self.proven: set[tuple[str, int]] = set()
        self.answered_at = 0.0
        self.silent = False
        self._hurry = asyncio.Event()
        self._remotes = 0

    async def gather_candidates(self) -> None:
        """Ours are known without asking the system for its interfaces (which aioice does at each gathering)."""
        self._local_candidates_start = True
        self._local_candidates += await self.get_component_candidates(1, [])
        self._local_candidates_end = True

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = 5
    ) -> list[aioice.Candidate]:
        hosts: list[StunProtocol] = []
        for place, socket in enumerate(self._owner.sockets):
            protocol = StunProtocol(self)
            protocol.connection_made(LegTransport(socket, protocol))
            host, port = socket.name
            protocol.local_candidate = aioice.Candidate(
                foundation=candidate_foundation("host", "udp", host),
                component=component,
                transport="udp",
                priority=candidate_priority(component, "host", 65535 - place),
                host=host,
                port=port,
                type="host",
            )
            hosts.append(protocol)
        self._protocols += hosts
        return [protocol.local_candidate for protocol in hosts] + await self._reflexive(hosts)

    async def _reflexive(self, hosts: list[StunProtocol]) -> list[aioice.Candidate]:
        """What a STUN server sees of our sockets. One that doesn't answer costs a bounded wait and nothing else."""
        if self.stun_server is None:
            return []
        queries = [
            asyncio.ensure_future(server_reflexive_candidate(protocol, self.stun_server))
            for protocol in hosts
            if ":" not in protocol.local_candidate.host
        ]
        if not queries:
            return []
        try:
            done, _ = await asyncio.wait(queries, timeout=REFLEXIVE_TIMEOUT_S)
        finally:
            for query in queries:
                query.cancel()
        found = [query.result()[0] for query in done if query.exception() is None]
        own = {socket.name for socket in self._owner.sockets}
        return [candidate for candidate in found if (candidate.host, candidate.port) not in own]

    async def add(self, candidates: Sequence[str]) -> None:
        """Remote candidates as in ``a=candidate``; those that can't be used are left out.

        The end of candidates isn't passed on: told of it, aioice gives up once its own checks failed, although the
        browser's may still come from an address that it never named. ``ICE_TIMEOUT_S`` bounds the wait.
        """
        for text in candidates:
            try:
                candidate = aioice.Candidate.from_sdp(text)
            except ValueError:
                continue
            if candidate.host.endswith(".local") or candidate.transport.lower() != "udp" or candidate.component != 1:
                continue
            if not 0 < candidate.port < 65536 or self._remotes >= MAX_REMOTE:
                continue
            self._remotes += 1
            await self.add_remote_candidate(candidate)

    def data_received(self, data: bytes, component: int) -> None:
        """What StunProtocol could not read as STUN; DTLS doesn't come this way."""
        raise ValueError("not a STUN message")

    def check_incoming(self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """A check with our password in it. Bounded: a peer can't make us remember addresses without end."""
        if addr not in self.proven:
            if len(self.proven) >= MAX_REMOTE:
                return
            self.proven.add(addr)
        super().check_incoming(message, addr, protocol)

    def check_complete(self, pair: CandidatePair) -> None:
        """A check of ours ended, or the browser nominated a pair: the first or a later one (network change, NAT)."""
        before = self._nominated.get(1)
        super().check_complete(pair)
        if pair.state is CandidatePair.State.SUCCEEDED and len(self.proven) < MAX_REMOTE:
            self.proven.add(pair.remote_addr)
        chosen = self._nominated.get(1)
        if chosen is not None and chosen is not before:
            socket = cast(LegTransport, chosen.protocol.transport).socket
            self._owner.nominated(self, socket, chosen.remote_addr)

    def hurry(self, silent: bool) -> None:
        """Media stopped or came back: look at once whether the peer is still there."""
        self.silent = silent
        if silent:
            self._hurry.set()

    async def query_consent(self) -> None:
        """Ask the peer every few seconds whether it still wants us to send (RFC 7675)."""
        loop = asyncio.get_running_loop()
        self.answered_at = loop.time()
        pause = CONSENT_INTERVAL_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.8, 1.2)):
                    await self._hurry.wait()
            self._hurry.clear()
            pair = self._nominated.get(1)
            if pair is not None and await self._consents(pair):
                self.answered_at, pause = loop.time(), CONSENT_INTERVAL_S
                continue
            pause = CONSENT_RETRY_S
            if loop.time() - self.answered_at > (CONSENT_SILENT_EXPIRY_S if self.silent else CONSENT_EXPIRY_S):
                self._owner.consent_lost(self)
                return

    async def _consents(self, pair: CandidatePair) -> bool:
        assert self.remote_password is not None
        try:
            await pair.protocol.request(
                self.build_request(pair, nominate=False),
                pair.remote_addr,
                integrity_key=self.remote_password.encode(),
                retransmissions=1,
            )
        except stun.TransactionError:
            return False
        return True

    def facts(self) -> dict[str, Any]:
        pair = self._nominated.get(1)
        return {
            "local": "{}:{}".format(*pair.local_addr) if pair else None,
            "remote": "{}:{}".format(*pair.remote_addr) if pair else None,
            "remote_type": pair.remote_candidate.type if pair else None,
            "remote_candidates": len(self.remote_candidates),
        }
