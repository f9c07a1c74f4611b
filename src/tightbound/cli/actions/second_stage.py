"""`tightbound fit-sampler` and `tightbound fit-code-prior`."""

from __future__ import annotations

from tightbound.cli.arguments import FitCodePrior, FitSampler
from tightbound.cli.runs import load_run, open_data, say_next
from tightbound.cli.show import draw_next, endings, say
from tightbound.components import parse


def fit_sampler(command: FitSampler) -> None:
    """Fit a density to latent codes, and save it in the run."""
    trained = load_run(command)
    _, split = open_data(command, trained)
    trained.fit_sampler(command.sampler, split, epochs=command.epochs, seed=command.seed)
    name = parse(command.sampler).name
    say(f"latent sampler {name}: fitted to the codes of {len(split):,} examples, saved in {command.run}")
    say_next(command, f"sample {{run}} --sampler {name} --out samples{endings(trained.model.shape)[0]}")


def fit_code_prior(command: FitCodePrior) -> None:
    """Train a code prior, and save it in the run."""
    trained = load_run(command)
    data, _ = open_data(command, trained)
    trained.fit_code_prior(
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
    say(f"code prior: {last[f'{split}_loss']:.2f} nats per example ({split}, last epoch); uniform: "
        f"{last['uniform_loss']:.2f}")  # fmt: skip
    say_next(command, draw_next(trained.model))
