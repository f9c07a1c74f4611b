"""Objectives name the things that they need from the model, the data and the run."""

from __future__ import annotations

from typing import Any

import pytest

import tightbound as tb
from tightbound.core.errors import CompositionError, InputError

SMALL: Any = {"latent": 2, "network": "mlp(hidden=(8,))"}


@pytest.fixture(scope="module")
def digits() -> tb.data.Data:
    return tb.data.open("digits")


def test_free_bits_per_factor_need_a_factorized_kl(digits: tb.data.Data) -> None:
    with pytest.raises(CompositionError, match="over='group'"):
        tb.fit(tb.VAE.for_data(digits, **SMALL), digits, tb.objectives.FreeBits(kl="monte-carlo"), steps=1, quiet=True)


def test_an_adversarial_run_has_no_best_epoch_and_no_patience(digits: tb.data.Data) -> None:
    model = tb.VAE.for_data(digits, **SMALL, likelihood="gaussian(scale=0.3)")
    trained = tb.fit(model, digits, "vae-gan", epochs=2, quiet=True)
    assert trained.weights.startswith("last")
    with pytest.raises(InputError, match="patience"):
        tb.fit(model, digits, "vae-gan", epochs=2, quiet=True, patience=1)


@pytest.mark.parametrize("objective", ["wae-mmd", "info", "beta-tc", "dip", "factor"])
def test_an_objective_that_compares_examples_needs_two_in_a_batch(digits: tb.data.Data, objective: str) -> None:
    with pytest.raises(InputError, match="at least 2"):
        tb.fit(tb.VAE.for_data(digits, **SMALL), digits, objective, steps=1, batch_size=1, quiet=True)
