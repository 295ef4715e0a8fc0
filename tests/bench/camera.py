"""A SIP device's camera for the browser to decode: real H.264, encoded beforehand, sent as RTP in its own time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from tests.bench.trace import rtp_header

WIDTH, HEIGHT, FPS, SECONDS = 640, 360, 25, 10
MAX_PAYLOAD = 1200


def encoded() -> list[list[bytes]]:
    """Ten seconds of a moving picture with one key frame at their beginning: the NAL units of each picture."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.bit_rate = 1_000_000
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "profile": "baseline",
        "g": str(FPS * SECONDS),
        "x264-params": "scenecut=0:repeat-headers=1:sliced-threads=0",
    }
    ground = np.random.default_rng(1).integers(60, 120, (HEIGHT, WIDTH), dtype=np.uint8)
    pictures = []
    for number in range(FPS * SECONDS):
        image = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        image[:HEIGHT] = np.roll(ground, number * 4, axis=1)
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts = number
        pictures += [_nals(bytes(packet)) for packet in encoder.encode(frame)]
    return pictures


def _nals(stream: bytes) -> list[bytes]:
    """NAL units between start codes (H.264 annex B)."""
    parts = stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return [part for part in parts if part]


def payloads(nal: bytes) -> list[bytes]:
    """RFC 6184 5.6 and 5.8: alone, or in FU-A fragments."""
    if len(nal) <= MAX_PAYLOAD:
        return [nal]
    body, size = nal[1:], MAX_PAYLOAD - 2
    starts = range(0, len(body), size)
    return [
        bytes([nal[0] & 0x60 | 28, (at == 0) << 7 | (at + size >= len(body)) << 6 | nal[0] & 31]) + body[at : at + size]
        for at in starts
    ]


class Camera:
    """Sends the pictures in a circle from a thread of its own until ``close``. It answers no key-frame request."""

    def __init__(self, pictures: Sequence[Sequence[bytes]], pt: int, local_port: int) -> None:
        self._pictures, self._pt = pictures, pt
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", local_port))
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, remote_port: int) -> None:
        """From the first picture, which is a key frame, on."""
        self._thread = threading.Thread(target=self._send, args=(("127.0.0.1", remote_port),), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(5)
        self._socket.close()

    def _send(self, to: tuple[str, int]) -> None:
        began, number, seq = time.monotonic(), 0, 100
        while not self._ended.wait(max(0.0, began + number / FPS - time.monotonic())):
            picture = [part for nal in self._pictures[number % len(self._pictures)] for part in payloads(nal)]
            for place, payload in enumerate(picture):
                marker = place == len(picture) - 1
                self._socket.sendto(
                    rtp_header(self._pt, seq, number * 90_000 // FPS, 0x77, marker=marker) + payload, to
                )
                seq += 1
            number += 1
