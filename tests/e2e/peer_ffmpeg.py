"""ffmpeg that publishes as an encoder does, and plays: Debian's (5), and a current one (9) with enhanced RTMP."""

import asyncio
import contextlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import imageio_ffmpeg  # type: ignore[import-untyped]
from waiting import until

Version = Literal[5, 9]
ENHANCED = "hvc1,av01,vp09,Opus"


def ffmpeg(version: Version) -> str:
    """The program's path."""
    found = imageio_ffmpeg.get_ffmpeg_exe() if version == 9 else shutil.which("ffmpeg", path="/usr/bin")
    assert found, "ffmpeg isn't installed: make test installs it"
    return found


async def end(process: asyncio.subprocess.Process, within_s: float = 5.0) -> None:
    """SIGTERM, and SIGKILL for who doesn't hear it. Idempotent."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), within_s)
        except TimeoutError:
            process.kill()
            await process.wait()


@dataclass
class FfmpegPublisher:
    """A test picture and a tone, encoded in real time and published. ``async with`` it: it is publishing then.

    Attributes:
        url: where to, with stream and key.
        codec: ``h264``, ``hevc``, ``vp9``, ``av1``, or empty for sound alone.
        audio: ``aac``, ``opus``, or empty for a picture alone.
        bframes: between two reference pictures; 0 as an encoder for conferences does it.
        gop: pictures from key frame to key frame.
        audio_late_s: the sound begins so much after the picture.
        enhanced: whether codecs are announced as enhanced RTMP does (only version 9 can).
    """

    url: str
    folder: Path
    version: Version = 9
    size: str = "640x360"
    fps: int = 25
    tone: int = 1000
    codec: str = "h264"
    audio: str = "aac"
    rate_hz: int = 48_000
    bframes: int = 0
    gop: int = 25
    kbps: int = 800
    audio_late_s: float = 0.0
    seconds: float = 120.0
    name: str = "encoder"
    more: list[str] = field(default_factory=list)

    @property
    def enhanced(self) -> bool:
        return self.codec in ("hevc", "vp9", "av1") or self.audio == "opus"

    def command(self) -> list[str]:
        picture = f"testsrc2=size={self.size}:rate={self.fps}"
        delay = f",adelay={self.audio_late_s * 1000:.0f}:all=1" if self.audio_late_s else ""
        sound = f"sine=frequency={self.tone}:sample_rate={self.rate_hz},volume=3,aformat=channel_layouts=stereo{delay}"
        command = [ffmpeg(self.version), "-hide_banner", "-nostdin", "-v", "info"]
        if self.codec:
            command += ["-re", "-f", "lavfi", "-i", picture]
        if self.audio:
            command += ["-re", "-f", "lavfi", "-i", sound]
        command += ["-t", str(self.seconds), *self._video(), *self._audio(), *self.more]
        if self.enhanced:
            command += ["-rtmp_enhanced_codecs", ENHANCED]
        return [*command, "-f", "flv", self.url]

    def _video(self) -> list[str]:
        if not self.codec:
            return []
        rate = ["-b:v", f"{self.kbps}k", "-maxrate", f"{self.kbps}k", "-bufsize", f"{self.kbps}k"]
        common = ["-preset", "ultrafast", "-g", str(self.gop), "-pix_fmt", "yuv420p", *rate]
        if self.codec == "hevc":
            tune = [] if self.bframes else ["-tune", "zerolatency"]
            parameters = f"log-level=error:pools=1:bframes={self.bframes}:keyint={self.gop}:b-adapt=0:scenecut=0"
            return ["-c:v", "libx265", *tune, "-x265-params", parameters, *common]
        if self.codec == "vp9":
            return ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", *common[2:]]
        if self.codec == "av1":
            # pictures that aren't shown have no timestamp of their own in FLV: without lag there are none
            quick = ["-usage", "realtime", "-cpu-used", "8", "-lag-in-frames", "0"]
            return ["-c:v", "libaom-av1", *quick, *common[2:]]
        tune = ["-bf", str(self.bframes)] if self.bframes else ["-tune", "zerolatency"]
        parameters = "scenecut=0:b-adapt=0" if self.bframes else "scenecut=0"
        profile = ["-profile:v", "main" if self.bframes else "baseline"]
        return ["-c:v", "libx264", *tune, "-x264-params", parameters, *profile, *common]

    def _audio(self) -> list[str]:
        if not self.audio:
            return []
        if self.audio_late_s:
            # what adelay puts before the tone is no sound that is late but silence: cut it off
            cut = f"atrim=start={self.audio_late_s}"
            return ["-af", cut, "-c:a", "libopus" if self.audio == "opus" else "aac", "-b:a", "96k"]
        return ["-c:a", "libopus" if self.audio == "opus" else "aac", "-b:a", "96k"]

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace").replace("\r", "\n")

    @property
    def sent_frames(self) -> int:
        """Pictures that it has sent so far, as it says itself."""
        counts = [part.split()[0] for part in self.log.split("frame=")[1:] if part.split()]
        return int(counts[-1]) if counts and counts[-1].isdigit() else 0

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None

    async def start(self) -> None:
        """Begin; doesn't wait for the server."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command(), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def __aenter__(self) -> "FfmpegPublisher":
        await self.start()
        try:
            await until(f"ffmpeg publishes; its log is {self.log_path}", self._publishes, within_s=15)
        except BaseException:
            await end(self.process)
            raise
        return self

    def _publishes(self) -> bool:
        if not self.is_running:
            raise AssertionError(f"ffmpeg ended: {self.log[-2000:]}")
        # it says so when the server has taken the stream
        return "Output #0, flv" in self.log

    async def __aexit__(self, *_: object) -> None:
        await end(self.process)

    async def refused(self, within_s: float = 10.0) -> str:
        """After ``start``: ffmpeg gives up; what it says."""
        try:
            await asyncio.wait_for(self.process.wait(), within_s)
        except TimeoutError:
            await end(self.process)
            raise AssertionError(f"ffmpeg wasn't refused: {self.log[-2000:]}") from None
        return self.log


async def play(url: str, path: Path, *, version: Version = 9, seconds: float = 5.0, more: tuple[str, ...] = ()) -> str:
    """Play for so long, as it comes, into a file: nothing decoded, timestamps as they were. Returns its warnings.

    Fails when ffmpeg does.
    """
    enhanced = ("-rtmp_enhanced_codecs", ENHANCED) if version == 9 and url.startswith("rtmp:") else ()
    command = [ffmpeg(version), "-hide_banner", "-nostdin", "-v", "warning", "-y", *enhanced, *more, "-i", url]
    command += ["-t", str(seconds), "-c", "copy", "-copyts", "-f", "matroska", str(path)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), seconds * 3 + 20)
    finally:
        await end(process)
    text = said.decode("utf-8", "replace")
    assert process.returncode == 0, f"ffmpeg {version} couldn't play {url.partition('?')[0]}: {text[-2000:]}"
    return text
