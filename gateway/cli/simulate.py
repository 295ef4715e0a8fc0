"""`orbridge simulate device`: a theatre's device in a terminal, with the picture it gets in coloured blocks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import av
import cyclopts
import numpy as np
import uvloop
from cyclopts import Parameter
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from orbridge.codecs.errors import LocalError
from orbridge.gateway import log as logging_setup
from orbridge.gateway.config import Log
from orbridge.gateway.simulator.device import Settings, SimulatedDevice, keep_called
from orbridge.gateway.simulator.watch import Seen

app = cyclopts.App(name="simulate", help="Stand-ins for equipment, for trying things out.")

PICTURE_COLUMNS = 64
REFRESH_S = 0.25


@app.command
def device(
    *,
    call: Annotated[str, Parameter(help="SIP address to call, e.g. sip:or-3@127.0.0.1:5060; left out: wait.")] = "",
    name: Annotated[str, Parameter(help="User part of its own address.")] = "theatre",
    listen: Annotated[str, Parameter(help="Its SIP listener: udp:, tcp: or tls: address:port.")] = "udp:127.0.0.1:5070",
    size: Annotated[str, Parameter(help="Picture size.")] = "1280x720",
    fps: int = 30,
    kbps: int = 1500,
    tone: Annotated[float, Parameter(help="Frequency of its tone in Hz.")] = 440.0,
    audio: Annotated[str, Parameter(help="Audio codecs in order, with commas.")] = "G722,PCMA,PCMU,OPUS",
    srtp: Literal["off", "optional", "mandatory"] = "optional",
    small_slices: Annotated[bool, Parameter(help="Slices that fit a packet, as mode-0 devices send.")] = False,
    again: Annotated[bool, Parameter(help="Call again whenever the call ended.")] = False,
    seconds: Annotated[float, Parameter(help="Stop after this time; 0: never.")] = 0.0,
    json_: Annotated[bool, Parameter(name="--json", negative="", help="A line of JSON a second.")] = False,
    save: Annotated[Path | None, Parameter(help="Keep the last picture that was seen as this JPEG.")] = None,
    udp_ports: str = "40000-40999",
) -> int:
    """A SIP device that sends a moving H.264 test picture with a clock and a tone, and shows what it gets back."""
    width, x, height = size.partition("x")
    if not (x and width.isdigit() and height.isdigit()):
        raise LocalError(f"--size {size} isn't WIDTHxHEIGHT, for example 1280x720")
    settings = Settings(
        name=name,
        listen=listen,
        target=call,
        udp_ports=udp_ports,
        width=int(width),
        height=int(height),
        fps=fps,
        kbps=kbps,
        tone_hz=tone,
        max_nal_bytes=1100 if small_slices else 0,
        audio_codecs=tuple(part.strip().upper() for part in audio.split(",")),
        srtp=srtp,
    )
    logging_setup.configure(Log(level="warning"))
    return uvloop.run(run(settings, again=again, seconds=seconds, as_json=json_, save=save))


async def run(settings: Settings, *, again: bool, seconds: float, as_json: bool, save: Path | None) -> int:
    """Returns 0 when a picture or sound came back, else 1."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    problems: list[str] = []
    last: Seen | None = None
    async with SimulatedDevice(settings) as running:
        calling: asyncio.Task[Any] | None = None
        if settings.target:
            calling = loop.create_task(keep_called(running, problems.append) if again else running.call())
        started = loop.time()
        with shown(as_json) as live:
            while not stop.is_set() and not (seconds and loop.time() - started >= seconds):
                if running.screen.watcher is not None:
                    last = running.screen.watcher.seen
                if as_json:
                    print(json.dumps(running.facts()), flush=True)
                elif live is not None:
                    live.update(panel(running, problems))
                if calling is not None and calling.done() and calling.exception() is not None:
                    raise calling.exception() or LocalError("the call failed")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 1.0 if as_json else REFRESH_S)
        if calling is not None:
            calling.cancel()
    if save is not None and last is not None:
        keep(last, save)
    return 0 if last is not None and (last.frames or last.sounds) else 1


def shown(as_json: bool) -> contextlib.AbstractContextManager[Live | None]:
    """A live display on a terminal; nothing else."""
    if as_json or not sys.stdout.isatty():
        return contextlib.nullcontext()
    return Live(console=Console(), refresh_per_second=4, transient=True)


def panel(running: SimulatedDevice, problems: list[str]) -> RenderableType:
    facts = running.facts()
    seen = running.screen.watcher.seen if running.screen.watcher else None
    head = Text.assemble((facts["name"], "bold"), f"  {facts['state']}  sent {facts['sent_pictures']} pictures")
    lines: list[RenderableType] = [head, *(Text(note, "yellow") for note in facts["notes"])]
    if problems and seen is None:
        lines.append(Text(problems[-1], "red"))
    if seen is None:
        lines.append(Text("sees and hears nothing yet", "dim"))
        return Group(*lines)
    delay = f", {seen.delay_ms} ms old" if seen.delay_ms is not None else ""
    picture = f"sees {seen.width}x{seen.height} at {seen.fps:.0f}/s{delay}" if seen.frames else "sees no picture"
    sound = f"hears {seen.tone_hz:.0f} Hz at {seen.level_dbfs:.0f} dBFS" if seen.tone_hz else "hears silence"
    lines.append(Text(f"{picture}; {sound}; {seen.errors} pictures damaged"))
    if seen.luma is not None and seen.chroma is not None:
        lines.append(blocks(rgb(seen)))
    return Group(*lines)


def rgb(seen: Seen) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The last picture as height x width x 3."""
    assert seen.luma is not None
    assert seen.chroma is not None
    planes = np.concatenate([seen.luma, seen.chroma])
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv420p")
    return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def blocks(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Text:
    """Upper half blocks: two pixels a character."""
    height, width = image.shape[:2]
    rows = max(2, PICTURE_COLUMNS * height // width // 2 * 2)
    small = image[np.arange(rows) * height // rows][:, np.arange(PICTURE_COLUMNS) * width // PICTURE_COLUMNS]
    text = Text()
    for top, bottom in zip(small[::2], small[1::2], strict=True):
        for upper, lower in zip(top, bottom, strict=True):
            text.append("▀", style=f"rgb({','.join(map(str, upper))}) on rgb({','.join(map(str, lower))})")
        text.append("\n")
    return text


def keep(seen: Seen, path: Path) -> None:
    """Write the last picture as JPEG. Nothing when none was seen."""
    if seen.luma is None:
        return
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = seen.width, seen.height, "yuvj420p"
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(rgb(seen), format="rgb24")), *stream.encode(None)]:
            container.mux(packet)
