"""Copies are found, and data are not mistaken for copies; the test agrees with SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu, norm
from torch import Tensor

import tightbound as tb
from laws.linear import Linear, linear_gaussian
from tightbound.analysis.samples.copies import mann_whitney, memorization
from tightbound.analysis.samples.neighbors import nearest
from tightbound.core.errors import InputError


def draws(linear: Linear, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, linear.w.shape[1], generator=generator, dtype=torch.float64)
    noise = torch.randn(n, len(linear.w), generator=generator, dtype=torch.float64)
    return z @ linear.w.T + linear.m + linear.sigma * noise


LINEAR = linear_gaussian()
TRAIN, TEST = draws(LINEAR, 400, 0), draws(LINEAR, 300, 1)


@given(st.integers(0, 1000), st.integers(2, 30), st.integers(2, 30), st.integers(2, 40))
def test_the_z_score_agrees_with_scipy(seed: int, n: int, m: int, values: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, values, n) * 1.0, generator.integers(0, values, m) * 1.0
    if len(np.unique(np.concatenate([x, y]))) == 1:
        return
    theirs = mannwhitneyu(x, y, use_continuity=False, method="asymptotic", alternative="less")
    probability, z = mann_whitney(x, y)
    assert probability == pytest.approx(1 - theirs.statistic / (n * m))
    assert norm.cdf(z) == pytest.approx(theirs.pvalue, abs=1e-9)


def test_nearest_agrees_with_all_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(57, 5, generator=generator) + 100  # far from the origin, where products lose precision
    queries = torch.cat([data[:9] + 1e-3, torch.randn(20, 5, generator=generator) + 100])
    distance, where = nearest(queries, data.split(10))
    pairs = cdist(queries.double().numpy(), data.double().numpy())
    assert np.array_equal(where.numpy(), pairs.argmin(1))
    assert np.allclose(distance, pairs.min(1), rtol=1e-2)
    np.fill_diagonal(pairs[:9], np.inf)
    own = torch.cat([torch.arange(9), torch.full((20,), -1)])
    assert np.array_equal(nearest(queries, data.split(10), own)[1].numpy(), pairs.argmin(1))


def test_training_examples_with_a_little_noise_are_copies() -> None:
    copies = TRAIN[:200] + 0.02 * draws(LINEAR, 200, 5)
    found = memorization(LINEAR.model, TRAIN, TEST, samples=copies)
    values = {name: each.value for name, each in found.estimates.items()}
    assert values["copying_z"] < -15
    assert values["nearer_than_test"] > 0.99
    assert values["distance_ratio"] < 0.2
    assert values["too_near"] > 0.95 > 0.6 > values["too_near_test"]
    assert (found.closest - found.neighbors).abs().max() < 0.2
    pairs = torch.cdist(found.closest, TRAIN)
    assert torch.allclose(pairs.min(1).values, (found.closest - found.neighbors).norm(dim=1))


def test_a_share_of_copies_shows_in_the_share_that_is_too_near() -> None:
    mixed = torch.cat([TRAIN[:100], draws(LINEAR, 100, 6)])
    found = memorization(LINEAR.model, TRAIN, TEST, samples=mixed).estimates
    honest = float(found["too_near_test"].value or 0)
    assert float(found["too_near"].value or 0) == pytest.approx(0.5 + 0.5 * honest, abs=0.1)


def test_new_data_and_samples_of_the_true_model_are_not_copies() -> None:
    pairs = [(draws(LINEAR, 300, 20 + i), draws(LINEAR, 300, 10 + i)) for i in range(6)]
    scores = [memorization(LINEAR.model, TRAIN, test, samples=samples) for test, samples in pairs]
    z = np.array([found.estimates["copying_z"].value for found in scores])
    assert np.abs(z).max() < 3.5
    assert abs(z.mean()) < 3.5 / 6**0.5
    own = memorization(LINEAR.model, TRAIN, TEST, n_samples=300)
    assert abs(float(own.estimates["copying_z"].value or 9)) < 3.5
    assert own.estimates["nearer_than_test"].value == pytest.approx(0.5, abs=0.1)
    assert len(own.distance["samples"]) == 300 == len(own.distance["test"])


def test_principal_components_of_all_dimensions_keep_distances() -> None:
    samples = draws(LINEAR, 50, 7)
    one = memorization(LINEAR.model, TRAIN, TEST, samples=samples)
    other = memorization(LINEAR.model, TRAIN, TEST, samples=samples, components=6)
    assert np.allclose(one.distance["samples"], other.distance["samples"], atol=1e-4)
    few = memorization(LINEAR.model, TRAIN, TEST, samples=samples, components=2)
    assert (few.distance["samples"] < one.distance["samples"]).all()
    assert "2 principal components" in few.estimates["copying_z"].estimator
    with pytest.raises(InputError, match="components = 9"):
        memorization(LINEAR.model, TRAIN, TEST, samples=samples, components=9)


def test_a_conditional_model_is_measured_too() -> None:
    digits = tb.data.open("digits")
    model = tb.VAE.for_data(digits, latent=2, network="mlp(hidden=(4,))", context="labels")
    found = memorization(model, digits.train.subset(range(200)), digits.test, n_samples=60).estimates
    assert float(found["copying_z"].value or 0) > 3  # nothing is learned yet


def test_bad_requests_are_rejected() -> None:
    with pytest.raises(InputError, match="two or more"):
        memorization(LINEAR.model, TRAIN, TEST[:1])
    with pytest.raises(InputError, match=r"shape \(4, 3\)"):
        memorization(LINEAR.model, TRAIN, TEST, samples=torch.zeros(4, 3))


def test_draws_of_bits_are_compared_with_bits() -> None:
    gray = (256 * np.random.default_rng(0).beta(0.1, 0.1, (700, 4, 4))).clip(0, 255).astype(np.uint8)
    model = tb.VAE.for_data(
        tb.data.open(gray), latent=2, network="mlp(hidden=(4,))", likelihood="bernoulli",
        observation="binarized(mode='expected')",
    )  # fmt: skip
    chance = torch.from_numpy(gray).unsqueeze(1).float()
    bits = 255.0 * (torch.rand(chance.shape, generator=torch.Generator().manual_seed(0)) < chance / 255)
    train, test = chance[:300], chance[300:500]
    fresh = memorization(model, train, test, samples=bits[500:]).estimates
    assert abs(float(fresh["copying_z"].value or 9)) < 3.5
    copies = memorization(model, train, test, samples=bits[:200]).estimates
    assert float(copies["copying_z"].value or 0) < -5


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_samples_lose_the_values_that_test_examples_lack(share: float) -> None:
    """Complete samples would be nearer or farther than any data with missing values."""
    scores = []
    for seed in range(4):
        x = draws(LINEAR, 1300, 40 + seed).float()
        x[torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < share] = torch.nan
        table = tb.data.open(x.numpy(), kinds=("real",) * 6)
        model = tb.VAE.for_data(table, latent=2, network="mlp(hidden=(4,))")
        found = memorization(model, x[:800], x[800:], samples=draws(LINEAR, 500, 50 + seed).float())
        scores.append(found.estimates["copying_z"].value)
        assert not found.closest.isnan().any()
    assert abs(np.mean(scores)) < 3.5 / 2
