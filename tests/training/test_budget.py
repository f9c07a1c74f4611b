"""How long training takes if nobody says so: until held-out data no longer gain, or the time is over."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.config import Settings
from tightbound.core.errors import InputError
from tightbound.core.schedules import Plateau, Progress
from tightbound.training import Callback, TrainingState
from tightbound.training.budget import Budget
from training.interruptions import KillAt, killed

PER_EPOCH, ELEMENTS = 10, 8


def judged(values: Any, **settings: Any) -> tuple[Budget, list[int]]:
    """Return the budget and the steps at which the learning rate fell, for a validation objective by step."""
    budget = Budget(Settings(**settings), PER_EPOCH, judged=True)
    falls, step = [], 0
    while not budget.over(step) and step < 100_000:
        step += PER_EPOCH
        before = budget.decays
        budget.judge(step, values(step), ELEMENTS)
        falls += [step] * (budget.decays - before)
    return budget, falls


def test_training_ends_after_the_objective_has_settled_three_times() -> None:
    _, falls = judged(lambda step: -5.0)
    assert falls == [1200, 1500, 1800]  # windows of 300 steps, from step 1000 on


def test_an_objective_that_rises_is_followed() -> None:
    """It rises by 8 (1 - exp(-t)) nats, until a window brings less than half a millinat per element."""
    scale = 2000
    _, falls = judged(lambda step: -8 * math.exp(-step / scale))
    slow = scale * math.log(8 * (math.exp(300 / scale) - 1) / (Budget.SETTLED * ELEMENTS))
    assert falls[0] == pytest.approx(slow, abs=300)
    assert falls[1:] == [falls[0] + 300, falls[0] + 600]


def test_an_objective_that_falls_from_its_best_is_overfitting_and_ends_training() -> None:
    _, falls = judged(lambda step: -abs(step - 400) / 100)
    assert falls == [900, 1200, 1500]  # at 600 the last window still has the gain until step 400


def test_a_schedule_of_the_objective_has_its_length_though_the_objective_falls() -> None:
    budget = Budget(Settings(), PER_EPOCH, judged=True, steady=False)
    for step in range(PER_EPOCH, 1201, PER_EPOCH):
        assert budget.judge(step, -step / 100, ELEMENTS) == (step > PER_EPOCH)
        assert budget.decays == (step == 1200)


def test_a_window_is_at_least_an_epoch() -> None:
    budget = Budget(Settings(), 5000, judged=True)
    budget.judge(5000, -1.0, ELEMENTS)
    assert budget.decays == 0  # the first value is a gain
    budget.judge(10_000, -1.0, ELEMENTS)
    assert (budget.total, budget.decays) == (5000, 1)


def test_a_fixed_length_is_kept_while_plateau_lowers_the_rate() -> None:
    budget, falls = judged(lambda step: -5.0, epochs=500, schedule="plateau")
    assert (budget.open, budget.total, falls) == (False, 5000, [5100, 5400][: len(falls)])
    assert [Plateau(factor=0.5)(Progress(9, 0, 1, decays)) for decays in range(3)] == [1.0, 0.5, 0.25]
    assert Plateau(warmup=10)(Progress(4, 0, 1)) == 0.5


def test_without_held_out_data_the_length_is_known_before() -> None:
    for per_epoch, total in ((3, 2001), (500, 10_000)):
        budget = Budget(Settings(), per_epoch, judged=False)
        assert (budget.open, budget.total, budget.schedule) == (False, total, "cosine(final=0.01)")
        assert not budget.over(total - 1)
        assert budget.over(total)


def test_time_lowers_the_rate_and_ends_training() -> None:
    budget = Budget(Settings(minutes=1e-9), PER_EPOCH, judged=True)
    for decays in range(1, 4):
        assert budget.late
        budget.hurry()
        assert budget.decays == decays
    assert budget.over(1)
    fixed = Budget(Settings(minutes=1e-9, epochs=50), PER_EPOCH, judged=True)
    assert fixed.late
    fixed.hurry()
    assert fixed.over(1)
    assert not Budget(Settings(epochs=50), PER_EPOCH, judged=True).late


def test_more_minutes_continue_a_run_that_time_ended() -> None:
    budget = Budget(Settings(minutes=1e-9), PER_EPOCH, judged=True)
    budget.hurry()
    same, more = (Budget(Settings(minutes=m), PER_EPOCH, judged=True) for m in (1e-9, 5.0))
    for other in (same, more):
        other.load(budget.state())
    assert (same.decays, more.decays) == (1, 0)


def train(run: Path, **options: Any) -> tb.Trained:
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    options = {"batch_size": 3, "lr": 1e-30, "validation_size": 4, "checkpoint_seconds": 0.2, **options}
    model = tb.VAE.for_data(x, latent=1, network="mlp(hidden=(2,))")
    return tb.fit(model, x, run=run, quiet=True, **options)  # pyright: ignore


def test_an_automatic_end_survives_a_kill(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing gets better at this rate, so that training ends as early as it may."""
    monkeypatch.setattr(Budget, "FLOOR", 120)
    monkeypatch.setattr(Budget, "WINDOW", 60)
    killed(lambda: train(tmp_path / "run", callbacks=[KillAt("step", 190)], checkpoint_seconds=0.02))
    again = train(tmp_path / "run", resume=True)
    assert [row["step"] for row in again.metrics] == list(range(12, 241, 12))


class Weights(Callback):
    """Keeps the first weights of the model after each epoch."""

    def __init__(self) -> None:
        self.seen: dict[int, torch.Tensor] = {}

    def on_epoch(self, state: TrainingState) -> None:
        self.seen[state.step] = next(state.model.parameters()).detach().clone()


def overfit(run: Path, *callbacks: Any, **options: Any) -> list[dict[str, Any]]:
    """Return the metrics of a model that learns 40 rows by heart."""
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    model = tb.VAE.for_data(x, latent=4, network="mlp(hidden=(64,))")
    given = {"validation_size": 10, "batch_size": 40, "lr": 3e-2, "callbacks": callbacks, **options}
    return [dict(row) for row in tb.fit(model, x, run=run, quiet=True, **given).metrics]  # pyright: ignore


def test_overfitting_goes_back_to_the_best_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Budget, "WINDOW", 60)
    weights = Weights()
    rows = overfit(tmp_path / "whole", weights)
    best = min(rows[:12], key=lambda row: row["validation_loss"])["step"]
    falls = [step for step, own in weights.seen.items() if step != best and own.equal(weights.seen[best])]
    assert falls[0] % 60 == 0
    assert best < falls[0] < Budget.FLOOR
    killed(lambda: overfit(tmp_path / "killed", KillAt("step", falls[0] - 5), checkpoint_seconds=0.02))
    again = overfit(tmp_path / "killed", resume=True)
    assert [row["validation_loss"] for row in again] == [row["validation_loss"] for row in rows]


def test_a_time_limit_ends_training_between_epochs(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", minutes=1e-9)
    assert trained.metrics[-1]["step"] <= 3 * 12


def test_lengths_that_make_no_sense_are_refused() -> None:
    for options in ({"epochs": 0}, {"epochs": "many"}, {"minutes": 0}, {"minutes": -1.0}):
        with pytest.raises(InputError, match=next(iter(options))):
            Settings(**options)  # pyright: ignore


def test_epochs_of_a_few_steps_share_a_validation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [Budget(Settings(), steps, judged=True).passes for steps in (1, 3, 10, 500)] == [10, 4, 1, 1]
    assert Budget(Settings(epochs=50), 3, judged=True).passes == 1
    assert Budget(Settings(), 3, judged=False).passes == 1
    monkeypatch.setattr(Budget, "FLOOR", 30)
    monkeypatch.setattr(Budget, "WINDOW", 30)
    x = np.random.default_rng(0).normal(size=(26, 3)).astype(np.float32)
    trained = tb.train(x, run=tmp_path / "run", latent=1, network="mlp(hidden=(4,))", batch_size=8, quiet=True)
    rows = trained.metrics
    assert [row["step"] for row in rows] == [12 * (i + 1) for i in range(len(rows))]  # 24 examples, 3 steps an epoch
    assert [row["epoch"] for row in rows] == [4 * (i + 1) for i in range(len(rows))]
    assert all(math.isfinite(row["validation_loss"]) for row in rows)


def test_a_length_that_is_given_is_trained_though_the_objective_had_settled() -> None:
    ended, _ = judged(lambda step: -5.0)
    fixed = Budget(Settings(epochs=5000), PER_EPOCH, judged=True)
    fixed.load(ended.state())
    assert ended.over(1)
    assert not fixed.over(1)
    assert fixed.over(5000 * PER_EPOCH)


def test_the_number_that_auto_stands_for_may_be_given_on_resume(tmp_path: Path) -> None:
    first = train(tmp_path / "run", epochs=1, batch_size="auto", lr="auto")
    again = train(tmp_path / "run", epochs=2, batch_size=128, lr=1e-3, resume=True)
    assert (len(first.metrics), len(again.metrics)) == (1, 2)
    with pytest.raises(InputError, match=r"lr was 0.001 and is 0.01;"):
        train(tmp_path / "run", epochs=3, batch_size="auto", lr=1e-2, resume=True)
