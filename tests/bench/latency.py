"""Added latency: the last packet of a picture in to its last packet out, with and without a busy interpreter."""

from __future__ import annotations

from tests.bench.figures import Result, Samples, at_most
from tests.bench.programs import Program, module, processors
from tests.bench.relay import ENGINE_PORTS, SINKS, cameras
from tests.bench.relay import fault as missing
from tests.bench.trace import Counted, Trace, replay, replayer

STREAMS = 20
SECONDS = 10.0
# Where the media thread pauses between wake-ups to save CPU (codecs/engine/src/io/ration.rs): up to 2 ms.
MANY, MANY_SECONDS = 100, 4.0
PROFILE = "AEAD_AES_128_GCM"
# A sender that is itself behind by this much says nothing about what it measures.
LATE_LIMIT_US = 20_000
MODES = ("idle", "blocked")


def once(trace: Trace, command: list[str], name: str) -> Counted:
    with Program(command, log=name) as program:
        ports = program.answer()
        with replayer(trace, [*ports, *[0] * len(ports)], "latency") as traffic:
            counted, _ = replay(traffic, trace.seconds, program.processor_ns)
    return counted


def measure(rounds: int) -> Result:
    trace, many = cameras(STREAMS, SECONDS, timed=True), cameras(MANY, MANY_SECONDS, timed=True)
    samples = Samples()
    for number in range(rounds):
        command = module("engine_relay", MANY, PROFILE, SINKS, ENGINE_PORTS, "idle")
        counted = once(many, command, "latency-engine")
        problem = missing(counted, PROFILE)
        if problem:
            samples.reject(f"round {number}, {MANY} cameras: {problem}")
        else:
            samples.add(many_p50=counted.delays["p50_us"] / 1000, many_p99=counted.delays["p99_us"] / 1000)
        for mode in MODES:
            engine = module("engine_relay", STREAMS, PROFILE, SINKS, ENGINE_PORTS, mode)
            python = module("python_forwarder", STREAMS, ENGINE_PORTS.partition("-")[0], SINKS, mode)
            for who, command, profile in (("engine", engine, PROFILE), ("python", python, "plain")):
                counted = once(trace, command, f"latency-{who}")
                problem = missing(counted, profile)
                if counted.late_us > LATE_LIMIT_US:
                    problem = f"the sender was {counted.late_us / 1000:.0f} ms late"
                if problem:
                    samples.reject(f"round {number}, {who} {mode}: {problem}")
                    continue
                for quantile in ("p50", "p99", "max"):
                    samples.add(**{f"{who}_{mode}_{quantile}": counted.delays[f"{quantile}_us"] / 1000})
    return Result(
        "added_latency_ms",
        samples.figures(
            *(
                (f"{who}_{mode}_{quantile}", f"{shown}, Python {mode}, {quantile}", "ms", target)
                for who, shown in (("engine", "engine"), ("python", "plain Python"))
                for mode in MODES
                for quantile, target in (
                    ("p50", None),
                    ("p99", at_most(1.0) if who == "engine" else None),
                    ("max", None),
                )
            ),
            ("many_p50", f"engine, {MANY} cameras, p50", "ms", None),
            ("many_p99", f"engine, {MANY} cameras, p99", "ms", None),
        ),
        samples.rejected,
        {
            "streams": STREAMS,
            "packets_per_picture": 11,
            "seconds": SECONDS,
            "profile": PROFILE,
            "processors": processors(),
        },
    )
