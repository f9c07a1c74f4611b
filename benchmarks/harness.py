"""Contestants in processes of their own that take turns: medians, paired ratios, and facts about the machine.

Each contestant is a script that ends in `worker.serve(...)`, run by a Python that has what it needs: the product's own,
or that of the peers' environment (`peers.py`). One computes at a time, while the others wait on their pipes; the order
is turned round from one repeat to the next, so that a machine whose speed drifts slows all. A ratio is the median over
the repeats of the ratios within each.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.table import Table
from worker import Answer, versions

HERE = Path(__file__).parent
PEERS = HERE.parent / ".peers"
CELLS = HERE.parent / ".peers-cells"  # scvi-tools needs different package versions
FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8",
    "asimd", "sve", "bf16", "i8mm",
)  # fmt: skip
LOAD = os.getloadavg()  # before the contestants start
SETTLE = 0.05  # seconds between turns, in which idle threads stop spinning and go to sleep
Turns = dict[str, list[Answer]]


@dataclass(frozen=True)
class Contestant:
    """A contestant: a script beside this file, and its options."""

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
            SystemExit: the process stopped; with the end of what it wrote to standard error.
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
    """Contestants that are started together and take turns.

    Attributes:
        facts: What each says of its process.
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
        """Return `repeats` answers of each contestant to a request, after `warm` turns that do not count.

        Args:
            requests: By contestant, what is asked beside that; the others take no part. None: all do.
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


def values(turns: Turns, of: str = "seconds") -> dict[str, list[float]]:
    """Return one number of each answer."""
    return {name: [answer[of] for answer in answers] for name, answers in turns.items()}


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of paired ratios, not the ratio of medians, which may come from different repeats."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def summary(times: Mapping[str, Sequence[float]], base: str | None = None) -> dict[str, dict[str, Any]]:
    """Return median, minimum and maximum of each contestant, and the median paired ratio to `base`."""
    found: dict[str, dict[str, Any]] = {}
    for name, each in times.items():
        found[name] = {"median": statistics.median(each), "min": min(each), "max": max(each), "repeats": list(each)}
        if base is not None:
            found[name]["ratio"] = ratio(each, times[base])
    return found


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Print a table: the first column is text, the others are numbers."""
    table = Table(title=title, caption=note or None, title_justify="left", caption_justify="left")
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left", no_wrap=i > 0)
    for row in rows:
        table.add_row(*row)
    wide = None if sys.stdout.isatty() else 140
    Console(width=wide, highlight=False).print(table)


def seconds_table(title: str, found: Mapping[str, Mapping[str, Any]], base: str, unit: str = "s") -> None:
    """Print the table of a summary; `unit` "ms" shows milliseconds."""
    scale = {"s": 1.0, "ms": 1e3}[unit]
    head = ["contestant", f"median, {unit}", "min", "max", f"x {base}"]
    rows = [
        [name, *(f"{row[key] * scale:.4g}" for key in ("median", "min", "max")), f"{row['ratio']:.2f}"]
        for name, row in found.items()
    ]
    show(title, head, rows)


def machine_facts() -> dict[str, Any]:
    """Return the facts that the figures depend on."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "caches": _caches(),
        "isa": [flag for flag in FLAGS if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": list(LOAD),
        "python": platform.python_version(),
        "packages": versions(),
        "commit": _commit(),
    }


def _cpuinfo() -> dict[str, str]:
    """Return facts about the first processor, on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _caches() -> dict[str, str]:
    """Return the cache sizes of the first processor by level, on Linux."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        found[f"L{level}{kind[0].lower() if kind != 'Unified' else ''}"] = size
    return found


def _commit() -> str | None:
    """Return the commit of the checkout, with a "+" if it has been changed since."""
    git = ["git", "-C", str(HERE)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def peers_python(folder: Path = PEERS) -> str:
    """Return the Python of the peers' environment.

    Raises:
        SystemExit: there is none; with how to make it.
    """
    python = folder / "bin" / "python"
    if not python.is_file():
        sys.exit(f"there is no {folder}; make it with: python {HERE / 'peers.py'} (or leave the peers out: --no-peers)")
    return str(python)


def asked_for(contestants: Sequence[Contestant], base: str, arguments: argparse.Namespace) -> list[Contestant]:
    """Return the contestants that `--only` names, and the base; without it all that `--quick` has time for.

    Raises:
        SystemExit: `--only` names what is not there.
    """
    if arguments.only:
        names = [c.name for c in contestants]
        if unknown := [name for name in arguments.only if name not in names]:
            sys.exit(f"--only {unknown[0]!r}: there is no such contestant; give some of: {', '.join(map(repr, names))}")
        return [c for c in contestants if c.name in (base, *arguments.only)]
    return [c for c in contestants if not (arguments.quick and c.options.get("compile"))]


def options(doc: str | None, *, repeats: int, peers: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark, and those for contestants."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n\n")[0])
    parser.add_argument("--repeats", type=_count, default=repeats, help="turns that count, of each")
    parser.add_argument("--threads", type=_count, default=os.cpu_count() or 1, help="of each")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, measures nothing")
    if peers:
        parser.add_argument("--no-peers", action="store_true", help="leave out what needs the peers' environment")
        clocks = ("seconds", "processor")
        parser.add_argument("--clock", choices=clocks, default="seconds", help="processor time, on a busy machine")
    parser.add_argument("--json", type=_file, metavar="FILE", help="where all of it is written, every repeat included")
    return parser


def _count(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} was given; needed: a whole number of at least 1")
    return int(text)


def _file(text: str) -> Path:
    """Parse a file in an existing folder: it is written after everything was measured."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent} to write {path.name} in; make it first")
    return path


def write(arguments: argparse.Namespace, found: Mapping[str, Any], race: Race | None = None) -> None:
    """Print the machine, and write everything to the file that `--json` names."""
    machine = machine_facts()
    line = f"{machine['cpu']}, {machine['cores']} cores, {arguments.threads} threads, {' '.join(machine['isa'])}"
    print(f"{line}; load {machine['load_average'][0]:.2f}; commit {machine['commit']}")
    given = {name: str(v) if isinstance(v, Path) else v for name, v in vars(arguments).items() if name != "json"}
    report: dict[str, Any] = {"machine": machine, "options": given, **found}
    if race is not None:
        report |= {"contestants": race.facts, "idle": race.idle}
        if race.idle > 0.02:
            print(f"processes that waited computed for up to {race.idle:.0%} of a turn: the figures are too high")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
