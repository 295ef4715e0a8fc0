"""Free ports on loopback, never the same twice in one test run."""

import itertools
import os
import socket

# Tests that run at the same time in other processes begin elsewhere.
_next = itertools.count(15000 + os.getpid() % 400 * 20)


def free_port() -> int:
    """A port that nothing is bound to, for UDP and TCP alike."""
    while True:
        port = 15000 + (next(_next) - 15000) % 8000
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
