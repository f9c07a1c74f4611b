"""Factor analysis, against closed forms, SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import FactorAnalysis as Oracle

from tightbound.nn.factor_analysis import FactorAnalysis

D, K = 6, 2
R = np.random.default_rng(0)
LOADINGS, NOISE = R.normal(size=(D, K)), R.uniform(0.2, 1, D)
MEAN = R.normal(size=D)
X = MEAN + R.normal(size=(1500, K)) @ LOADINGS.T + R.normal(size=(1500, D)) * NOISE**0.5
KNOWN = R.random(X.shape) < 0.7
MODEL = FactorAnalysis(*map(torch.from_numpy, (MEAN, LOADINGS, NOISE)))


def covariance(model: FactorAnalysis) -> np.ndarray:
    return (model.loadings @ model.loadings.mT + torch.diag(model.noise)).numpy()


def test_log_likelihood_is_that_of_the_gaussian_of_the_known_entries() -> None:
    found = MODEL.log_likelihood(torch.from_numpy(X[:50]), torch.from_numpy(KNOWN[:50]))
    whole = covariance(MODEL)
    for x, known, value in zip(X[:50], KNOWN[:50], found, strict=True):
        own = stats.multivariate_normal(MEAN[known], whole[np.ix_(known, known)]).logpdf(x[known]) if known.any() else 0
        assert value.item() == pytest.approx(own, abs=1e-9)


def test_missing_entries_become_their_conditional_means() -> None:
    filled = MODEL.completed(torch.from_numpy(X[:50]), torch.from_numpy(KNOWN[:50])).numpy()
    whole = covariance(MODEL)
    for x, known, found in zip(X[:50], KNOWN[:50], filled, strict=True):
        solved = np.linalg.solve(whole[np.ix_(known, known)], x[known] - MEAN[known])
        assert np.allclose(found[~known], MEAN[~known] + whole[np.ix_(~known, known)] @ solved)


def test_the_posterior_is_that_of_the_joint_gaussian() -> None:
    x, known = torch.from_numpy(X[:20]), torch.from_numpy(KNOWN[:20])
    mean, spread = MODEL.posterior(x, known)
    whole = covariance(MODEL)
    for i in range(20):
        at = KNOWN[i]
        gain = LOADINGS[at].T @ np.linalg.inv(whole[np.ix_(at, at)])
        assert np.allclose(mean[i], gain @ (X[i, at] - MEAN[at]))
        assert np.allclose(spread[i], np.eye(K) - gain @ LOADINGS[at])


def test_fit_reaches_the_likelihood_of_scikit_learn() -> None:
    x = torch.from_numpy(X)
    found = FactorAnalysis.fit(x, torch.ones_like(x, dtype=torch.bool), K, steps=1000, tolerance=1e-7)
    own = found.log_likelihood(x, torch.ones_like(x, dtype=torch.bool)).mean().item()
    assert own == pytest.approx(Oracle(K, max_iter=10_000, tol=1e-8).fit(X).score(X), abs=2e-3)
    spread = found.posterior(x[:1], torch.ones(1, D, dtype=torch.bool))[1][0]
    assert torch.allclose(spread, torch.diag(spread.diagonal()), atol=1e-9)  # independent given a complete row


def test_fit_integrates_missing_entries_out() -> None:
    found = FactorAnalysis.fit(torch.from_numpy(X), torch.from_numpy(KNOWN), K)
    assert np.allclose(covariance(found), covariance(MODEL), atol=0.25)
    x, known = torch.from_numpy(X), torch.from_numpy(KNOWN)
    assert found.log_likelihood(x, known).mean() > MODEL.log_likelihood(x, known).mean() - 1e-3
    blind = FactorAnalysis.fit(torch.from_numpy(np.where(KNOWN, X, 1e6)), known, K)
    assert torch.equal(blind.loadings, found.loadings)


def test_units_of_the_columns_change_nothing_else() -> None:
    x, known, unit = torch.from_numpy(X), torch.from_numpy(KNOWN), torch.tensor([1e-20, 1, 1e6, 3, 1e20, 7.0]).double()
    first, second = FactorAnalysis.fit(x, known, K), FactorAnalysis.fit(x * unit, known, K)
    assert torch.allclose(second.completed(x * unit, known) / unit, first.completed(x, known), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2])
def test_small_and_constant_tables_have_a_fit(size: int) -> None:
    x = torch.cat([torch.full((5, 1), 3.0), torch.arange(5.0)[:, None]], 1)[:, :size]
    found = FactorAnalysis.fit(x, torch.ones_like(x, dtype=torch.bool), 1)
    assert all(torch.isfinite(part).all() for part in (found.mean, found.loadings, found.noise))
