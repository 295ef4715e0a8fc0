"""From what an RTMP peer publishes to access units on the bus.

Parameter sets go in-band before key frames, NAL units get lengths of four bytes, composition times become presentation
times, and both kinds share one clock. Tracks are added when their media comes. Nothing a peer sends raises: what makes
no sense is counted, and what people should know becomes a note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from orbridge.codecs import aac, amf0, avcc, flv, h265, opus
from orbridge.codecs._engine import ClosedError
from orbridge.codecs.errors import ParseError
from orbridge.codecs.media import H264, H265, OPUS, PCMA, PCMU, VP8, Codec, Kind
from orbridge.codecs.rtmp.events import MediaKind
from orbridge.codecs.timing import FrameClock, SourceClock
from orbridge.gateway.session import Note

if TYPE_CHECKING:
    from orbridge.codecs._engine import Engine, Publisher

VIDEO = {codec.name: codec for codec in (H264, H265, VP8, Codec("VP9", 90_000), Codec("AV1", 90_000))}
PLAIN_AUDIO = {"PCMA": PCMA, "PCMU": PCMU}
# Whoever comes late waits so long at most without being told why.
LONG_GROUP_MS = 4_000
# The other kind is missed after this.
MISSING_MS = 5_000
# Facts about the encoder from its onMetaData that are worth showing; the values are bounded.
METADATA = ("encoder", "width", "height", "framerate", "videodatarate", "audiodatarate", "audiosamplerate")
METADATA_TEXT = 60

_Named = Literal["audio", "video"]


class ToBus:
    """A stream on the bus that one RTMP peer feeds.

    Attributes:
        stream: its name.
        on_changed: called when a track came or went, or a note changed.
        counts: messages that were dropped, by cause.
    """

    def __init__(self, engine: Engine, stream: str, now_ns: Callable[[], int], *, video: bool = True) -> None:
        """``video`` False: the device's picture isn't wanted. Raises ValueError when somebody has the name."""
        self.stream = stream
        self.on_changed: Callable[[], None] = lambda: None
        self.counts: Counter[str] = Counter()
        self._engine, self._now_ns, self._takes_video = engine, now_ns, video
        self._publisher: Publisher | None = engine.publish(stream)
        self._tracks: dict[Kind, tuple[int, Codec]] = {}
        self._clock = SourceClock()
        self._heard_ns = now_ns()
        self._notes: dict[str, str] = {}
        self._metadata: dict[str, str | float] = {}
        # picture
        self._sets = b""
        self._length_bytes = 4
        self._first_ms: dict[Kind, int] = {}
        self._last_ms: dict[Kind, int] = {}
        self._keyframe_ms: int | None = None
        self._group_ms = 0
        self._composition_ms = 0
        self._last_dts = -1
        # sound
        self._frames: FrameClock | None = None
        self._frame_samples = 1024
        self._last_pts = -1

    def media(self, kind: MediaKind, timestamp_ms: int, payload: bytes) -> None:
        """One message of the peer. After the end nothing happens: what is on its way crosses it."""
        if self._publisher is None:
            return
        try:
            if kind == "video":
                self._heard_ns = self._now_ns()
                self._video(flv.parse_video(payload), timestamp_ms)
            elif kind == "audio":
                self._heard_ns = self._now_ns()
                self._audio(flv.parse_audio(payload), timestamp_ms)
            else:
                self._data(payload)
        except ParseError as exc:
            self.counts["broken"] += 1
            self._note("broken", f"the encoder sends what can't be understood: {exc}")
        except ClosedError:
            # The gateway is stopping.
            self.counts["late"] += 1

    def look(self) -> None:
        """Notice what people should know of; to be called about every second."""
        spans = {kind: last - self._first_ms.setdefault(kind, last) for kind, last in self._last_ms.items()}
        for kind, other in ((Kind.VIDEO, Kind.AUDIO), (Kind.AUDIO, Kind.VIDEO)):
            is_said = f"no_{other}" in self._notes or f"{other}_refused" in self._notes
            is_wanted = other is Kind.AUDIO or self._takes_video
            if spans.get(kind, 0) > MISSING_MS and other not in self._tracks and is_wanted and not is_said:
                self._note(f"no_{other}", f"the encoder sends no {'sound' if other is Kind.AUDIO else 'picture'}")
        if self._keyframe_ms is not None:
            self._group_ms = max(self._group_ms, self._last_ms.get(Kind.VIDEO, 0) - self._keyframe_ms)
        text = f"a key frame comes every {self._group_ms / 1000:.0f} s only: late viewers wait that long; set it to 2 s"
        self._note("rare_keyframes", text if self._group_ms > LONG_GROUP_MS else "")
        if self._clock.jumps:
            self._note("timestamps", "the encoder's timestamps jump: picture and sound may stop for a moment there")

    def silent_s(self, now_ns: int) -> float:
        """For how long neither picture nor sound has come."""
        return max(0, now_ns - self._heard_ns) / 1e9

    def interrupted(self) -> None:
        """The peer is away. It may come back with another picture and other timestamps; the stream waits for it.

        Its tracks go meanwhile: nobody shall look at a picture that stands still.
        """
        self._clock.interrupted()
        self._keyframe_ms, self._sets = None, b""
        for kind in list(self._tracks):
            self._drop_track(kind)

    def close(self) -> None:
        """End the stream. Idempotent."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()

    def notes(self) -> list[Note]:
        return [Note(code, text) for code, text in self._notes.items()]

    def stats(self) -> dict[str, Any]:
        """Facts for technicians: tracks as ``Engine.streams`` has them, groups, composition times, jumps, drops."""
        found = self._engine.streams([self.stream]) if self._publisher is not None else []
        return {
            "tracks": found[0]["tracks"] if found else [],
            "keyframe_interval_ms": self._group_ms,
            "composition_ms": self._composition_ms,
            "timestamp_jumps": self._clock.jumps,
            "metadata": dict(self._metadata),
            "dropped": dict(self.counts),
        }

    # picture

    def _video(self, tag: flv.VideoTag, timestamp_ms: int) -> None:
        if tag.packet not in ("sequence_header", "coded_frames"):
            return
        if not self._takes_video:
            self.counts["unwanted_video"] += 1
            return
        codec = VIDEO.get(tag.codec)
        if codec is None:
            self.counts["unknown_codec"] += 1
            self._note("video_refused", f"the encoder's picture is {tag.codec}, which isn't taken: set it to H.264")
            return
        if tag.packet == "sequence_header":
            self._note("video_refused", "")
            self._configure(tag)
            self._track(codec)
            return
        if codec.name in ("H264", "H265"):
            if not self._sets and not self._is_known(codec):
                self.counts["before_header"] += 1
                return
            body = avcc.to_lengths(tag.body, self._length_bytes)
            if tag.keyframe and self._sets and not body.startswith(self._sets):
                body = self._sets + body
        else:
            body = bytes(tag.body)
        if not body:
            self.counts["empty"] += 1
            return
        arrival_ns = self._heard_ns
        dts_ms = self._clock.arrived(Kind.VIDEO, timestamp_ms, arrival_ns)
        pts_ms = max(0, dts_ms + tag.composition_ms)
        if tag.keyframe or tag.composition_ms > self._composition_ms:
            self._measure(dts_ms, tag)
        dts = max(dts_ms * 90, self._last_dts + 1)
        self._last_dts = dts
        capture_ns = self._clock.capture_ns(pts_ms, arrival_ns)
        self._write(self._track(codec), pts_ms * 90, body, dts, tag.keyframe, capture_ns)
        self._last_ms[Kind.VIDEO] = dts_ms

    def _is_known(self, codec: Codec) -> bool:
        """Its track is there: parameter sets have come once, or come in-band."""
        return Kind.VIDEO in self._tracks and self._tracks[Kind.VIDEO][1] == codec

    def _configure(self, tag: flv.VideoTag) -> None:
        """Raises ParseError for a record that makes no sense."""
        if tag.codec == "H264":
            avc = avcc.parse(tag.body)
            self._length_bytes, self._sets = avc.length_bytes, avcc.join_lengths([*avc.sps, *avc.pps])
        elif tag.codec == "H265":
            hevc = h265.parse(tag.body)
            self._length_bytes = hevc.length_bytes
            self._sets = avcc.join_lengths([*hevc.vps, *hevc.sps, *hevc.pps])

    def _measure(self, dts_ms: int, tag: flv.VideoTag) -> None:
        if tag.composition_ms > self._composition_ms:
            self._composition_ms = tag.composition_ms
            self._note(
                "reordered",
                f"pictures come in another order than they are shown (B-frames), up to {tag.composition_ms} ms: "
                "browsers show them after transcoding only; switch B-frames off in the encoder",
            )
        if tag.keyframe:
            if self._keyframe_ms is not None:
                self._group_ms = max(0, dts_ms - self._keyframe_ms)
            self._keyframe_ms = dts_ms

    # sound

    def _audio(self, tag: flv.AudioTag, timestamp_ms: int) -> None:
        if tag.packet == "sequence_header":
            if tag.codec == "AAC":
                self._configure_aac(tag.body)
            return
        if tag.packet != "frames" or not tag.body:
            return
        body = bytes(tag.body)
        if tag.codec == "AAC":
            known = self._tracks.get(Kind.AUDIO)
            if known is None or known[1].name != "AAC":
                self.counts["before_header"] += 1
                return
            codec, samples = known[1], self._frame_samples
        elif tag.codec == "OPUS":
            codec, samples = OPUS, opus.samples(body)
        elif tag.codec in PLAIN_AUDIO:
            codec, samples = PLAIN_AUDIO[tag.codec], len(body)
        else:
            self.counts["unknown_codec"] += 1
            self._note("audio_refused", f"the encoder's sound is {tag.codec}, which isn't taken: set it to AAC")
            return
        arrival_ns = self._heard_ns
        media_ms = self._clock.arrived(Kind.AUDIO, timestamp_ms, arrival_ns)
        track = self._track(codec)
        if self._frames is None or self._frames.clock_hz != codec.clock_hz:
            self._frames = FrameClock(codec.clock_hz)
        pts = max(self._frames.ticks(media_ms, samples), self._last_pts + 1)
        self._last_pts = pts
        capture_ns = self._clock.capture_ns(pts * 1000 / codec.clock_hz, arrival_ns)
        self._write(track, pts, body, pts, True, capture_ns)
        self._last_ms[Kind.AUDIO] = media_ms

    def _configure_aac(self, body: memoryview) -> None:
        """Raises ParseError for a config that makes no sense."""
        try:
            config = aac.parse(body)
        except ParseError as exc:
            self._note("audio_refused", f"the encoder's AAC isn't taken: {exc}; set it to AAC-LC")
            raise
        if config.object_type != aac.AAC_LC or config.frame_length != 1024:
            self._note("audio_refused", "the encoder's AAC is of a rare kind, which isn't taken: set it to AAC-LC")
            self._drop_track(Kind.AUDIO)
            return
        self._note("audio_refused", "")
        self._frame_samples = config.frame_length
        self._track(Codec("AAC", config.rate_hz, config.channels))

    # both

    def _track(self, codec: Codec) -> int:
        """The track that carries this codec; another codec gets another track, since what came before doesn't fit."""
        known = self._tracks.get(codec.kind)
        if known is not None and (known[1] is codec or known[1] == codec):
            return known[0]
        self._drop_track(codec.kind)
        assert self._publisher is not None, "media comes only before the end"
        named: _Named = "audio" if codec.kind is Kind.AUDIO else "video"
        number = self._publisher.add_track(named, codec.name, clock_hz=codec.clock_hz, channels=codec.channels)
        self._tracks[codec.kind] = number, codec
        self._first_ms.pop(codec.kind, None)
        if codec.kind is Kind.AUDIO:
            self._frames, self._last_pts = None, -1
            self._note("audio_refused", "", quietly=True)
        self._note(f"no_{codec.kind}", "", quietly=True)
        self.on_changed()
        return number

    def _drop_track(self, kind: Kind) -> None:
        known = self._tracks.pop(kind, None)
        if known is not None and self._publisher is not None:
            self._publisher.remove_track(known[0])
            self.on_changed()

    def _write(self, track: int, pts: int, body: bytes, dts: int, keyframe: bool, capture_ns: int) -> None:
        assert self._publisher is not None, "media comes only before the end"
        try:
            self._publisher.write(track, pts, body, dts=dts, keyframe=keyframe, capture_ns=capture_ns)
        except ValueError as exc:
            raise ParseError("flv", "a picture", str(exc)) from exc

    def _data(self, payload: bytes) -> None:
        members = flv.parse_metadata(payload)
        for name in METADATA:
            value: amf0.Value = (members or {}).get(name)
            if isinstance(value, str):
                self._metadata[name] = "".join(c for c in value if c.isprintable())[:METADATA_TEXT]
            elif isinstance(value, float) and not isinstance(value, bool):
                self._metadata[name] = value

    def _note(self, code: str, text: str, *, quietly: bool = False) -> None:
        """Say something, or take it back with no text. Other words for what is said already are no news."""
        is_news = bool(text) != (code in self._notes)
        if text:
            self._notes[code] = text
        else:
            self._notes.pop(code, None)
        if is_news and not quietly:
            self.on_changed()
