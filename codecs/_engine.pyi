"""The typed face of the native engine (``codecs/engine``): RTP legs, the stream bus, the mixer.

Every call returns at once and never waits for the network. Handles stay valid until ``close``; a call on a closed
handle raises ``ClosedError``. Wrong arguments raise ``ValueError`` with a sentence; an address that can't be bound
raises ``OSError``. Media never passes through Python unless ``Publisher.write`` or ``Subscription`` is used.

Time: all ``*_ns`` are CLOCK_MONOTONIC of this host. Stream names: 1 to 200 characters, ``/`` separates parts.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, final

class ClosedError(Exception): ...

# What `Engine.drain` gives; the first member names the event, the second whom it is about.
Event: TypeAlias = (
    # STUN and DTLS (RFC 7983: first byte 0..3, 20..63) that arrived on a leg: leg id, bytes, sender's host and port
    tuple[Literal["datagram"], int, bytes, str, int]
    # media goes to and is taken from this address from now on (symmetric RTP): leg id, host, port
    | tuple[Literal["peer_locked"], int, str, int]
    # nothing valid arrived for `silence_ms` of the leg / arrived again: leg id, ms
    | tuple[Literal["silent"], int, int]
    | tuple[Literal["heard"], int, int]
    # RTCP BYE for a receiver of the leg: leg id, ssrc
    | tuple[Literal["bye"], int, int]
    # someone needs a key frame of this track. attempt counts 1, 2, 3...: repeated (500 ms apart, backing off to 2 s)
    # until it comes. For a track fed by a leg the engine has already sent PLI (odd attempts) or FIR (even attempts), as
    # negotiated: Python adds what only signalling can (SIP INFO). Track id, attempt
    | tuple[Literal["keyframe_wanted"], int, int]
    # a key frame came after it was wanted: track id, ms waited
    | tuple[Literal["keyframe_came"], int, int]
    # picture size known or changed (read from the SPS of H.264 and H.265, a VP8 header): track id, width, height
    | tuple[Literal["size"], int, int, int]
    # the pictures of a video track come in another order than they are shown (B-pictures), measured from their pts:
    # track id, ms that a picture must be held back at most. Once when it is first seen, again when it needs more than
    # was said, and with 0 when none came for 5 s; at most once a second a track
    | tuple[Literal["reordered"], int, int]
    # telephone-event (RFC 4733), once per key press, when it ends or after 5 s: leg id, digit, duration in ms
    | tuple[Literal["dtmf"], int, str, int]
    # a subscriber was too slow and lost units; at most once a second each: sender or subscription id, units since last
    | tuple[Literal["overflowed"], int, int]
    # a bound source ended (publisher closed) and the sender or mixer now has none: sender id, track id
    | tuple[Literal["source_ended"], int, int]
    # loudness of a mixer's inputs, every 100 ms while anything is fed: mixer id, [(track id, dBov -127..0, active)]
    | tuple[Literal["levels"], int, list[tuple[int, int, bool]]]
    # something of this leg's network failed (ECONNREFUSED is only counted): leg id, errno text; at most once a second
    | tuple[Literal["leg_failed"], int, str]
    # malformed input that was dropped, at most once a second a leg: leg id, which ("rtp", "rtcp", "srtp_auth",
    # "srtp_replay", "payload", "foreign": from an address that isn't the peer's), how many since last
    | tuple[Literal["rejected"], int, str, int]
    # a thread of the engine met its broken invariant and closed the leg (0: no leg's fault; a mixer is named in the
    # text): leg id, text. The leg's handles raise ClosedError from now on. A person should look
    | tuple[Literal["fault"], int, str]
)

@final
class Engine:
    """The media thread, its sockets and the bus."""

    def __new__(
        cls,
        *,
        udp_ports: tuple[int, int] = (20000, 29999),
        gso: bool = True,
        receive_buffer_bytes: int = 4_194_304,
    ) -> Engine: ...
    def fileno(self) -> int:
        """Readable when ``drain`` has something."""
    def drain(self, limit: int = 4096) -> list[Event]: ...
    def open_leg(
        self,
        host: str,
        *,
        rtcp: Literal["mux", "pair"] = "mux",
        secure: bool = False,
        learn: bool = True,
        silence_ms: int = 5000,
        dscp: int = 0,
        label: str = "",
    ) -> Leg:
        """Bind a UDP socket on a free port of ``udp_ports`` (even, with its odd neighbour, for ``pair``).

        ``secure``: RTP and RTCP are dropped until keys are set. ``learn``: symmetric RTP (RFC 4961): the first valid
        packet's source becomes the peer when the signalled address hasn't been heard, then it is locked; after the
        lock other addresses are ignored until ``set_peer`` is called again or the peer was silent for
        ``silence_ms`` (and, on a plain leg, the packets carry the SSRC that was locked). False: only ``set_peer``'s.
        Raises OSError when no port is free.
        """
    def publish(self, stream: str, *, cache_ms: int = 12_000, cache_bytes: int = 8_388_608) -> Publisher:
        """A new stream without tracks. Raises ValueError when the name is taken."""
    def track(self, stream: str, kind: Literal["audio", "video"]) -> int | None:
        """Id of that stream's current track."""
    def stream_of(self, track_id: int) -> str | None:
        """Name of the stream that a track belongs to; None when it is gone."""
    def streams(self, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """One dict a stream, of all or of those named that exist (a lookup each, so that a room's round stays cheap).

        name, age_ms, subscribers, tracks [{id, kind, codec, clock_hz, channels, units, bytes, keyframes, lost_units,
        bitrate_bps, fps, width, height, reordered, reorder_ms, cache_ms, cache_bytes, keyframe_requests}].
        reordered: units whose pts was below the highest before them in decoding order; reorder_ms: the longest time
        that one of them was behind, since the track began.
        """
    def subscribe(
        self,
        track_ids: Sequence[int],
        *,
        queue_ms: int = 2000,
        queue_bytes: int = 4_194_304,
        wake_ms: int = 20,
        from_cache: bool = True,
    ) -> Subscription:
        """Units of these tracks for Python.

        ``from_cache``: a video track that Python writes begins at once with its kept group of pictures (``cache_ms``,
        ``cache_bytes`` of the stream), and the audio of the same stream with what came since that group began, all in
        the order it came and none of it counted against ``queue_ms`` by its age. One that a leg feeds begins at the key
        frame that is asked for, and with what is kept when none comes in 150 ms. Without a kept group, with one above
        ``queue_bytes`` or with False, video begins at the next key frame, and audio now, as audio alone always does.
        ``wake_ms``: after the first unit the descriptor becomes readable so much later, for a batch; 0: at once.
        """
    def open_mixer(self, *, label: str = "") -> Mixer: ...
    def want_keyframe(self, track_id: int) -> None:
        """Ask a track's source for a key frame, coalesced with others' wishes, repeated until it comes."""
    def set_parameter_sets(self, track_id: int, nals: Sequence[bytes]) -> None:
        """Parameter sets known from signalling (``sprop-parameter-sets``, a decoder configuration record), without
        start codes: SPS and PPS; of an H.265 track VPS too. They are kept with the track, as are those that its
        pictures carry, and put before each key frame that lacks one of them."""
    def stats(self) -> dict[str, Any]:
        """Totals: legs, streams, subscribers, packets_in, packets_out, bytes_in, bytes_out, wakeups, cpu_ns
        (the media thread's), mixer_cpu_ns, rejected, events_dropped, loop_max_us since last asked; send_calls,
        dropped_out (a socket's send buffer was full), units_dropped (written faster than the media thread takes them),
        refused (ICMP port unreachable)."""
    def close(self) -> None:
        """Stop the threads and close every socket. Idempotent."""

@final
class Leg:
    """One RTP transport to one peer: a socket (or RTP/RTCP pair), its keys, its receivers and senders."""

    @property
    def id(self) -> int: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def rtcp_port(self) -> int:
        """Equals ``port`` with ``mux``."""
    def set_peer(self, host: str, port: int, *, rtcp_host: str | None = None, rtcp_port: int | None = None) -> None:
        """Where signalling (SDP, an ICE nomination) says the peer is. Unlocks the learned address."""
    def set_rtcp_mux(self, mux: bool) -> None:
        """After negotiation (RFC 5761): with True RTCP goes to the RTP address. Both sockets go on receiving."""
    def set_keys(self, profile: str, outbound: bytes, inbound: bytes) -> None:
        """Master key followed by master salt. ``profile`` as in SDES and DTLS-SRTP: ``AES_CM_128_HMAC_SHA1_80``,
        ``AES_CM_128_HMAC_SHA1_32``, ``AEAD_AES_128_GCM``, ``AEAD_AES_256_GCM`` (an ``SRTP_`` prefix and OpenSSL's
        ``SRTP_AES128_CM_SHA1_80`` spelling are accepted). Same keys again: nothing happens (rollover counters stay)."""
    def clear_keys(self) -> None:
        """Plain RTP from now on (an optional-SRTP peer answered without crypto)."""
    def exchange_sockets(self, other: Leg) -> None:
        """Swap sockets with another ``mux`` leg: each goes on with its keys, counters, receivers and senders at the
        other's ``host`` and ``port``. For an ICE nomination on another local address, because the same keys may never
        be on two legs. ``set_peer`` belongs after it. Raises ValueError for a ``pair``."""
    def send_datagram(self, data: bytes, host: str, port: int) -> None:
        """STUN or DTLS out of the RTP socket."""
    def add_receiver(
        self,
        track_id: int,
        *,
        payload_types: dict[int, str],
        rtx: dict[int, int] | None = None,
        dtmf_pt: int | None = None,
        ssrc: int | None = None,
        rtx_ssrc: int | None = None,
        mid: str | None = None,
        mid_ext: int | None = None,
        audio_level_ext: int | None = None,
        nack: bool = False,
        pli: bool = False,
        fir: bool = False,
        remb_bps: int = 0,
    ) -> Receiver:
        """Feed a track of a Publisher from this leg.

        ``payload_types``: pt -> codec name (``H264``, ``VP8``, ``OPUS``, ``G722``, ``PCMA``, ``PCMU``); the codec of
        the track follows the packets that arrive. ``rtx``: rtx pt -> pt (RFC 4588). ``ssrc``: None takes the first
        that arrives with one of the pts, and follows changes. Both H.264 modes are always understood.
        """
    def add_sender(
        self,
        codec: str,
        pt: int,
        *,
        clock_hz: int,
        ssrc: int,
        cname: str,
        packetization_mode: int = 1,
        max_payload_bytes: int = 1200,
        max_nal_bytes: int = 0,
        rtx_pt: int | None = None,
        rtx_ssrc: int | None = None,
        dtmf_pt: int | None = None,
        mid: str | None = None,
        mid_ext: int | None = None,
        audio_level_ext: int | None = None,
        max_bps: int = 0,
        history_ms: int = 1000,
    ) -> Sender:
        """Send one codec to the peer; silent until ``select``.

        ``packetization_mode`` 0: every NAL unit goes out alone, above the MTU by IP fragmentation (RFC 6184 6.2).
        ``max_nal_bytes``: ``max-rcmd-nalu-size``, obeyed by fragmenting earlier in mode 1. ``max_bps``: pacing rate; 0
        paces a picture over at most 10 ms.
        """
    def stats(self) -> dict[str, Any]:
        """host, port, peer, locked, secure, profile, packets/bytes in and out, rejected {reason: n}, rtt_ms,
        idle_ms (since the last valid packet; None before the first), receivers [...], senders [...] (see theirs)."""
    def close(self) -> None:
        """Sends RTCP BYE, then closes. Idempotent."""

@final
class Receiver:
    @property
    def id(self) -> int: ...
    @property
    def ssrc(self) -> int | None: ...
    def set_payload_types(
        self, payload_types: dict[int, str], rtx: dict[int, int] | None = None, dtmf_pt: int | None = None
    ) -> None:
        """After a re-offer."""
    def set_enabled(self, enabled: bool) -> None:
        """False: packets are counted and dropped (hold)."""
    def set_remb(self, bps: int) -> None: ...
    def stats(self) -> dict[str, Any]:
        """ssrc, codec, packets, bytes, lost, recovered_rtx, duplicates, late, jitter_ms, loss_percent (last 5 s),
        units, nacks_sent, plis_sent, firs_sent, keyframes, width, height, fps, bitrate_bps, last_unit_ms."""
    def close(self) -> None: ...

@final
class Sender:
    @property
    def id(self) -> int: ...
    @property
    def ssrc(self) -> int: ...
    def select(self, track_id: int | None) -> None:
        """Send this track from its next key frame on (audio: at once); until then the old one goes on while it lives.

        Sequence numbers and timestamps stay continuous. A key frame is asked for; when none comes in 150 ms and the
        track's cache holds the group of pictures, that is sent, paced. None: stop sending; RTCP goes on. Raises
        ValueError when the kinds differ or the track's codec isn't the sender's.
        """
    @property
    def selected(self) -> int | None: ...
    def set_enabled(self, enabled: bool) -> None:
        """False: nothing is sent (hold). True asks for a key frame."""
    def set_codec(
        self,
        codec: str,
        pt: int,
        *,
        clock_hz: int,
        packetization_mode: int = 1,
        max_nal_bytes: int = 0,
        rtx_pt: int | None = None,
        dtmf_pt: int | None = None,
    ) -> None:
        """After a re-offer; the SSRC stays."""
    def set_max_bps(self, bps: int) -> None: ...
    def send_dtmf(self, digits: str, duration_ms: int = 160, gap_ms: int = 80) -> None:
        """RFC 4733 events, queued. Raises ValueError when no telephone-event was negotiated."""
    def stats(self) -> dict[str, Any]:
        """ssrc, codec, track, packets, bytes, units, keyframes, dropped_units, too_large_units, too_large_bytes,
        queue_ms, nacks_received, rtx_sent, plis_received, firs_received, remote_loss_percent, remote_jitter_ms, rtt_ms,
        remb_bps, bitrate_bps, fps.

        ``too_large_units``: of ``dropped_units`` the pictures with a NAL unit that no datagram can carry, to a peer
        that takes one NAL unit a packet (packetization-mode 0); ``too_large_bytes``: the largest such NAL unit.
        """
    def close(self) -> None: ...

@final
class Publisher:
    """The one writer of a stream."""

    @property
    def stream(self) -> str: ...
    def add_track(self, kind: Literal["audio", "video"], codec: str, *, clock_hz: int, channels: int = 1) -> int:
        """Returns the track's id. At most one track of a kind. Raises ValueError otherwise.

        ``codec``: ``H264``, ``H265``, ``VP8``, ``VP9``, ``AV1``; ``OPUS``, ``G722``, ``PCMA``, ``PCMU``, ``L16``,
        ``AAC``. H.265, VP9, AV1 and AAC travel between publishers and subscriptions in Python only: a leg's sender
        and receiver refuse them with ValueError, and so do ``Sender.select`` and ``Mixer.set_inputs``.
        """
    def remove_track(self, track_id: int) -> None: ...
    def write(
        self,
        track_id: int,
        pts: int,
        payload: bytes,
        *,
        dts: int | None = None,
        keyframe: bool = True,
        capture_ns: int = 0,
    ) -> None:
        """One access unit from Python; payload as in ``AccessUnit`` (H.264, H.265: length-prefixed NAL units)."""
    def close(self) -> None: ...

@final
class Subscription:
    """Units for Python, in batches, woken on a timer."""

    @property
    def id(self) -> int: ...
    def fileno(self) -> int:
        """Readable when ``take`` has something or the subscription ended."""
    def take(self, limit: int = 256) -> list[tuple[int, int, int, bool, bool, int, int, bytes]]:
        """(track, pts, dts, keyframe, contiguous, capture_ns, arrival_ns, payload), the fields of AccessUnit."""
    def select(self, track_ids: Sequence[int], *, from_cache: bool = False) -> None:
        """Hear these tracks and no others from now on, with the same descriptor.

        Tracks heard already go on untouched; what is queued of those left out is dropped, uncounted. Those newly heard
        begin as in ``Engine.subscribe``, here by default with the next key frame: to show the old picture until then,
        select both and leave the old one out when the new one's key frame is there. Raises ValueError, and changes
        nothing, when a track doesn't exist or none is given.
        """
    @property
    def ended(self) -> bool: ...
    def stats(self) -> dict[str, Any]:
        """tracks, queued_units, queued_bytes, queue_ms (age of the oldest unit), taken, dropped."""
    def close(self) -> None: ...

@final
class Mixer:
    """Decodes every input once and gives each output everybody but whom it excludes; 20 ms steps, 48 kHz inside.

    With one input and one output it is the transcoder. Runs on its own thread. Gaps are concealed (Opus FEC, else
    fading repeat); clock drift is taken up by resampling, never by clicks.
    """

    @property
    def id(self) -> int: ...
    def set_inputs(self, track_ids: Sequence[int]) -> None:
        """Up to 64. The codec of each may change at any time. Raises ValueError for a track that carries what a mixer
        can't decode (AAC, L16): turn it into Opus first. Units of such a codec on a track that changes to it later are
        counted in ``broken_units`` and not heard."""
    def add_output(
        self,
        stream: str,
        codec: Literal["OPUS", "G722", "PCMA", "PCMU"],
        *,
        exclude: Sequence[int] = (),
        bitrate_bps: int = 32_000,
    ) -> MixerOutput:
        """Publishes ``stream`` with one audio track of that codec. Raises ValueError when the name is taken."""
    def stats(self) -> dict[str, Any]:
        """inputs [{track, codec, buffered_ms, level_dbov, concealed_frames, fec_frames, drift_ppm}],
        outputs [{stream, codec, units}], ticks, late_ticks."""
    def close(self) -> None: ...

@final
class MixerOutput:
    @property
    def track_id(self) -> int: ...
    def set_exclude(self, track_ids: Sequence[int]) -> None: ...
    def close(self) -> None: ...

def build_info() -> dict[str, str]:
    """version, crypto ("aws-lc ..."), opus, profile ("release"/"debug")."""

def h264_sps(nal: bytes) -> dict[str, int]:
    """width, height (cropped), profile_idc, constraint_flags, level_idc, max_reorder_frames. ValueError if broken."""
