"""Sound from one codec to another: AAC to Opus for rooms, whatever rooms speak to AAC for RTMP.

Units in, units out: no thread, no clock, no bus. What comes out runs on this host's clock (``timeline``), so it stays
together with pictures for hours whatever the source's sample clock does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.packet import Packet

from orbridge.codecs.aac import AAC_LC, AudioSpecificConfig
from orbridge.codecs.errors import LocalError
from orbridge.codecs.media import AccessUnit, Codec
from orbridge.gateway.transcode.made import Made, TranscodeFailed
from orbridge.gateway.transcode.timeline import RATE_HZ, Samples, Timeline

OPUS_BPS_STEREO, OPUS_BPS_MONO = 96_000, 48_000
AAC_BPS_STEREO, AAC_BPS_MONO = 128_000, 64_000
# Of libopus' 0 to 10; above this it costs twice the time for what nobody hears at these rates.
OPUS_COMPLEXITY = 5
# What an Opus encoder looks ahead (RFC 7587 4.2 leaves it out of the timestamps): its frames sound so much later.
OPUS_LOOKAHEAD = 312
# Output timestamps begin here, so that what an encoder puts in front isn't negative.
BEGIN = RATE_HZ
# So many units in a row that no sound comes of are of another kind than their track says.
FRUITLESS_LIMIT = 100

# Those that have a channel configuration (ISO/IEC 14496-3 table 1.19).
AAC_CHANNELS = frozenset({1, 2, 3, 4, 5, 6, 8})

_DECODERS = {"AAC": "aac", "OPUS": "libopus", "G722": "g722", "PCMA": "pcm_alaw", "PCMU": "pcm_mulaw"}
_FRAME = {"OPUS": 960, "AAC": 1024}
SOURCES = frozenset(_DECODERS)


def open_decoder(codec: Codec) -> AudioCodecContext:
    """Raises LocalError for a codec that nothing here decodes."""
    if codec.name not in _DECODERS:
        raise LocalError(f"{codec.name} can't be decoded, only {', '.join(sorted(_DECODERS))}")
    decoder = cast(AudioCodecContext, av.CodecContext.create(_DECODERS[codec.name], "r"))
    decoder.thread_count = 1
    if codec.name == "AAC":
        if codec.channels not in AAC_CHANNELS:
            raise LocalError(f"AAC with {codec.channels} channels can't be decoded")
        # HE-AAC says in its frames that it is (implicit signalling, ISO/IEC 14496-3 1.6.6).
        decoder.extradata = AudioSpecificConfig(AAC_LC, codec.clock_hz, codec.channels).serialise()
    elif codec.name == "OPUS":
        decoder.sample_rate, decoder.layout = RATE_HZ, "stereo"
    else:
        decoder.sample_rate, decoder.layout = 16_000 if codec.name == "G722" else 8000, "mono"
    return decoder


def open_encoder(name: str, channels: int) -> AudioCodecContext:
    """20 ms frames of Opus, or 1024 samples of AAC-LC, at 48 kHz."""
    encoder = av.CodecContext.create("libopus" if name == "OPUS" else "aac", "w")
    encoder.sample_rate, encoder.layout = RATE_HZ, "stereo" if channels == 2 else "mono"
    encoder.time_base = Timeline.TICK
    if name == "OPUS":
        encoder.format = "flt"
        encoder.bit_rate = OPUS_BPS_STEREO if channels == 2 else OPUS_BPS_MONO
        encoder.options = {"compression_level": str(OPUS_COMPLEXITY), "frame_duration": "20"}
    else:
        encoder.format = "fltp"
        # The other coder takes three times as long for what nobody hears at these rates.
        encoder.options = {"aac_coder": "fast"}
        encoder.bit_rate = AAC_BPS_STEREO if channels == 2 else AAC_BPS_MONO
    encoder.open()
    return encoder


@dataclass(slots=True)
class Counters:
    """What happened so far: units in and out, units that couldn't be decoded, silence and what was left out in ms."""

    units_in: int = 0
    units_out: int = 0
    broken: int = 0
    silence_ms: int = 0
    trimmed_ms: int = 0
    drift_ppm: int = 0


class AudioConverter:
    """One track in another codec.

    ``feed`` and ``fill`` give what is ready. Raises LocalError at once for codecs that can't be converted, and
    TranscodeFailed when what comes isn't what the track says.
    """

    needs_keyframe = False
    note = ""

    def __init__(self, source: Codec, target: Codec) -> None:
        if target.name not in _FRAME:
            raise LocalError(f"sound can't be encoded as {target.name} here, only as {', '.join(sorted(_FRAME))}")
        self.source, self.target = source, target
        self.channels = min(2, target.channels, source.channels if target.name == "OPUS" else 2)
        self.counters = Counters()
        self._decoder = open_decoder(source)
        self._encoder = open_encoder(target.name, self.channels)
        self._frame = _FRAME[target.name]
        self._shift_ns = OPUS_LOOKAHEAD * 1_000_000_000 // RATE_HZ if source.name == "OPUS" else 0
        self._timeline = Timeline(self.channels)
        self._resampler: AudioResampler | None = None
        self._shape: tuple[int, str, str] | None = None
        # Samples at 48 kHz that have been decoded and are still in the resampler.
        self._held = 0.0
        self._expected: int | None = None
        self._was_lost = False
        self._fruitless = 0

    def feed(self, unit: AccessUnit, now_ns: int = 0) -> list[Made]:
        self.counters.units_in += 1
        lost = self._was_lost or not unit.contiguous
        try:
            frames = self._decoder.decode(av.Packet(unit.payload))
        except av.FFmpegError:
            self.counters.broken += 1
            self._was_lost, frames = True, []
        self._count_fruitless(bool(frames))
        if not frames:
            return []
        gap = 0 if self._expected is None else (unit.pts - self._expected) * RATE_HZ // self.source.clock_hz
        self._expected = unit.pts + sum(frame.samples * self.source.clock_hz // frame.sample_rate for frame in frames)
        # What the resampler still holds comes first.
        moment_ns = (unit.capture_ns or unit.arrival_ns) - self._shift_ns - round(self._held * 1e9 / RATE_HZ)
        samples = self._samples(frames)
        if samples is None:
            return []
        self._was_lost = False
        self._timeline.lay(samples, moment_ns, gap=gap, lost=lost, is_capture=unit.capture_ns != 0)
        return self._ready()

    def want_keyframe(self) -> None:
        """Every frame of sound is one."""

    def fill(self, until_ns: int) -> list[Made]:
        """Nothing came for a while: silence up to this moment of capture."""
        self._timeline.fill(until_ns)
        return self._ready()

    def _count_fruitless(self, is_fruitful: bool) -> None:
        self._fruitless = 0 if is_fruitful else self._fruitless + 1
        if self._fruitless >= FRUITLESS_LIMIT:
            raise TranscodeFailed(f"{FRUITLESS_LIMIT} frames in a row can't be decoded as {self.source.name}")

    def _samples(self, frames: Iterable[AudioFrame]) -> Samples | None:
        """float32, (channels, n), at 48 kHz; None when the decoder gave nothing."""
        parts = [part for frame in frames for part in self._converted(frame)]
        if not parts:
            return None
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def _converted(self, frame: AudioFrame) -> list[Samples]:
        frame.pts = None
        shape = (frame.sample_rate, frame.layout.name, frame.format.name)
        if shape != self._shape:
            self._shape, self._held = shape, 0.0
            # From one channel to two by copying: swresample would make it quieter.
            layout = "stereo" if self.channels == 2 and frame.layout.nb_channels > 1 else "mono"
            wanted = (RATE_HZ, layout, "fltp")
            self._resampler = None if shape == wanted else AudioResampler("fltp", layout, RATE_HZ)
        made = [frame] if self._resampler is None else self._resampler.resample(frame)
        parts = [cast(Samples, one.to_ndarray()) for one in made]
        if self._resampler is not None:
            self._held += frame.samples * RATE_HZ / frame.sample_rate - sum(part.shape[1] for part in parts)
        return [part if part.shape[0] == self.channels else np.repeat(part, self.channels, axis=0) for part in parts]

    def _ready(self) -> list[Made]:
        made: list[Made] = []
        while (taken := self._timeline.take(self._frame)) is not None:
            first, samples = taken
            planes = samples if self.target.name == "AAC" else samples.T.reshape(1, -1)
            frame = AudioFrame.from_ndarray(
                np.ascontiguousarray(planes),
                format=self._encoder.format.name,
                layout=self._encoder.layout.name,
            )
            frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, first, Timeline.TICK
            made += [self._made(packet) for packet in self._encoder.encode(frame)]
        self.counters.units_out += len(made)
        self.counters.silence_ms = self._timeline.silence * 1000 // RATE_HZ
        self.counters.trimmed_ms = self._timeline.trimmed * 1000 // RATE_HZ
        self.counters.drift_ppm = round(self._timeline.ratio_ppm)
        return made

    def _made(self, packet: Packet[Any]) -> Made:
        # The encoder counts what it puts in front (priming, pre-skip): its timestamps say when a frame sounds.
        assert packet.pts is not None
        pts = packet.pts + BEGIN
        return Made(pts, pts, bytes(packet), True, self._timeline.host_ns(packet.pts))
