"""Callbacks of training."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

import tightbound as tb
from tightbound.core.errors import InputError
from tightbound.training import Callback, TensorBoard, TrainingState, checkpoint

SETTINGS: dict[str, Any] = {"epochs": 4, "batch_size": 500, "checkpoint_seconds": 0.0, "quiet": True}


def data() -> tb.data.Data:
    return tb.data.open("digits")


def model() -> tb.VAE:
    return tb.VAE.for_data(data(), latent=2, network="mlp(hidden=(8,))")


class Log(Callback):
    """The arguments that each hook was given."""

    def __init__(self) -> None:
        self.steps: list[TrainingState] = []
        self.epochs: list[TrainingState] = []
        self.ends: list[TrainingState] = []

    def on_step(self, state: TrainingState) -> None:
        self.steps.append(state)

    def on_epoch(self, state: TrainingState) -> None:
        self.epochs.append(state)

    def on_end(self, state: TrainingState) -> None:
        self.ends.append(state)


def test_hooks_see_every_step_and_epoch_and_the_end() -> None:
    log, trained_model = Log(), model()
    trained = tb.fit(trained_model, data(), callbacks=[log], **{**SETTINGS, "epochs": 2})
    assert [(state.step, state.epoch) for state in log.steps] == [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1)]
    assert [(state.step, state.epoch, state.stage) for state in log.epochs] == [(3, 1, ""), (6, 2, "")]
    assert [state.metrics for state in log.epochs] == list(trained.metrics)
    assert log.ends == log.epochs[-1:]
    assert all(state.model is trained_model for state in (*log.steps, *log.epochs))
    first = [state.metrics["train_loss"] for state in log.steps[:3]]
    assert all(math.isfinite(loss) for loss in first)
    assert len(set(first)) == 3
    sizes = (500, 500, 350)  # 1,350 of 1,500 training examples
    mean = sum(n * loss for n, loss in zip(sizes, first, strict=True)) / sum(sizes)
    assert mean == pytest.approx(trained.metrics[0]["train_loss"])


def test_a_function_is_called_after_each_epoch_and_what_it_raises_ends_training(tmp_path: Path) -> None:
    """The checkpoint of that epoch has been written, and the run can be resumed."""
    seen: list[tuple[int, int, float]] = []
    log = Log()

    def until(last: int) -> Any:
        def after_epoch(state: TrainingState) -> None:
            saved = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors")[1]
            seen.append((state.epoch, saved["epoch"], state.metrics["validation_loss"]))
            if state.epoch == last:
                raise StopAsyncIteration

        return after_epoch

    with pytest.raises(StopAsyncIteration):
        tb.fit(model(), data(), run=tmp_path / "run", callbacks=[until(2), log], **SETTINGS)
    assert [(epoch, saved) for epoch, saved, _ in seen] == [(1, 1), (2, 2)]
    assert [state.epoch for state in log.ends] == [2]
    trained = tb.fit(model(), data(), run=tmp_path / "run", resume=True, callbacks=[until(5)], **SETTINGS)
    assert [(epoch, saved) for epoch, saved, _ in seen] == [(i, i) for i in (1, 2, 3, 4)]
    assert [row["validation_loss"] for row in trained.metrics] == [loss for _, _, loss in seen]


@pytest.mark.parametrize("wrong", [3, Log])
def test_other_callbacks_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"callbacks= holds .*; needed: functions"):
        tb.fit(model(), data(), callbacks=[wrong], **SETTINGS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package tensorboard
def test_tensorboard_gets_the_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path / "log", every=2)
    trained = tb.fit(model(), data(), callbacks=[board], **{**SETTINGS, "epochs": 2})
    events = EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    scalars = {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}
    losses = [(row["step"], pytest.approx(row["validation_loss"], rel=1e-5)) for row in trained.metrics]
    assert scalars["epoch/validation_loss"] == losses
    assert [step for step, _ in scalars["batch/train_loss"]] == [2, 4, 6]


def test_tensorboard_says_that_its_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"need tensorboard; pip install 'tightbound\[tensorboard\]'"):
        TensorBoard("log")
