"""`tightbound sweep`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tightbound.cli.several import Swept
from tightbound.cli.show import say
from tightbound.cli.sweep_progress import progress
from tightbound.cli.sweep_table import best_of, scored, show_found
from tightbound.cli.train import carry_out, compose, recorded, run_name
from tightbound.cli.training import Sweep, Train, Training
from tightbound.core.errors import InputError, TightboundError
from tightbound.search.ledger import Ledger, Search, Trial
from tightbound.search.metric import METRICS, Metric
from tightbound.search.plans import Advised, Drawn, Grid
from tightbound.search.pool import WorkersDied, pool
from tightbound.search.space import title
from tightbound.search.study import FILE as STUDY
from tightbound.search.study import Study
from tightbound.search.work import OnEpoch, work
from tightbound.search.work import Train as TrainTrial
from tightbound.training.callbacks import CallbackLike
from tightbound.training.checks import choose_device
from tightbound.training.folder import RunFolder
from tightbound.training.signals import Interrupted

_FREE = ("device", "checkpoint_seconds")  # what may differ between processes of a search


class RunsFailed(TightboundError):
    """Some runs of a sweep could not be trained."""

    exit_status = 1


class Job(NamedTuple):
    """What the processes of a sweep share."""

    ledger: Ledger
    search: Search
    metric: Metric
    study: Study | None
    test_all: bool  # whether each run is evaluated on test data, or only the one that is chosen


def sweep(command: Swept) -> None:
    """Trains each run that is not finished, and compares them all."""
    first = command.first
    first.check()
    folder = first.run or Path("runs") / "-".join([run_name(first), *(d.flag[2:] for d in command.space)])
    _check(command, first)
    job = _job(command, first, folder)
    _begin(command, first, job)
    over = [trial for trial in job.ledger.trials(job.search.names) if trial.over]
    for trial in over:
        say(f"{title(trial.values)}: {trial.reason or 'kept'}, {job.ledger.run(trial.name)}")
    died = _train(command, first, job, len(job.search.names) - len(over))
    trials, busy = job.ledger.trials(job.search.names), job.ledger.busy(job.search.names)
    if died and sum(trial.over for trial in trials) == len(job.search.names):
        say(f"note: {died}; others trained its runs", sys.stderr)
        died = None
    scores = scored(folder, trials, job.metric)
    chosen = best_of(trials, scores)
    if not job.test_all and not busy and not died and chosen is not None:
        _evaluate(command, chosen, job)
    show_found(folder, [d.field for d in command.space], trials, scores, job.metric, test_all=job.test_all)
    if busy:
        say(f"other processes train {', '.join(busy)}; the last to end shows the whole")
    if died:
        raise WorkersDied(f"{died}; the same command goes on")
    if failed := [trial for trial in trials if trial.state == "failed"]:
        raise RunsFailed(f"{len(failed)} of {len(trials)} runs failed, {failed[0].name} with: {failed[0].reason}; "
                         "the same command with --retry trains them again")  # fmt: skip
    runs = [job.ledger.run(trial.name) for trial in trials if trial.state == "done"]
    if job.test_all and len(runs) > 1:
        say(f"next: tightbound compare {' '.join(shlex.quote(str(run)) for run in runs)}")
    elif chosen is not None:
        say(f"next: tightbound report {shlex.quote(str(job.ledger.run(chosen.name)))}")


def _check(command: Swept, first: Sweep) -> None:
    """Refuses, before the first run begins, each value that goes with none of the others (see `_near`)."""
    if first.search == "grid" and any(d.ranged for d in command.space):
        raise InputError("a range has no grid; add --search random or --search tpe, and --trials N, or list values")
    if first.search != "grid" and any(d.field == "seed" for d in command.space):
        raise InputError("--seed is nothing to search over; sweep the seeds of what was chosen in a grid")
    if first.validation_size == 0 and (first.search != "grid" or first.prune):
        raise InputError(
            "--validation-size 0 leaves nothing to choose runs by; a search, and --prune, need validation data"
        )

    @functools.cache
    def refusal(values: tuple[str, ...]) -> TightboundError | None:
        try:
            point = command.at(dict(zip(fields, values, strict=True)))
            point.check()
            compose(point)
        except TightboundError as error:
            return error
        return None

    fields, extremes = [d.field for d in command.space], [d.extremes() for d in command.space]
    for i, values in enumerate(extremes):
        for value in values:
            refusals = (refusal(point) for point in _near([*extremes[:i], (value,), *extremes[i + 1 :]]))
            if (error := next(refusals)) is not None and all(other is not None for other in refusals):
                raise error


def _near(values: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Points at the first value of each option, but for none, one or two of them: all would be too many to try."""
    for n in range(3):
        for places in itertools.combinations(range(len(values)), n):
            at = [rest[1:] if i in places else rest[:1] for i, rest in enumerate(values)]
            yield from itertools.product(*at)


def _job(command: Swept, first: Sweep, folder: Path) -> Job:
    advised = first.search == "tpe"
    study = Study(folder, first.storage, prune=first.prune) if advised or first.prune or first.storage else None
    trials = first.trials or 20
    search: Search
    if advised and study is not None:
        search = Advised(command.space, study, trials, first.search_seed)
    elif first.search == "random":
        search = Drawn(command.space, study, trials, first.search_seed)
    else:
        search = Grid(command.space, study)
    if first.search != "grid":
        search.plan = {**search.plan, "--metric": first.metric}
    return Job(Ledger(folder), search, METRICS[first.metric], study, first.search == "grid")


def _begin(command: Swept, first: Sweep, job: Job) -> None:
    """Joins the search in the folder, or begins it.

    Raises:
        InputError: the folder holds another search, or runs with other settings.
    """

    def settings(values: Mapping[str, str]) -> dict[str, Any]:
        return {k: v for k, v in recorded(command.at(values)).items() if k not in _FREE}

    ledger, search = job.ledger, job.search
    if first.overwrite:
        ledger.forget_all(search.names)
        if job.study is not None:
            job.study.forget()
        else:
            (ledger.folder / STUDY).unlink(missing_ok=True)  # an earlier search's
    ledger.agree(search, command.start, settings)
    if first.retry:
        ledger.forget([trial.name for trial in ledger.trials(search.names) if trial.state == "failed"])
    if job.study is not None:
        with ledger.claims():
            job.study.agree(search.plan)


def _train(command: Swept, first: Sweep, job: Job, left: int) -> WorkersDied | None:
    """Trains what is left, in this process or in several; gives what killed some of them."""
    jobs, threads = _shares(first, left)
    if jobs == 1:
        with progress(job.ledger, job.metric, several=False) as tell:
            work(job.ledger, job.search, job.metric, _trainer(command, job), tell, job.study)
        return None
    say(f"{left} runs, {jobs} at once, {threads} thread{'s' * (threads > 1)} each")
    try:
        with progress(job.ledger, job.metric, several=True) as tell:
            by = pool(jobs, threads, _worker, (command, job.ledger.folder), tell)
    except WorkersDied as died:
        return died
    if by is not None:
        raise Interrupted(f"stopped by {by.name}; the same command goes on where it was", by)
    return None


def _shares(first: Sweep, left: int) -> tuple[int, int]:
    """How many runs at once, and threads of each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdecimal() and int(given) else None
    most = cores // (threads or 1) if choose_device(first.device).type == "cpu" else 1
    jobs = max(1, min(first.jobs or most, left))
    return jobs, threads or max(1, cores // jobs)


def _worker(pipe: Connection, command: Swept, folder: Path) -> None:
    """A process of several: silent but for what it sends."""
    train = _trainer(command, job := _job(command, command.first, folder))

    def silent(trial: Trial, on_epoch: OnEpoch) -> float | None:
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
            return train(trial, on_epoch)

    try:
        work(job.ledger, job.search, job.metric, silent, pipe.send, job.study)
    except Interrupted:  # a checkpoint was written
        raise
    except TightboundError as error:
        pipe.send(error)


def _trainer(command: Swept, job: Job) -> TrainTrial:
    def train(trial: Trial, on_epoch: OnEpoch) -> float | None:
        def after_epoch(row: Mapping[str, Any]) -> None:
            if not job.test_all and row["stage"] == "" and job.metric.key not in row:
                raise InputError(f"it has no {job.metric.description} to be chosen by; search by another --metric")
            on_epoch(row)

        run = RunFolder(job.ledger.run(trial.name))
        if not _finished(run):
            _clear(run)
            samples = {} if job.test_all else {"evaluate_samples": 0}
            try:
                _carry_out(command.at(trial.values), run, [lambda state: after_epoch(state.metrics)], **samples)
            except Interrupted as stop:
                where = title(trial.values)
                raise Interrupted(
                    f"stopped by {stop.by.name} at {where}; the same command goes on there", stop.by
                ) from None
        return job.metric.of_run(run)

    return train


def _carry_out(point: Sweep, run: RunFolder, callbacks: Sequence[CallbackLike] = (), **changed: Any) -> None:
    fields = {f.name: getattr(point, f.name) for f in dataclasses.fields(Training)}
    begun = {"run": run.path, "resume": run.model_file.is_file(), "overwrite": False}
    carry_out(Train(**{**fields, **begun, **changed}), run.path, callbacks)


def _finished(run: RunFolder) -> bool:
    return run.evaluation_file.is_file() and run.report_file.is_file()


def _clear(run: RunFolder) -> None:
    """Deletes what a process left that was killed before the folder was a run."""
    if run.path.is_dir() and not run.model_file.is_file():
        left = {file.name for file in run.path.iterdir() if not file.name.startswith(".")}
        if left <= {run.config_file.name, run.run_file.name}:
            shutil.rmtree(run.path)


def _evaluate(command: Swept, chosen: Trial, job: Job) -> None:
    """Evaluates the chosen run, and no other, on test data."""
    run = RunFolder(job.ledger.run(chosen.name))
    with job.ledger.held(chosen.name) as free:
        if free and not _finished(run):
            say(f"chosen by validation data: {title(chosen.values)}")
            _carry_out(command.at(chosen.values), run)
