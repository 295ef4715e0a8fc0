"""`make bench`: every figure that the project promises, measured against a peer; build/bench.json and a table.

`python -m tests.bench --only relay_gcm_vs_rtpengine --rounds 2` is the quick way to look at one of them.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from orbridge.codecs._engine import build_info
from tests.bench import (
    aac_opus,
    call_setup,
    calls,
    first_picture,
    footprint,
    latency,
    relay,
    rtmp_parse,
    rtmp_pictures,
    rtmp_relay,
)
from tests.bench.figures import Result
from tests.bench.programs import BUILD, ROOT, processors

OUTPUT = ROOT / "build" / "bench.json"
DOCUMENT = ROOT / "docs" / "performance.md"
MARKS = ("<!-- figures -->", "<!-- /figures -->")
ROUNDS = 5

KEYS: dict[str, Callable[[int], Result]] = {
    "relay_gcm_vs_rtpengine": lambda rounds: relay.measure("gcm", rounds),
    "relay_cm_vs_rtpengine": lambda rounds: relay.measure("cm", rounds),
    "calls_per_core_vs_aiortc": calls.measure,
    "added_latency_ms": latency.measure,
    "first_picture_ms": first_picture.measure,
    "call_setup_ms": call_setup.measure_setup,
    "calls_per_second": call_setup.measure_sustained,
    "memory_per_call_kib": footprint.measure_memory,
    "idle_cpu_percent": footprint.measure_idle,
    "start_ms": footprint.measure_start,
    "rtmp_relay_vs_nginx": rtmp_relay.measure,
    "rtmp_parse_vs_plain": rtmp_parse.measure,
    "rtmp_first_picture_ms": rtmp_pictures.measure_first_picture,
    "rtmp_to_browser_latency_ms": rtmp_pictures.measure_to_browser,
    "aac_opus_ms_per_s": aac_opus.measure,
}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=KEYS, default=list(KEYS), metavar="KEY", help=", ".join(KEYS))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each; {ROUNDS} unless told")
    parser.add_argument("--ahead", action="store_true", help="run ahead of whatever else the machine does")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--document", action="store_true", help="only put what the output file has into the document")
    chosen = parser.parse_args(arguments)
    if chosen.document:
        document(json.loads(chosen.output.read_text()))
        return 0
    if chosen.ahead:
        go_ahead()
    # Two at a time would measure each other. The lock goes with the process.
    BUILD.mkdir(parents=True, exist_ok=True)
    lock = (BUILD / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another benchmark is running in this checkout; wait for its end", file=sys.stderr)
        return 1
    kept = _kept(chosen.output)
    console = Console()
    unmet = 0
    for key in chosen.only:
        console.print(f"[bold]{key}[/] ({chosen.rounds} rounds)...")
        before = os.getloadavg()[0]
        result = KEYS[key](chosen.rounds)
        kept["results"][key] = result.to_json() | {
            "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "load_before": round(before, 2),
            "ahead": chosen.ahead,
        }
        kept["machine"] = machine()
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(json.dumps(kept, indent=2) + "\n")
        show(console, result)
        unmet += not result.met
    console.print(f"{len(chosen.only) - unmet} of {len(chosen.only)} met; {chosen.output}")
    return 0


def go_ahead() -> None:
    """This process and whatever it starts before everything else on the machine: the real-time class, sched(7).

    Niceness doesn't do: where sessions are scheduled as groups, it counts within a session only.
    """
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def _kept(output: Path) -> dict[str, Any]:
    """What was measured before and isn't measured now stays in the file, with the time of its measurement."""
    try:
        kept: dict[str, Any] = json.loads(output.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        kept = {}
    results = kept.get("results", {})
    return {"results": {key: results[key] for key in KEYS if key in results}}


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    peer = subprocess.run(["rtpengine", "--version"], capture_output=True, text=True, timeout=10, check=False)
    return {
        "processor": model.partition(":")[2].strip(),
        "processors": os.cpu_count(),
        "for_traffic_and_for_what_is_measured": processors(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "engine": build_info(),
        "rtpengine": (peer.stdout + peer.stderr).strip().splitlines()[0] if peer.stdout + peer.stderr else "",
    }


def document(kept: dict[str, Any]) -> None:
    """The figures into docs/performance.md, between its marks."""
    facts = kept["machine"]
    lines = [
        f"{facts['processors']} processors ({facts['processor']}), Linux {facts['kernel']}, Python {facts['python']}, "
        f"{facts['engine']['crypto']}, {facts['rtpengine'] or 'no rtpengine'}.",
        "",
        "| key | what | median | range | rounds | target | |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, result in kept["results"].items():
        for place, figure in enumerate(result["figures"]):
            met = {None: "", True: "met", False: "**not met**"}[figure["met"]]
            unit = f" {figure['unit']}" if figure["unit"] else ""
            lines.append(
                f"| {f'`{key}`' if not place else ''} | {figure['name']} | {figure['median']:.4g}{unit} | "
                f"{figure['low']:.4g} to {figure['high']:.4g} | {figure['rounds']} | {figure['target'] or ''} | {met} |"
            )
    text = DOCUMENT.read_text("utf-8")
    begin, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    DOCUMENT.write_text(text[:begin] + "\n" + "\n".join(lines) + "\n" + text[end:], "utf-8")


def show(console: Console, result: Result) -> None:
    table = Table(title=result.key, title_justify="left")
    for name in ("what", "median", "range", "rounds", "target", ""):
        table.add_column(name, justify="left" if name in ("what", "") else "right")
    for figure in result.figures:
        met = {None: "", True: "[green]met[/]", False: "[red]not met[/]"}[figure.met]
        table.add_row(
            figure.name,
            f"{figure.median:g} {figure.unit}",
            f"{figure.low:g} to {figure.high:g}",
            str(figure.rounds),
            str(figure.target or ""),
            met,
        )
    console.print(table)
    for reason in result.rejected:
        console.print(f"  [yellow]doesn't count:[/] {reason}", highlight=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
