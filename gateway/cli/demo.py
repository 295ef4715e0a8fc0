"""`orbridge demo`: the gateway with an empty room, and a simulated theatre device that calls into it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import uvloop
from cyclopts import Parameter
from rich.console import Console

from orbridge.codecs.errors import LocalError
from orbridge.gateway import log as logging_setup
from orbridge.gateway.config import Log
from orbridge.gateway.config_load import load

ROOM = "theatre-3"
CONFIG = """
[http]
listen = "127.0.0.1:{http}"
[sip]
listen = ["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{sip}"]
[media]
host = "127.0.0.1"
[control]
socket = "{socket}"
[log]
level = "warning"
[[devices]]
name = "{room}"
adapter = "sip"
address = "sip:{room}@127.0.0.1:{device}"
room = "{room}"
[[rooms]]
name = "{room}"
title = "Theatre 3"
"""


def demo(
    *,
    open_: Annotated[bool, Parameter(name="--open", negative="", help="Open the room in the browser.")] = False,
    http_port: int = 8080,
    sip_port: int = 5060,
    seconds: Annotated[float, Parameter(help="Stop after this time; 0: when you press Ctrl+C.")] = 0.0,
) -> int:
    """Show the main job on this machine: a room with a simulated theatre device that you open in a browser."""
    from orbridge.gateway.daemon import Daemon  # the engine loads here, so that other commands work without it

    console = Console(highlight=False)
    http, sip = free_port(http_port, socket.SOCK_STREAM), free_port(sip_port, socket.SOCK_DGRAM)
    device = free_port(sip + 10, socket.SOCK_DGRAM)
    with tempfile.TemporaryDirectory(prefix="orbridge-demo-") as folder:
        path = Path(folder) / "orbridge.toml"
        path.write_text(CONFIG.format(http=http, sip=sip, device=device, socket=Path(folder) / "control", room=ROOM))
        logging_setup.configure(Log(level="warning"))
        daemon = Daemon(load(path, {}))
        url = f"http://127.0.0.1:{http}/rooms/{ROOM}"
        command = [
            *(sys.executable, "-m", "orbridge.gateway.cli.main", "simulate", "device", "--name", ROOM, "--again"),
            *("--listen", f"udp:127.0.0.1:{device}", "--call", f"sip:{ROOM}@127.0.0.1:{sip}"),
        ]

        async def main() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            try:
                await daemon.start()
                process = await asyncio.create_subprocess_exec(*command)
                console.print(
                    f"The theatre's device is calling. Open the room in a browser:\n\n    [bold]{url}[/]\n\n"
                    f"Everything is simulated and stays on this machine. Status: orbridge status --socket "
                    f"{Path(folder) / 'control'}\nCtrl+C ends it.\n"
                )
                if open_:
                    webbrowser.open(url)
                waiting = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(process.wait())]
                await asyncio.wait(waiting, timeout=seconds or None, return_when=asyncio.FIRST_COMPLETED)
                if process.returncode is not None and not stop.is_set():
                    raise LocalError(f"the simulated device ended by itself (status {process.returncode})")
                for waiter in waiting:
                    waiter.cancel()
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await asyncio.wait_for(process.wait(), 5)
            finally:
                await daemon.stop()

        uvloop.run(main())
    return 0


def free_port(wanted: int, kind: socket.SocketKind) -> int:
    """``wanted`` or, when something else has it, the next that is free. Raises LocalError after a hundred."""
    for port in range(wanted, wanted + 100):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LocalError(f"no port from {wanted} to {wanted + 99} is free on 127.0.0.1")
