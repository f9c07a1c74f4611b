"""`sweep`: trains a run for each of several settings, and compares them."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tightbound.analysis.bounds.evaluate import Evaluate
from tightbound.analysis.record import load as load_answers
from tightbound.analysis.record import save as save_answer
from tightbound.config import Config
from tightbound.core.errors import InputError, TightboundError, whole
from tightbound.core.files import to_json, write_atomic
from tightbound.data import Data
from tightbound.data.given import training_data
from tightbound.recipes import recipe as find_recipe
from tightbound.recipes.composing import compose, recorded
from tightbound.search.metric import METRICS
from tightbound.search.progress import Progress
from tightbound.search.result import SweepResult, SweptRun
from tightbound.search.space import Space, configured, label, space_of
from tightbound.search.study import Kind, Record, Search, Study, delete_sweep
from tightbound.trained import Trained, load
from tightbound.training.callbacks import TrainingState
from tightbound.training.checks import choose_device
from tightbound.training.fit import fit_run
from tightbound.training.folder import RunFolder
from tightbound.training.signals import Interrupted

_LOCAL = ("device", "checkpoint_seconds")  # may differ between the processes of a sweep


def sweep(
    data: Any,
    values: Mapping[str, Any],
    *,
    run: str | Path,
    validation: Any = None,
    test: Any = None,
    search: Kind = "grid",
    trials: int = 20,
    metric: Literal["elbo", "objective", "distortion"] = "elbo",
    prune: bool = False,
    jobs: int | None = None,
    search_seed: int = 0,
    retry: bool = False,
    overwrite: bool = False,
    evaluate_samples: int = 500,
    max_examples: int = 1000,
    trust: bool = False,
    quiet: bool = False,
    recipe: str | None = None,
    **options: Any,
) -> SweepResult:
    """Train a run for each of several settings, and compare them.

        found = tb.sweep("digits", {"beta": (0.5, 1, 4), "latent": (2, 8)}, run="runs/grid", epochs=20)
        found = tb.sweep(x, {"lr": "log(1e-4, 1e-2)", "latent": "int(2, 64)"}, search="tpe", run="runs/tpe")
        best = tb.load(found.best.path)

    The best run is chosen by validation data, never by test data. A grid evaluates every run on test data; a random or
    TPE search evaluates only the best. Repeat the call to continue an interrupted sweep; several processes, on machines
    that share the folder, may make the same call at once.

    Args:
        data: Training data, in any form that `fit()` accepts.
        values: Option -> its values: a sequence, or for a random or TPE search also a range, "uniform(0.1, 4)",
            "log(1e-4, 1e-2)" or "int(2, 64)", by itself or as an argument of a component:
            "vamp(components=int(10, 500))".
        run: Folder of the sweep: each run is a folder in it, beside sweep.json.
        validation: Validation data; None: examples are taken from the training data.
        test: Test data, or the share of a file to set aside for testing; without test data, runs have no test numbers.
        search: "grid" (all combinations of the values), "random" (random draws), or "tpe" (draws guided by earlier
            runs: Optuna's tree-structured Parzen estimator).
        trials: Number of runs of a random or TPE search.
        metric: Validation number by which runs are chosen and pruned.
        prune: Stop a run whose best validation number is below the median of the others' at the same epoch, from the
            fifth epoch on and after five runs have ended.
        jobs: Number of runs trained at once, each in a process; None: as many as the cores allow, one on an
            accelerator.
        search_seed: Random seed of the values that are drawn.
        retry: Train failed runs again.
        overwrite: Delete the sweep in the folder first.
        evaluate_samples: Importance samples of the evaluation on test data.
        max_examples: Maximum number of test examples, picked at random.
        trust: Import components from outside tightbound, written "module:Class(...)".
        quiet: Show no progress.
        recipe: A published composition that the options change.
        options: All other options, the same for all runs: fields of the composition (latent, network, prior, ...) and
            of training (epochs, lr, seed, ...).

    Returns:
        The runs with their validation scores and test numbers.

    Raises:
        InputError: Values that cannot be swept, or a folder that holds another sweep.
        CompositionError: A value fits none of the others.
        Interrupted: Ctrl-C; checkpoints have been written.
    """
    name = os.fspath(data) if isinstance(data, str | os.PathLike) else getattr(data, "name", type(data).__name__)
    base = (find_recipe(recipe) if recipe else Config()).replace(**options, data=name)
    space = space_of(values)
    plan = _Plan(Path(run), (data, validation, test), base, Search(search, space, trials, search_seed), metric, prune,
                 evaluate_samples, max_examples, trust)  # fmt: skip
    _check_arguments(plan, jobs)
    opened = plan.open()
    _check_values(plan, opened)
    if overwrite:
        delete_sweep(plan.folder, plan.search.names)
    study = plan.study()
    study.agree(plan.agreed())
    if retry:
        study.forget(["failed"])
    known = study.records()
    over = [known[name] for name in plan.search.names if name in known and known[name].state != "unfinished"]
    tell = Progress(plan.folder, METRICS[metric], quiet)
    for record in over:
        tell.say(record, record.reason or "done before")
    left = len(plan.search.names) - len(over)
    jobs, threads = _shares(base.device, jobs, left)
    if jobs == 1:
        _work(plan, opened, study, tell, alone=True)
    else:
        _in_processes(plan, jobs, threads, tell)
    found = _result(plan, study)
    best = found.best
    if best is not None and best.tested is None and opened.test is not None and not study.busy(study.records()):
        tell.note(f"best by validation data: {label(best.values)}")
        _evaluate(load(best.path, device=base.device, trust=trust), opened, plan)
        found = _result(plan, study)
    if busy := study.busy([name for name, record in study.records().items() if record.state == "unfinished"]):
        tell.note(f"other processes still train {', '.join(busy)}; the last to end shows all runs")
    write_atomic(plan.folder / "sweep.json", to_json(found.to_json(figures=False)))
    return found


@dataclass(frozen=True)
class _Plan:
    """What the processes of a sweep share."""

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
        return self.search.space

    @property
    def all_tested(self) -> bool:
        return self.search.kind == "grid"

    def open(self) -> Data:
        source, validation, test = self.data
        options = self.base.data_options()
        share = options.pop("test")
        return training_data(source, validation, share if test is None else test, **options)

    def study(self) -> Study:
        return Study(self.folder, prune=self.prune)

    def agreed(self) -> dict[str, Any]:
        """Return what must not change between calls; a grid may be given more values, a search more trials."""
        varying, search = [d.field for d in self.space], self.search
        ranges = {d.field: " ".join(d.words) for d in self.space} if search.kind != "grid" else {}
        settings = {k: v for k, v in recorded(self.base).items() if k not in (*varying, *_LOCAL)}
        drawn = {"search_seed": search.seed, "metric": self.metric} if search.kind != "grid" else {}
        return {"search": search.kind, "options": ", ".join(varying), **ranges, **drawn, **settings}


def _check_arguments(plan: _Plan, jobs: int | None) -> None:
    grid = plan.search.kind == "grid"
    for name, value in (("trials", plan.search.trials), ("evaluate_samples", plan.evaluate_samples),
                        ("max_examples", plan.max_examples), ("jobs", 1 if jobs is None else jobs)):  # fmt: skip
        whole(name, value, least=1)
    whole("search_seed", plan.search.seed, least=0)
    if grid and (ranged := [d.field for d in plan.space if d.ranged]):
        raise InputError(f"{ranged[0]}= has a range, which a grid cannot list; give search=random or tpe, or values")
    if not grid and any(d.field == "seed" for d in plan.space):
        raise InputError("seed= cannot be searched; sweep the seeds of the chosen settings in a grid")
    if plan.base.validation_size == 0 and (not grid or plan.prune):
        raise InputError("validation_size=0 leaves no data to choose runs by; a search and prune= need validation data")


def _check_values(plan: _Plan, data: Data, tries: int = 20) -> None:
    """Raise an error if a value fits none of the others, before anything is trained; `tries` combinations of each value
    are tried."""
    fields, extremes = [d.field for d in plan.space], [d.extremes() for d in plan.space]
    for i, values in enumerate(extremes):
        for value in values:
            points = itertools.product(*(extremes[:i]), (value,), *extremes[i + 1 :])
            errors = []
            for point in itertools.islice(points, tries):
                try:
                    config = configured(plan.base, dict(zip(fields, point, strict=True)))
                    config.check()
                    compose(config, data, trust=plan.trust)
                    break
                except TightboundError as error:
                    errors.append(error)
            else:
                raise errors[0]


def _shares(device: str, jobs: int | None, left: int) -> tuple[int, int]:
    """Return the number of processes, and threads in each."""
    from loky import cpu_count

    cores, given = cpu_count(), os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdecimal() and int(given) else None
    possible = cores // (threads or 1) if choose_device(device).type == "cpu" else 1
    jobs = max(1, min(jobs or possible, left))
    return jobs, threads or max(1, cores // jobs)


def _in_processes(plan: _Plan, jobs: int, threads: int, tell: Progress) -> None:
    """Train in several processes; each takes runs from the study until none are left."""
    from loky import ProcessPoolExecutor

    tell.note(f"{jobs} runs at once, {threads} thread{'s' * (threads > 1)} each")
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    with _ctrl_c_is_theirs(tell) as stopped:
        try:
            with ProcessPoolExecutor(jobs, env=dict.fromkeys(names, str(threads))) as pool:
                work = [pool.submit(_worker, plan, tell.quiet, os.getpid()) for _ in range(jobs)]
                stopped += [True for each in work if each.result()]
        except BrokenProcessPool:
            if not stopped:  # else Ctrl-C came while they were starting
                raise WorkerLost("a process that trained runs was killed, perhaps because memory ran out; lower jobs=, "
                                 "and repeat the same command to continue") from None  # fmt: skip
    if stopped:
        raise Interrupted("stopped by SIGINT; repeat the same command to continue", signal.SIGINT)


class WorkerLost(TightboundError):
    """A process that trained runs was killed."""

    exit_status = 1


def _worker(plan: _Plan, quiet: bool, parent: int) -> bool:
    """Train in a process of several; return whether Ctrl-C stopped it."""
    warnings.simplefilter("ignore")
    try:
        _work(plan, plan.open(), plan.study(), Progress(plan.folder, METRICS[plan.metric], quiet, parent), alone=False)
    except KeyboardInterrupt:
        return True
    return False


@contextmanager
def _ctrl_c_is_theirs(tell: Progress) -> Iterator[list[bool]]:
    """Leave the first Ctrl-C to the other processes, which receive it, too, and write checkpoints; yield whether it
    came, as a list that is then not empty."""
    stopped: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def first(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, previous)
        stopped.append(True)
        tell.note("stopping when checkpoints are written; press Ctrl-C again to stop at once")

    previous = signal.signal(signal.SIGINT, first)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, previous)


def _work(plan: _Plan, data: Data, study: Study, tell: Progress, *, alone: bool) -> None:
    """Train runs until none are left; an error ends its run, not the sweep."""
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
    """A run is stopped because others were better at the same epoch."""


def _train(
    plan: _Plan, data: Data, study: Study, record: Record, resumed: bool, tell: Progress, alone: bool
) -> float | None:
    """Train, or continue, one run; return its score."""
    run, metric = RunFolder(plan.folder / record.name), METRICS[plan.metric]
    if resumed and not run.model_file.is_file():
        shutil.rmtree(run.path, ignore_errors=True)  # a process was killed before the folder was a run

    def after_epoch(state: TrainingState) -> None:
        row = state.metrics
        if state.stage == "" and metric.key not in row and not plan.all_tested:
            raise InputError(f"this model has no validation {metric.description} to be chosen by; give another metric=")
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
        _evaluate(Trained(fitted.model, data, folder=run, weights=fitted.weights), data, plan)
    return metric.of_run(run)


def _evaluate(trained: Trained, data: Data, plan: _Plan) -> None:
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


def _result(plan: _Plan, study: Study) -> SweepResult:
    known = study.records()
    runs = []
    for name in plan.search.names:
        if name in known:
            own, run = known[name], RunFolder(plan.folder / name)
            tested = load_answers(run, ["evaluate"]).get("evaluate") if own.state == "done" else None
            runs.append(SweptRun(run.path, own.values, own.state, own.score, own.reason, tested))
    fields = [d.field for d in plan.space]
    return SweepResult.of(fields, METRICS[plan.metric].description, runs, all_tested=plan.all_tested)
