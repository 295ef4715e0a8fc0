"""The media of one call: engine legs, what the peer publishes through them, and what it can be sent.

Knows what was agreed (``negotiated.py``), nothing of SDP text and nothing of SIP. Legs are opened before they are
described to the peer; what was agreed is applied as a whole when the signalling says that both sides hold it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orbridge.adapters.sip.negotiated import Agreed, LocalLine, LocalMedia, NegotiatedLine
from orbridge.codecs.media import H264, Kind, Role
from orbridge.codecs.sdes import fresh_keys
from orbridge.gateway.session import Sink

if TYPE_CHECKING:
    from orbridge.codecs._engine import Event, Leg, Publisher, Receiver, Sender
    from orbridge.gateway.adapter import Engines

# How long a leg hears nothing before the same source may come from another address (a NAT that forgot its mapping).
RELEARN_MS = 1000
# Slides may stand still for a while: how long nothing comes before they count as taken away.
SLIDES_GONE_MS = 5000

Place = tuple[Kind, Role]

AUDIO: Place = (Kind.AUDIO, Role.MAIN)
VIDEO: Place = (Kind.VIDEO, Role.MAIN)
CONTENT: Place = (Kind.VIDEO, Role.CONTENT)


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """What the legs of a call are made with.

    Attributes:
        host, host_ipv6: our address; empty: we have none of that family.
        secure: nothing goes unencrypted, not even at first.
        prefers_ipv6: the peer that we call is reached that way.
    """

    host: str
    host_ipv6: str
    label: str
    secure: bool
    dscp_audio: int
    dscp_video: int
    max_video_kbps: int
    prefers_ipv6: bool = False


class _Line:
    """A leg and what hangs on it."""

    def __init__(self, role: Role, leg: Leg, local: LocalLine, opened_ns: int) -> None:
        self.role, self.leg, self.local = role, leg, local
        self.receiver: Receiver | None = None
        self.sender: Sender | None = None
        self.sink: Sink | None = None
        self.track: int | None = None
        self.agreed: NegotiatedLine | None = None
        # since when the peer may send
        self.expected_ns = opened_ns
        self.is_silent = False


class CallMedia:
    """Legs, receivers, senders and streams of a call.

    ``on_digit(digit)``: telephone-event (RFC 4733) from the peer. ``on_published()``: ``published`` changed by itself,
    because sharing began or ended.
    """

    def __init__(
        self,
        bus: Engines,
        settings: MediaSettings,
        name: str,
        now_ns: Callable[[], int],
        on_digit: Callable[[str], None],
        on_published: Callable[[], None],
    ) -> None:
        """``name``: first part of the names of its streams."""
        self._bus, self._settings, self._name, self._now_ns = bus, settings, name, now_ns
        self._on_digit, self._on_published = on_digit, on_published
        self._lines: dict[Place, _Line] = {}
        self._publishers: dict[Role, Publisher] = {}
        self._host = ""
        self._cname = secrets.token_hex(8)
        self._session_id = secrets.randbits(61)
        self.is_closed = False

    # legs

    def open(self, places: Sequence[Place], *, ipv6: bool = False) -> None:
        """Bind a leg for each place that has none. Raises OSError when no port is free.

        ``ipv6``: the peer is reached that way; the first call decides for all legs.
        """
        if not self._host:
            settings = self._settings
            self._host = (settings.host_ipv6 if ipv6 else settings.host) or settings.host or settings.host_ipv6
        for place in places:
            if place in self._lines or self.is_closed:
                continue
            kind, role = place
            settings = self._settings
            leg = self._bus.engine.open_leg(
                self._host,
                rtcp="pair",
                secure=settings.secure,
                silence_ms=SLIDES_GONE_MS if role is Role.CONTENT else RELEARN_MS,
                dscp=settings.dscp_audio if kind is Kind.AUDIO else settings.dscp_video,
                label=f"{settings.label} {kind} {role}",
            )
            local = LocalLine(leg.port, leg.rtcp_port, secrets.randbits(31) + 1, fresh_keys())
            self._lines[place] = _Line(role, leg, local, self._now_ns())
            self._bus.on_leg(leg.id, self._event)

    def local(self, places: Sequence[Place]) -> LocalMedia:
        """Our side, for a negotiation in which only these places may take part."""

        def at(place: Place) -> LocalLine | None:
            line = self._lines.get(place) if place in places else None
            return line.local if line else None

        return LocalMedia(
            self._host, self._cname, self._session_id, audio=at(AUDIO), video=at(VIDEO), content=at(CONTENT)
        )

    # what was agreed

    def apply(self, agreed: Agreed) -> None:
        """Make the media what both sides hold now. Raises ValueError when a stream's name is taken."""
        if self.is_closed:
            return
        current = {(line.kind, line.role): line for line in agreed.lines}
        for place, line in self._lines.items():
            wanted = current.get(place)
            if wanted is None:
                self._silence(line)
            else:
                self._wire(place, line, wanted)
        for role in list(self._publishers):
            if not any(line.track is not None for line in self._lines.values() if line.role is role):
                self._publishers.pop(role).close()

    @property
    def published(self) -> dict[Role, str]:
        """The content stream only while something comes: devices agree on its line for the whole call."""
        content = self._lines.get(CONTENT)
        return {
            role: publisher.stream
            for role, publisher in self._publishers.items()
            if role is Role.MAIN or (content is not None and not content.is_silent)
        }

    @property
    def sinks(self) -> list[Sink]:
        return [line.sink for line in self._lines.values() if line.sink is not None]

    def line_of(self, track_id: int) -> NegotiatedLine | None:
        """The agreed line that feeds a track."""
        return next((line.agreed for line in self._lines.values() if line.track == track_id), None)

    def _wire(self, place: Place, line: _Line, wanted: NegotiatedLine) -> None:
        old, line.agreed = line.agreed, wanted
        if old == wanted:
            return
        leg = line.leg
        if old is None or old.srtp != wanted.srtp:
            if wanted.srtp is not None:
                leg.set_keys(wanted.srtp.suite, wanted.srtp.outbound, wanted.srtp.inbound)
            elif old is not None and old.srtp is not None:
                leg.clear_keys()
        if old is None or old.rtcp_mux != wanted.rtcp_mux:
            leg.set_rtcp_mux(wanted.rtcp_mux)
        if wanted.remote_host and (old is None or _address(old) != _address(wanted)):
            leg.set_peer(
                wanted.remote_host,
                wanted.remote_port,
                rtcp_host=wanted.remote_rtcp_host,
                rtcp_port=wanted.remote_rtcp_port,
            )
        if wanted.receives_media and not (old is not None and old.receives_media):
            line.expected_ns = self._now_ns()
        self._wire_receiver(place, line, wanted, old)
        self._wire_sender(place, line, wanted, old)

    def _wire_receiver(self, place: Place, line: _Line, wanted: NegotiatedLine, old: NegotiatedLine | None) -> None:
        kind, role = place
        if line.track is None:
            publisher = self._publishers.get(role)
            if publisher is None:
                publisher = self._bus.engine.publish(f"{self._name}/{role}")
                self._publishers[role] = publisher
            codec = wanted.codec
            named: Literal["audio", "video"] = "audio" if kind is Kind.AUDIO else "video"
            line.track = publisher.add_track(named, codec.name, clock_hz=codec.clock_hz, channels=codec.channels)
        feedback = wanted.feedback_send
        if line.receiver is not None and old is not None and old.feedback_send != feedback:
            line.receiver.close()
            line.receiver = None
        if line.receiver is None:
            line.receiver = line.leg.add_receiver(
                line.track,
                payload_types=dict(wanted.receives),
                dtmf_pt=wanted.dtmf_receive,
                nack=feedback.nack,
                pli=feedback.pli,
                fir=feedback.fir,
            )
        elif old is None or (old.receives, old.dtmf_receive) != (wanted.receives, wanted.dtmf_receive):
            line.receiver.set_payload_types(dict(wanted.receives), dtmf_pt=wanted.dtmf_receive)
        line.receiver.set_enabled(wanted.receives_media)
        if wanted.parameter_sets and (old is None or old.parameter_sets != wanted.parameter_sets):
            self._bus.engine.set_parameter_sets(line.track, list(wanted.parameter_sets))

    def _wire_sender(self, place: Place, line: _Line, wanted: NegotiatedLine, old: NegotiatedLine | None) -> None:
        kind, role = place
        codec = wanted.codec
        max_bps = self._max_bps(wanted) if kind is Kind.VIDEO else 0
        if line.sender is None or line.sink is None:
            line.sender = line.leg.add_sender(
                codec.name,
                wanted.pt,
                clock_hz=codec.clock_hz,
                ssrc=line.local.ssrc,
                cname=self._cname,
                packetization_mode=wanted.packetization_mode,
                max_nal_bytes=wanted.max_nal_bytes,
                dtmf_pt=wanted.dtmf_send,
                max_bps=max_bps,
            )
            line.sink = Sink(kind, role, codec, line.sender, wanted.limit)
        elif old is not None and _sending(old) != _sending(wanted):
            if old.codec.name != codec.name:
                line.sender.select(None)
            line.sender.set_codec(
                codec.name,
                wanted.pt,
                clock_hz=codec.clock_hz,
                packetization_mode=wanted.packetization_mode,
                max_nal_bytes=wanted.max_nal_bytes,
                dtmf_pt=wanted.dtmf_send,
            )
            line.sender.set_max_bps(max_bps)
        line.sink.codec, line.sink.limit = codec, wanted.limit
        line.sender.set_enabled(wanted.sends)

    def _max_bps(self, wanted: NegotiatedLine) -> int:
        limits = [kbps for kbps in (wanted.max_kbps, self._settings.max_video_kbps) if kbps]
        return min(limits) * 1000 if limits else 0

    def _silence(self, line: _Line) -> None:
        """The line is refused or removed: its leg stays bound, for it may come back on the same port."""
        if line.sender is not None:
            line.sender.close()
        if line.receiver is not None:
            line.receiver.close()
        if line.track is not None:
            self._publishers[line.role].remove_track(line.track)
        line.sender = line.sink = line.receiver = line.track = line.agreed = None

    # while it runs

    @property
    def takes_digits(self) -> bool:
        """telephone-event was agreed towards the peer."""
        return any(line.agreed is not None and line.agreed.dtmf_send is not None for line in self._lines.values())

    @property
    def hears_digits(self) -> bool:
        return any(line.agreed is not None and line.agreed.dtmf_receive is not None for line in self._lines.values())

    def send_digits(self, digits: str) -> None:
        """Raises ValueError when telephone-event wasn't agreed."""
        for line in self._lines.values():
            if line.sender is not None and line.agreed is not None and line.agreed.dtmf_send is not None:
                line.sender.send_dtmf(digits)
                return
        raise ValueError("no telephone-event was agreed")

    def refresh_sources(self) -> None:
        """The peer wants a key frame of what it is sent: ask those who send it."""
        for line in self._lines.values():
            self._refresh(line)

    def _refresh(self, line: _Line) -> None:
        if line.sink is not None and line.sink.kind is Kind.VIDEO and line.sink.sender.selected is not None:
            self._bus.engine.want_keyframe(line.sink.sender.selected)

    def expect(self) -> None:
        """The peer may send from now on, and need not have before."""
        for line in self._lines.values():
            line.expected_ns = self._now_ns()

    def silent_ms(self) -> int:
        """For how long nothing has arrived on any line on which the peer may send; 0 when it may send on none."""
        now = self._now_ns()
        quiet = []
        for line in self._lines.values():
            if line.agreed is None or not line.agreed.receives_media:
                continue
            idle = line.leg.stats()["idle_ms"]
            since = (now - line.expected_ns) // 1_000_000
            quiet.append(since if idle is None else min(int(idle), since))
        return min(quiet, default=0)

    def too_large_bytes(self) -> int:
        """The largest NAL unit that couldn't be sent since no fragment was agreed; 0: none, or fragments now are."""
        return max((int(sender.stats()["too_large_bytes"]) for sender in self._without_fragments()), default=0)

    @property
    def sends_fragments(self) -> bool:
        """Every picture may be cut to fit its packets."""
        return not self._without_fragments()

    def _without_fragments(self) -> list[Sender]:
        return [
            line.sender
            for line in self._lines.values()
            if line.sender is not None
            and line.agreed is not None
            and line.agreed.codec.name == H264.name
            and line.agreed.packetization_mode == 0
        ]

    def stats(self) -> list[dict[str, Any]]:
        """The legs' counters in the order in which the lines were negotiated, each with its line's name."""
        return [{"line": "/".join(place), **line.leg.stats()} for place, line in self._lines.items()]

    def close(self) -> None:
        """Free everything. Idempotent."""
        self.is_closed = True
        for line in self._lines.values():
            self._bus.off_leg(line.leg.id)
            line.leg.close()
        self._lines.clear()
        for publisher in self._publishers.values():
            publisher.close()
        self._publishers.clear()

    def _event(self, event: Event) -> None:
        if event[0] == "dtmf":
            self._on_digit(event[2])
            return
        line = next((line for line in self._lines.values() if line.leg.id == event[1]), None)
        if line is None:
            return
        if event[0] == "peer_locked":
            self._refresh(line)  # what went to another address before is lost
        elif event[0] in ("silent", "heard"):
            line.is_silent = event[0] == "silent"
            if line.role is Role.CONTENT:
                self._on_published()


def _address(line: NegotiatedLine) -> tuple[str, int, str, int]:
    return line.remote_host, line.remote_port, line.remote_rtcp_host, line.remote_rtcp_port


def _sending(line: NegotiatedLine) -> tuple[Any, ...]:
    return (
        line.codec,
        line.codec.name,
        line.pt,
        line.packetization_mode,
        line.max_nal_bytes,
        line.dtmf_send,
        line.max_kbps,
    )
