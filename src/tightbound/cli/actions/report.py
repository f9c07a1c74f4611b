"""`tightbound report`."""

from __future__ import annotations

from tightbound.cli.arguments import Report
from tightbound.cli.runs import load_run, say_next
from tightbound.cli.show import draw_next, say
from tightbound.report.page import report as write


def report(command: Report) -> None:
    """Write the page; what the run does not hold yet is measured first."""
    trained = load_run(command)
    page = write(trained, command.data, quick=command.quick, seed=command.seed, progress=True)
    say(f"report: {page}")
    say_next(command, draw_next(trained.model))
