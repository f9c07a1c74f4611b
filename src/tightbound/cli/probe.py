"""`tightbound probe`."""

from __future__ import annotations

from tightbound.cli.judging import Probe
from tightbound.cli.runs import load_run, of_the_run, open_data, say_next
from tightbound.cli.show import record, say, say_json, show_grid
from tightbound.report.probe import grids, sentence
from tightbound.training.folder import RunFolder


def probe(command: Probe) -> None:
    """Prints, and records in the run where the data are its own."""
    trained = load_run(command)
    data, _ = open_data(command, trained)
    found = trained.probe(
        data.train, data.require_test(), most=command.most, task=command.task, seed=command.seed
    ).to_json()
    if of_the_run(command):
        record(RunFolder(command.run).analysis_file("probe"), found)
    if command.json:
        say_json(found)
        return
    say(f"weights: {trained.weights}")
    for grid in grids(found):
        say("")
        show_grid(grid)
    say("")
    say(sentence(found))
    say_next(command, "report {run}")
