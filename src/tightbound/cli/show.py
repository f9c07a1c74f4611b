"""What commands print."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tightbound.core.files import to_json, write_atomic
from tightbound.evaluation import Evaluation
from tightbound.report.table import rows
from tightbound.training.folder import RunFolder


def say(line: str, file: TextIO | None = None) -> None:
    """One line, at once."""
    print(line, file=file or sys.stdout, flush=True)


def evaluated(folder: RunFolder, numbers: Evaluation) -> None:
    """Records an evaluation in its run, and shows it as a table."""
    write_atomic(folder.evaluation_file, to_json(numbers.to_json()))
    show(numbers.to_json())


def show(numbers: dict[str, dict[str, Any]]) -> None:
    """A table with a line that explains each number."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    first = next(iter(numbers.values()))
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", header_style="dim")
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("value ± stderr", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("what it is")
    for row in rows(numbers):
        table.add_row(row.name, row.value, row.unit, Text(row.says))  # Text: brackets are no markup here
    console = Console()
    console.print(
        f"n = {first['n']:,} data, {first['samples']:,} importance samples a datum; target: {first['target']}",
        highlight=False,
    )
    console.print(table)
