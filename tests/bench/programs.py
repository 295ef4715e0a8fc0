"""Processes of a benchmark: pinned to a processor, spoken to in lines of JSON, their processor time read from outside.

Processor 0 of those that this process may use carries what sends and counts, processor 1 what is measured.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "bench"
ANSWER_S = 30.0
END_S = 10.0


class ProgramError(Exception):
    """A program of a benchmark ended, or didn't answer in time."""


def processors() -> tuple[int, int]:
    """(for the traffic, for what is measured); the same one twice where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[1 % len(allowed)]


def processor_ns(pid: int) -> int:
    """CPU time of a whole process, user and system, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime_ns((~pid << 3) | 2)


class Program:
    """A child process with a pipe either way. ``with`` it: it is ended whatever happens."""

    def __init__(self, command: Sequence[str], *, processor: int | None = None, log: str = "") -> None:
        pinned = [] if processor is None else ["taskset", "-c", str(processor)]
        self._command = [*pinned, *command]
        self._log = log or Path(command[0]).name
        self._pending = b""

    def __enter__(self) -> Program:
        BUILD.mkdir(parents=True, exist_ok=True)
        self._log_path = BUILD / f"{self._log}.log"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT
            )
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process, by_input=True)

    @property
    def pid(self) -> int:
        """``taskset`` becomes the program, so this is the program's own."""
        return self._process.pid

    def processor_ns(self) -> int:
        return processor_ns(self.pid)

    def line(self, within_s: float = ANSWER_S) -> str:
        """The next line of its output. Raises ProgramError."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + within_s
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise ProgramError(f"{self._log} said nothing within {within_s:.0f} s; {self._said()}")
            part = os.read(self._process.stdout.fileno(), 1 << 20)
            if not part:
                raise ProgramError(f"{self._log} ended; {self._said()}")
            self._pending += part
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def answer(self, within_s: float = ANSWER_S) -> Any:
        """The next line, which is JSON."""
        line = self.line(within_s)
        try:
            return json.loads(line)
        except ValueError:
            raise ProgramError(f"{self._log} said something else than JSON: {line[:500]}") from None

    def tell(self, line: str) -> None:
        _input(self._process).write(line.encode() + b"\n")
        _input(self._process).flush()

    def ask(self, line: str, within_s: float = ANSWER_S) -> Any:
        self.tell(line)
        return self.answer(within_s)

    def _said(self) -> str:
        text = self._log_path.read_text("utf-8", "replace").strip()
        return f"its last words: {text[-1500:]}" if text else "it said nothing on standard error"


def _input(process: subprocess.Popen[bytes]) -> BinaryIO:
    assert process.stdin is not None
    return process.stdin  # type: ignore[return-value]


def end(process: subprocess.Popen[bytes], *, by_input: bool = False) -> None:
    """By the end of its input where it listens to that, else SIGTERM, else SIGKILL."""
    if process.stdin is not None:
        process.stdin.close()
    if by_input:
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def module(name: str, *arguments: object) -> list[str]:
    """Command line of a program of this folder."""
    return [sys.executable, "-m", f"tests.bench.{name}", *(str(argument) for argument in arguments)]


@contextmanager
def running(command: Sequence[str], *, processor: int | None = None, log: str) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's program without pipes, its output in ``build/bench/LOG.log``, ended with SIGTERM."""
    BUILD.mkdir(parents=True, exist_ok=True)
    pinned = [] if processor is None else ["taskset", "-c", str(processor)]
    with (BUILD / f"{log}.log").open("wb") as out:
        process = subprocess.Popen([*pinned, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=BUILD)
    try:
        yield process
    finally:
        end(process)


def built(name: str) -> Path:
    """``NAME.c`` of this folder, compiled when it is newer than what was built from it."""
    source, made = Path(__file__).with_name(f"{name}.c"), BUILD / name
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        compiler = os.environ.get("CC", "cc")
        command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", str(made), str(source)]
        subprocess.run(command, check=True, timeout=60)
    return made


class Lines:
    """A program's own side of the pipes: says JSON, and hears questions as lines until its input ends."""

    @staticmethod
    def say(value: Any) -> None:
        print(json.dumps(value), flush=True)

    @staticmethod
    def hear() -> Iterator[str]:
        for line in sys.stdin:
            yield line.strip()
