"""Ask a question of a run, show the answer, and record it in the run; or ask all and write the report."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tightbound.analysis import record
from tightbound.analysis.base import Analysis, Subject
from tightbound.analysis.result import Result
from tightbound.cli.arguments import Report
from tightbound.cli.files import TABLES, check_ending, write_columns, write_npz
from tightbound.cli.remedy import remedy_command
from tightbound.cli.runs import load_run, of_the_run, open_data, say_next, split_name
from tightbound.cli.show import draw_next, keep, say, say_json, show_result
from tightbound.core.errors import InputError
from tightbound.core.files import write_atomic
from tightbound.core.world import dismissed
from tightbound.data import Split
from tightbound.pages.charts import drawn
from tightbound.pages.page import report as write_page

WORDS = {"train": "training split", "test": "test split", "all": "all examples"}


def ask(command: Any) -> None:
    """Carry out the command of an analysis."""
    per_example = getattr(command, "per_example", None)
    if per_example is not None:
        check_ending(per_example, (".npz", *TABLES))
    analysis = asked(command)
    trained = load_run(command)
    data, split = open_data(command, trained)
    name = f"{data.name}, {WORDS[split_name(command, data)]}"
    builtin = data.builtin
    if analysis.own_training_data and trained.data is not None:
        data = trained.data
    subject = Subject(split, data, name, given=command.data is not None and not builtin)
    result = subject.marked(analysis.run(trained, subject))
    dismissed()
    if per_example is not None:
        write_per_example(per_example, result.per_example, split)
    if command.figures is not None:
        write_figures(command.figures, result)
    own = of_the_run(command) if analysis.data != "required" else command.weights == command.split == "auto"
    if own and analysis.is_default:
        assert trained.folder is not None
        keep(trained.folder, analysis, result)
    again = remedy_command(command.run, result.remedy)
    if command.json:
        say_json(record.as_json(analysis, result, figures=False) | ({"command": again} if again else {}))
        return
    say(f"weights: {trained.weights}")
    show_result(result)
    if result.figures and command.figures is None:
        names = ", ".join(figure.name for figure in result.figures)
        say(f"figures ({names}): add --figures FOLDER to write them")
    say_next(command, "report {run}") if again is None else say(f"next: {again}")


def asked(command: Any) -> Analysis[Any]:
    """Return the analysis with the options of a command; runs that it names are loaded."""
    options: dict[str, Any] = {}
    for option in dataclasses.fields(command.analysis):
        value: Any = True if option.name == "progress" else getattr(command, option.name)
        if option.metadata.get("runs") and value is not None:
            several = isinstance(value, tuple)
            value = tuple(load_run(command, run) for run in value) if several else load_run(command, value)
        options[option.name] = value
    return command.analysis(**options)


def write_figures(folder: Path, result: Result) -> None:
    """Write each figure of a result into a folder."""
    if not result.figures:
        raise InputError("this analysis has no figures; leave out --figures")
    for figure in result.figures:
        name = f"{figure.name}.{'png' if figure.is_picture else 'svg'}"
        write_atomic(folder / name, drawn(figure))
        say(f"figure: {folder / name}", sys.stderr)


def write_per_example(out: Path, columns: Mapping[str, np.ndarray[Any, Any]], split: Split) -> None:
    """Write arrays with one row for each example: all arrays to .npz, only columns of numbers to tables.

    The columns that tell which examples of the split these are come first.
    """
    known = split.identity(torch.from_numpy(columns["index"])) if "index" in columns else {}
    if out.suffix == ".npz":
        write_npz(out, {**known, **columns})
        return
    shown = {**known, **{name: values for name, values in columns.items() if name != "index"}}
    write_columns(out, {name: values for name, values in shown.items() if values.ndim == 1})


def report(command: Report) -> None:
    """Write the page; what the run does not hold yet is measured first."""
    trained = load_run(command)
    page = write_page(trained, command.data, quick=command.quick, seed=command.seed, progress=True)
    say(f"report: {page}")
    say_next(command, draw_next(trained.model))
