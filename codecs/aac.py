"""AAC's AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1) as RTMP, MP4 and SDP carry it.

Understood are the plain object types (LC, Main, SSR, LTP) and SBR and PS, signalled explicitly or behind the plain
config (1.6.5). Not implemented: a channel layout written out in the config (program_config_element), error resilient
and low delay object types; they are refused in words.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbridge.codecs.errors import ParseError

AAC_MAIN, AAC_LC, AAC_SSR, AAC_LTP, SBR, PS = 1, 2, 3, 4, 5, 29
_PLAIN = frozenset({AAC_MAIN, AAC_LC, AAC_SSR, AAC_LTP})

# Table 1.18; index 15 means that 24 bits say the rate.
SAMPLE_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_EXPLICIT_RATE = 15
# Table 1.19: channels by channel configuration.
_CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8}
_CONFIGURATIONS = {channels: number for number, channels in _CHANNELS.items()}

_SBR_SYNC, _PS_SYNC = 0x2B7, 0x548
_MAX_RATE_HZ = 192_000


@dataclass(frozen=True, slots=True)
class AudioSpecificConfig:
    """What an AAC decoder has to know.

    Attributes:
        object_type: of the core: 2 is LC.
        rate_hz: of the core; with SBR usually half of what comes out.
        channels: 1 to 6, or 8; with PS 1 although two come out.
        frame_length: samples of the core in a frame: 1024, or 960.
        sbr_rate_hz: rate that comes out with SBR, 0 without; HE-AAC.
        ps: parametric stereo; HE-AAC v2.
        explicit: SBR (and PS) are said first, so that a decoder without them refuses; else behind, where it may ignore
            them.
    """

    object_type: int
    rate_hz: int
    channels: int
    frame_length: int = 1024
    sbr_rate_hz: int = 0
    ps: bool = False
    explicit: bool = False

    @property
    def output_rate_hz(self) -> int:
        return self.sbr_rate_hz or self.rate_hz

    @property
    def output_channels(self) -> int:
        return 2 if self.ps and self.channels == 1 else self.channels

    @property
    def samples_per_frame(self) -> int:
        """At ``output_rate_hz``."""
        return self.frame_length * self.output_rate_hz // self.rate_hz

    def serialise(self) -> bytes:
        """Its bytes. The object type is one of 1 to 4, ``channels`` one of those above."""
        assert self.object_type in _PLAIN, "an object type that is implemented"
        bits = _BitWriter()
        if self.explicit:
            bits.put(PS if self.ps else SBR, 5)
            _put_rate(bits, self.rate_hz)
            bits.put(_CONFIGURATIONS[self.channels], 4)
            _put_rate(bits, self.sbr_rate_hz)
            bits.put(self.object_type, 5)
        else:
            bits.put(self.object_type, 5)
            _put_rate(bits, self.rate_hz)
            bits.put(_CONFIGURATIONS[self.channels], 4)
        bits.put(1 if self.frame_length == 960 else 0, 1)
        bits.put(0, 2)  # no core coder, no extension
        if self.sbr_rate_hz and not self.explicit:
            bits.put(_SBR_SYNC, 11)
            bits.put(SBR, 5)
            bits.put(1, 1)
            _put_rate(bits, self.sbr_rate_hz)
            if self.ps:
                bits.put(_PS_SYNC, 11)
                bits.put(1, 1)
        return bits.finish()


def parse(data: bytes | memoryview) -> AudioSpecificConfig:
    """Read a config; bytes after it are ignored.

    Raises:
        ParseError: it is cut off, or says what isn't implemented.
    """
    bits = _BitReader(bytes(data[:64]))
    object_type = bits.object_type()
    rate_hz = bits.rate()
    configuration = bits.take(4)
    sbr_rate_hz, ps, explicit = 0, False, False
    if object_type in (SBR, PS):
        explicit, ps = True, object_type == PS
        sbr_rate_hz = bits.rate()
        object_type = bits.object_type()
    if object_type not in _PLAIN:
        raise bits.fail(f"object type {object_type} isn't taken, only AAC Main, LC, SSR and LTP with SBR and PS")
    if configuration not in _CHANNELS:
        problem = "the channels are in a program config element" if configuration == 0 else "unknown channels"
        raise bits.fail(f"channel configuration {configuration}: {problem}, which isn't taken")
    frame_length = 960 if bits.take(1) else 1024
    if bits.take(1):
        bits.take(14)  # coreCoderDelay
    bits.take(1)  # extensionFlag: 0 for these types
    if not explicit and bits.left >= 16 and bits.take(11) == _SBR_SYNC and bits.object_type() == SBR and bits.take(1):
        sbr_rate_hz = bits.rate()
        ps = bits.left >= 12 and bits.take(11) == _PS_SYNC and bits.take(1) == 1
    return AudioSpecificConfig(object_type, rate_hz, _CHANNELS[configuration], frame_length, sbr_rate_hz, ps, explicit)


class _BitReader:
    """Bits from the most significant on."""

    def __init__(self, data: bytes) -> None:
        self._value, self.left, self._size = int.from_bytes(data, "big"), len(data) * 8, len(data) * 8

    def fail(self, problem: str) -> ParseError:
        return ParseError("aac config", f"bit {self._size - self.left}", problem)

    def take(self, count: int) -> int:
        if count > self.left:
            raise self.fail("it is cut off")
        self.left -= count
        return (self._value >> self.left) & ((1 << count) - 1)

    def object_type(self) -> int:
        number = self.take(5)
        return 32 + self.take(6) if number == 31 else number

    def rate(self) -> int:
        index = self.take(4)
        if index == _EXPLICIT_RATE:
            rate_hz = self.take(24)
            if not 1000 <= rate_hz <= _MAX_RATE_HZ:
                raise self.fail(f"a rate of {rate_hz} Hz")
            return rate_hz
        if index >= len(SAMPLE_RATES_HZ):
            raise self.fail(f"rate number {index} is reserved")
        return SAMPLE_RATES_HZ[index]


class _BitWriter:
    def __init__(self) -> None:
        self._value = self._count = 0

    def put(self, value: int, count: int) -> None:
        self._value = self._value << count | value
        self._count += count

    def finish(self) -> bytes:
        padding = -self._count % 8
        return (self._value << padding).to_bytes((self._count + padding) // 8, "big")


def _put_rate(bits: _BitWriter, rate_hz: int) -> None:
    if rate_hz in SAMPLE_RATES_HZ:
        bits.put(SAMPLE_RATES_HZ.index(rate_hz), 4)
    else:
        bits.put(_EXPLICIT_RATE, 4)
        bits.put(rate_hz, 24)
