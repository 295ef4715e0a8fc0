"""From access units to FLV messages, for players and pushes.

Sequence headers are made of what comes in-band and sent again when it changes. Timestamps are those of capture on this
host's clock, so that picture and sound of whatever origin stay together; each kind's only rise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orbridge.adapters.rtmp.message import Message, Timeline
from orbridge.codecs import aac, amf0, av1, avcc, flv, h265, opus, vp9
from orbridge.codecs._engine import h264_sps
from orbridge.codecs.errors import ParseError
from orbridge.codecs.media import Codec, Kind
from orbridge.codecs.timing import Follower, Rising

ENCODER = "orbridge"
# What the engine's subscription gives: track, pts, dts, keyframe, contiguous, capture_ns, arrival_ns, payload.
Unit = tuple[int, int, int, bool, bool, int, int, bytes]


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """A track of the bus. ``fps`` 0.0: unknown."""

    id: int
    codec: Codec
    fps: float = 0.0
    width: int = 0
    height: int = 0


class FromBus:
    """Maps one video and one audio track, either of which may be missing."""

    def __init__(self, facts: Mapping[Kind, TrackFacts], timeline: Timeline) -> None:
        self._facts = facts
        self._timeline = timeline
        self._tracks = {fact.id: _Track(fact) for fact in facts.values()}
        self._headers: dict[Kind, bytes] = {}
        self._size = (0, 0)
        self._sets: list[bytes] = []
        video, audio = facts.get(Kind.VIDEO), facts.get(Kind.AUDIO)
        if video is not None:
            self._size = video.width, video.height
        if audio is not None:
            header = _audio_header(audio.codec)
            if header is not None:
                self._headers[Kind.AUDIO] = header

    def metadata(self, *, set_data_frame: bool) -> Message:
        """For a peer's beginning, and only there: ffmpeg takes metadata at another time than 0 for subtitles.

        ``set_data_frame``: for a server to which we publish.
        """
        return Message(None, 0, flv.serialise_metadata(self._metadata(), set_data_frame=set_data_frame))

    def headers(self) -> list[Message]:
        """The sequence headers that are known by now, at time 0: who sends them knows better."""
        return [Message(kind, 0, body, is_header=True) for kind, body in self._headers.items()]

    def messages(self, units: Sequence[Unit]) -> list[Message]:
        """What a batch of units is as messages, in the same order."""
        made: list[Message] = []
        if units and self._timeline.epoch_ns is None:
            # A group that was kept is older than the sound that comes with it.
            self._timeline.epoch_ns = min(self._captured_ns(unit) for unit in units)
        for unit in units:
            number, pts, dts, keyframe, _, capture_ns, arrival_ns, payload = unit
            track = self._tracks.get(number)
            if track is None:
                continue
            composition = pts - dts
            captured = self._captured_ns(unit) if composition else capture_ns or arrival_ns
            at_ms = track.rising.next(self._timeline.ms(track.follower.host_ns(dts, captured)))
            if track.kind is Kind.AUDIO:
                body = flv.serialise_audio(
                    track.codec.name, "frames", payload, rate_hz=track.clock_hz, channels=track.codec.channels
                )
                made.append(Message(Kind.AUDIO, at_ms, body, track=number, ticks=dts))
                continue
            if keyframe:
                header, at = self._header(track.codec.name, payload)
                if header is not None:
                    if header != self._headers.get(Kind.VIDEO):
                        self._headers[Kind.VIDEO] = header
                        made.append(Message(Kind.VIDEO, at_ms, header, is_header=True))
                    if not self._timeline.changes_sets(header):
                        payload = payload[at:]
            body = flv.serialise_video(
                track.codec.name,
                "coded_frames",
                payload,
                keyframe=keyframe,
                composition_ms=round(composition * 1000 / track.clock_hz),
            )
            made.append(Message(Kind.VIDEO, at_ms, body, is_keyframe=keyframe, track=number, ticks=dts))
        return made

    def _captured_ns(self, unit: Unit) -> int:
        """Capture time less what its decoding is before its presentation."""
        number, pts, dts, _, _, capture_ns, arrival_ns, _ = unit
        track = self._tracks.get(number)
        before = (pts - dts) * 1_000_000_000 // track.clock_hz if track is not None else 0
        return (capture_ns or arrival_ns) - before

    def _header(self, name: str, payload: bytes) -> tuple[bytes | None, int]:
        """The sequence header that the parameter sets at the beginning of a key frame make, and where they end."""
        if name in ("AV1", "VP9"):
            return self._header_of_others(name, payload), 0
        if name not in ("H264", "H265"):
            return None, 0
        sets, at = avcc.leading_sets(payload) if name == "H264" else h265.leading_sets(payload)
        if not sets or at >= len(payload):
            return None, 0
        if sets == self._sets:
            return self._headers.get(Kind.VIDEO), at
        self._sets = sets
        try:
            if name == "H264":
                record = avcc.from_parameter_sets(sets).serialise()
                sps = h264_sps(next(nal for nal in sets if nal[0] & 0x1F == avcc.NAL_SPS))
                self._size = sps["width"], sps["height"]
            else:
                record = h265.from_parameter_sets(sets).serialise()
        except (ParseError, ValueError):
            # A set is missing, or one is broken: decoders may still find their way with what is in-band.
            return None, 0
        return flv.serialise_video(name, "sequence_header", record, keyframe=True), at

    @staticmethod
    def _header_of_others(name: str, payload: bytes) -> bytes | None:
        try:
            if name == "VP9":
                record = vp9.config_record(payload)
            else:
                header = av1.sequence_header(payload)
                if header is None:
                    return None
                record = av1.config_record(header)
        except ParseError:
            # Decoders may know better what to do with it.
            return None
        return flv.serialise_video(name, "sequence_header", record, keyframe=True)

    def _metadata(self) -> dict[str, amf0.Value]:
        members: dict[str, amf0.Value] = {"encoder": ENCODER}
        video, audio = self._facts.get(Kind.VIDEO), self._facts.get(Kind.AUDIO)
        if video is not None:
            width, height = self._size
            if width:
                members |= {"width": float(width), "height": float(height)}
            if video.fps:
                members["framerate"] = round(video.fps, 3)
            members["videocodecid"] = flv.video_codec_id(video.codec.name)
        if audio is not None:
            members["audiocodecid"] = flv.audio_codec_id(audio.codec.name)
            members["audiosamplerate"] = float(audio.codec.clock_hz)
            members["stereo"] = audio.codec.channels > 1
        return members


class _Track:
    def __init__(self, facts: TrackFacts) -> None:
        self.codec, self.kind, self.clock_hz = facts.codec, facts.codec.kind, facts.codec.clock_hz
        self.follower = Follower(facts.codec.clock_hz)
        self.rising = Rising()


def _audio_header(codec: Codec) -> bytes | None:
    if codec.name == "AAC":
        config = aac.AudioSpecificConfig(aac.AAC_LC, codec.clock_hz, codec.channels)
        return flv.serialise_audio("AAC", "sequence_header", config.serialise())
    if codec.name == "OPUS":
        return flv.serialise_audio("OPUS", "sequence_header", opus.head(codec.channels))
    return None
