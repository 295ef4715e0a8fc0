"""What RTMP's audio, video and data messages carry: FLV tag bodies (Adobe, Video File Format 10.1, annex E.4).

Both forms: legacy, where four bits name the codec, and enhanced (Enhanced RTMP v1 and v2, ExVideoTagHeader and
ExAudioTagHeader), where a FourCC does. Legacy H.265 with codec number 12 isn't in Adobe's document; encoders of Chinese
makers and cloud services send it. Not implemented: multitrack (refused in words), the multichannel layout of enhanced
audio and the nanoseconds of ModEx (read over), Nellymoser, Speex, Sorenson, VP6 and screen codecs (named, not decoded).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orbridge.codecs import amf0
from orbridge.codecs.errors import ParseError

VideoPacket = Literal["sequence_header", "coded_frames", "sequence_end", "metadata", "command"]
AudioPacket = Literal["sequence_header", "frames", "sequence_end", "layout"]

_VIDEO_LEGACY = {2: "H263", 3: "SCREEN", 4: "VP6", 5: "VP6A", 6: "SCREEN2", 7: "H264", 12: "H265"}
_VIDEO_FOURCC = {"avc1": "H264", "hvc1": "H265", "vp08": "VP8", "vp09": "VP9", "av01": "AV1", "vvc1": "H266"}
_AUDIO_LEGACY = {
    0: "L16",
    1: "ADPCM",
    2: "MP3",
    3: "L16",
    4: "NELLYMOSER",
    5: "NELLYMOSER",
    6: "NELLYMOSER",
    7: "PCMA",
    8: "PCMU",
    10: "AAC",
    11: "SPEEX",
    14: "MP3",
}
_AUDIO_FOURCC = {"mp4a": "AAC", "Opus": "OPUS", ".mp3": "MP3", "fLaC": "FLAC", "ac-3": "AC3", "ec-3": "EAC3"}
_AUDIO_RATES_HZ = (5512, 11025, 22050, 44100)

_VIDEO_NUMBERS = {"H264": 7, "H265": 12}
_VIDEO_CODES = {name: code for code, name in _VIDEO_FOURCC.items()}
_AUDIO_NUMBERS = {"AAC": 10, "PCMA": 7, "PCMU": 8, "MP3": 2}
_AUDIO_CODES = {name: code for code, name in _AUDIO_FOURCC.items()}

# Codecs whose coded frames have a composition time in the enhanced form (ExVideoTagBody).
_COMPOSED = frozenset({"H264", "H265", "H266"})

_KEY, _INTER, _COMMAND = 1, 2, 5
_EX_SEQUENCE_START, _EX_FRAMES, _EX_END, _EX_FRAMES_X, _EX_METADATA, _EX_MPEG2TS, _EX_MULTITRACK, _EX_MODEX = range(8)
_EX_AUDIO_LAYOUT, _EX_AUDIO_MULTITRACK = 4, 5
_EX_AUDIO = 9
_MAX_MODEX = 8


@dataclass(frozen=True, slots=True)
class VideoTag:
    """A video message.

    Attributes:
        codec: ``H264``, ``H265``, ``VP9``, ``AV1``, ...; the tag's number as text when it is unknown.
        packet: ``sequence_header``: ``body`` is the codec's configuration record; ``coded_frames``: one picture;
            ``metadata``: AMF0, e.g. ``colorInfo``; ``command``: of Flash's seeking.
        keyframe: as the tag says; hardware encoders have been seen to mark pictures that aren't.
        composition_ms: presentation time minus decoding time, signed.
        body: a view into the payload.
        enhanced: it came with a FourCC.
    """

    codec: str
    packet: VideoPacket
    keyframe: bool
    composition_ms: int
    body: memoryview
    enhanced: bool = False


@dataclass(frozen=True, slots=True)
class AudioTag:
    """An audio message.

    Attributes:
        codec: ``AAC``, ``OPUS``, ``PCMA``, ``PCMU``, ``MP3``, ``L16`` (little endian), ...; the number when unknown.
        packet: ``sequence_header``: ``body`` is AAC's AudioSpecificConfig or an OpusHead; ``frames``: one frame of AAC,
            one packet of Opus, samples of G.711; ``layout``: of enhanced audio's channels.
        rate_hz: 0 when the tag does not say. Means nothing for AAC (E.4.2.1); 8000 for G.711, whatever the tag says.
        channels: 0 when the tag does not say; means nothing for AAC.
        sample_bits: 8 or 16, of uncompressed sound; 16 for codecs.
        body: a view into the payload.
        enhanced: it came with a FourCC.
    """

    codec: str
    packet: AudioPacket
    rate_hz: int
    channels: int
    body: memoryview
    sample_bits: int = 16
    enhanced: bool = False


def parse_video(payload: bytes | memoryview) -> VideoTag:
    """Read a video message.

    Raises:
        ParseError: it is cut off, or is multitrack or an enhanced form that isn't known.
    """
    view = memoryview(payload)
    if not view:
        raise ParseError("flv video", "byte 0", "the message is empty")
    head = view[0]
    if head & 0x80:
        return _parse_enhanced_video(view)
    number, frame_type = head & 0x0F, head >> 4
    codec = _VIDEO_LEGACY.get(number, str(number))
    if frame_type == _COMMAND:
        return VideoTag(codec, "command", False, 0, view[1:])
    keyframe = frame_type in (_KEY, 4)  # 4: a key frame that a server made
    if number not in (7, 12):
        return VideoTag(codec, "coded_frames", keyframe, 0, view[1:])
    if len(view) < 5:
        if len(view) > 1 and view[1] == 2:  # an end of sequence needs no composition time
            return VideoTag(codec, "sequence_end", keyframe, 0, view[2:])
        raise ParseError("flv video", f"byte {len(view)}", "the header is cut off")
    kind = view[1]
    if kind == 0:
        return VideoTag(codec, "sequence_header", keyframe, 0, view[5:])
    if kind == 1:
        return VideoTag(codec, "coded_frames", keyframe, _signed24(view[2:5]), view[5:])
    if kind == 2:
        return VideoTag(codec, "sequence_end", keyframe, 0, view[5:])
    raise ParseError("flv video", "byte 1", f"packet type {kind} is unknown")


def _parse_enhanced_video(view: memoryview) -> VideoTag:
    frame_type, packet_type = (view[0] >> 4) & 7, view[0] & 0x0F
    packet_type, at = _skip_modex("flv video", view, packet_type)
    if frame_type == _COMMAND and packet_type != _EX_METADATA:
        return VideoTag("", "command", False, 0, view[at:], True)
    if packet_type == _EX_MULTITRACK:
        raise ParseError(
            "flv video", f"byte {at}", "several tracks in one message (multitrack), which isn't taken here"
        )
    codec, at = _four_cc("flv video", view, at, _VIDEO_FOURCC)
    keyframe = frame_type in (_KEY, 4)
    if packet_type == _EX_SEQUENCE_START:
        return VideoTag(codec, "sequence_header", keyframe, 0, view[at:], True)
    if packet_type == _EX_FRAMES:
        if codec not in _COMPOSED:
            return VideoTag(codec, "coded_frames", keyframe, 0, view[at:], True)
        if len(view) < at + 3:
            raise ParseError("flv video", f"byte {at}", "the composition time is cut off")
        return VideoTag(codec, "coded_frames", keyframe, _signed24(view[at : at + 3]), view[at + 3 :], True)
    if packet_type == _EX_FRAMES_X:
        return VideoTag(codec, "coded_frames", keyframe, 0, view[at:], True)
    if packet_type == _EX_END:
        return VideoTag(codec, "sequence_end", keyframe, 0, view[at:], True)
    if packet_type == _EX_METADATA:
        return VideoTag(codec, "metadata", keyframe, 0, view[at:], True)
    raise ParseError("flv video", "byte 0", f"packet type {packet_type} of enhanced video isn't taken here")


def _skip_modex(what: str, view: memoryview, packet_type: int) -> tuple[int, int]:
    """Read over ModEx prefixes (v2): the packet type behind them and where the rest begins."""
    at = 1
    for _ in range(_MAX_MODEX):
        if packet_type != _EX_MODEX:
            return packet_type, at
        size = view[at] + 1 if len(view) > at else 0
        at += 1
        if size == 256:
            size = int.from_bytes(view[at : at + 2], "big") + 1
            at += 2
        at += size
        if len(view) <= at:
            raise ParseError(what, f"byte {len(view)}", "a ModEx prefix is cut off")
        packet_type = view[at] & 0x0F
        at += 1
    raise ParseError(what, f"byte {at}", f"more than {_MAX_MODEX} ModEx prefixes")


def _four_cc(what: str, view: memoryview, at: int, names: Mapping[str, str]) -> tuple[str, int]:
    if len(view) < at + 4:
        raise ParseError(what, f"byte {len(view)}", "the FourCC is cut off")
    code = bytes(view[at : at + 4]).decode("latin-1")
    return names.get(code, ascii(code)[1:-1]), at + 4


def _signed24(data: memoryview) -> int:
    return int.from_bytes(data, "big", signed=True)


def parse_audio(payload: bytes | memoryview) -> AudioTag:
    """Read an audio message.

    Raises:
        ParseError: it is cut off, or is multitrack or an enhanced form that isn't known.
    """
    view = memoryview(payload)
    if not view:
        raise ParseError("flv audio", "byte 0", "the message is empty")
    head = view[0]
    number = head >> 4
    if number == _EX_AUDIO:
        return _parse_enhanced_audio(view)
    codec = _AUDIO_LEGACY.get(number, str(number))
    channels, bits = (head & 1) + 1, 16 if head & 2 else 8
    rate_hz = _AUDIO_RATES_HZ[(head >> 2) & 3]
    if codec == "AAC":
        if len(view) < 2:
            raise ParseError("flv audio", "byte 1", "the header is cut off")
        if view[1] > 1:
            raise ParseError("flv audio", "byte 1", f"packet type {view[1]} of AAC is unknown")
        return AudioTag(codec, "frames" if view[1] else "sequence_header", rate_hz, channels, view[2:])
    if codec in ("PCMA", "PCMU"):
        rate_hz = 8000  # the field has no 8000 (E.4.2.1), ffmpeg writes 5512
    elif number == 14:
        rate_hz = 8000
    return AudioTag(codec, "frames", rate_hz, channels, view[1:], bits if codec == "L16" else 16)


def _parse_enhanced_audio(view: memoryview) -> AudioTag:
    packet_type, at = _skip_modex("flv audio", view, view[0] & 0x0F)
    if packet_type == _EX_AUDIO_MULTITRACK:
        raise ParseError(
            "flv audio", f"byte {at}", "several tracks in one message (multitrack), which isn't taken here"
        )
    codec, at = _four_cc("flv audio", view, at, _AUDIO_FOURCC)
    packets: dict[int, AudioPacket] = {
        _EX_SEQUENCE_START: "sequence_header",
        _EX_FRAMES: "frames",
        _EX_END: "sequence_end",
        _EX_AUDIO_LAYOUT: "layout",
    }
    packet = packets.get(packet_type)
    if packet is None:
        raise ParseError("flv audio", "byte 0", f"packet type {packet_type} of enhanced audio isn't taken here")
    return AudioTag(codec, packet, 0, 0, view[at:], enhanced=True)


def serialise_video(
    codec: str,
    packet: VideoPacket,
    body: bytes | memoryview,
    *,
    keyframe: bool = False,
    composition_ms: int = 0,
    enhanced: bool | None = None,
) -> bytes:
    """Write a video message; sequence headers are key frames.

    ``enhanced`` None: legacy for H.264, enhanced for everything else, as ffmpeg and OBS do. False needs H264 or H265,
    and no metadata. Composition times of VP9 and AV1 don't exist and are left out.
    """
    frame_type = _KEY if keyframe or packet in ("sequence_header", "sequence_end") else _INTER
    composition = (composition_ms % (1 << 24)).to_bytes(3, "big")
    if enhanced is None:
        enhanced = codec != "H264" or packet == "metadata"
    if not enhanced:
        kind = {"sequence_header": 0, "coded_frames": 1, "sequence_end": 2}[packet]
        if kind != 1:
            composition = b"\0\0\0"
        return b"".join((bytes((frame_type << 4 | _VIDEO_NUMBERS[codec], kind)), composition, body))
    code = _VIDEO_CODES[codec].encode("ascii")
    if packet == "coded_frames":
        composed = codec in _COMPOSED and composition_ms != 0
        kind = _EX_FRAMES if composed or codec not in _COMPOSED else _EX_FRAMES_X
        return b"".join((bytes((0x80 | frame_type << 4 | kind,)), code, composition if composed else b"", body))
    kind = {"sequence_header": _EX_SEQUENCE_START, "sequence_end": _EX_END, "metadata": _EX_METADATA}[packet]
    return b"".join((bytes((0x80 | frame_type << 4 | kind,)), code, body))


def serialise_audio(
    codec: str,
    packet: AudioPacket,
    body: bytes | memoryview,
    *,
    channels: int = 2,
    rate_hz: int = 44100,
    enhanced: bool | None = None,
) -> bytes:
    """Write an audio message.

    ``enhanced`` None: legacy for AAC, MP3 and G.711, enhanced for everything else. ``rate_hz`` and ``channels`` go into
    legacy tags of MP3 and G.711; AAC's always say 44100 and stereo (E.4.2.1).
    """
    if enhanced is None:
        enhanced = codec not in _AUDIO_NUMBERS
    if enhanced:
        kinds = {"sequence_header": _EX_SEQUENCE_START, "frames": _EX_FRAMES, "sequence_end": _EX_END}
        kind = kinds.get(packet, _EX_AUDIO_LAYOUT)
        return b"".join((bytes((_EX_AUDIO << 4 | kind,)), _AUDIO_CODES[codec].encode("ascii"), body))
    number = _AUDIO_NUMBERS[codec]
    if codec == "AAC":
        return b"".join((bytes((number << 4 | 0x0F, 0 if packet == "sequence_header" else 1)), body))
    nearest = min(range(4), key=lambda index: abs(_AUDIO_RATES_HZ[index] - rate_hz))
    return b"".join((bytes((number << 4 | nearest << 2 | 2 | (channels > 1),)), body))


def parse_metadata(payload: bytes | memoryview) -> dict[str, amf0.Value] | None:
    """Members of ``onMetaData``, from a publisher (behind ``@setDataFrame``) or a server; None: another data message.

    Raises:
        ParseError: it isn't AMF0.
    """
    values = amf0.parse(payload)
    if values[:1] == ["@setDataFrame"]:
        values = values[1:]
    if values[:1] != ["onMetaData"]:
        return None
    members = values[1] if len(values) > 1 else None
    return members if isinstance(members, dict) else {}


def serialise_metadata(members: Mapping[str, amf0.Value], *, set_data_frame: bool = False) -> bytes:
    """Body of a data message with ``onMetaData``; ``set_data_frame`` for what we publish, without it for players."""
    values: list[amf0.Value] = ["onMetaData", amf0.EcmaArray(members)]
    return amf0.serialise(*(["@setDataFrame", *values] if set_data_frame else values))


def video_codec_id(codec: str, *, enhanced: bool | None = None) -> float:
    """``videocodecid`` in metadata: the legacy number, or the FourCC as a number (Enhancing onMetaData)."""
    legacy = codec == "H264" if enhanced is None else not enhanced
    return float(_VIDEO_NUMBERS[codec] if legacy else int.from_bytes(_VIDEO_CODES[codec].encode("ascii"), "big"))


def audio_codec_id(codec: str, *, enhanced: bool | None = None) -> float:
    """``audiocodecid`` in metadata: the legacy number, or the FourCC as a number."""
    legacy = codec in _AUDIO_NUMBERS if enhanced is None else not enhanced
    return float(_AUDIO_NUMBERS[codec] if legacy else int.from_bytes(_AUDIO_CODES[codec].encode("ascii"), "big"))


def video_codec_named(value: amf0.Value) -> str:
    """Codec that a ``videocodecid`` means, which encoders write as a number, a FourCC, or a FourCC as a number.

    Empty when it means nothing known. Audio numbers overlap: see ``audio_codec_named``.
    """
    return _named(value, _VIDEO_LEGACY, _VIDEO_FOURCC)


def audio_codec_named(value: amf0.Value) -> str:
    """Codec that an ``audiocodecid`` means; empty when nothing known."""
    return _named(value, _AUDIO_LEGACY, _AUDIO_FOURCC)


def _named(value: amf0.Value, numbers: Mapping[int, str], codes: Mapping[str, str]) -> str:
    if isinstance(value, str):
        return codes.get(value, "")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1 << 32:
        return ""
    number = int(value)
    return numbers.get(number) or codes.get(number.to_bytes(4, "big").decode("latin-1"), "")
