"""The peers of whole calls: a SIP device with plain RTP and a browser with SRTP, picture and sound both ways.

A call has three sockets of the peers (device's sound, device's picture, browser's bundle) and four flows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import av
import numpy as np

from tests.bench.keys import INBOUND, TAG_BYTES, session
from tests.bench.trace import NS, Camera, Counted, Trace, rtp_header

Sound: TypeAlias = Literal["passed", "mixed"]

PROFILE = "AEAD_AES_128_GCM"
# 1.66 Mbit/s, 720p as room systems send it. Six fragments whether packets are filled to 1,200 bytes (the engine) or to
# 1,300 (aiortc), so that packets can be compared one by one.
CAMERA = Camera(fps=30, fragments=6, packet_bytes=1164)
DEVICE_VIDEO_PT, BROWSER_VIDEO_PT = 96, 102
AUDIO_PER_S = 50
# Above what the kernel gives away by itself (32768 to 60999), so that nobody else has it.
FIRST_PORT, PORTS_A_CALL = 62000, 6
FILLER = bytes((number * 167 + 13) & 0xFF for number in range(2048))


@dataclass(frozen=True, slots=True)
class AudioLine:
    """One side's sound."""

    name: str
    pt: int
    clock_hz: int


LINES: dict[Sound, tuple[AudioLine, AudioLine]] = {
    "passed": (AudioLine("PCMA", 8, 8000), AudioLine("PCMA", 8, 8000)),
    "mixed": (AudioLine("G722", 9, 8000), AudioLine("OPUS", 111, 48000)),
}


@dataclass(frozen=True, slots=True)
class CallPorts:
    """The peers' sockets of one call."""

    device_audio: int
    device_video: int
    browser: int

    @classmethod
    def of(cls, number: int) -> CallPorts:
        first = FIRST_PORT + PORTS_A_CALL * number
        return cls(first, first + 2, first + 4)


def ssrcs(number: int) -> tuple[int, int, int, int]:
    """What the peers of a call send with: device's sound and picture, browser's sound and picture."""
    return 0x10000 + number, 0x20000 + number, 0x30000 + number, 0x40000 + number


def tone_frames(name: str, count: int) -> list[bytes]:
    """20 ms each of a tone. G.711 isn't looked into by anybody: any bytes do."""
    if name == "PCMA":
        return [bytes([number & 0x7F | 0x55]) * 160 for number in range(count)]
    encoder = av.CodecContext.create({"G722": "g722", "OPUS": "libopus"}[name], "w")
    assert isinstance(encoder, av.AudioCodecContext)
    rate = 16_000 if name == "G722" else 48_000
    encoder.sample_rate, encoder.format, encoder.layout = rate, "s16", "mono"
    if name == "OPUS":
        encoder.options = {"frame_duration": "20"}
    frames: list[bytes] = []
    size = rate // AUDIO_PER_S
    for number in range(count + 4):
        samples = np.sin(2 * math.pi * 440 * (np.arange(size) + number * size) / rate) * 8000
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, number * size
        frames += [bytes(packet) for packet in encoder.encode(frame)]
    return frames[:count]


def sound(line: AudioLine, frames: list[bytes], ssrc: int) -> Iterator[tuple[int, bytes]]:
    """(time in ns, packet)"""
    for number, frame in enumerate(frames):
        step = line.clock_hz // AUDIO_PER_S
        head = rtp_header(line.pt, 1000 + number, number * step + 555, ssrc, marker=number == 0)
        yield number * NS // AUDIO_PER_S, head + frame


def trace_of(calls: int, seconds: float, kind: Sound) -> Trace:
    """All of the peers' packets; sockets in the order of ``CallPorts``, flows as in ``flows_of``."""
    trace = Trace()
    device, browser = LINES[kind]
    count = round(seconds * AUDIO_PER_S)
    frames = {line.name: tone_frames(line.name, count) for line in (device, browser)}
    for number in range(calls):
        ports = CallPorts.of(number)
        audio, video, bundle = (trace.socket(p) for p in (ports.device_audio, ports.device_video, ports.browser))
        shift = number * NS // CAMERA.fps // calls
        device_audio, device_video, browser_audio, browser_video = ssrcs(number)
        protect: Callable[[bytes], bytes] = session(INBOUND, PROFILE, inbound=False).protect

        flow = trace.flow(audio, bundle, browser.pt)
        for at, packet in sound(device, frames[device.name], device_audio):
            trace.packet(at + shift, flow, packet)
        flow = trace.flow(video, bundle, BROWSER_VIDEO_PT)
        for at, given, _ in CAMERA.packets(seconds, DEVICE_VIDEO_PT, device_video, place=number / calls):
            trace.packet(at + shift, flow, given, length=CAMERA.packet_bytes)
        flow = trace.flow(bundle, audio, device.pt)
        # The other direction isn't in step with this one.
        shift += NS // 130
        for at, packet in sound(browser, frames[browser.name], browser_audio):
            trace.packet(at + shift, flow, protect(packet))
        flow = trace.flow(bundle, video, DEVICE_VIDEO_PT)
        for at, given, _ in CAMERA.packets(seconds, BROWSER_VIDEO_PT, browser_video, place=1 - number / calls):
            trace.packet(at + shift, flow, protect(given + FILLER[len(given) : CAMERA.packet_bytes]))
    return trace


def fault(counted: Counted, kind: Sound, *, kept_pictures: int = 0, kept_frames: int = 0) -> str:
    """Why the run doesn't count; empty: it does.

    Pictures: every packet and byte. Sound that passes: every packet. Sound that is encoded anew: frames needn't be one
    to one, 95 % must be there. ``kept``: what a bridge still holds in its jitter buffers when the traffic ends.
    """
    tags = [TAG_BYTES[PROFILE], TAG_BYTES[PROFILE], 0, 0]
    for number, flow in enumerate(counted.flows):
        name = (
            f"call {number // 4}, {('device sound', 'device picture', 'browser sound', 'browser picture')[number % 4]}"
        )
        if number % 4 in (1, 3):
            pictures = flow.sent // CAMERA.fragments - kept_pictures
            packets = pictures * CAMERA.fragments
            body = pictures * (CAMERA.nal_bytes - 1 + 2 * CAMERA.fragments) + packets * tags[number % 4]
            if (flow.packets, flow.markers, flow.payload_bytes) != (packets, pictures, body):
                return f"{name}: {packets} packets of {pictures} pictures sent, {flow.packets} of {flow.markers} came"
        elif kind == "passed" and flow.packets != flow.sent - kept_frames:
            return f"{name}: {flow.sent} packets sent, {flow.packets} came"
        elif flow.packets < 0.95 * (flow.sent - kept_frames):
            return f"{name}: {flow.sent} frames sent, {flow.packets} came"
    return f"{counted.errors} send errors" if counted.errors else ""
