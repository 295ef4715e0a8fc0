"""The command line. Exit status: 0 fine, 1 the thing examined is not fine, 2 usage, 78 configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from rich.console import Console

from orbridge.codecs.errors import OrbridgeError
from orbridge.gateway import places
from orbridge.gateway.cli import show
from orbridge.gateway.cli.client import ask_now
from orbridge.gateway.config_load import ConfigError, load

EXIT_FINE = 0
EXIT_NOT_FINE = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78

DEFAULT_CONFIG = Path("/etc/orbridge/orbridge.toml")

app = cyclopts.App(
    name="orbridge",
    help="Bridges hospital video devices (SIP, WebRTC, RTMP) into rooms that people open in a browser.",
    version_flags=["--version"],
)

ConfigFile = Annotated[Path, Parameter(name=["--config", "-c"], help="The TOML configuration file.")]
Socket = Annotated[Path | None, Parameter(help="The daemon's control socket, when it isn't at its usual place.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]


def out() -> Console:
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@app.command
def serve(*, config: ConfigFile = DEFAULT_CONFIG) -> int:
    """Run the gateway until SIGTERM; SIGHUP reads devices, rooms and tokens again."""
    from orbridge.gateway import daemon, log  # the engine loads here, so that other commands work without it

    loaded = load(config)
    log.configure(loaded.config.log)
    return daemon.serve(loaded)


@app.command(name="check-config")
def check_config(file: Path, /) -> int:
    """Say whether a configuration file can be used, and everything that is wrong with it."""
    loaded = load(file)
    for problem in loaded.unreadable_secrets():
        print(f"{file}: warning: {problem}; until it is there, its owner is locked out", file=sys.stderr)
    config = loaded.config
    counts = f"{len(config.devices)} devices, {len(config.rooms)} rooms, {len(config.tokens)} tokens"
    out().print(f"[green]{file} is fine[/]: {counts}")
    return EXIT_FINE


@app.command
def status(*, json_: AsJson = False, socket: Socket = None) -> int:
    """Show devices, rooms and sessions of the running gateway, and what is wrong with any of them."""
    where = socket or places.control_socket()
    facts = {key: ask_now(where, "GET", f"/{key}") for key in ("status", "devices", "rooms", "sessions")}
    if json_:
        print(json.dumps(facts, indent=2))
    else:
        out().print(show.status(facts))
    return EXIT_FINE if facts["status"].get("ready") else EXIT_NOT_FINE


@app.command
def call(target: str, /, *, room: str = "", socket: Socket = None) -> int:
    """Call a device by its name, or a SIP address, into a room.

    Args:
        target: a device's name in the config, or an address such as sip:theatre3@10.0.0.7.
        room: the room to bring it into; the device's own when left out.
    """
    where = socket or places.control_socket()
    answer = ask_now(where, "POST", "/calls", {"target": target, "room": room})
    out().print(f"calling {target}: session [bold]{answer['session']}[/]  (orbridge hangup {answer['session']})")
    return EXIT_FINE


@app.command
def hangup(session: str, /, *, socket: Socket = None) -> int:
    """End a session: a call, or a browser's connection."""
    ask_now(socket or places.control_socket(), "DELETE", f"/sessions/{session}")
    out().print(f"{session} ended")
    return EXIT_FINE


@app.command
def dtmf(session: str, digits: str, /, *, socket: Socket = None) -> int:
    """Press keys towards the peer of a call, e.g. a meeting's PIN.

    Args:
        session: as `orbridge status` names it.
        digits: 1 to 64 of 0-9, *, #, A-D.
    """
    ask_now(socket or places.control_socket(), "POST", f"/sessions/{session}/dtmf", {"digits": digits})
    out().print(f"{len(digits)} keys are on their way")
    return EXIT_FINE


# Named as text: these load the engine, which the commands above work without.
app.command(
    "orbridge.gateway.cli.demo:demo",
    name="demo",
    help="Show the main job on this machine: a room with a simulated theatre device, for your browser.",
)
app.command(
    "orbridge.gateway.cli.simulate:app", name="simulate", help="Stand-ins for equipment, for trying things out."
)


def main() -> None:
    """Entry point of the ``orbridge`` program."""
    try:
        code = app(exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as exc:
        print(f"orbridge: {str(exc).strip()}", file=sys.stderr)
        print("orbridge --help shows the commands", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        sys.exit(EXIT_CONFIG)
    except OrbridgeError as exc:
        print(f"orbridge: {exc}", file=sys.stderr)
        sys.exit(EXIT_NOT_FINE)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else EXIT_FINE)


if __name__ == "__main__":
    main()
