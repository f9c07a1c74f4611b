"""What commands print."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from tightbound.analysis.estimate import with_error
from tightbound.analysis.pictures import is_image
from tightbound.analysis.result import Result
from tightbound.core.errors import InputError
from tightbound.core.files import to_json, write_atomic
from tightbound.core.model import VAE
from tightbound.report.table import Grid, brief, drawn, ladder


def say(line: str, file: TextIO | None = None) -> None:
    """One line, at once."""
    print(line, file=file or sys.stdout, flush=True)


def say_json(found: Any) -> None:
    """One JSON object, alone on standard output."""
    print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))


def endings(shape: tuple[int, ...]) -> tuple[str, ...]:
    """What data of this shape can be written to, the best first."""
    return (".png",) * is_image(shape) + (".csv",) * (len(shape) == 1) + (".npz", ".npy")


def record(file: Path, found: Mapping[str, Any]) -> None:
    """Keeps what was found in a file of its run; a run that cannot be written is only said to be so."""
    try:
        write_atomic(file, to_json(found))
    except InputError as error:
        say(f"note: the numbers are not kept in the run: {error}", sys.stderr)


def show(numbers: Mapping[str, Mapping[str, Any]], caption: str | None = None) -> None:
    """A table with a line that explains each number, under a caption; None: that of an evaluation."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    first = next(iter(numbers.values()))
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", header_style="dim")
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("value ± stderr", max_width=20)  # lists of numbers wrap: what they are needs the room
    table.add_column("unit: what it is", overflow="fold")
    for row in brief(numbers):
        table.add_row(row.name, row.value, Text(f"{row.unit}: {row.description}"))  # Text: brackets are no markup here
    if caption is None:
        caption = f"n = {first['n']:,} data, {drawn(first)}; target: {first['target']}"
    console = Console()
    console.print(caption, highlight=False, markup=False)
    console.print(table)


def show_grid(grid: Grid) -> None:
    """A table of numbers with headings, under its title and line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", style="bold", no_wrap=True)
    for head in grid.head:
        table.add_column(head, no_wrap=True)
    for row in grid.rows:
        table.add_row(*map(Text, row))  # Text: brackets are no markup here
    console = Console()
    console.print(grid.title, style="bold", highlight=False, markup=False)
    console.print(grid.description, highlight=False, markup=False)
    needed = console.measure(
        table, options=console.options.update(width=10_000)
    ).maximum  # on a narrow terminal lines wrap: no figure is cut short
    (console if needed <= console.width else Console(width=needed)).print(table)


def show_ladder(numbers: Mapping[str, Mapping[str, Any]]) -> None:
    """The IWAE bound by number of samples, where there are several."""
    rungs = ladder(numbers)
    if not rungs:
        return
    lines = [
        (
            f"{rung.samples:,}",
            with_error(rung.bound, rung.bound_error),
            "" if rung.gain is None else with_error(rung.gain, rung.gain_error),
        )
        for rung in rungs
    ]
    description = "All k are of the same draws; the gains are paired over data."
    show_grid(
        Grid("The bound by number of samples k", description, ("IWAE bound, nats", "gain over the k before"), lines)
    )


def draw_next(model: VAE) -> str:
    """The command that shows what the model draws."""
    ending = endings(model.shape)[0]
    completes = model.context is not None and model.context.completes
    return f"complete {{run}} --out completions{ending}" if completes else f"sample {{run}} --out samples{ending}"


def show_result(result: Result) -> None:
    """Print the answer of an analysis: sentences, estimates, then tables."""
    for sentence in result.sentences:
        say(sentence)
    if result.estimates:
        show({name: asdict(estimate) for name, estimate in result.estimates.items()}, result.caption)
    elif result.caption:
        say(result.caption)
    for table in result.tables:
        show_grid(Grid(table.title, table.caption, list(table.columns)[1:], table.rows))
        for note in table.notes:
            say(note)
