"""`tightbound fit-prior`."""

from __future__ import annotations

from tightbound.cli.arguments import FitPrior
from tightbound.cli.runs import load_run, open_data, say_next
from tightbound.cli.show import draw_next, say


def fit_prior(command: FitPrior) -> None:
    """Trains a prior over codes, and saves it in the run."""
    trained = load_run(command)
    data, _ = open_data(command, trained)
    trained.fit_code_prior(
        data,
        command.prior,
        epochs=command.epochs,
        lr=command.lr,
        batch_size=command.batch_size,
        max_examples=command.data_limit,
        resume=command.resume,
    )
    last = next(row for row in reversed(trained.metrics) if row["stage"])
    split = "validation" if "validation_loss" in last else "train"
    say(f"weights: {trained.weights}")
    say(f"prior: {last[f'{split}_loss']:.2f} nats an example ({split}, last epoch), uniform {last['uniform_loss']:.2f}")
    say_next(command, draw_next(trained.model))
