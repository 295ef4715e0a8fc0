"""Setting up calls: INVITE to 200 of one call after the other, and the rate that is sustained, made by sipp."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Result, Samples, at_least, at_most
from tests.bench.programs import BUILD, running
from tests.bench.running_daemon import PEER_PORT, SIP_PORT, Gateway, RawPeer, daemon, description, status

# Each device is in a call for half a second; the next one with its name comes two seconds after the last at 100/s.
DEVICES = 400
LEISURELY_CALLS, LEISURELY_PAUSE_S = 200, 0.05
SUSTAINED_S = 10
RATES_PER_S = (100, 150, 200, 300)
BARE_PORT = 62405
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Run:
    """What sipp says of one run.

    Attributes:
        setup_ms: INVITE to 200 of each call, sorted; sipp counts in whole milliseconds.
        per_s: calls made a second of the time that it took to make them.
        problem: why it doesn't count; empty: all calls succeeded and none was retransmitted.
    """

    setup_ms: list[float]
    per_s: float
    problem: str

    def quantile(self, part: float) -> float:
        return _quantile(self.setup_ms, part)


def call(port: int, rate: int, count: int) -> Run:
    """``count`` calls at ``rate`` a second to that port. Bounded: sipp gives up by itself."""
    folder = BUILD / "sipp"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("caller_*"):
        old.unlink()
    (folder / "devices.csv").write_text("SEQUENTIAL\n" + "".join(f"or{number};\n" for number in range(DEVICES)))
    limit_s = count / rate + 30
    command = ["sipp", f"127.0.0.1:{port}", "-sf", str(HERE / "caller.xml"), "-inf", "devices.csv", "-nostdin"]
    command += ["-i", "127.0.0.1", "-p", str(PEER_PORT), "-m", str(count), "-r", str(rate), "-l", "1000"]
    command += [
        "-trace_rtt",
        "-rtt_freq",
        "1",
        "-trace_stat",
        "-fd",
        "1",
        "-timeout",
        f"{limit_s:.0f}",
        "-timeout_error",
    ]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=limit_s + 20, env={**os.environ, "TERM": "dumb"}
    )
    text = done.stdout
    times = sorted(_times(folder))
    stats = _last_row(folder)
    failed, again = int(stats.get("FailedCall(C)", 0)), int(stats.get("Retransmissions(C)", 0))
    problem = ""
    if done.returncode != 0 or failed or len(times) != count:
        problem = (
            f"sipp ended with {done.returncode}: {len(times)} of {count} calls set up, {failed} failed; {text[-300:]}"
        )
    elif again:
        problem = f"{again} requests had to be sent again"
    return Run(times, _rate(folder, count), problem)


def _times(folder: Path) -> list[float]:
    """Milliseconds, out of sipp's table of response times."""
    return [
        float(line.split(";")[1].replace(",", "."))
        for path in folder.glob("caller_*_rtt.csv")
        for line in path.read_text().splitlines()
        if re.match(r"^\d", line)
    ]


def _rows(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.glob("caller_*_.csv")
    names, *rows = (line.split(";") for line in path.read_text().splitlines())
    return [dict(zip(names, row, strict=False)) for row in rows]


def _last_row(folder: Path) -> dict[str, str]:
    return _rows(folder)[-1]


def _rate(folder: Path, count: int) -> float:
    """Of the seconds in which calls were still being made."""
    rows = [row for row in _rows(folder) if int(row["TotalCallCreated"]) < count]
    if not rows:
        return float(count)
    return int(rows[-1]["TotalCallCreated"]) / max(_seconds(rows[-1]["ElapsedTime(C)"]), 1e-3)


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")[:3]
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _gateway(name: str) -> Gateway:
    gateway = daemon(name, sip_more="max_calls = 600")
    for number in range(DEVICES):
        gateway.device(f"or-{number}", f"sip:or{number}@127.0.0.1:{PEER_PORT}", f"room-{number}")
    return gateway


async def _with_gateway(name: str, work: Callable[[], Run]) -> Run:
    async with _gateway(name):
        return await asyncio.to_thread(work)


def measure_setup(rounds: int) -> Result:
    samples = Samples()
    for number in range(rounds):
        try:
            ours = asyncio.run(_setups_of_gateway())
            with running(_bare(), log="sipp-callee"):
                bare = asyncio.run(_setups(BARE_PORT))
        except (TimeoutError, RuntimeError) as exc:
            samples.reject(f"round {number}: {exc!r}")
            continue
        for name, times in (("ours", ours), ("bare", bare)):
            samples.add(**{f"{name}_p50": _quantile(times, 0.5), f"{name}_p99": _quantile(times, 0.99)})
    return Result(
        "call_setup_ms",
        samples.figures(
            ("ours_p99", "INVITE to 200, p99", "ms", at_most(20.0)),
            ("ours_p50", "INVITE to 200, p50", "ms", None),
            ("bare_p99", "sipp that answers at once, p99", "ms", None),
            ("bare_p50", "sipp that answers at once, p50", "ms", None),
        ),
        samples.rejected,
        {"calls": LEISURELY_CALLS, "pause_s": LEISURELY_PAUSE_S, "devices": DEVICES},
    )


async def _setups_of_gateway() -> list[float]:
    async with _gateway("setup"):
        return await _setups(SIP_PORT)


async def _setups(port: int) -> list[float]:
    """Milliseconds from INVITE to 200 of calls one after the other, sorted. Raises TimeoutError, RuntimeError."""
    times = []
    peer = await RawPeer(PEER_PORT, port).open()
    try:
        for number in range(LEISURELY_CALLS):
            peer.user = f"or{number % DEVICES}"
            await asyncio.sleep(LEISURELY_PAUSE_S)
            began = time.perf_counter()
            dialog, accepted = await peer.invite(description(video_pt="96"))
            times.append((time.perf_counter() - began) * 1000)
            if status(accepted) != 200:
                raise RuntimeError(f"call {number} was answered with {accepted.splitlines()[0]}")
            await peer.transact("BYE", dialog)
    finally:
        peer.close()
    return sorted(times)


def _quantile(times: list[float], part: float) -> float:
    return times[min(len(times) - 1, int(part * len(times)))]


def _bare() -> list[str]:
    return ["sipp", "-sf", str(HERE / "callee.xml"), "-i", "127.0.0.1", "-p", str(BARE_PORT), "-nostdin"]


def measure_sustained(rounds: int) -> Result:
    """The highest of a few rates at which every call succeeds without a single retransmission."""
    samples = Samples()
    for number in range(rounds):
        best, p99 = 0.0, 0.0
        for rate in RATES_PER_S:
            run = asyncio.run(_with_gateway("sustained", lambda rate=rate: call(SIP_PORT, rate, rate * SUSTAINED_S)))  # type: ignore[misc]
            if run.problem or run.per_s < 0.97 * rate:
                samples.reject(f"round {number}, {rate}/s: {run.problem or f'{run.per_s:.0f}/s came about'}")
                break
            best, p99 = float(rate), run.quantile(0.99)
        with running(_bare(), log="sipp-callee"):
            bare = call(BARE_PORT, RATES_PER_S[-1], RATES_PER_S[-1] * SUSTAINED_S)
        samples.add(ours=best, p99=p99, bare=0.0 if bare.problem else bare.per_s)
    return Result(
        "calls_per_second",
        samples.figures(
            ("ours", f"sustained for {SUSTAINED_S} s, of {', '.join(map(str, RATES_PER_S))}", "calls/s", at_least(100)),
            ("p99", "INVITE to 200 at that rate, p99", "ms", None),
            ("bare", "sipp that answers at once", "calls/s", None),
        ),
        samples.rejected,
        {"seconds": SUSTAINED_S, "in_call_s": 0.5, "media_legs_per_call": 2},
    )
