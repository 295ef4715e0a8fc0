"""baresip as a room system: a SIP user agent of somebody else's with H.264 through libavcodec."""

import asyncio
import json
import re
import shutil
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ports import free_port
from waiting import until

CONFIG = """
poll_method epoll
sip_listen 127.0.0.1:{sip}
sip_trans_def {transport}
sip_certificate {certificate}
sip_verify_server no
call_local_timeout 120
call_max_calls 4
call_hold_other_calls no
audio_path /usr/share/baresip
audio_player aubridge,nil
audio_source ausine,{tone}
audio_alert aubridge,nil
ausrc_srate 48000
auplay_srate 48000
ausrc_channels 2
auplay_channels 2
audio_txmode poll
audio_level no
ausrc_format s16
auplay_format s16
auenc_format s16
audec_format s16
video_source {video_source}
video_display fakevideo,nil
video_size {size}
video_bitrate {bitrate}
video_fps {fps}
video_fullscreen no
videnc_format yuv420p
rtp_tos 184
rtp_ports {rtp_low}-{rtp_high}
rtp_bandwidth 512-1024
rtcp_mux no
jitter_buffer_type fixed
jitter_buffer_delay 5-10
rtp_stats yes
net_interface 127.0.0.1
module_path /usr/lib/baresip/modules
module ctrl_tcp.so
module opus.so
module g711.so
module g722.so
module ausine.so
module aubridge.so
module avcodec.so
module avformat.so
module swscale.so
module fakevideo.so
module sndfile.so
module snapshot.so
module srtp.so
module dtls_srtp.so
module_tmp uuid.so
module_tmp account.so
module_app contact.so
module_app debug_cmd.so
module_app menu.so
ctrl_tcp_listen 127.0.0.1:{control}
avcodec_h264enc libx264
avcodec_h264dec h264
snd_path {folder}
"""


def free_ports_for_sip() -> int:
    """baresip takes the next port for TLS unasked."""
    port = free_port()
    while free_port() != port + 1:
        port = free_port()
    return port


@dataclass
class Baresip:
    """One running baresip. ``async with`` it."""

    folder: Path
    user: str = "dev"
    transport: str = "udp"
    tone: int = 440
    video: str = "fakevideo,nil"
    size: str = "640x360"
    fps: int = 25
    bitrate: int = 800_000
    audio_codecs: str = "PCMA,PCMU,opus/48000/2,G722/16000"
    account: str = ""
    domain: str = "127.0.0.1"
    certificate: Path | None = None
    sip: int = field(default_factory=free_ports_for_sip)
    control: int = field(default_factory=free_port)
    events: list[dict[str, Any]] = field(default_factory=list)

    async def __aenter__(self) -> "Baresip":
        self.folder.mkdir(parents=True, exist_ok=True)
        rtp = 30000 + self.sip % 1000 * 10
        (self.folder / "config").write_text(
            CONFIG.format(
                sip=self.sip,
                transport=self.transport,
                certificate=self.certificate or "",
                tone=self.tone,
                video_source=self.video,
                size=self.size,
                fps=self.fps,
                bitrate=self.bitrate,
                control=self.control,
                folder=self.folder,
                rtp_low=rtp,
                rtp_high=rtp + 200,
            )
        )
        video = ";video_codecs=H264" if self.video else ""
        (self.folder / "accounts").write_text(
            f"<sip:{self.user}@{self.domain}:{self.sip};transport={self.transport}>;regint=0"
            f";audio_codecs={self.audio_codecs}{video};answermode=auto{self.account}\n"
        )
        (self.folder / "contacts").write_text("")
        self._log = (self.folder / "log").open("wb")
        binary = shutil.which("baresip")
        assert binary, "baresip isn't installed: make test installs it"
        self.process = await asyncio.create_subprocess_exec(
            binary, "-f", str(self.folder), "-v", stdin=asyncio.subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        self._reader, self._writer = await until("baresip's control port", self._connect)
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 5)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        self._task.cancel()
        self._writer.close()
        self._log.close()

    async def kill(self) -> None:
        """Vanish without a word."""
        self.process.kill()
        await self.process.wait()

    @property
    def uri(self) -> str:
        return f"sip:{self.user}@127.0.0.1:{self.sip}" + (
            "" if self.transport == "udp" else f";transport={self.transport}"
        )

    @property
    def log(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", (self.folder / "log").read_text("utf-8", "replace"))

    async def command(self, name: str, params: str = "") -> None:
        """One of baresip's long commands: dial, hangup, hold, resume, ..."""
        body = json.dumps({"command": name, "params": params}).encode()
        self._writer.write(b"%d:%s," % (len(body), body))
        await self._writer.drain()

    async def dial(self, uri: str) -> None:
        await self.command("dial", uri)

    async def event(self, kind: str, within_s: float = 10.0) -> dict[str, Any]:
        """The first event of this type, from now or before, taken off the list."""

        def found() -> dict[str, Any] | None:
            for event in self.events:
                if event.get("type") == kind:
                    self.events.remove(event)
                    return event
            return None

        return await until(f"{self.user}: baresip event {kind}; its log:\n{self.log[-1500:]}", found, within_s)

    async def shown(self) -> tuple[int, int]:
        """Width and height of the picture that it shows now, as it saves it itself."""
        path = self.folder / f"shown-{len(list(self.folder.glob('shown-*')))}.png"
        await self.command("snapshot_recv", str(path))

        def saved() -> tuple[int, int] | None:
            head = path.read_bytes()[:24] if path.exists() else b""
            if head[12:16] != b"IHDR":
                return None
            return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")

        return await until(f"{self.user} saves the picture that it shows", saved, within_s=5)

    def decoded_video(self) -> dict[str, int]:
        """After the call: its decoder's own statistics, keyframes and lost fragments."""
        match = re.search(r"decoder stats \(keyframes:(\d+), lost_fragments:(\d+)\)", self.log)
        return {"keyframes": int(match[1]), "lost_fragments": int(match[2])} if match else {}

    def packets(self) -> dict[str, tuple[int, int]]:
        """After the call: medium -> (packets received, packets sent)."""
        found = {}
        for match in re.finditer(r"^(audio|video)\s+Transmit:\s+Receive:\s*\npackets:\s+(\d+)\s+(\d+)", self.log, re.M):
            found[match[1]] = (int(match[3]), int(match[2]))
        return found

    def heard(self, skip_s: float = 1.0) -> tuple[float, float]:
        """(strongest frequency in Hz, level in dBFS) of what it recorded from us after ``skip_s``."""
        files = sorted(self.folder.glob("dump-*-dec.wav"), key=lambda path: path.stat().st_mtime)
        assert files, f"{self.user} recorded nothing"
        return loudest_of(files[-1], skip_s)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await asyncio.open_connection("127.0.0.1", self.control)
        except OSError:
            return None

    async def _read(self) -> None:
        while True:
            head = await self._reader.readuntil(b":")
            body = await self._reader.readexactly(int(head[:-1]) + 1)
            message = json.loads(body[:-1])
            if message.get("event"):
                self.events.append(message)


def loudest_of(path: Path, skip_s: float = 0.0) -> tuple[float, float]:
    """(strongest frequency in Hz, level in dBFS) of a 16-bit WAV file. The header may be unfinished."""
    with wave.open(str(path), "rb") as file:
        rate, channels = file.getframerate(), file.getnchannels()
        raw = file.readframes(file.getnframes())
    samples = np.frombuffer(raw, np.int16).reshape(-1, channels).mean(axis=1)[int(skip_s * rate) :] / 32768
    assert samples.size > rate // 4, f"{path} has only {samples.size / rate:.2f} s after {skip_s} s"
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    tone = (int(np.argmax(spectrum[1:])) + 1) * rate / samples.size
    return tone, 20 * float(np.log10(max(float(np.sqrt(np.mean(samples**2))), 1e-6)))


def level_in(device: Baresip, *wanted_hz: float, skip_s: float = 1.0) -> list[float]:
    """Level in dBFS of each of these tones in what a device recorded, the loudest that it was for half a second."""
    path = max(device.folder.glob("dump-*-dec.wav"), key=lambda path: path.stat().st_mtime)
    with wave.open(str(path), "rb") as file:
        rate, channels = file.getframerate(), file.getnchannels()
        raw = file.readframes(file.getnframes())
    samples = np.frombuffer(raw, np.int16).reshape(-1, channels).mean(axis=1)[int(skip_s * rate) :] / 32768
    window = rate // 2
    parts = samples[: samples.size // window * window].reshape(-1, window)
    assert len(parts) > 0, f"{path} is too short"
    levels = []
    for hz in wanted_hz:
        probe = np.exp(-2j * np.pi * hz / rate * np.arange(window)) * np.hanning(window)
        amplitude = float(np.max(np.abs(parts @ probe))) * 4 / window
        levels.append(20 * float(np.log10(max(amplitude, 1e-6))))
    return levels
