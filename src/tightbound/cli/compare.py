"""`tightbound compare`."""

from __future__ import annotations

import shlex
from dataclasses import asdict

import numpy as np

from tightbound.analysis import Comparison
from tightbound.analysis.comparison.compare import COMPARED, MODEL, Difference, check_same_target
from tightbound.analysis.estimate import Estimate, with_error
from tightbound.cli.arguments import OnData
from tightbound.cli.files import check_ending
from tightbound.cli.judging import Compare
from tightbound.cli.runs import load_run, open_data
from tightbound.cli.show import say, say_json
from tightbound.core.errors import InputError
from tightbound.core.files import write_atomic
from tightbound.data import Data, Split
from tightbound.report.compare import differences
from tightbound.trained import Trained
from tightbound.trained import compare as compare_trained

WAYS = {1: "higher is better", -1: "lower is better", 0: "higher counts"}


def compare(command: Compare) -> None:
    """Prints a table, what it description, and writes a picture."""
    if len(command.runs) < 2:
        raise InputError(f"{len(command.runs)} run was given; give two or more: tightbound compare RUN RUN")
    if command.out is not None:
        check_ending(command.out, (".svg",))
    names = [str(run) for run in command.runs]
    if len({run.resolve() for run in command.runs}) < len(names):
        raise InputError(f"a run is named twice: {', '.join(names)}; name different ones")
    opened = [_open(command, number) for number in range(len(names))]
    check_same_target({name: trained.model for name, (trained, _, _) in zip(names, opened, strict=True)})
    _, data, split = opened[0]
    for name, (_, other, own) in zip(names, opened, strict=True):
        if other.fingerprint != data.fingerprint or not data.fingerprint.startswith("sha256:"):
            raise InputError(
                f"{names[0]!r} and {name!r} are of different data ({data.name}, {other.name}); compare them on the "
                "same, with --data DATA"
            )
        if len(own) != len(split):
            raise InputError(
                f"{names[0]!r} set {len(split):,} data aside and {name!r} {len(own):,}: one was trained on data that "
                "the other is tested on; train both with the same --test"
            )
    found = compare_trained(
        [trained for trained, _, _ in opened], split,
        samples=command.samples, most=command.n, seed=command.seed, progress=True,
    )  # fmt: skip
    against = _against_the_best(found)
    if command.out is not None:
        write_atomic(command.out, differences(found.to_json(), [asdict(d) for d in against]))
    if command.json:
        told = {**found.to_json(), "data": {"name": data.name, "fingerprint": data.fingerprint, "split": command.split}}
        say_json(told)
        return
    _show(found, against, command, data)
    say(f"next: tightbound report {shlex.quote(next(n for n in names if found.best in n))}")


def _open(command: Compare, number: int) -> tuple[Trained, Data, Split]:
    one = OnData(
        command.runs[number], command.weights, command.seed, command.device, command.trust, command.data, command.split
    )
    trained = load_run(one)
    return trained, *open_data(one, trained)


def _against_the_best(found: Comparison) -> list[Difference]:
    others = [run for run in found.runs if run != found.best]
    return [found.between(run, found.best, quantity) for quantity in COMPARED for run in others]


def _show(found: Comparison, against: list[Difference], command: Compare, data: Data) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(
        f"{data.name}: n = {found.n:,} data, the same for all, with the same noise; {command.samples:,} importance "
        f"samples an example; target: {found.target}",
        highlight=False, markup=False,
    )  # fmt: skip
    pairs = len(found.runs) * (len(found.runs) - 1) // 2
    say(f"paired differences to {found.best}" + f"; p corrected for {pairs} pairs (Holm)" * (pairs > 1))
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for column in ("", "mean ± stderr", "difference", "p", "P(better)", "wins"):
        table.add_column(column, no_wrap=True)
    for quantity, sign in COMPARED.items():
        table.add_row(Text(quantity, style="bold"), Text(WAYS[sign], style="dim"))
        for run, numbers in found.runs.items():
            cells = ["best" if run == found.best else ""]
            if run != found.best:
                one = found.between(run, found.best, quantity)
                shown = ((one.p_corrected, ".2g"), (one.probability, ".3f"), (one.win_rate, ".0%"))
                cells = [_number(one.difference), *("-" if v is None else format(v, how) for v, how in shown)]
            table.add_row(f"  {run}", _number(numbers[quantity]), *cells)
    console.print(table)
    bound = "iwae" if any(one.quantity == "iwae" and one.p is not None for one in against) else "elbo"
    for one in against:
        if one.quantity in (bound, "reconstruction_mse"):
            say(one.description())
    say(f"model: {MODEL}")


def _number(number: Estimate) -> str:
    value, stderr = (None if v is None else float(np.asarray(v)) for v in (number.value, number.stderr))
    return "-" if value is None else with_error(value, stderr)
