"""A process of its own that sends pictures into the engine and clocks when their last packets come out.

``engine_traffic.py SECONDS PORT...``: prints the ports that it listens on, waits for a line on stdin, then sends
30 pictures of 11 packets a second into each given port, spread evenly. Prints JSON: sent, received, p50_us, p90_us,
p99_us, max_us. Arrival is the kernel's timestamp, and the two halves are processes, so that neither's waiting for a
CPU or for the other is in the figures.
"""

from __future__ import annotations

import json
import multiprocessing
import select
import socket
import struct
import sys
import time
from multiprocessing.connection import Connection

PACKETS = 11
SO_TIMESTAMPNS = 35


def listen(sinks: list[socket.socket], seconds: float, pipe: Connection) -> None:
    """Sends when each picture's last packet came: for each sink a dict from its number to nanoseconds since 1970."""
    came: dict[int, dict[int, int]] = {sink.fileno(): {} for sink in sinks}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for sink in select.select(sinks, [], [], 0.1)[0]:
            data, control, _, _ = sink.recvmsg(2048, 64)
            # RTCP, or not the last packet of a picture.
            if 192 <= data[1] <= 223 or not data[1] & 0x80:
                continue
            sec, nsec = struct.unpack("qq", control[0][2][:16])
            # The picture's number is in its last bytes.
            came[sink.fileno()].setdefault(int.from_bytes(data[-4:], "big"), sec * 1_000_000_000 + nsec)
    pipe.send(list(came.values()))


def send(ports: list[int], frames: int) -> list[list[int]]:
    """When each picture's last packet left, for each port."""
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    left: list[list[int]] = [[] for _ in ports]
    begin = time.monotonic() + 0.05
    for frame in range(frames):
        for index, port in enumerate(ports):
            due = begin + (frame + index / len(ports)) / 30
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            kind, slice_header = (5, b"\x88\x84") if frame % 60 == 0 else (1, b"\x9a\x84")
            for number in range(PACKETS):
                last = number == PACKETS - 1
                seq = (1000 + frame * PACKETS + number) & 0xFFFF
                head = struct.pack("!BBHII", 0x80, 96 | last << 7, seq, frame * 3000, 7)
                fu = bytes([0x7C, (number == 0) << 7 | last << 6 | kind])
                data = head + fu + slice_header + bytes(1179) + frame.to_bytes(4, "big")
                leaves = time.time_ns()
                out.sendto(data, ("127.0.0.1", port))
            left[index].append(leaves)
    return left


def main() -> None:
    seconds, ports = float(sys.argv[1]), [int(port) for port in sys.argv[2:]]
    sinks = []
    for _ in ports:
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sink.bind(("127.0.0.1", 0))
        sinks.append(sink)
    print(json.dumps([sink.getsockname()[1] for sink in sinks]), flush=True)
    sys.stdin.readline()
    ours, theirs = multiprocessing.Pipe()
    listener = multiprocessing.get_context("fork").Process(target=listen, args=(sinks, seconds + 1, theirs))
    listener.start()
    left = send(ports, int(seconds * 30))
    came = ours.recv()
    listener.join()
    delays = sorted(
        (came[index][frame] - sent) / 1000
        for index, times in enumerate(left)
        for frame, sent in enumerate(times)
        if frame in came[index]
    )
    result = {
        "sent": sum(len(times) for times in left),
        "received": len(delays),
        "p50_us": delays[len(delays) // 2],
        "p90_us": delays[int(len(delays) * 0.9)],
        "p99_us": delays[int(len(delays) * 0.99)],
        "max_us": delays[-1],
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
