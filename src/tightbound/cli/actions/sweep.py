"""`tightbound sweep`."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from tightbound.cli.actions.train import run_name
from tightbound.cli.show import say, show_result
from tightbound.cli.sweep_arguments import Swept
from tightbound.config import Config
from tightbound.core.errors import TightboundError
from tightbound.core.files import write_atomic
from tightbound.pages.charts import drawn
from tightbound.search.engine import sweep as run_sweep


class RunsFailed(TightboundError):
    """Some runs of a sweep could not be trained."""

    exit_status = 1


def sweep(swept: Swept) -> None:
    """Train all runs that are left, and print the table."""
    command = swept.command
    name = "-".join([run_name(command), *(option.replace("_", "-") for option in swept.values)])
    folder = command.run or Path("runs") / name
    found = run_sweep(
        command.data,
        swept.values,
        run=folder,
        search=command.search,
        trials=command.trials or 20,
        metric=command.metric,
        prune=command.prune,
        jobs=command.jobs,
        search_seed=command.search_seed,
        retry=command.retry,
        overwrite=command.overwrite,
        evaluate_samples=500 if command.evaluate_samples is None else command.evaluate_samples,
        max_examples=command.evaluate_data,
        trust=command.trust,
        **{f.name: getattr(command, f.name) for f in dataclasses.fields(Config) if f.name != "data"},
    )
    show_result(found)
    say(f"numbers: {folder / 'sweep.json'}")
    for figure in found.figures:
        write_atomic(folder / f"{figure.name}.svg", drawn(figure))
        say(f"picture: {folder / figure.name}.svg")
    if failed := [run for run in found.runs if run.state == "failed"]:
        raise RunsFailed(f"{len(failed)} of {len(found.runs)} runs failed, {failed[0].path.name} with: "
                         f"{failed[0].reason}; repeat the command with --retry to train them again")  # fmt: skip
    done = [shlex.quote(str(run.path)) for run in found.runs if run.state == "done"]
    if command.search == "grid" and len(done) > 1:
        say(f"next: tightbound compare {' '.join(done)}")
    elif found.best is not None:
        say(f"next: tightbound report {shlex.quote(str(found.best.path))}")
