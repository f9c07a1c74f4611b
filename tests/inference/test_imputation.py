"""Missing entries are filled by their conditional means, whatever the encoder says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tightbound as tb
from likelihoods.test_columns import gaussian_table, table_with_holes
from tightbound.core.errors import CompositionError
from tightbound.inference.imputation import impute


def conditional_means(x: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    out = x.clone()
    for row, filled in zip(x, out, strict=True):
        seen = ~row.isnan()
        cross = covariance[~seen][:, seen]
        filled[~seen] = mean[~seen] + cross @ torch.linalg.solve(covariance[seen][:, seen], row[seen] - mean[seen])
    return out


def test_the_mean_given_the_observed_entries_does_not_depend_on_the_encoder() -> None:
    model, mean, covariance = gaussian_table()
    x = table_with_holes(mean, covariance)
    exact, scale = conditional_means(x, mean, covariance), covariance.diagonal().sqrt()
    model.latents.posterior.network.forward = lambda written: torch.zeros(len(written), 2, dtype=written.dtype)
    found = impute(model, x, samples=20_000)  # q(z | x) is the prior
    assert torch.equal(found[~x.isnan()], x[~x.isnan()])
    assert ((found - exact) / scale).abs().max() < 0.05
    coarse = impute(model, x, samples=1)
    assert ((coarse - exact) / scale).abs().max() > 0.3


def test_columns_get_numbers_and_categories_that_they_can_hold() -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 200)
    x = np.stack([kind * 4.0 + 1, 100 * kind + rng.integers(0, 9, 200), kind, rng.normal(size=200)], 1)
    x[rng.random(x.shape) < 0.3] = np.nan
    model = tb.VAE.for_data(x, latent=2, network="mlp(hidden=(16,))", kinds={2: "categories"})
    trained = tb.fit(model, x, steps=200, lr=1.5e-2, quiet=True)
    filled, known = trained.impute(x).numpy(), ~np.isnan(x)
    assert np.array_equal(filled[known], x[known].astype(np.float32))
    assert set(filled[:, 0]) == {1.0, 5.0}
    assert (filled[:, 1] == filled[:, 1].round()).all()
    assert set(filled[:, 2]) == {0.0, 1.0}
    for made in (trained.sample(50), trained.sample(50, draw=True), trained.reconstruct(x)):
        assert set(made[:, 0].tolist()) <= {1.0, 5.0}
        assert bool((made[:, 1] == made[:, 1].round()).all() and (made[:, 1] >= 0).all())
    some = known[:, 1] & ~known[:, 0]  # the second column tells the first
    assert (filled[some, 0] == 1 + 4 * kind[some]).mean() > 0.95


def test_a_model_of_complete_numbers_says_how_to_get_one_that_imputes() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    model = tb.VAE.for_data(x, latent=1, network="mlp(hidden=(4,))")
    with pytest.raises(CompositionError, match="train it on a table with missing entries, or declare the kinds"):
        tb.Trained(model).impute(x)
