"""`tightbound train`."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tightbound import data as sources
from tightbound.analysis.base import Subject
from tightbound.analysis.bounds.evaluate import Evaluate
from tightbound.analysis.diagnosis.diagnose import Diagnose
from tightbound.analysis.diagnosis.findings import Diagnosis
from tightbound.analysis.result import Evaluation
from tightbound.cli.adapt import adapted_network, adapted_settings
from tightbound.cli.show import draw_next, keep, say, show_result
from tightbound.cli.training import Train, Training
from tightbound.components import make
from tightbound.compose import vae
from tightbound.config import Config
from tightbound.core import launch, world
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.data.readers import tars
from tightbound.objectives.base import Objective
from tightbound.report.page import report
from tightbound.trained import Trained
from tightbound.training.fit import OnEpoch, fit_run
from tightbound.training.folder import RunFolder, unused


class Carried(NamedTuple):
    """A trained model and, if they were asked for, its evaluation and diagnosis."""

    trained: Trained
    evaluation: Evaluation | None = None
    diagnosis: Diagnosis | None = None


def train(command: Train) -> None:
    """Train a model and show the outcome."""
    if command.recipe is not None:
        say(f"recipe: {command.recipe}")
    launch.check_named(command.run, "--run FOLDER")
    run = command.run or unused(Path("runs") / run_name(command))
    trained, evaluation, diagnosis = carry_out(command, run)
    if evaluation is not None:
        show_result(evaluation)
        for sentence in () if diagnosis is None else diagnosis.sentences:
            say(sentence)
        say(f"report: {RunFolder(run).report_file}")
    place = shlex.quote(str(run))
    offer = draw_next(trained.model).format(run=place)
    more = "all test data" if trained.model.latents.deterministic else "all test data and 5000 samples per example"
    say(f"next: tightbound {offer}; to evaluate on {more}: tightbound evaluate {place}")


class Composed(NamedTuple):
    """What will be trained, and the command as its recipe adapts to it."""

    command: Training
    data: sources.Data
    model: VAE
    objective: Objective


def compose(command: Training) -> Composed:
    """Opens the data, and makes the untrained model and the objective; refuses what does not fit together."""
    command = adapted_network(command)
    data = sources.open(command.data, **command.data_options())
    model = vae(
        data,
        latent=command.latent,
        network=command.network,
        likelihood=command.likelihood,
        observation=command.observation,
        prior=command.prior,
        posterior=command.posterior,
        latents=command.latents,
        context=command.context,
        seed=command.seed,
        start_at_data=command.start_at_data,
        trust=command.trust,
    )
    objective = make("objective", command.objective_spec(), trust=command.trust)
    return Composed(adapted_settings(command, data, model), data, model, objective)


def recorded(command: Training) -> dict[str, Any]:
    """What config.yaml of the run holds."""
    config = {f.name: getattr(command, f.name) for f in dataclasses.fields(Config)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}


def carry_out(command: Train, run: Path, on_epoch: OnEpoch | None = None) -> Carried:
    """Opens the data, composes, trains (see `fit_run` for `on_epoch`), evaluates, diagnoses, reports."""
    fitting, data, model, objective = compose(command)
    for note in data.notes:
        say(f"{data.name}: {note}")
    config = recorded(fitting)
    likelihood = type(model.likelihood).__name__
    say(f"model: {likelihood} likelihood of {model.target_name}, {model.latents.described}, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters")  # fmt: skip
    fitted = fit_run(
        model, data, objective, fitting.settings(),
        run=run, resume=command.resume, overwrite=command.overwrite, config=config, on_epoch=on_epoch,
    )  # fmt: skip
    trained = Trained(
        fitted.model, data, folder=fitted.folder, weights=fitted.weights, metrics=fitted.metrics, keep=fitted
    )
    say(f"trained: {run}, weights: {trained.weights}")
    if not command.evaluate_samples:
        return Carried(trained)
    evaluate = Evaluate(samples=command.evaluate_samples, progress=True)
    evaluation = evaluate.run(trained, _subject(data, command))
    world.dismissed()
    keep(RunFolder(run), evaluate, evaluation)
    diagnosis = _diagnose(trained, data, RunFolder(run))
    report(trained, quick=True)
    return Carried(trained, evaluation, diagnosis)


def _subject(data: sources.Data, command: Train) -> Subject:
    """Return the test data, at most `evaluate_data` of them, picked at random."""
    split = data.require_test()
    if isinstance(split, sources.Indexed) and len(split) > command.evaluate_data:
        say(f"evaluating on {command.evaluate_data:,} of {len(split):,} test examples, picked at random", sys.stderr)
        pick = np.random.default_rng(0).permutation(len(split))[: command.evaluate_data]  # data may be sorted
        split = split.subset(np.sort(pick))
    return Subject(split, data, f"{data.name}, test split")


def _diagnose(trained: Trained, data: sources.Data, folder: RunFolder) -> Diagnosis | None:
    """Make and record a quick diagnosis; None, with a note, if there are too few examples."""
    quick = Diagnose(max_examples=300, samples=10, quick=True)
    try:
        found = quick.run(trained, Subject(data.require_test(), data, f"{data.name}, test split"))
    except InputError as error:
        say(f"note: no diagnosis of the model: {error}", sys.stderr)
        return None
    keep(folder, quick, found)
    return found


def run_name(command: Training) -> str:
    """A name for a run, of data and recipe."""
    source = (tars.stem(command.data) if tars.is_pattern(command.data) else Path(command.data).stem) or "data"
    return source if command.recipe in (None, source) else f"{source}-{command.recipe}"
