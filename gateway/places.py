"""Where the daemon keeps what is not configuration: the runtime folder and the state folder.

Under systemd the unit's RuntimeDirectory= and StateDirectory=, else the user's own by the XDG rules.
"""

from __future__ import annotations

import os
from pathlib import Path

NAME = "orbridge"


def runtime_folder() -> Path:
    """For sockets; gone after a restart of the machine."""
    return _first("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", Path(f"/tmp/{NAME}-{os.getuid()}"))


def state_folder() -> Path:
    """For what shall outlive the daemon, such as the certificate that it made itself."""
    return _first("STATE_DIRECTORY", "XDG_STATE_HOME", Path.home() / ".local" / "state" / NAME)


def control_socket(configured: str = "") -> Path:
    """Where the command line finds the daemon."""
    return Path(configured) if configured else runtime_folder() / f"{NAME}.sock"


def private(folder: Path) -> Path:
    """Make the folder for this user alone and return it. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _first(systemd: str, xdg: str, fallback: Path) -> Path:
    by_systemd = os.environ.get(systemd, "").partition(":")[0]
    if by_systemd:
        return Path(by_systemd)
    by_xdg = os.environ.get(xdg, "")
    return Path(by_xdg) / NAME if by_xdg else fallback
