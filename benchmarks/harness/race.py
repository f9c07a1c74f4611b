"""Contestants that run in separate processes and take turns.

Each contestant is a script that ends in `worker.serve(...)`, run by the Python of tightbound's environment or of the
peers' environment (`peers.py`). One computes at a time, while the others wait on their pipes. The order is reversed
from one repeat to the next, so that a drift of the machine's speed affects all contestants alike.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from harness.worker import Answer

HERE = Path(__file__).parent.parent
PEERS = HERE.parent / ".peers"
CELLS = HERE.parent / ".peers-cells"  # scvi-tools needs different package versions
SETTLE = 0.05  # seconds between turns, in which idle threads stop spinning and go to sleep
Turns = dict[str, list[Answer]]


@dataclass(frozen=True)
class Contestant:
    """A contestant: a script in the folder of the benchmarks, and its options."""

    name: str
    script: str
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)


class Worker:
    """A contestant's process."""

    def __init__(self, contestant: Contestant, threads: int, log: Path) -> None:
        self.name, self._log = contestant.name, log
        count = str(threads)
        # XLA sizes its pool by NPROC. torch's wheels bring libgomp, whose threads sleep after some
        # milliseconds without work; OMP_WAIT_POLICY=passive would have them sleep within a step, too.
        ours = os.environ.get("PYTHONPATH", "") if contestant.python == sys.executable else ""
        paths = os.pathsep.join(filter(None, [str(HERE), ours]))
        own = {"PYTHONPATH": paths, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "NPROC": count}
        environment = {**os.environ, **own, "JAX_PLATFORMS": "cpu", **contestant.environment}
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [contestant.python, str(HERE / contestant.script)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
            )  # fmt: skip
        self._tell({"threads": threads, **contestant.options})
        self._facts: Answer | None = None

    @property
    def facts(self) -> Answer:
        """Facts about the process, once it is ready."""
        if self._facts is None:
            self._facts = self._answer()
        return self._facts

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Ask for one turn.

        Raises:
            SystemExit: If the process stopped; the message ends with its last lines of standard error.
        """
        self._tell(request)
        return self._answer()

    def _tell(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has stopped: `_answer` reports that
            print(json.dumps(request), file=self._process.stdin, flush=True)

    def _answer(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._log.read_text().splitlines()[-15:]
            sys.exit("\n".join([f"{self.name} stopped:", *said]))
        return json.loads(line)

    def processor(self) -> float:
        """Return the processor seconds that the process has used; NaN if the system does not tell."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return math.nan
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process by closing its input, or kill it."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has stopped by itself
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Race:
    """Contestants that start together and take turns.

    Attributes:
        facts: Facts about the process of each contestant.
        idle: The largest share of a turn for which the processes that waited were computing; 0 where none spins.
    """

    def __init__(self, contestants: Sequence[Contestant], threads: int) -> None:
        self._contestants, self._threads, self._stack = contestants, threads, ExitStack()
        self._workers: dict[str, Worker] = {}
        self.facts: dict[str, Answer] = {}
        self.idle = 0.0

    def __enter__(self) -> Self:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        with self._stack:
            for i, contestant in enumerate(self._contestants):
                worker = Worker(contestant, self._threads, folder / f"{i}.log")
                self._stack.callback(worker.close)
                self._workers[worker.name] = worker
            self.facts = {name: worker.facts for name, worker in self._workers.items()}  # they start side by side
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def run(
        self, repeats: int, warm: int = 1, *, requests: Mapping[str, Mapping[str, Any]] | None = None, **request: Any
    ) -> Turns:
        """Return `repeats` answers of each contestant to its request, after `warm` turns that do not count.

        Args:
            requests: Additional options by contestant; contestants without an entry are left out. None: all take part.
        """
        own = {name: {} for name in self._workers} if requests is None else requests
        turns: Turns = {name: [] for name in own}
        for repeat in range(-warm, repeats):
            for name in order(list(own), repeat):
                answer = self._turn(name, {**request, **own[name], "repeat": repeat})
                if repeat >= 0:
                    turns[name].append(answer)
        return turns

    def ask(self, contestant: str, **request: Any) -> Answer:
        """Return an answer that is not measured."""
        return self._workers[contestant].ask(request)

    def _turn(self, name: str, request: Mapping[str, Any]) -> Answer:
        time.sleep(SETTLE)
        others = [worker for other, worker in self._workers.items() if other != name]
        began, before = time.perf_counter(), sum(worker.processor() for worker in others)
        answer = self._workers[name].ask(request)
        used, taken = sum(worker.processor() for worker in others) - before, time.perf_counter() - began
        if used > 0.02:  # less is within the clock's resolution
            self.idle = max(self.idle, used / taken)
        return answer


def order(names: list[str], repeat: int) -> list[str]:
    """Return the order of turns, reversed in every other repeat."""
    return names if repeat % 2 == 0 else names[::-1]


def peers_python(folder: Path = PEERS) -> str:
    """Return the Python of the peers' environment.

    Raises:
        SystemExit: If there is none; the message says how to make it.
    """
    python = folder / "bin" / "python"
    if not python.is_file():
        sys.exit(f"there is no {folder}; make it with: python {HERE / 'peers.py'} (or leave the peers out: --no-peers)")
    return str(python)


def asked_for(contestants: Sequence[Contestant], base: str, arguments: argparse.Namespace) -> list[Contestant]:
    """Return the base and the contestants that `--only` names; without it, all that `--quick` has time for.

    Raises:
        SystemExit: If `--only` names an unknown contestant.
    """
    if arguments.only:
        names = [c.name for c in contestants]
        if unknown := [name for name in arguments.only if name not in names]:
            sys.exit(f"--only {unknown[0]!r}: there is no such contestant; give some of: {', '.join(map(repr, names))}")
        return [c for c in contestants if c.name in (base, *arguments.only)]
    return [c for c in contestants if not (arguments.quick and c.options.get("compile"))]
