"""Train a run for each of several settings, and compare them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tightbound.analysis.record import load as load_answers
from tightbound.core.errors import COUNT, InputError, TightboundError, whole
from tightbound.core.files import to_json, write_atomic
from tightbound.core.limits import PASSES
from tightbound.data import Data
from tightbound.recipes.composing import compose, configure
from tightbound.search.metric import METRICS
from tightbound.search.result import SweepResult, SweptRun
from tightbound.search.space import configured, label, space_of
from tightbound.search.study import Kind, Search, Study, delete_sweep
from tightbound.search.work import Plan, Progress, evaluate_on_test, in_processes, shares, work
from tightbound.trained import load
from tightbound.training.folder import RunFolder


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
        values: Values of each option that varies: a sequence, or for a random or TPE search also a range,
            "uniform(0.1, 4)", "log(1e-4, 1e-2)" or "int(2, 64)", on its own or as an argument of a component, such as
            "vamp(components=int(10, 500))".
        run: Folder of the sweep, which holds one folder per run, and sweep.json.
        validation: Validation data; None: examples are set aside from the training data.
        test: Test data, or the fraction of a file to set aside for testing; without test data, runs are not tested.
        search: "grid" (all combinations of the values), "random" (random draws), or "tpe" (draws guided by earlier
            runs: Optuna's tree-structured Parzen estimator).
        trials: Number of runs of a random or TPE search.
        metric: Validation metric by which runs are chosen and pruned.
        prune: Stop a run whose best value so far is below the median of the other runs at the same epoch, from the
            fifth epoch on and after five runs have ended.
        jobs: Number of runs to train at once, each in its own process; None: as many as the cores allow, or one on an
            accelerator.
        search_seed: Random seed of the drawn values.
        retry: Train failed runs again.
        overwrite: Delete the sweep in the folder first.
        evaluate_samples: Importance samples of the evaluation on test data.
        max_examples: Maximum number of test examples, picked at random.
        trust: Import components outside tightbound, written "module:Class(...)".
        quiet: Show no progress.
        recipe: A published composition that the options change.
        **options: All other options, the same for all runs: fields of the composition (latent, network, prior, ...)
            and of training (epochs, lr, seed, ...).

    Returns:
        The runs with their validation scores and test numbers.

    Raises:
        InputError: If values cannot be swept, or the folder holds another sweep.
        CompositionError: If a value fits none of the others.
        Interrupted: On Ctrl-C, after checkpoints were written.
    """
    base = configure(data, recipe, options)
    space = space_of(values)
    plan = Plan(Path(run), (data, validation, test), base, Search(search, space, trials, search_seed), metric, prune,
                 evaluate_samples, max_examples, trust)  # fmt: skip
    _check_arguments(plan, jobs)
    examples = plan.open()
    _check_values(plan, examples)
    if overwrite:
        delete_sweep(plan.folder, plan.search.names)
    study = plan.study()
    study.agree(plan.agreed())
    if retry:
        study.forget_failed()
    known = study.records()
    over = [known[name] for name in plan.search.names if name in known and known[name].state != "unfinished"]
    tell = Progress(plan.folder, METRICS[metric], quiet)
    for record in over:
        tell.say(record, record.reason or "done before")
    left = len(plan.search.names) - len(over)
    jobs, threads = shares(base.device, jobs, left)
    if jobs == 1:
        work(plan, examples, study, tell, alone=True)
    else:
        in_processes(plan, jobs, threads, tell)
    found, known = _result(plan, study), study.records()
    left = [name for name in plan.search.names if name in known and known[name].state == "unfinished"]
    best = found.best
    if best is not None and best.tested is None and examples.test is not None and not left:
        tell.note(f"best by validation data: {label(best.values)}")
        evaluate_on_test(load(best.path, device=base.device, trust=trust), examples, plan)
        found = _result(plan, study)
    if left:
        tell.note(f"other processes are still training {', '.join(left)}; the last one to finish shows all runs")
    write_atomic(plan.folder / "sweep.json", to_json(found.to_json(figures=False)))
    return found


def _check_arguments(plan: Plan, jobs: int | None) -> None:
    grid = plan.search.kind == "grid"
    for name, value in (("trials", plan.search.trials), ("evaluate_samples", plan.evaluate_samples),
                        ("max_examples", plan.max_examples), ("jobs", 1 if jobs is None else jobs)):  # fmt: skip
        whole(name, value, least=1, most=PASSES if name == "evaluate_samples" else COUNT)
    whole("search_seed", plan.search.seed, least=0, most=math.inf)
    if grid and (plan.search.trials, plan.search.seed) != (20, 0):
        raise InputError(
            "trials= and search_seed= are for random draws, and a grid makes none; pass search='random' or 'tpe'"
        )
    if grid and (ranged := [d.field for d in plan.space if d.ranged]):
        raise InputError(
            f"{ranged[0]}= has a range, which a grid cannot list; pass search='random' or 'tpe', or values"
        )
    if not grid and any(d.field == "seed" for d in plan.space):
        raise InputError("seed= cannot be searched; sweep the seeds of the chosen settings in a grid")
    if plan.base.validation_size == 0 and (not grid or plan.prune):
        raise InputError("a search and prune= need validation data, and validation_size=0 leaves none; leave it out")


def _check_values(plan: Plan, data: Data, tries: int = 20) -> None:
    """Raise an error before training if a value fits none of the others, after `tries` combinations per value."""
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


def _result(plan: Plan, study: Study) -> SweepResult:
    known = study.records()
    runs = []
    for name in plan.search.names:
        if name in known:
            own, run = known[name], RunFolder(plan.folder / name)
            tested = load_answers(run, ["evaluate"]).get("evaluate") if own.state == "done" else None
            runs.append(SweptRun(run.path, own.values, own.state, own.score, own.reason, tested))
    fields = [d.field for d in plan.space]
    return SweepResult.of(fields, METRICS[plan.metric].description, runs, all_tested=plan.all_tested)
