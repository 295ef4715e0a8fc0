"""DTLS by aiortc, to the point where SRTP keys exist: certificate, handshake, export. Its media stack isn't used.

The one file that may use names which aiortc doesn't document; ``PRIVATE`` lists them and
``tests/adapters/webrtc/test_contract.py`` holds them to the installed version.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, cast

from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AES128_CM_SHA1_80,
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    SRTPProtectionProfile,
)
from OpenSSL import SSL

PRIVATE = {
    "RTCDtlsTransport": ("_role", "_set_role", "_srtp_profiles", "_ssl"),
    "RTCCertificate": ("_create_ssl_context",),
    # What RTCDtlsTransport uses of the transport below it, which is our Link.
    "transport": ("_recv", "_send", "role"),
}

# In the order that we, as the DTLS server, choose by (RFC 5764 4.1.2).
PROFILES = [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80]
# A certificate of aiortc's lives 30 days; a call that began on it may go on for one.
ROTATE_BEFORE = datetime.timedelta(days=10)
QUEUE = 32

Role = Literal["server", "client"]


class Certificate(RTCCertificate):
    """One certificate and one SSL context for many peers."""

    _context: SSL.Context | None = None
    _fingerprint: str = ""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
            # Sessions of different peers share the context: nothing may be resumed.
            self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return self._context

    @property
    def fingerprint(self) -> str:
        """For ``a=fingerprint`` (RFC 8122)."""
        if not self._fingerprint:
            found = next(f for f in self.getFingerprints() if f.algorithm == "sha-256")
            self._fingerprint = f"{found.algorithm} {found.value}"
        return self._fingerprint


class Certificates:
    """The certificate for new peers, replaced long before it expires."""

    def __init__(self) -> None:
        self._current: Certificate | None = None

    def current(self, now: datetime.datetime | None = None) -> Certificate:
        now = now or datetime.datetime.now(datetime.UTC)
        if self._current is None or self._current.expires - now < ROTATE_BEFORE:
            self._current = Certificate.generateCertificate()
        return self._current


class Link:
    """What RTCDtlsTransport needs of an RTCIceTransport. It outlives ICE sessions, so an ICE restart keeps the keys.

    Attributes:
        send: how datagrams leave at the moment. Raises ConnectionError when there is no way.
        dropped: datagrams that found the queue full.
    """

    role = "controlled"

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE)
        self.send: Callable[[bytes], Awaitable[None]] | None = None
        self.dropped = 0

    def feed(self, data: bytes) -> None:
        try:
            self._queue.put_nowait(data)
        except asyncio.QueueFull:
            self.dropped += 1

    def shut(self) -> None:
        while self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def _recv(self) -> bytes:
        data = await self._queue.get()
        if data is None:
            raise ConnectionError("the peer connection was closed")
        return data

    async def _send(self, data: bytes) -> None:
        if self.send is None:
            raise ConnectionError("ICE has chosen no pair")
        await self.send(data)


class Dtls:
    """One DTLS association. ``on_closed`` is called when the peer said goodbye (close_notify)."""

    def __init__(self, certificate: Certificate, on_closed: Callable[[], None]) -> None:
        self.link = Link()
        # aiortc's types name its own ICE transport; of that it uses the three members which Link has.
        self._inner = RTCDtlsTransport(cast(Any, self.link), [certificate])
        self._inner._srtp_profiles = PROFILES
        self._on_closed = on_closed
        self._inner.on("statechange", self._changed)

    async def handshake(self, role: Role, fingerprints: Sequence[tuple[str, str]]) -> bool:
        """Whether it succeeded, the peer's certificate included. The caller bounds the time."""
        self._inner._set_role(role)
        await self._inner.start(RTCDtlsParameters([RTCDtlsFingerprint(*each) for each in fingerprints]))
        return self._inner.state == "connected"

    def keys(self) -> tuple[str, bytes, bytes]:
        """SRTP profile, our key and the peer's (RFC 5764 4.2: client key, server key, client salt, server salt)."""
        ssl = self._inner._ssl
        assert ssl is not None
        name = ssl.get_selected_srtp_profile()
        profile = next(known for known in PROFILES if known.openssl_profile == name)
        length = 2 * (profile.key_length + profile.salt_length)
        material = ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", length)
        ours = 1 if self._inner._role == "server" else 0
        return name.decode(), profile.get_key_and_salt(material, ours), profile.get_key_and_salt(material, 1 - ours)

    async def close(self) -> None:
        """Send close_notify and stop reading."""
        try:
            await self._inner.stop()
        finally:
            self.link.shut()

    def facts(self) -> dict[str, Any]:
        ssl = self._inner._ssl
        return {
            "state": self._inner.state,
            "role": self._inner._role,
            "version": ssl.get_protocol_version_name() if ssl else None,
            "cipher": ssl.get_cipher_name() if ssl else None,
            "dropped": self.link.dropped,
        }

    def _changed(self) -> None:
        if self._inner.state == "closed":
            self._on_closed()
