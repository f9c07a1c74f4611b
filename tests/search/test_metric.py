"""Runs are chosen by the validation number of the weights that are evaluated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tightbound.search.metric import METRICS
from tightbound.training.folder import RunFolder


def row(stage: str, epoch: int, loss: float, reconstruction: float, kl: float) -> dict[str, Any]:
    numbers = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "elbo": -(reconstruction + kl)}
    return {"stage": stage, "epoch": epoch, **{f"validation_{k}": v for k, v in numbers.items()}}


def best(folder: RunFolder, stage: str = "") -> None:
    file = folder.checkpoint("best", stage)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def test_it_is_of_the_best_epoch_by_the_objective_or_of_the_last(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_metrics([row("", 1, 60, 50, 30), row("", 2, 55, 40, 35), row("", 3, 58, 30, 42)])
    assert METRICS["elbo"].of_run(folder) == -72  # an adversarial run keeps its last weights
    best(folder)
    assert METRICS["elbo"].of_run(folder) == -75
    assert METRICS["objective"].of_run(folder) == -55
    assert METRICS["distortion"].of_run(folder) == -40


def test_a_learned_prior_over_codes_is_part_of_the_bound(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    uniform, learned = row("", 1, 80, 50, 30), {"stage": "prior", "epoch": 1, "validation_loss": 21.0}
    folder.write_metrics([uniform, learned, learned | {"epoch": 2, "validation_loss": 23.0}])
    best(folder)
    assert METRICS["elbo"].of_run(folder) == -73
    best(folder, "prior")
    assert METRICS["elbo"].of_run(folder) == -71
    assert METRICS["distortion"].of_run(folder) == -50
    assert METRICS["elbo"].at_epoch(uniform) == -80
    assert METRICS["elbo"].at_epoch(learned) is None


def test_without_validation_data_there_is_nothing_to_choose_by(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_metrics([{"stage": "", "epoch": 1, "train_loss": 3.0}])
    assert METRICS["elbo"].of_run(RunFolder(tmp_path)) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_chooses_nothing(tmp_path: Path, bad: float) -> None:
    folder = RunFolder(tmp_path)
    folder.write_metrics([row("", 1, bad, bad, 30)])
    assert METRICS["elbo"].at_epoch(folder.metrics()[0]) is None
    assert [metric.of_run(folder) for metric in METRICS.values()] == [None] * 3
    folder.write_metrics([row("", 1, bad, bad, 30), row("", 2, 55, 40, 35), row("", 3, bad, bad, 1)])
    best(folder)
    assert METRICS["elbo"].of_run(folder) == -75
