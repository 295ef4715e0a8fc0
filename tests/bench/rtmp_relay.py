"""CPU per megabyte relayed over RTMP: publishers with players each, through the daemon and through nginx-rtmp."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from peer_nginx import NginxRtmp

from tests.bench.figures import Figure, Result, Samples, at_most
from tests.bench.programs import BUILD, Program, ProgramError, module, processor_ns, processors
from tests.bench.rtmp_camera import SECONDS, recording
from tests.bench.running_daemon import daemon

PUBLISHERS, PLAYERS, KBPS = 4, 4, 6000
OUR_PORT, PEER_PORT = 62430, 62440
# As OBS and most hardware encoders publish, and as ffmpeg does.
CHUNK_BYTES = (4096, 128)


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[tuple[int, list[str]]]:
    """(process, addresses to publish and play)."""
    gateway = daemon("rtmp-relay")
    gateway.rtmp = OUR_PORT
    for number in range(PUBLISHERS):
        gateway.encoder(f"camera-{number}", f"or-{number}")
    async with gateway:
        names = [f"camera-{number}" for number in range(PUBLISHERS)]
        yield gateway.process.pid, [f"{gateway.publish_url(name)},{gateway.play_url(name)}" for name in names]


@contextlib.asynccontextmanager
async def theirs() -> AsyncIterator[tuple[int, list[str]]]:
    nginx = NginxRtmp(BUILD / "rtmp-nginx", port=PEER_PORT)
    async with nginx:
        urls = [nginx.url(f"camera-{number}") for number in range(PUBLISHERS)]
        yield nginx.process.pid, [f"{url},{url}" for url in urls]


def pin(pid: int, processor: int) -> None:
    """Every thread of a process, and those that it makes."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {processor})


def relay(pids: dict[str, int], urls: list[str], path: Path, chunk_bytes: int) -> tuple[dict[str, float], list[str]]:
    """(CPU ms a megabyte of what each process delivered, why it doesn't count).

    Both servers carry the same traffic in the same seconds on the same processor, so that whatever makes the machine
    slower for one makes it slower for the other.
    """
    for pid in pids.values():
        pin(pid, processors()[1])
    command = module("rtmp_traffic", path, chunk_bytes, PLAYERS, *urls)
    with Program(command, processor=processors()[0], log="rtmp-traffic") as traffic:
        traffic.answer()
        before = {name: processor_ns(pid) for name, pid in pids.items()}
        answer: dict[str, Any] = traffic.ask("go", within_s=SECONDS * 3 + 30)
        used = {name: processor_ns(pid) - before[name] for name, pid in pids.items()}
    if answer["faults"]:
        return {}, answer["faults"]
    each = answer["delivered_bytes"] / len(pids)
    # ns a byte are ms a megabyte
    return {name: ns / each for name, ns in used.items()}, []


async def _round(samples: Samples, number: int, path: Path, chunk_bytes: int) -> None:
    async with ours() as (our_pid, our_urls), theirs() as (their_pid, their_urls):
        pids = {"ours": our_pid, "theirs": their_pid}
        urls = [url for pair in zip(our_urls, their_urls, strict=True) for url in pair]
        try:
            used, faults = await asyncio.to_thread(relay, pids, urls, path, chunk_bytes)
        except ProgramError as exc:
            used, faults = {}, [str(exc)]
    if faults:
        samples.reject(f"round {number}, chunks of {chunk_bytes}: {faults[0]} ({len(faults)} in all)")
        return
    samples.add(
        **{
            f"ours{chunk_bytes}": used["ours"],
            f"theirs{chunk_bytes}": used["theirs"],
            f"ratio{chunk_bytes}": used["ours"] / used["theirs"],
        }
    )


def measure(rounds: int) -> Result:
    samples = Samples()
    path = recording(KBPS)
    for number in range(rounds):
        for chunk_bytes in CHUNK_BYTES:
            asyncio.run(_round(samples, number, path, chunk_bytes))
    figures: list[Figure] = []
    for chunk_bytes in CHUNK_BYTES:
        target = at_most(1.5) if chunk_bytes == CHUNK_BYTES[0] else None
        what = f"published in chunks of {chunk_bytes} bytes"
        figures += samples.figures(
            (f"ratio{chunk_bytes}", f"{what}: ours / nginx-rtmp", "", target),
            (f"ours{chunk_bytes}", f"{what}: ours", "ms/MB", None),
            (f"theirs{chunk_bytes}", f"{what}: nginx-rtmp", "ms/MB", None),
        )
    return Result(
        "rtmp_relay_vs_nginx",
        figures,
        samples.rejected,
        {"publishers": PUBLISHERS, "players_each": PLAYERS, "kbps": KBPS, "seconds": SECONDS},
    )
