"""Print the answers of commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from tightbound.analysis import record
from tightbound.analysis.base import Analysis
from tightbound.analysis.estimate import Estimate
from tightbound.analysis.pictures import is_image
from tightbound.analysis.result import Result, Table
from tightbound.cli.commands import in_flags
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.pages.rows import rows
from tightbound.training.folder import RunFolder

TEXT = 40  # characters; a table's column with longer cells wraps


def say(line: str, file: TextIO | None = None) -> None:
    """Print one line at once."""
    print(line, file=file or sys.stdout, flush=True)


def note(message: str) -> None:
    """Print a note on standard error, in the words of the command line."""
    say(f"note: {in_flags(message, None)}", sys.stderr)


def say_json(found: Any) -> None:
    """Print one JSON object, alone on standard output."""
    print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))


def endings(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the file endings that examples of this shape can be written with, the best first."""
    return (".png",) * is_image(shape) + (".csv", ".parquet") * (len(shape) == 1) + (".npz", ".npy")


def keep(folder: RunFolder, analysis: Analysis[Any], result: Result) -> None:
    """Record an answer in its run; if the run cannot be written, only say so."""
    try:
        record.save(folder, analysis, result)
    except InputError as error:
        note(f"the answer was not recorded in the run: {error}")


def show_result(result: Result) -> None:
    """Print the answer of an analysis: conclusions, estimates, then tables."""
    for sentence in result.sentences:
        say(in_flags(sentence, None))
    if result.estimates and not result.tabulated:
        show_estimates(result.estimates, result.caption)
    elif result.caption:
        say(result.caption)
    for table in result.tables:
        show_table(table)


def show_estimates(estimates: Mapping[str, Estimate], caption: str = "") -> None:
    """Print a table with a line that explains each number, under a caption."""
    from rich.console import Console
    from rich.table import Table as Lines
    from rich.text import Text

    table = Lines(box=None, padding=(0, 2, 0, 0), title_justify="left", header_style="dim")
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("value ± stderr", max_width=20)  # long lists of numbers wrap, since descriptions need the room
    table.add_column("unit: description", overflow="fold")
    for row in rows(estimates):
        text = in_flags(f"{row.unit}: {row.description}", None)
        table.add_row(row.name, row.value, Text(text))  # Text: brackets are not markup
    console = Console()
    if caption:
        console.print(caption, highlight=False, markup=False)
    console.print(table)


def show_table(shown: Table) -> None:
    """Print a table with its title, caption and notes.

    Columns of numbers are never cut short, on a narrow terminal either; columns of text wrap.
    """
    from rich.console import Console
    from rich.table import Table as Lines
    from rich.text import Text

    table = Lines(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for i, head in enumerate(shown.columns):
        is_text = any(len(row[i]) > TEXT for row in shown.rows)
        table.add_column(head, no_wrap=not is_text, overflow="fold", style="bold" if i == 0 else None)
    for row in shown.rows:
        table.add_row(*map(Text, row))  # Text: brackets are not markup
    console = Console()
    console.print(shown.title, style="bold", highlight=False, markup=False)
    if shown.caption:
        console.print(shown.caption, highlight=False, markup=False)
    needed = console.measure(table, options=console.options.update(width=10_000)).minimum
    (console if needed <= console.width else Console(width=needed)).print(table)
    for line in shown.notes:
        console.print(in_flags(line, None), highlight=False, markup=False)


def draw_next(model: VAE) -> str:
    """Return the command that shows what the model makes; `{run}` stands for the run."""
    ending = endings(model.shape)[0]
    completes = model.context is not None and model.context.completes
    return f"complete {{run}} --out completions{ending}" if completes else f"sample {{run}} --out samples{ending}"
