"""What the daemon costs when it does little: its start, ten registered devices, and memory for each call."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from orbridge.adapters.sip.digest import expected_response, parse_authorization
from tests.bench.figures import Result, Samples, at_most
from tests.bench.programs import end, processor_ns
from tests.bench.running_daemon import (
    PEER_MEDIA,
    PEER_PORT,
    RawPeer,
    body,
    daemon,
    description,
    headers,
    status,
)
from tests.bench.trace import NS, Camera, Trace, replay, replayer, rtp_header

REGISTERED = 10
IDLE_S = 15.0
CALLS = 100
MEDIA_S = 8.0
CAMERA = Camera(fps=30, fragments=6, packet_bytes=1164)
START_LIMIT_S = 20.0


def rss_kib(pid: int) -> int:
    found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


# start


def measure_start(rounds: int) -> Result:
    samples = Samples()
    gateway = daemon("start")
    for number in range(REGISTERED):
        gateway.device(f"or-{number}", f"sip:or{number}@127.0.0.1:{PEER_PORT}", f"or-{number}")
    gateway.write()
    serve = [sys.executable, "-m", "orbridge.gateway.cli.main", "serve", "-c", str(gateway.config)]
    bare = [sys.executable, "-c", _SAYS_READY]
    for _ in range(rounds):
        samples.add(daemon=_until_ready(serve, gateway.folder), bare=_until_ready(bare, gateway.folder))
    return Result(
        "start_ms",
        samples.figures(
            ("daemon", "from exec to ready", "ms", at_most(1500)),
            ("bare", "Python that only says that it is ready", "ms", None),
        ),
        samples.rejected,
        {"devices": REGISTERED},
    )


_SAYS_READY = """
import os, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
"""


def _until_ready(command: list[str], folder: Path) -> float:
    """Milliseconds from exec to sd_notify's READY=1. Raises TimeoutError."""
    path = folder / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, (folder / "log").open("ab") as log:
        systemd.bind(str(path))
        systemd.settimeout(START_LIMIT_S)
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(path)}
        )
        try:
            while b"READY=1" not in systemd.recv(4096):
                pass
            return (time.perf_counter() - began) * 1000
        finally:
            end(process)


# idle


def measure_idle(rounds: int) -> Result:
    samples = Samples()
    for _ in range(rounds):
        asyncio.run(_idle(samples))
    return Result(
        "idle_cpu_percent",
        samples.figures(
            ("daemon", f"{REGISTERED} registered devices, no call", "% of a core", at_most(1.0)),
            ("bare", "an event loop with a 50 ms timer", "% of a core", None),
        ),
        samples.rejected,
        {"seconds": IDLE_S},
    )


_TICKS = """
import asyncio, uvloop
async def main():
    while True: await asyncio.sleep(0.05)
uvloop.run(main())
"""


async def _idle(samples: Samples) -> None:
    gateway = daemon("idle")
    gateway.folder.mkdir(parents=True)
    (gateway.folder / "password").write_text("s3cret")
    for number in range(REGISTERED):
        more = f'username = "cart-{number}"\npassword_file = "password"'
        gateway.device(f"cart-{number}", "", f"or-{number}", more)
    async with gateway:
        peer = await RawPeer(PEER_PORT, gateway.sip).open()
        bare = await asyncio.create_subprocess_exec(sys.executable, "-c", _TICKS)
        try:
            for number in range(REGISTERED):
                await register(peer, f"cart-{number}", "s3cret")
            await asyncio.sleep(2.0)
            before = processor_ns(gateway.process.pid), processor_ns(bare.pid), time.monotonic_ns()
            await asyncio.sleep(IDLE_S)
            after = processor_ns(gateway.process.pid), processor_ns(bare.pid), time.monotonic_ns()
            ours, theirs, passed = (late - early for late, early in zip(after, before, strict=True))
            bindings = (await gateway.api("GET", "/status"))["adapters"]["sip"]["bindings"]
            if len(bindings) != REGISTERED:
                samples.reject(f"{len(bindings)} devices are registered instead of {REGISTERED}")
            else:
                samples.add(daemon=100 * ours / passed, bare=100 * theirs / passed)
        finally:
            bare.terminate()
            await bare.wait()
            peer.close()


async def register(peer: RawPeer, user: str, password: str) -> None:
    """REGISTER with digest (RFC 3261 10.2, RFC 8760)."""
    peer.user = user
    dialog = peer.dialog(user)
    expiry = ("Expires: 300",)
    challenge = await peer.transact("REGISTER", dialog, extra=expiry)
    offered = next(value for value in headers(challenge, "WWW-Authenticate") if "algorithm=MD5," in value)
    nonce, realm = (offered.partition(f'{name}="')[2].partition('"')[0] for name in ("nonce", "realm"))
    head = (
        f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{dialog.target}", algorithm=MD5, '
        f'qop=auth, nc=00000001, cnonce="c1", response="'
    )
    proof = expected_response(parse_authorization(head + '0"'), "REGISTER", password)
    accepted = await peer.transact("REGISTER", dialog, extra=(*expiry, f'Authorization: {head}{proof}"'))
    if status(accepted) != 200:
        raise RuntimeError(f"REGISTER of {user}: {accepted.splitlines()[0]}")


# memory


def measure_memory(rounds: int) -> Result:
    samples = Samples()
    for number in range(rounds):
        asyncio.run(_memory(samples, number))
    return Result(
        "memory_per_call_kib",
        samples.figures(
            ("call", f"{CALLS} calls, picture and sound both ways", "KiB/call", at_most(1024)),
            ("idle", "the idle daemon", "KiB", None),
        ),
        samples.rejected,
        {"calls": CALLS, "seconds": MEDIA_S, "video_kbps": CAMERA.fps * CAMERA.fragments * CAMERA.packet_bytes // 125},
    )


async def _memory(samples: Samples, number: int) -> None:
    """Two devices a room, so that each sees and hears the other; resident memory while the media flows."""
    gateway = daemon("memory", sip_more=f"max_calls = {CALLS + 20}")
    for index in range(CALLS):
        gateway.device(f"or-{index}", f"sip:or{index}@127.0.0.1:{PEER_PORT}", f"room-{index // 2}")
    async with gateway:
        peer = await RawPeer(PEER_PORT, gateway.sip).open()
        try:
            await asyncio.sleep(1.0)
            idle = rss_kib(gateway.process.pid)
            ports = [await _call(peer, index) for index in range(CALLS)]
            trace = _pairs(CALLS)
            remote = [port for pair in ports for port in pair]
            with replayer(trace, remote, "memory") as traffic:
                full = 0

                def look() -> int:
                    nonlocal full
                    full = rss_kib(gateway.process.pid)
                    return 0

                counted, _ = await asyncio.to_thread(replay, traffic, trace.seconds, look)
            lost = [f"{flow.sent - flow.packets} of {flow.sent}" for flow in counted.flows if flow.packets != flow.sent]
            if lost:
                samples.reject(f"round {number}: {len(lost)} streams lost packets, the first one {lost[0]}")
            else:
                samples.add(call=(full - idle) / CALLS, idle=idle)
        finally:
            peer.close()


async def _call(peer: RawPeer, index: int) -> tuple[int, int]:
    """Call in as device ``index``; the gateway's ports for sound and picture."""
    peer.user = f"or{index}"
    first = PEER_MEDIA + 4 * index
    offer = description(audio=first, video=first + 2, audio_formats="8", video_pt="96")
    _, accepted = await peer.invite(offer, room=f"room-{index // 2}")
    found = re.findall(r"^m=(?:audio|video) (\d+)", body(accepted), re.MULTILINE)
    if status(accepted) != 200 or len(found) != 2:
        raise RuntimeError(f"call of or{index}: {accepted.splitlines()[0]}")
    return int(found[0]), int(found[1])


def _pairs(calls: int) -> Trace:
    """Devices two by two: what one sends must come out at the other."""
    trace = Trace()
    for index in range(calls):
        trace.socket(PEER_MEDIA + 4 * index)
        trace.socket(PEER_MEDIA + 4 * index + 2)
    for index in range(calls):
        other, shift = index ^ 1, index * NS // CAMERA.fps // calls
        sound, picture = trace.flow(2 * index, 2 * other, 8), trace.flow(2 * index + 1, 2 * other + 1, 96)
        for frame in range(round(MEDIA_S * 50)):
            head = rtp_header(8, frame, frame * 160, 0x10000 + index, marker=frame == 0)
            trace.packet(frame * NS // 50 + shift, sound, head, length=172)
        for at, given, _ in CAMERA.packets(MEDIA_S, 96, 0x20000 + index, place=index / calls):
            trace.packet(at + shift, picture, given, length=CAMERA.packet_bytes)
    return trace
