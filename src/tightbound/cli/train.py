"""`tightbound train`."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path

import numpy as np

from tightbound import data as sources
from tightbound.cli.arguments import Train
from tightbound.cli.diagnose import diagnosis_json, show_verdict
from tightbound.cli.show import draw_next, record, say, show
from tightbound.compose import vae
from tightbound.config import Config
from tightbound.core.parts import make
from tightbound.evaluation import Evaluation
from tightbound.report.page import write_report
from tightbound.trained import Trained
from tightbound.training.fit import fit_run
from tightbound.training.folder import RunFolder, unused


def train(command: Train) -> None:
    """Opens the data, composes, trains, evaluates, reports."""
    if command.recipe is not None:
        say(f"recipe: {command.recipe}")
    data = sources.open(command.data, **command.data_options())
    for note in data.notes:
        say(f"{data.name}: {note}")
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
    run = command.run or unused(Path("runs") / _run_name(command))
    config = {f.name: getattr(command, f.name) for f in dataclasses.fields(Config)}
    config = {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}
    likelihood = type(model.likelihood).__name__
    say(f"model: {likelihood} likelihood of {model.target_name}, {model.latents.latent} latents, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters")  # fmt: skip
    fitted = fit_run(
        model, data, objective, command.settings(),
        run=run, resume=command.resume, overwrite=command.overwrite, config=config,
    )  # fmt: skip
    trained = Trained(fitted)
    say(f"trained: {run}, weights: {trained.weights}")
    if command.evaluate_samples:
        numbers = _evaluate(trained, data, command)
        diagnosis = trained.diagnose(data, most=300, samples=10, quick=True)
        show_verdict(diagnosis)
        record(RunFolder(trained.path).analysis_file("diagnosis"), diagnosis_json(diagnosis, run))
        folder = write_report(trained, data, numbers.to_json(), config)
        say(f"report: {folder.report_file}")
    place = shlex.quote(str(run))
    offer = draw_next(model).format(run=place)
    say(f"next: tightbound {offer}, or with 5000 samples and all test data: tightbound evaluate {place}")


def _run_name(command: Train) -> str:
    source = Path(command.data).stem or "data"
    return source if command.recipe in (None, source) else f"{source}-{command.recipe}"


def _evaluate(trained: Trained, data: sources.Data, command: Train) -> Evaluation:
    split = data.test
    if isinstance(split, sources.Indexed) and len(split) > command.evaluate_data:
        say(f"evaluating on {command.evaluate_data:,} of {len(split):,} test data, picked at random", file=sys.stderr)
        pick = np.random.default_rng(0).permutation(len(split))[: command.evaluate_data]  # data may be ordered
        split = split.subset(np.sort(pick))
    numbers = trained.evaluate(split, samples=command.evaluate_samples, progress=True)
    show(numbers.to_json())
    record(RunFolder(trained.path).evaluation_file, numbers.to_json())
    return numbers
