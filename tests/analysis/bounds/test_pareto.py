"""Pareto k-hat against SciPy's generalized Pareto density and weights whose tail is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import genpareto

from tightbound.analysis.bounds.weights import fit_generalized_pareto, pareto_shape, tail_size


@pytest.mark.parametrize("shape", [-0.4, 0.0, 0.3, 0.7, 1.2])
@pytest.mark.parametrize("scale", [1e-3, 50.0])
def test_the_fit_finds_a_known_shape_and_scale(shape: float, scale: float) -> None:
    """Over 60 data sets of 2000, within their spread; the asymptotic sd of k is (1 + k) / sqrt(n)."""
    rows, n = 60, 2000
    x = genpareto.rvs(shape, scale=scale, size=(rows, n), random_state=np.random.default_rng(0))
    k, sigma = fit_generalized_pareto(x)
    drawn = (n * shape + 10 * 0.5) / (n + 10)  # to the prior
    assert k.mean() == pytest.approx(drawn, abs=4 * max(1 + shape, 0.6) / np.sqrt(n * rows) + 0.003)
    assert k.std() < 1.5 * max(1 + shape, 0.6) / np.sqrt(n)
    assert np.median(sigma) / scale == pytest.approx(1, abs=0.03)


def test_the_fit_is_near_the_maximum_of_scipys_likelihood() -> None:
    x = genpareto.rvs(0.5, size=(1, 3000), random_state=np.random.default_rng(1))
    k, sigma = fit_generalized_pareto(x)
    best, _, best_scale = genpareto.fit(x[0], floc=0)
    assert k[0] == pytest.approx(best, abs=0.01)
    assert sigma[0] == pytest.approx(best_scale, rel=0.01)


def test_ties_with_the_threshold_are_left_out() -> None:
    x = genpareto.rvs(0.5, size=(1, 400), random_state=np.random.default_rng(2))
    alone, _ = fit_generalized_pareto(x)
    padded, _ = fit_generalized_pareto(np.concatenate([x, np.zeros((1, 30))], 1))
    assert padded[0] == pytest.approx(alone[0], abs=2e-3)  # the grid is a little finer
    assert np.isnan(fit_generalized_pareto(np.array([[0.0, 0.0, 1.0, 2.0, 3.0, 4.0]]))[0]).all()


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_weights_with_a_power_tail(shape: float) -> None:
    """w = u^-k has the tail index 1 / k; the scale of the weights does not matter, even where exp overflows."""
    samples = 20_000
    log_weight = -shape * np.log(np.random.default_rng(3).uniform(size=(20, samples)))
    tail = np.sort(log_weight, 1)[:, -tail_size(samples) - 1 :]
    k = pareto_shape(tail + 5000)
    m = tail_size(samples)
    assert k.mean() == pytest.approx((m * shape + 5) / (m + 10), abs=4 * (1 + shape) / np.sqrt(20 * m))
    np.testing.assert_allclose(k, pareto_shape(tail[:, ::-1]), rtol=1e-8)


def test_equal_weights_have_no_tail() -> None:
    assert pareto_shape(np.random.default_rng(4).normal(-900, 1e-9, size=(3, 50))) == pytest.approx(0)


def test_tail_size() -> None:
    assert [tail_size(s) for s in (20, 100, 225, 5000)] == [4, 20, 45, 213]
