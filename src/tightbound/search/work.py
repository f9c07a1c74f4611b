"""Train the runs of a sweep, in this process or several, each of which takes runs until none are left."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tightbound.analysis.bounds.evaluate import Evaluate
from tightbound.analysis.record import save as save_answer
from tightbound.config import Config
from tightbound.core.errors import InputError, TightboundError
from tightbound.data import Data
from tightbound.recipes.composing import compose, opened, recorded
from tightbound.search.metric import METRICS, Metric
from tightbound.search.space import Space, configured, label
from tightbound.search.study import Record, Search, State, Study
from tightbound.trained import Trained
from tightbound.training.callbacks import TrainingState
from tightbound.training.checks import choose_device
from tightbound.training.fit import fit_run
from tightbound.training.folder import RunFolder
from tightbound.training.signals import Interrupted

_LOCAL = ("device", "checkpoint_seconds")  # settings that may differ between the processes of a sweep


@dataclass(frozen=True)
class Plan:
    """Plan that the processes of a sweep share."""

    folder: Path
    data: tuple[Any, Any, Any]  # training, validation and test data
    base: Config
    search: Search
    metric: Literal["elbo", "objective", "distortion"]
    prune: bool
    evaluate_samples: int
    max_examples: int
    trust: bool

    @property
    def space(self) -> Space:
        """The options that vary."""
        return self.search.space

    @property
    def all_tested(self) -> bool:
        """Whether every run is evaluated on test data, or only the best."""
        return self.search.kind == "grid"

    def open(self) -> Data:
        """Open the data."""
        return opened(self.base, *self.data, trust=self.trust)

    def study(self) -> Study:
        """Return the study in the folder."""
        return Study(self.folder, prune=self.prune)

    def agreed(self) -> dict[str, Any]:
        """Return what must not change between calls; a grid may get more values, and a search more trials."""
        varying, search = [d.field for d in self.space], self.search
        ranges = {d.field: " ".join(d.words) for d in self.space} if search.kind != "grid" else {}
        settings = {k: v for k, v in recorded(self.base).items() if k not in (*varying, *_LOCAL)}
        drawn = {"search_seed": search.seed, "metric": self.metric} if search.kind != "grid" else {}
        return {"search": search.kind, "options": ", ".join(varying), **ranges, **drawn, **settings}


@dataclass
class Progress:
    """Progress of a sweep on standard error: when runs begin and end, and every `seconds` how far they are."""

    folder: Path
    metric: Metric
    quiet: bool
    parent: int | None = None  # id of the process that started this one
    seconds: float = 10.0
    began: float = 0.0
    last: float = 0.0

    def note(self, line: str) -> None:
        """Print a line, unless quiet."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def say(self, record: Record, what: str, score: float | None = None) -> None:
        """Print an event of a run."""
        value = "" if score is None else f", validation {self.metric.description} {score:.2f}"
        self.note(f"{label(record.values)}: {what}{value}")

    def begin(self, record: Record) -> None:
        """Print that a run begins."""
        self.began = self.last = time.monotonic()
        self.say(record, str(self.folder / record.name))

    def epoch(self, record: Record, epoch: int, score: float | None) -> None:
        """Print how far a run is, if this process is one of several and enough time has passed."""
        if self.parent is None:
            return  # training shows its own progress
        if os.getppid() != self.parent:
            raise KeyboardInterrupt  # the process that started this one has died
        if time.monotonic() - self.last > self.seconds:
            self.last = time.monotonic()
            self.say(record, f"epoch {epoch}", score)

    def end(self, record: Record, state: State, score: float | None, reason: str | None) -> None:
        """Print how a run ended."""
        what = f"failed: {reason}" if state == "failed" else reason or "done"
        self.say(record, f"{what} [{time.monotonic() - self.began:.1f} s]", score)


def shares(device: str, jobs: int | None, left: int) -> tuple[int, int]:
    """Return the number of processes, and the number of threads in each."""
    from loky import cpu_count

    cores, given = cpu_count(), os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdecimal() and int(given) else None
    possible = cores // (threads or 1) if choose_device(device).type == "cpu" else 1
    jobs = max(1, min(jobs or possible, left))
    return jobs, threads or max(1, cores // jobs)


def in_processes(plan: Plan, jobs: int, threads: int, tell: Progress) -> None:
    """Train in several processes; each takes runs from the study until none are left."""
    from loky import ProcessPoolExecutor

    tell.note(f"{jobs} runs at once, {threads} thread{'s' * (threads > 1)} each")
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    with _ctrl_c_is_theirs(tell) as stopped:
        try:
            environment = dict.fromkeys(names, str(threads))
            with ProcessPoolExecutor(jobs, env=environment, initializer=_end_with, initargs=(os.getpid(),)) as pool:
                started = [pool.submit(_worker, plan, tell.quiet, os.getpid()) for _ in range(jobs)]
                stopped += [True for each in started if each.result()]
        except BrokenProcessPool:
            if not stopped:  # otherwise Ctrl-C came while they were starting
                raise WorkerLost("a process that trained runs was killed, perhaps because memory ran out; lower jobs=, "
                                 "and repeat the same command to continue") from None  # fmt: skip
    if stopped:
        raise Interrupted("stopped by SIGINT; repeat the same command to continue", signal.SIGINT)


class WorkerLost(TightboundError):
    """A process that trained runs was killed."""

    exit_status = 1


_working = threading.Lock()  # held by a process while it trains runs


def _end_with(parent: int) -> None:
    """End this process after its work if the one that started it was killed, which cannot end it any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        with _working:
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _worker(plan: Plan, quiet: bool, parent: int) -> bool:
    """Train runs in one of several processes; return whether Ctrl-C stopped it."""
    warnings.simplefilter("ignore")
    try:
        with _working:
            progress = Progress(plan.folder, METRICS[plan.metric], quiet, parent)
            work(plan, plan.open(), plan.study(), progress, alone=False)
    except KeyboardInterrupt:
        return True
    return False


@contextmanager
def _ctrl_c_is_theirs(tell: Progress) -> Iterator[list[bool]]:
    """Leave the first Ctrl-C to the other processes, which also receive it and write checkpoints.

    Yields:
        A list that is not empty once Ctrl-C has come.
    """
    stopped: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def first(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, previous)
        stopped.append(True)
        tell.note("stopping after writing checkpoints; press Ctrl-C again to stop at once")

    previous = signal.signal(signal.SIGINT, first)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, previous)


def work(plan: Plan, data: Data, study: Study, tell: Progress, *, alone: bool) -> None:
    """Train runs until none are left; an error ends only its run, not the sweep."""
    while True:
        with study.claimed(plan.search) as claimed:
            if claimed is None:
                return
            record, resumed = claimed
            tell.begin(record)
            state, score, reason = "done", None, None
            try:
                score = _train(plan, data, study, record, resumed, tell, alone)
            except _Pruned as stop:
                state, reason = "pruned", str(stop)
            except Interrupted as stop:
                message = f"stopped by {stop.by.name} at {label(record.values)}; repeat the same command to continue"
                raise Interrupted(message, stop.by) from None
            except Exception as error:
                state, reason = "failed", _in_a_line(error)
            study.finish(record, state, score, reason)
            tell.end(record, state, score, reason)


class _Pruned(Exception):
    """A run was stopped because others were better at the same epoch."""


def _train(
    plan: Plan, data: Data, study: Study, record: Record, resumed: bool, tell: Progress, alone: bool
) -> float | None:
    """Train, or continue, one run; return its score."""
    run, metric = RunFolder(plan.folder / record.name), METRICS[plan.metric]
    if resumed and not run.model_file.is_file():
        shutil.rmtree(run.path, ignore_errors=True)  # the process was killed before the folder became a run

    def after_epoch(state: TrainingState) -> None:
        row = state.metrics
        if state.stage == "" and metric.key not in row and not plan.all_tested:
            raise InputError(f"this model has no validation {metric.description}; pass another metric= to choose by")
        score = metric.at_epoch(row)
        tell.epoch(record, state.epoch, score)
        if score is not None and study.reached(record, state.epoch, score):
            raise _Pruned(f"pruned after epoch {row['epoch']}")

    composed = compose(configured(plan.base, record.values), data, trust=plan.trust)
    fitted = fit_run(
        composed.model, data, composed.objective, composed.config.settings(),
        run=run.path, resume=run.model_file.is_file(), quiet=tell.quiet or not alone,
        config=recorded(composed.config), callbacks=[after_epoch],
    )  # fmt: skip
    if plan.all_tested and data.test is not None:
        evaluate_on_test(Trained(fitted.model, data, folder=run, weights=fitted.weights), data, plan)
    return metric.of_run(run)


def evaluate_on_test(trained: Trained, data: Data, plan: Plan) -> None:
    """Evaluate a run on test data and record the evaluation, as `Trained.evaluate` does."""
    evaluate = Evaluate(samples=plan.evaluate_samples)
    found = evaluate.run(trained, trained.subject(data).at_most(plan.max_examples))
    assert trained.folder is not None
    save_answer(trained.folder, evaluate, found)


def _in_a_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "allocate" in text:
        return "out of memory"
    return text if isinstance(error, TightboundError) else f"{type(error).__name__}: {text}"
