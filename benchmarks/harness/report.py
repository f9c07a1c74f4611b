"""Options and figures of a benchmark: medians, paired ratios, tables and a file of all repeats.

A ratio is the median of the ratios within each repeat.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.machine import machine_facts
from harness.race import Race, Turns


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


def options(doc: str | None, *, repeats: int, peers: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the options of all benchmarks, and of those with peers."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n\n")[0])
    parser.add_argument("--repeats", type=_count, default=repeats, help="measured turns of each contestant")
    parser.add_argument("--threads", type=_count, default=os.cpu_count() or 1, help="threads of each contestant")
    parser.add_argument("--quick", action="store_true", help="check that the benchmark works, on tiny sizes")
    if peers:
        parser.add_argument("--no-peers", action="store_true", help="leave out contestants of the peers' environment")
        clocks = ("seconds", "processor")
        parser.add_argument("--clock", choices=clocks, default="seconds", help="processor: for busy machines")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write all results to FILE, with every repeat")
    return parser


def _count(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} was given; needed: a whole number of at least 1")
    return int(text)


def _file(text: str) -> Path:
    """Parse the name of a file in an existing folder, since it is written only after all measurements."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent} to write {path.name} in; make it first")
    return path


def write(arguments: argparse.Namespace, found: Mapping[str, Any], race: Race | None = None) -> None:
    """Print the facts about the machine, and write all results to the file that `--json` names."""
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
