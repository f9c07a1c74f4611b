"""Training without a folder of the run: nothing is left behind, and no message names the temporary folder."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.core.errors import InputError, NonFinite
from tightbound.pages.page import report
from tightbound.training.signals import Interrupted

X = np.random.default_rng(0).normal(size=(40, 3))
QUICK: dict[str, Any] = {"epochs": 3, "batch_size": 12, "quiet": True}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def model(**parts: Any) -> tb.VAE:
    return tb.VAE.for_data(X, **{"latent": 2, "network": "mlp(hidden=(8,))", **parts})


def at_step(number: int, by: signal.Signals) -> tb.Callback:
    class Send(tb.Callback):
        def on_step(self, state: tb.TrainingState) -> None:
            if state.step == number:
                os.kill(os.getpid(), by)

    return Send()


def refusal(ask: Callable[[tb.Trained], Any], trained: tb.Trained) -> str:
    with pytest.raises(tb.TightboundError) as refused:
        ask(trained)
    return str(refused.value)


def test_the_folder_lives_as_long_as_the_result_and_is_not_shown(temporary: Path) -> None:
    trained = tb.fit(model(), X, **QUICK)
    assert len(list(temporary.iterdir())) == 1
    assert trained.path is None
    assert trained.metrics
    assert trained.config["epochs"] == 3
    for ask in (lambda given: given.sample(2, sampler="kernel"), report, tb.Trained.fit_prior):
        assert str(temporary) not in refusal(ask, trained)
    names = tb.compare([trained, tb.fit(model(), X, **QUICK)], X, samples=2).tables[0]
    assert str(temporary) not in repr(names)
    del trained
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_training_that_fails_leaves_nothing_behind(temporary: Path) -> None:
    def fail(state: tb.TrainingState) -> None:
        raise ZeroDivisionError

    with pytest.raises(tb.TightboundError):
        tb.fit(model(), np.zeros((5, 4)), **QUICK)
    with pytest.raises(NonFinite) as failed:
        tb.fit(model(), X, lr=1e30, **{**QUICK, "epochs": 50})
    assert "checkpoint" not in str(failed.value)
    with pytest.raises(ZeroDivisionError):
        tb.fit(model(), X, callbacks=[fail], **QUICK)
    with pytest.raises(Interrupted, match=r"SIGTERM after step 2 of 9; .*run=") as stopped:
        tb.fit(model(), X, callbacks=[at_step(2, signal.SIGTERM)], **QUICK)
    assert "resume=" not in str(stopped.value)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("step", [2, 7])
def test_an_interrupt_returns_the_partly_trained_model(temporary: Path, step: int) -> None:
    with pytest.warns(UserWarning, match=f"stopped by SIGINT after step {step} of 9; .* run= ") as said:
        trained = tb.train(X, latent=2, network="mlp(hidden=(8,))", callbacks=[at_step(step, signal.SIGINT)], **QUICK)
    assert str(temporary) not in str(said[0].message)
    assert ("best" if step == 7 else f"step {step}") in trained.weights
    assert len(trained.metrics) == step // 3
    length = {"epochs": 2} if step == 7 else {"steps": 2}
    expected = tb.train(X, latent=2, network="mlp(hidden=(8,))", batch_size=12, quiet=True, **length)
    assert len(trained.encode(X)) == 40
    if trained.weights == expected.weights:
        assert torch.equal(trained.encode(X), expected.encode(X))
    del trained, expected
    gc.collect()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_options_for_an_existing_run_need_one(option: str) -> None:
    with pytest.raises(InputError, match=f"{option}= needs a run .* run="):
        tb.fit(model(), X, **{option: True}, **QUICK)
