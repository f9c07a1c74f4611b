"""`tightbound train`."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tightbound import data as sources
from tightbound.analysis import Diagnosis, Evaluation
from tightbound.cli.adapt import adapted_network, adapted_settings
from tightbound.cli.diagnose import diagnosis_json, show_verdict
from tightbound.cli.show import draw_next, record, say, show
from tightbound.cli.training import Train, Training
from tightbound.components import make
from tightbound.compose import vae
from tightbound.config import Config
from tightbound.core import launch, world
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.data import tars
from tightbound.objectives.base import Objective
from tightbound.report.page import write_report
from tightbound.trained import Trained
from tightbound.training.fit import OnEpoch, fit_run
from tightbound.training.folder import RunFolder, unused


class Carried(NamedTuple):
    """A trained model and, where an evaluation was asked for, what is known of it."""

    trained: Trained
    numbers: Mapping[str, Mapping[str, Any]] | None = None
    diagnosis: Diagnosis | None = None


def train(command: Train) -> None:
    """Trains, and shows what came of it."""
    if command.recipe is not None:
        say(f"recipe: {command.recipe}")
    launch.check_named(command.run, "--run FOLDER")
    run = command.run or unused(Path("runs") / run_name(command))
    trained, numbers, diagnosis = carry_out(command, run)
    if numbers is not None:
        show(numbers)
        if diagnosis is not None:
            show_verdict(diagnosis)
        say(f"report: {RunFolder(run).report_file}")
    place = shlex.quote(str(run))
    offer = draw_next(trained.model).format(run=place)
    more = "of all test data" if trained.model.latents.deterministic else "with 5000 samples and all test data"
    say(f"next: tightbound {offer}, or {more}: tightbound evaluate {place}")


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
    trained = Trained(fitted)
    say(f"trained: {run}, weights: {trained.weights}")
    if not command.evaluate_samples:
        return Carried(trained)
    numbers = _evaluate(trained, data, command).to_json()
    world.dismissed()
    record(RunFolder(run).evaluation_file, numbers)
    diagnosis = _diagnose(trained, data)
    if diagnosis is not None:
        record(RunFolder(run).analysis_file("diagnosis"), diagnosis_json(diagnosis, run) | {"quick": True})
    write_report(trained, data, numbers, config)
    return Carried(trained, numbers, diagnosis)


def _diagnose(trained: Trained, data: sources.Data) -> Diagnosis | None:
    """Quick; None where the data are too few, which is said."""
    try:
        return trained.diagnose(data, most=300, samples=10, quick=True)
    except InputError as error:
        say(f"note: no verdict on the model: {error}", sys.stderr)
        return None


def run_name(command: Training) -> str:
    """A name for a run, of data and recipe."""
    source = (tars.stem(command.data) if tars.is_pattern(command.data) else Path(command.data).stem) or "data"
    return source if command.recipe in (None, source) else f"{source}-{command.recipe}"


def _evaluate(trained: Trained, data: sources.Data, command: Train) -> Evaluation:
    split = data.require_test()
    if isinstance(split, sources.Indexed) and len(split) > command.evaluate_data:
        say(f"evaluating on {command.evaluate_data:,} of {len(split):,} test data, picked at random", file=sys.stderr)
        pick = np.random.default_rng(0).permutation(len(split))[: command.evaluate_data]  # data may be ordered
        split = split.subset(np.sort(pick))
    return trained.evaluate(split, samples=command.evaluate_samples, progress=True)
