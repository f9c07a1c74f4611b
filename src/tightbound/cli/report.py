"""`tightbound report`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from tightbound.analysis import paths
from tightbound.cli.arguments import Report
from tightbound.cli.diagnose import diagnosis_json
from tightbound.cli.paths import paths_json, some_pairs
from tightbound.cli.runs import load_run, of_the_run, open_data, say_next
from tightbound.cli.show import draw_next, record, say
from tightbound.config import read_yaml
from tightbound.core.errors import CompositionError, InputError, NotABound
from tightbound.data import Data
from tightbound.report.page import write_report
from tightbound.trained import Trained
from tightbound.training.folder import RunFolder

PAIRS = 200


def report(command: Report) -> None:
    """Writes the page, measuring first what the run does not hold."""
    trained = load_run(command)
    data, split = open_data(command, trained)
    folder, own = RunFolder(command.run), of_the_run(command)
    if own and folder.evaluation_file.is_file():
        numbers = folder.read(folder.evaluation_file)
    else:
        result = trained.evaluate(split, samples=command.samples, seed=command.seed, progress=True)
        numbers = result.to_json()
        if own:
            record(folder.evaluation_file, numbers)
    if own and not command.quick:
        for name, measure in MEASURES.items():
            _measure(name, measure, trained, data, command)
    write_report(trained, data, numbers, read_yaml(folder.config_file), own=own)
    say(f"report: {folder.report_file}")
    say_next(command, draw_next(trained.model))


def _measure(name: str, measure: Measure, trained: Trained, data: Data, command: Report) -> None:
    """Records an analysis, where the run has it not or but a quick one; says why where it does not apply."""
    folder = RunFolder(command.run)
    file = folder.analysis_file(name)
    if file.is_file() and not folder.read(file).get("quick", False):
        return
    say(f"measuring: {name}", sys.stderr)
    try:
        record(file, measure(trained, data, command))
    except (InputError, CompositionError, NotABound) as error:
        say(f"note: no {name} on the page: {error}", sys.stderr)


def _diagnosis(trained: Trained, data: Data, command: Report) -> Mapping[str, Any]:
    return diagnosis_json(trained.diagnose(data, seed=command.seed), command.run)


def _quality(trained: Trained, data: Data, command: Report) -> Mapping[str, Any]:
    return trained.quality(data, seed=command.seed, trust=command.trust).to_json()


def _paths(trained: Trained, data: Data, command: Report) -> Mapping[str, Any]:
    if trained.model.latents.code_grids:
        raise CompositionError("between codes, which are numbers of a codebook's entries, there is no path to measure")
    chosen = some_pairs(trained, data.require_test(), PAIRS, command.seed)
    return paths_json(trained, paths(trained.model, chosen, data.train, seed=command.seed), chosen, command.seed)


def _probe(trained: Trained, data: Data, command: Report) -> Mapping[str, Any]:
    return trained.probe(data.train, data.require_test(), seed=command.seed).to_json()


Measure = Callable[[Trained, Data, Report], Mapping[str, Any]]
MEASURES: dict[str, Measure] = {"diagnosis": _diagnosis, "quality": _quality, "paths": _paths, "probe": _probe}
