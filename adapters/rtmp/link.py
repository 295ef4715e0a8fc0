"""One connection that we open to another server, to publish or to play there. Trying again is ``client``'s."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from orbridge.adapters.rtmp.address import Address
from orbridge.adapters.rtmp.message import CHUNK_BYTES
from orbridge.adapters.rtmp.session import FOUR_CCS
from orbridge.adapters.rtmp.wire import Wire
from orbridge.codecs.errors import OrbridgeError
from orbridge.codecs.rtmp.connection import ClientConnection
from orbridge.codecs.rtmp.events import (
    Closed,
    Connected,
    Event,
    Failed,
    Media,
    MediaKind,
    PlayStarted,
    PublishStarted,
    Rejected,
    Status,
    StreamClosed,
)

if TYPE_CHECKING:
    from orbridge.adapters.rtmp.ground import Ground

CONNECT_S = 10.0
HANDSHAKE_S = 10.0
GOODBYE_S = 1.0
ENDED_CODES = frozenset({"NetStream.Play.UnpublishNotify", "NetStream.Play.Stop", "NetStream.Play.Complete"})

OnMedia = Callable[[MediaKind, int, bytes], None]


class LinkFailed(OrbridgeError):
    """The other server couldn't be reached, or didn't want us. The text holds no secret."""


class Link:
    """Implements ``wire.Owner``.

    Attributes:
        four_ccs: what the server says that it takes by enhanced RTMP.
        is_connected: it took the connection, if not yet the stream.
    """

    def __init__(
        self, ground: Ground, address: Address, on_media: OnMedia | None = None, *, enhanced: bool = True
    ) -> None:
        """``on_media``: we play; None: we publish. ``enhanced``: say that we know enhanced RTMP."""
        self._ground, self._address, self._on_media, self._enhanced = ground, address, on_media, enhanced
        self._machine = ClientConnection(chunk_size=CHUNK_BYTES)
        self.wire = Wire(self._machine, ground.context.now_ns, self)
        self.four_ccs: frozenset[str] = frozenset()
        self.is_connected = False
        loop = asyncio.get_running_loop()
        self._started: asyncio.Future[int] = loop.create_future()
        self._over: asyncio.Future[str] = loop.create_future()

    async def open(self) -> int:
        """The message stream, when the server has agreed. Raises LinkFailed."""
        address = self._address
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(
                    lambda: self.wire,
                    address.host,
                    address.port,
                    ssl=ssl.create_default_context() if address.secure else None,
                    server_hostname=address.host if address.secure else None,
                )
        except TimeoutError as exc:
            raise LinkFailed(f"no connection to {address.host}:{address.port} within {CONNECT_S:.0f} s") from exc
        except ssl.SSLCertVerificationError as exc:
            raise LinkFailed(f"the certificate of {address.host} isn't valid: {exc.verify_message}") from exc
        except OSError as exc:
            raise LinkFailed(f"{address.host}:{address.port} can't be reached: {exc.strerror or exc}") from exc
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                return await self._started
        except TimeoutError as exc:
            self.wire.abort()
            raise LinkFailed(f"{address.shown} didn't answer within {HANDSHAKE_S:.0f} s") from exc
        except BaseException:
            self.wire.abort()
            raise

    async def over(self) -> str:
        """Wait until it is over. Returns why, in words."""
        return await asyncio.shield(self._over)

    async def close(self) -> None:
        """Say goodbye. Idempotent."""
        if not self._over.done():
            self._machine.close()
            self.wire.flush()
            self.wire.close()
            try:
                async with asyncio.timeout(GOODBYE_S):
                    await asyncio.shield(self._over)
            except TimeoutError:
                self.wire.abort()

    def abort(self) -> None:
        """Without goodbye: it takes nothing any more."""
        self.wire.abort()

    # wire.Owner

    def made(self) -> None:
        known = tuple(FOUR_CCS.values()) if self._enhanced else ()
        self._machine.connect(self._address.app, self._address.tc_url, known)

    def event(self, event: Event) -> None:
        match event:
            case Media():
                if self._on_media is not None:
                    self._on_media(event.kind, event.timestamp_ms, event.payload)
            case Connected():
                self.four_ccs, self.is_connected = event.four_ccs, True
                if self._on_media is None:
                    self._machine.publish(self._address.name)
                else:
                    self._machine.play(self._address.name)
            case PublishStarted() | PlayStarted():
                if not self._started.done():
                    self._started.set_result(event.stream_id)
                if self._on_media is not None:
                    self.wire.pacer = self._ground.pacer
            case Rejected():
                self._fail(f"it was refused there: {event.code} {event.description}".rstrip())
            case Failed():
                self._fail(f"the server broke the protocol: {event.error}")
            case Status():
                if event.code in ENDED_CODES:
                    self._fail("the stream ended there")
                elif event.level == "error":
                    self._fail(f"the server ended it: {event.code} {event.description}".rstrip())
            case StreamClosed():
                self._fail("the stream ended there")
            case Closed():
                self._fail("the server closed the connection")
            case _:
                pass

    def lost(self, text: str) -> None:
        self._fail(f"the connection was lost: {text}" if text else "the server closed the connection")

    def _fail(self, text: str) -> None:
        text = self._address.redacted(text)
        if not self._started.done():
            self._started.set_exception(LinkFailed(text))
        if not self._over.done():
            self._over.set_result(text)
        self.wire.close()
