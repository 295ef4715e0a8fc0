"""Program: the same calls on aiortc's own receivers and senders, as a bridge without an engine would be written.

``aiortc_calls CALLS SOUND FIRST_PORT``; says ports as ``engine_calls`` does, ends with its input.

Built to be as fast as aiortc can be: uvloop; no ICE in the way of a datagram; SRTP keys that are there from the
beginning; a frame that passes through goes from the receiver's jitter buffer to the sender's packetiser without a
decoder, an encoder, or the decoder's thread.
"""

from __future__ import annotations

import asyncio
import fractions
import os
import socket
import sys
import threading
from typing import Any, cast

import aiortc.rtcrtpreceiver as receiving
import av
import uvloop
from aiortc import (
    MediaStreamTrack,
    RTCCertificate,
    RTCDtlsTransport,
    RTCRtpCodecParameters,
    RTCRtpReceiver,
    RTCRtpSender,
)
from aiortc.rtcdtlstransport import State
from aiortc.rtcrtpparameters import (
    RTCRtcpParameters,
    RTCRtpDecodingParameters,
    RTCRtpReceiveParameters,
    RTCRtpSendParameters,
)

from tests.bench.call_traffic import (
    BROWSER_VIDEO_PT,
    DEVICE_VIDEO_PT,
    LINES,
    PROFILE,
    AudioLine,
    CallPorts,
    Sound,
    ssrcs,
)
from tests.bench.keys import INBOUND, OUTBOUND, session
from tests.bench.programs import Lines

BUFFER_BYTES = 4 << 20


class Wire(asyncio.DatagramProtocol):
    """A connected UDP socket in the place of an ICE transport."""

    role = "controlled"

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, port: int, peer: int) -> None:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        bound.bind(("127.0.0.1", port))
        bound.connect(("127.0.0.1", peer))
        bound.setblocking(False)
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=bound)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._arrived.put_nowait(data)

    async def _recv(self) -> bytes:
        return await self._arrived.get()

    async def _send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.sendto(data)


class Clear:
    """SRTP that isn't: the device's side is plain RTP."""

    def protect(self, data: bytes) -> bytes:
        return data

    protect_rtcp = unprotect = unprotect_rtcp = protect


class Transport(RTCDtlsTransport):
    """After its handshake."""

    def __init__(self, wire: Wire, certificate: RTCCertificate, *, secure: bool) -> None:
        super().__init__(wire, [certificate])  # type: ignore[arg-type]
        self._rx_srtp: Any = session(INBOUND, PROFILE, inbound=True) if secure else Clear()
        self._tx_srtp: Any = session(OUTBOUND, PROFILE, inbound=False) if secure else Clear()
        self._RTCDtlsTransport__handshake_done = True
        self._set_state(State.CONNECTED)
        self._task = asyncio.ensure_future(self._RTCDtlsTransport__run())  # type: ignore[attr-defined]


class Passing:
    """In the place of a receiver's decoder queue: whole encoded frames, straight to the sender."""

    def __init__(self, clock_hz: int) -> None:
        self.frames: asyncio.Queue[Any] = asyncio.Queue()
        self._time_base = fractions.Fraction(1, clock_hz)

    def put(self, task: tuple[Any, Any] | None) -> None:
        if task is None:
            return
        packet = av.Packet(task[1].data)
        packet.pts, packet.time_base = task[1].timestamp, self._time_base
        self.frames.put_nowait(packet)


class Passed(MediaStreamTrack):
    """A track of encoded frames: aiortc's senders packetise an ``av.Packet`` as it is."""

    def __init__(self, kind: str, passing: Passing) -> None:
        super().__init__()
        self.kind = kind
        self._passing = passing

    async def recv(self) -> Any:
        return await self._passing.frames.get()


_decode = receiving.decoder_worker


def _decode_or_pass(loop: Any, frames: Any, output: Any, error: threading.Event) -> None:
    if not isinstance(frames, Passing):
        _decode(loop, frames, output, error)


def codec(name: str, pt: int, clock_hz: int) -> RTCRtpCodecParameters:
    if name == "H264":
        return RTCRtpCodecParameters(mimeType="video/H264", clockRate=clock_hz, payloadType=pt)
    channels = 2 if name == "OPUS" else 1
    mime = f"audio/{name.lower() if name == 'OPUS' else name}"
    return RTCRtpCodecParameters(mimeType=mime, clockRate=clock_hz, channels=channels, payloadType=pt)


async def received(
    kind: str, transport: Transport, known: RTCRtpCodecParameters, ssrc: int, *, decoded: bool
) -> MediaStreamTrack:
    receiver = RTCRtpReceiver(kind, transport)
    receiver._track = receiving.RemoteStreamTrack(kind)
    track: MediaStreamTrack = receiver._track
    if not decoded:
        passing = Passing(known.clockRate)
        receiver._RTCRtpReceiver__decoder_queue = passing  # type: ignore[attr-defined]
        track = Passed(kind, passing)
    receiver._set_rtcp_ssrc(ssrc + 0x1000000)
    assert known.payloadType is not None
    encodings = [RTCRtpDecodingParameters(ssrc=ssrc, payloadType=known.payloadType)]
    await receiver.receive(RTCRtpReceiveParameters(codecs=[known], encodings=encodings))
    return track


async def sent(track: MediaStreamTrack, transport: Transport, known: RTCRtpCodecParameters) -> None:
    sender = RTCRtpSender(track, transport)
    await sender.send(RTCRtpSendParameters(codecs=[known], rtcp=RTCRtcpParameters(cname="bench")))


async def bridged(number: int, kind: Sound, first_port: int, certificate: RTCCertificate) -> list[int]:
    """One call; returns its ports."""
    peers = CallPorts.of(number)
    first = first_port + 3 * number
    transports = []
    for port, peer, secure in (
        (first, peers.device_audio, False),
        (first + 1, peers.device_video, False),
        (first + 2, peers.browser, True),
    ):
        wire = Wire()
        await wire.open(port, peer)
        transports.append(Transport(wire, certificate, secure=secure))
    audio, video, bundle = transports
    device, browser = (_audio(line) for line in LINES[kind])
    device_video, browser_video = codec("H264", DEVICE_VIDEO_PT, 90_000), codec("H264", BROWSER_VIDEO_PT, 90_000)
    mixed = kind == "mixed"
    device_audio_ssrc, device_video_ssrc, browser_audio_ssrc, browser_video_ssrc = ssrcs(number)
    await sent(await received("audio", audio, device, device_audio_ssrc, decoded=mixed), bundle, browser)
    await sent(await received("video", video, device_video, device_video_ssrc, decoded=False), bundle, browser_video)
    await sent(await received("audio", bundle, browser, browser_audio_ssrc, decoded=mixed), audio, device)
    await sent(await received("video", bundle, browser_video, browser_video_ssrc, decoded=False), video, device_video)
    return [first, first + 1, first + 2]


def _audio(line: AudioLine) -> RTCRtpCodecParameters:
    return codec(line.name, line.pt, line.clock_hz)


async def main(count: int, kind: Sound, first_port: int) -> None:
    receiving.decoder_worker = _decode_or_pass  # type: ignore[assignment]
    certificate = RTCCertificate.generateCertificate()
    ports = [await bridged(number, kind, first_port, certificate) for number in range(count)]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 4096) else ended.set())
    Lines.say(ports)
    await ended.wait()
    # Decoder threads wait for queues that nobody fills any more; nothing of this is needed again.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), cast(Sound, sys.argv[2]), int(sys.argv[3])))
