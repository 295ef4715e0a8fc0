"""Sessions of peers that connect to us: an encoder that publishes, a player of one stream or of a room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from orbridge.adapters.rtmp.outlet import Outlet
from orbridge.adapters.rtmp.to_bus import ToBus
from orbridge.adapters.rtmp.wire import Wire
from orbridge.codecs.media import AAC, H264, OPUS, Codec, Kind, Role
from orbridge.gateway.session import CloseReason, Note, Session, Sink, State

# Codecs that only enhanced RTMP has, by what a peer announces.
FOUR_CCS = {"H265": "hvc1", "AV1": "av01", "VP9": "vp09", "OPUS": "Opus"}

# (reason, text): say goodbye to the peer and close the connection
Dismiss = Callable[[CloseReason, str], None]


class RtmpSession(Session):
    """What all of them share. ``over`` ends it at once, whoever wanted that."""

    adapter: ClassVar[str] = "rtmp"

    def over(self, reason: CloseReason, text: str = "") -> None:
        """Free everything and say that it is over. Idempotent."""
        if self.state in (State.CLOSING, State.CLOSED):
            return
        self.sinks = []
        self.move(State.CLOSING)
        self.free()
        # What it published stays named, so that those who played it are told that it is gone.
        self.ended(reason, text)

    def free(self) -> None:
        """Close what it has on the bus."""

    def note(self, code: str, text: str = "") -> bool:
        """Put a note there, or take it away with no text. True when that changed something."""
        before = self.notes
        self.notes = [note for note in before if note.code != code] + ([Note(code, text)] if text else [])
        return self.notes != before


class PeerSession(RtmpSession):
    """A session whose peer connected to us."""

    _dismiss: Dismiss

    async def hangup(self, reason: CloseReason, text: str = "") -> None:
        self.end(reason, text)

    def end(self, reason: CloseReason, text: str = "") -> None:
        """As ``hangup``, for what can't wait."""
        if self.state not in (State.CLOSING, State.CLOSED):
            self.over(reason, text)
            self._dismiss(reason, self.reason_text)


class PublishSession(PeerSession):
    """An encoder that publishes to us."""

    def __init__(
        self,
        session_id: str,
        *,
        name: str,
        room: str,
        remote: str,
        device: str,
        opened_ns: int,
        to_bus: ToBus,
        dismiss: Dismiss,
    ) -> None:
        super().__init__(
            session_id, name=name, room=room, remote=remote, inbound=True, opened_ns=opened_ns, device=device
        )
        self.to_bus = to_bus
        self._dismiss = dismiss
        self.published = {Role.MAIN: to_bus.stream}
        to_bus.on_changed = self._changed

    def free(self) -> None:
        self.to_bus.close()

    def stats(self) -> dict[str, Any]:
        return {"legs": [], "rtmp": self.to_bus.stats()}

    def look(self) -> None:
        """See what people should know of the encoder; every second."""
        self.to_bus.look()
        self.notes = self.to_bus.notes()

    def _changed(self) -> None:
        if self.state is State.ACTIVE:
            self.notes = self.to_bus.notes()
            self.emit("media_changed", self)


class PlaySession(PeerSession):
    """A player that takes a stream, or a room's picture and sound, from us."""

    def __init__(
        self,
        session_id: str,
        *,
        name: str,
        room: str,
        remote: str,
        opened_ns: int,
        plays: str | None,
        outlet: Outlet,
        four_ccs: frozenset[str],
        dismiss: Dismiss,
        wire: Wire,
    ) -> None:
        """``four_ccs``: what it takes beside H.264 and AAC."""
        super().__init__(
            session_id,
            name=name,
            room=room,
            remote=remote,
            inbound=True,
            opened_ns=opened_ns,
            plays=plays,
            watches=plays is None,
        )
        self.outlet = outlet
        self._dismiss, self._wire = dismiss, wire
        self._four_ccs = four_ccs
        self.sinks = sinks_of(outlet)

    def offered(self, codecs: Sequence[Codec]) -> None:
        suit(self.sinks, codecs, self._four_ccs)

    def free(self) -> None:
        self.outlet.close()

    def stats(self) -> dict[str, Any]:
        return {"legs": [], "rtmp": {**self.outlet.stats(), "bytes_out": self._wire.bytes_out}}


def sinks_of(outlet: Outlet) -> list[Sink]:
    """What every peer can be shown, for the routing core. RTMP players put pictures in order of presentation."""
    return [Sink(codec.kind, Role.MAIN, codec, outlet.lines[codec.kind], reorders=True) for codec in (H264, AAC)]


def suit(sinks: Sequence[Sink], codecs: Sequence[Codec], four_ccs: frozenset[str], *, has_begun: bool = True) -> None:
    """Let a peer have a stream's own codecs where it takes them.

    ``has_begun``: what is selected is being sent already, so it stays as it is.
    """
    for sink in sinks:
        codec = next((codec for codec in codecs if codec.kind is sink.kind), None)
        if codec is None or (has_begun and sink.sender.selected is not None):
            continue
        four_cc = FOUR_CCS.get(codec.name)
        if four_cc is not None and (four_cc in four_ccs or "*" in four_ccs):
            sink.codec = OPUS if codec.name == "OPUS" else codec
        elif codec.name == "AAC":
            sink.codec = codec
        else:
            sink.codec = H264 if sink.kind is Kind.VIDEO else AAC
