"""Commands that train: `tightbound train`, `fit-sampler` and `fit-prior`."""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tightbound import data as sources
from tightbound.analysis.base import Subject
from tightbound.analysis.bounds.evaluate import Evaluate
from tightbound.analysis.detection.classify import Classify
from tightbound.analysis.diagnosis.diagnose import Diagnose
from tightbound.analysis.diagnosis.findings import Diagnosis
from tightbound.analysis.result import Evaluation
from tightbound.cli.arguments import FitPrior, FitSampler
from tightbound.cli.commands import in_flags
from tightbound.cli.remedy import remedy_command
from tightbound.cli.runs import load_run, open_data, say_next
from tightbound.cli.show import draw_next, endings, keep, note, say, show_result
from tightbound.cli.training import Train, Training
from tightbound.components import parse
from tightbound.core import launch, world
from tightbound.core.errors import InputError
from tightbound.data.readers import paths
from tightbound.inference.classes import infers_classes
from tightbound.inference.fitting import chosen_sampler
from tightbound.pages.page import report
from tightbound.pages.rows import headline
from tightbound.recipes.afterwards import Afterwards, suit_samples
from tightbound.recipes.composing import compose, opened, recorded
from tightbound.trained import Trained
from tightbound.training.fit import fit_run
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
    launch.check_named(command.run)
    run = command.run or unused(Path("runs") / run_name(command))
    trained, evaluation, diagnosis = carry_out(command, run)
    if evaluation is not None:
        show_result(replace(evaluation, estimates=headline(evaluation.estimates), tables=()))
        for sentence in () if diagnosis is None else diagnosis.sentences:
            say(in_flags(sentence, Train))
        say(f"report: {RunFolder(run).report_file}")
    place = shlex.quote(str(run))
    more = "all test data" if trained.model.deterministic else "all test data, 5000 samples per example"
    again = None if diagnosis is None else remedy_command(run, diagnosis.remedy)
    if again is not None:
        say(f"remedy: {again}")
    say(f"all numbers, on {more}: tightbound evaluate {place}")
    say(f"next: tightbound {draw_next(trained.model).format(run=place)}")


def carry_out(command: Train, run: Path) -> Carried:
    """Open the data, compose, train, evaluate, diagnose and report."""
    data = opened(command, command.data, trust=command.trust)
    composed = compose(command, data, trust=command.trust)
    fitting, model, objective = composed.config, composed.model, composed.objective
    for line in (*composed.notes, *(f"{data.name}: {line}" for line in data.notes)):
        say(in_flags(line, type(command)))
    config = recorded(fitting)
    say(f"model: {model.summary}")
    parameters = sum(p.numel() for p in model.parameters())
    numbers = (data.train.size or parameters) * math.prod(data.shape)
    if parameters > numbers:
        say(f"model: it has more parameters than the training data have numbers ({numbers:,}); a smaller network, such "
            'as --network "mlp(hidden=(32,))", trains faster and may do as well')  # fmt: skip
    fitted = fit_run(
        model, data, objective, fitting.settings(),
        run=run, resume=command.resume, overwrite=command.overwrite, config=config,
    )  # fmt: skip
    trained = Trained(
        fitted.model, data, folder=fitted.folder, weights=fitted.weights, metrics=fitted.metrics, keep=fitted
    )
    say(f"trained: {run}, weights: {trained.weights}")
    done = max((row["epoch"] for row in fitted.metrics if not row["stage"]), default=0)
    if isinstance(fitting.epochs, int) and fitting.steps is None and fitting.patience is None and done < fitting.epochs:
        say(f"the time (--minutes {fitting.minutes:g}) ended training after epoch {done:,} of {fitting.epochs:,}")
    afterwards = Afterwards.of(trained, fitting.settings())
    if fitting.sampler != "auto":
        say(f"samples: from {fitting.sampler}")
        suit_samples(trained, data, fitting.settings(), afterwards, fitting.sampler, quiet=False)
    if command.evaluate_samples == 0:
        return Carried(trained)
    subject = trained.subject(data)
    size = min(subject.examples.size or command.evaluate_data, command.evaluate_data)
    samples = command.evaluate_samples
    if samples is None:
        size, samples = afterwards.evaluation(size)
    tested = subject.at_most(size)
    evaluate = Evaluate(samples=samples, progress=True)
    say(f"evaluating on {size:,} test examples{', picked at random' * (tested is not subject)}, with {samples} samples "
        "each", sys.stderr)  # fmt: skip
    evaluation = evaluate.run(trained, tested)
    world.dismissed()
    keep(fitted.folder, evaluate, evaluation)
    if fitting.sampler == "auto":
        say("comparing the prior with the latent codes", sys.stderr)
        if suit_samples(trained, data, fitting.settings(), afterwards):
            say("the prior does not match the latent codes: samples come from a Gaussian mixture fitted to them",
                sys.stderr)  # fmt: skip
    if infers_classes(model, chosen_sampler(fitted.folder)):
        classes = Classify().run(trained, subject)
        evaluation = replace(evaluation, estimates={**evaluation.estimates, **classes.estimates})
    say("looking for what may be wrong with the model", sys.stderr)
    diagnosis = _diagnose(trained, data, fitted.folder, afterwards.diagnosis)
    say("writing the report", sys.stderr)
    report(trained, quick=True)
    return Carried(trained, evaluation, diagnosis)


def _diagnose(trained: Trained, data: sources.Data, folder: RunFolder, diagnose: Diagnose) -> Diagnosis | None:
    """Record and return a diagnosis; None, with a note, if there are too few examples."""
    try:
        found = diagnose.run(trained, Subject(data.require_test(), data, f"{data.name}, test split"))
    except InputError as error:
        note(f"no diagnosis of the model: {error}")
        return None
    keep(folder, diagnose, found)
    return found


def run_name(command: Training) -> str:
    """Return a name for a run, made of the names of data and recipe."""
    source = (paths.stem(command.data) if paths.is_pattern(command.data) else Path(command.data).stem) or "data"
    return source if command.recipe in (None, source) else f"{source}-{command.recipe}"


def fit_sampler(command: FitSampler) -> None:
    """Fit a density to latent codes, and save it in the run."""
    trained = load_run(command)
    _, split = open_data(command, trained)
    trained.fit_sampler(command.sampler, split, epochs=command.epochs, seed=command.seed, quiet=False)
    name = parse(command.sampler).name
    say(f"latent sampler {name}: fitted to the latent codes of {len(split):,} examples, saved in {command.run}")
    say_next(command, f"sample {{run}} --sampler {name} --out samples{endings(trained.model.shape)[0]}")


def fit_prior(command: FitPrior) -> None:
    """Train the prior in a second stage, and save it in the run."""
    trained = load_run(command)
    data, _ = open_data(command, trained)
    trained.fit_prior(
        data,
        command.prior,
        epochs=command.epochs,
        lr=command.lr,
        batch_size=command.batch_size,
        max_examples=command.max_examples,
        resume=command.resume,
    )
    last = next(row for row in reversed(trained.metrics) if row["stage"])
    split = "validation" if "validation_loss" in last else "train"
    say(f"weights: {trained.weights}")
    prior = trained.model.latents.second_stage
    if prior is not None and split == "validation":
        uniform = f"; uniform: {last['uniform_loss']:.2f}" if "uniform_loss" in last else ""
        say(f"{prior.title}: {last['validation_loss']:.2f} nats per example (validation, last epoch){uniform}")
    say_next(command, draw_next(trained.model))
