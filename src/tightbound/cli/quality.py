"""`tightbound quality`."""

from __future__ import annotations

from typing import Any

from tightbound.cli.judging import Quality
from tightbound.cli.runs import load_run, of_the_run, open_data, say_next
from tightbound.cli.show import draw_next, record, say, say_json
from tightbound.report.quality import caption, compared
from tightbound.training.folder import RunFolder


def quality(command: Quality) -> None:
    """Prints, and records in the run where the samples are those that `sample` shows by default."""
    trained = load_run(command)
    data, _ = open_data(command, trained)
    found = trained.quality(
        data, n=command.n, features=command.features, draw=command.draw, sampler=command.sampler, seed=command.seed,
        trust=command.trust, progress=True,
    ).to_json()  # fmt: skip
    if of_the_run(command) and not command.draw and command.sampler is None:
        record(RunFolder(command.run).analysis_file("quality"), found)
    if command.json:
        say_json(found)
        return
    say(f"weights: {trained.weights}")
    _show(found)
    say_next(command, draw_next(trained.model) if command.draw else "quality {run} --draw")


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", style="bold", no_wrap=True)
    for head in ("samples ± stderr", "floor"):
        table.add_column(head, no_wrap=True)
    table.add_column("unit: what it is", overflow="fold")
    for row in compared(found):
        table.add_row(row.name, row.value, row.floor, Text(f"{row.unit}: {row.description}"))
    console = Console()
    console.print(caption(found), highlight=False, markup=False)
    console.print(table)
