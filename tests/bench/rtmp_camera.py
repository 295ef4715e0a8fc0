"""What RTMP benchmarks send: a camera's picture and sound, encoded once by ffmpeg, as the messages of a publisher."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bench.programs import BUILD

FPS, SECONDS = 25, 6
# FLV's tag types are RTMP's message types.
_KINDS = {8: "audio", 9: "video", 18: "data"}
_NOISE = "testsrc2=size=1280x720:rate=25,noise=alls=12:allf=t"


@dataclass(frozen=True, slots=True)
class CameraMessage:
    """``is_header``: metadata or a sequence header, which goes before everything else."""

    kind: str
    at_ms: int
    body: bytes
    is_header: bool


def recording(kbps: int = 6000, *, gop: int = 2 * FPS, seconds: int = SECONDS) -> Path:
    """An FLV file of 720p25 with a moving, noisy picture at a constant rate and AAC of 128 kbit/s; made once."""
    path = BUILD / f"camera-{kbps}-{gop}-{seconds}.flv"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        rate = f"-b:v {kbps}k -minrate {kbps}k -maxrate {kbps}k -bufsize {kbps}k"
        command = (
            f"ffmpeg -nostdin -v error -y -f lavfi -i {_NOISE} -f lavfi -i sine=frequency=440:sample_rate=48000 "
            f"-t {seconds} -c:v libx264 -preset superfast -tune zerolatency -pix_fmt yuv420p {rate} -g {gop} "
            "-x264-params scenecut=0:nal-hrd=cbr -c:a aac -ac 2 -b:a 128k"
        )
        unfinished = path.with_suffix(".part.flv")
        subprocess.run([*command.split(), str(unfinished)], check=True, timeout=120)
        unfinished.rename(path)
    return path


def messages(path: Path) -> list[CameraMessage]:
    """The tags of an FLV file (Adobe's Video File Format 10, E.4)."""
    data = path.read_bytes()
    found = []
    at = 13
    while at + 11 < len(data):
        length = int.from_bytes(data[at + 1 : at + 4], "big")
        at_ms = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        kind, body = _KINDS[data[at]], data[at + 11 : at + 11 + length]
        # AVCPacketType and AACPacketType 0 are sequence headers; 2 ends the sequence, which a live one doesn't.
        if kind == "data":
            found.append(CameraMessage(kind, 0, b"\x02\x00\x0d@setDataFrame" + body, True))
        elif kind == "audio" or body[1] != 2:
            found.append(CameraMessage(kind, at_ms, body, body[1] == 0))
        at += 11 + length + 4
    return found
