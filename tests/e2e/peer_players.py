"""Other programs that speak RTMP, librtmp's rtmpdump and GStreamer, each as a client of its own implementation."""

import asyncio
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from peer_ffmpeg import end
from waiting import until


def program(name: str) -> str:
    found = shutil.which(name, path="/usr/bin")
    assert found, f"{name} isn't installed: make test installs it"
    return found


async def rtmpdump(url: str, path: Path, *, seconds: float = 5.0) -> str:
    """Play with librtmp into an FLV file, byte for byte what came. Returns what it said; fails when it got nothing."""
    # --stop means nothing to it in a live stream
    command = [program("rtmpdump"), "-r", url, "--live", "-o", str(path)]
    return await _played_until_ended(command, path, seconds)


async def gstreamer_play(url: str, path: Path, *, seconds: float = 5.0) -> None:
    """Play with rtmp2src into an FLV file."""
    command = [program("gst-launch-1.0"), "-e", "rtmp2src", f"location={url}", "tls-validation-flags=0"]
    command += ["!", "filesink", f"location={path}"]
    said = await _played_until_ended(command, path, seconds)
    assert "ERROR" not in said, said[-2000:]


async def _played_until_ended(command: list[str], path: Path, seconds: float) -> str:
    """``seconds`` from the first kilobyte on; what the program said."""
    log = path.with_suffix(".log")
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
        )

    def has_begun() -> bool:
        assert process.returncode is None, f"{command[0]} ended: {said()}"
        return path.exists() and path.stat().st_size > 1000

    def said() -> str:
        return log.read_text("utf-8", "replace").replace("\r", "\n")[-2000:]

    try:
        await until(f"{command[0]} gets something; its log is {log}", has_begun, within_s=15)
        await asyncio.sleep(seconds)
    finally:
        await end(process)
    return said()


@dataclass
class GstreamerPublisher:
    """A test picture and a tone of 300 Hz through x264enc, voaacenc, flvmux and rtmp2sink. ``async with`` it."""

    url: str
    folder: Path
    width: int = 640
    height: int = 360
    fps: int = 25
    tone: int = 300

    def command(self) -> list[str]:
        picture = f"video/x-raw,format=I420,width={self.width},height={self.height},framerate={self.fps}/1"
        text = (
            f"flvmux name=mux streamable=true ! rtmp2sink location={self.url} tls-validation-flags=0 "
            f"videotestsrc is-live=true pattern=ball ! {picture} ! queue ! x264enc tune=zerolatency "
            f"speed-preset=ultrafast key-int-max={self.fps} bitrate=800 ! h264parse ! queue ! mux. "
            f"audiotestsrc is-live=true freq={self.tone} volume=0.5 ! audio/x-raw,rate=48000,channels=2 ! queue ! "
            "voaacenc bitrate=96000 ! aacparse ! queue ! mux."
        )
        return [program("gst-launch-1.0"), *text.split()]

    @property
    def log(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", (self.folder / "gstreamer.log").read_text("utf-8", "replace"))

    async def __aenter__(self) -> "GstreamerPublisher":
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "gstreamer.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command(), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            await until("GStreamer publishes", lambda: "New clock" in self._running_log(), within_s=10)
        except BaseException:
            await end(self.process)
            raise
        return self

    def _running_log(self) -> str:
        assert self.process.returncode is None, self.log[-2000:]
        return self.log

    async def __aexit__(self, *_: object) -> None:
        await end(self.process)
