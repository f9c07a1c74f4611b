"""Start of tables at factor analysis."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data.given import training_data
from tightbound.data.splits.indexed import Subset
from tightbound.likelihoods.table import Table
from tightbound.nn.factor_analysis import FactorAnalysis

R = np.random.default_rng(0)
W = R.normal(size=(3, 8))
X = (R.normal(size=(400, 3)) @ W * [1, 10, 0.1, 1, 1, 1, 1, 1] + 0.3 * R.normal(size=(400, 8))).astype("f4")
HOLES = np.where(R.random(X.shape) < 0.25, np.nan, X).astype("f4")


@pytest.mark.parametrize("x", [X, HOLES], ids=["complete", "with missing entries"])
def test_a_model_starts_near_the_evidence_of_factor_analysis(x: np.ndarray) -> None:
    """Before any training, the bound is close to the largest likelihood of a linear model with three factors."""
    model = tb.VAE.for_data(x, latent=3, network="mlp(hidden=(16,), skip=True)")
    given = torch.from_numpy(x).double()
    exact = FactorAnalysis.fit(given, ~given.isnan(), 3, steps=1000, tolerance=1e-7)
    evidence = exact.log_likelihood(given, ~given.isnan()).mean().item()
    bound = tb.evaluate(model, x, samples=100)
    gap = 0.1 if x is X else 0.7  # a diagonal Gaussian is exact for complete rows only
    assert evidence - gap < bound["elbo"].value < bound["iwae"].value + 0.05 < evidence + 0.1
    without = tb.VAE.for_data(x, latent=3, network="mlp(hidden=(16,))")
    assert tb.evaluate(without, x, samples=10)["elbo"].value < evidence - 3


def test_the_encoder_sees_missing_numbers_at_their_conditional_means() -> None:
    model = tb.VAE.for_data(HOLES, latent=3)
    table = model.observation
    assert isinstance(table, Table)
    seen = model.observe(Batch(torch.from_numpy(HOLES)), Noise("test"))
    assert seen.input is not None
    shown, known = seen.input[:, :8], ~torch.from_numpy(HOLES).isnan()
    standard = (torch.from_numpy(X) - table.mean) / table.std
    assert torch.allclose(shown[known], standard[known], atol=1e-5)
    assert torch.equal(seen.input[:, 8:], known.float())
    error = (shown - standard)[~known].square().mean()
    assert error < 0.4 * standard[~known].square().mean()  # zeros would have the error 1


def test_words_and_whole_numbers_start_better_than_their_marginals() -> None:
    group = R.integers(0, 3, 400)
    table = np.stack([group + 0.1 * R.normal(size=400), 5 * group + R.integers(0, 9, 400) * 50, group], 1)
    kinds = ["real", "whole", ("categories", ("a", "b", "c"))]
    bounds = [
        tb.evaluate(tb.VAE.for_data(table, kinds=kinds, latent=2, network=network), table, samples=10)["elbo"].value
        for network in ("mlp(hidden=(8,), skip=True)", "mlp(hidden=(8,))")
    ]
    assert bounds[0] > bounds[1] + 0.5


def test_a_saved_model_fills_in_the_same(tmp_path) -> None:
    trained = tb.train(HOLES, run=tmp_path / "run", steps=2, quiet=True)
    again = tb.load(tmp_path / "run")
    assert torch.equal(again.encode(HOLES), trained.encode(HOLES))


@pytest.mark.parametrize("part", [{"posterior": "full"}, {"prior": "vamp(components=4)"}, {"start_at_data": False}])
def test_other_models_keep_their_random_start(part) -> None:
    with_path = tb.VAE.for_data(X, latent=3, network="mlp(hidden=(8,), skip=True)", **part)
    assert with_path.likelihood.network[-1].weight[:, :8].abs().max() > 0


def test_a_model_starts_without_the_rows_that_choose_its_epoch() -> None:
    held = training_data(HOLES).held_out(100)[1]
    assert isinstance(held, Subset)
    changed = HOLES.copy()
    changed[held.rows] += 7.0
    first, second = (tb.train(x, steps=1, quiet=True, validation_size=100).model for x in (HOLES, changed))
    assert all(torch.equal(a, second.state_dict()[name]) for name, a in first.state_dict().items())
