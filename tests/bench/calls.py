"""Calls per core: whole bridged calls on the engine against the same bridge on aiortc's receivers and senders."""

from __future__ import annotations

from typing import get_args

from tests.bench.call_traffic import CAMERA, PROFILE, Sound, fault, trace_of
from tests.bench.figures import Result, Samples, Target, at_least
from tests.bench.programs import Program, module, processors
from tests.bench.trace import Trace, replay, replayer

SECONDS = 6.0
# What each carries on one processor without losing anything: about half of what it could.
ENGINE_CALLS: dict[Sound, int] = {"passed": 64, "mixed": 24}
AIORTC_CALLS: dict[Sound, int] = {"passed": 16, "mixed": 6}
ENGINE_PORTS, AIORTC_FIRST_PORT = "62500-64499", 62500
# aiortc's jitter buffers let a picture go when the next one begins, and a sound frame when four more came.
AIORTC_KEEPS = {"kept_pictures": 1, "kept_frames": 4}


def per_core(
    trace: Trace, command: list[str], name: str, calls: int, kind: Sound, keeps: dict[str, int]
) -> float | str:
    """Calls that one processor would carry, at the CPU time that these took; or why that isn't known."""
    with Program(command, processor=processors()[1], log=name) as program:
        ports = [port for call in program.answer() for port in call]
        with replayer(trace, ports, "calls") as traffic:
            counted, used_ns = replay(traffic, trace.seconds, program.processor_ns)
    return fault(counted, kind, **keeps) or calls * trace.seconds * 1e9 / used_ns


def measure(rounds: int) -> Result:
    samples = Samples()
    for kind in get_args(Sound):
        many, few = trace_of(ENGINE_CALLS[kind], SECONDS, kind), trace_of(AIORTC_CALLS[kind], SECONDS, kind)
        for number in range(rounds):
            found: dict[str, float] = {}
            for name, trace, calls in (("engine", many, ENGINE_CALLS[kind]), ("engine_few", few, AIORTC_CALLS[kind])):
                command = module("engine_calls", calls, kind, ENGINE_PORTS)
                found[name] = _kept(
                    samples, number, kind, name, per_core(trace, command, "engine-calls", calls, kind, {})
                )
            command = module("aiortc_calls", AIORTC_CALLS[kind], kind, AIORTC_FIRST_PORT)
            measured = per_core(few, command, "aiortc-calls", AIORTC_CALLS[kind], kind, AIORTC_KEEPS)
            found["aiortc"] = _kept(samples, number, kind, "aiortc", measured)
            if all(found.values()):
                samples.add(**{f"{kind}_{name}": value for name, value in found.items()})
                samples.add(**{f"{kind}_ratio": found["engine"] / found["aiortc"]})
                samples.add(**{f"{kind}_ratio_few": found["engine_few"] / found["aiortc"]})
    targets: dict[Sound, Target | None] = {"passed": at_least(5.0), "mixed": None}
    shown: dict[Sound, str] = {"passed": "G.711 passed through", "mixed": "G.722 to Opus"}
    return Result(
        "calls_per_core_vs_aiortc",
        samples.figures(
            *(
                row
                for kind in get_args(Sound)
                for row in (
                    (f"{kind}_ratio", f"{shown[kind]}: engine / aiortc", "", targets[kind]),
                    (f"{kind}_ratio_few", f"{shown[kind]}: the same, {AIORTC_CALLS[kind]} calls each", "", None),
                    (f"{kind}_engine", f"{shown[kind]}: engine", "calls/core", None),
                    (f"{kind}_engine_few", f"{shown[kind]}: engine at {AIORTC_CALLS[kind]} calls", "calls/core", None),
                    (f"{kind}_aiortc", f"{shown[kind]}: aiortc", "calls/core", None),
                )
            )
        ),
        samples.rejected,
        {
            "engine_calls": ENGINE_CALLS,
            "aiortc_calls": AIORTC_CALLS,
            "seconds": SECONDS,
            "profile": PROFILE,
            "packets_per_s_and_call": 2 * (CAMERA.fps * CAMERA.fragments + 50),
        },
    )


def _kept(samples: Samples, number: int, kind: Sound, name: str, measured: float | str) -> float:
    if isinstance(measured, float):
        return measured
    samples.reject(f"round {number}, {kind}, {name}: {measured}")
    return 0.0
