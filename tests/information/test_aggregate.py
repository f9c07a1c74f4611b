"""Estimators from pairwise densities, against exact mixtures and closed forms for Gaussians."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from torch.distributions import Independent, MultivariateNormal, Normal

from tightbound.core.errors import CompositionError, InputError
from tightbound.information import (
    aggregate_kl,
    decompose,
    log_aggregate,
    log_pairs,
    log_pairs_by_dimension,
    log_weights,
    mutual_information,
)


def posterior(n: int = 7, latent: int = 3, seed: int = 0) -> Independent:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(n, latent, generator=generator, dtype=torch.float64)
    scale = 0.3 + torch.rand(n, latent, generator=generator, dtype=torch.float64)
    return Independent(Normal(mean, scale), 1)


def draws(q: Independent, samples: int = 2, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    return q.rsample((samples,))


def standard(z: torch.Tensor) -> torch.Tensor:
    return Normal(0.0, 1.0).log_prob(z).sum(-1)


def test_aggregate_posterior_is_exact_if_the_batch_is_the_data_set() -> None:
    q = posterior()
    z = draws(q)
    mean, scale = q.base_dist.loc.numpy(), q.base_dist.scale.numpy()
    by_hand = np.array(
        [
            [
                logsumexp([multivariate_normal(m, np.diag(s**2)).logpdf(row) for m, s in zip(mean, scale, strict=True)])
                for row in rows
            ]
            for rows in z.numpy()
        ]
    ) - math.log(7)
    marginals = logsumexp(norm(mean, scale).logpdf(z.numpy()[:, :, None]), axis=2) - math.log(7)
    assert np.allclose(log_aggregate(log_pairs(q, z), log_weights(7)), by_hand, atol=1e-12)
    assert np.allclose(log_aggregate(log_pairs_by_dimension(q, z), log_weights(7)), marginals, atol=1e-12)
    weighted = log_aggregate(log_pairs(q, z), log_weights(7, 7, "mws"))
    assert np.allclose(weighted, by_hand - math.log(7), atol=1e-12)


def test_stratified_sampling_is_unbiased_over_all_batches_and_weighted_sampling_is_not() -> None:
    """Average over all batches of 3 of 6 examples that contain the example of z."""
    q = posterior(6)
    z = draws(q, 1)
    pairs = log_pairs(q, z)[0]
    exact = pairs.exp().mean(1)
    means = {}
    for sampling in ("mss", "mws"):
        weights = log_weights(3, 6, sampling).exp()
        estimates: list[list[float]] = [[] for _ in range(6)]
        for batch in itertools.combinations(range(6), 3):
            density = (weights * pairs[batch, :][:, batch].exp()).sum(1)
            for row, value in zip(batch, density.tolist(), strict=True):
                estimates[row].append(value)
        means[sampling] = torch.tensor(estimates, dtype=torch.float64).mean(1)
    assert torch.allclose(means["mss"], exact, atol=1e-14)
    assert (means["mws"] < 0.9 * exact).all()


@pytest.mark.parametrize(("batch", "size"), [(1, 1), (1, 9), (2, 2), (4, 1000), (8, 5)])
def test_stratified_weights_sum_to_one_for_more_than_one_example(batch: int, size: int) -> None:
    total = log_weights(batch, size).exp().sum(1)
    assert torch.allclose(total, torch.full_like(total, 1.0 if batch > 1 else 1 / size))


@pytest.mark.parametrize("size", [7, 50_000])
@pytest.mark.parametrize("sampling", ["mss", "mws"])
def test_the_three_terms_sum_to_the_log_ratio(sampling, size: int) -> None:
    q = posterior()
    z = draws(q)
    parts = decompose(q, z, standard(z), log_weights(7, size, sampling))
    total = parts.mutual_information + parts.total_correlation + parts.dimension_wise_kl
    assert torch.allclose(total, q.log_prob(z) - standard(z), atol=1e-10)


def test_closed_forms_on_gaussians() -> None:
    """For means with covariance A and noise of variance v, the aggregate posterior is about N(0, A + v I)."""
    n, v = 1000, 0.5
    a = torch.tensor([[2.0, 2.2], [2.2, 3.0]], dtype=torch.float64)
    e = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    e = e - e.mean(0)
    e = e @ torch.linalg.inv(torch.linalg.cholesky(e.T @ e / n)).T  # covariance I, exactly
    q = Independent(Normal(e @ torch.linalg.cholesky(a).T, torch.full((n, 2), v**0.5, dtype=torch.float64)), 1)
    z = draws(q, 2)
    c = a + v * torch.eye(2, dtype=torch.float64)
    parts = decompose(q, z, standard(z), log_weights(n))
    diagonal = c.diagonal()
    exact = {
        "mutual_information": 0.5 * (c.logdet() - 2 * math.log(v)),
        "total_correlation": 0.5 * (diagonal.log().sum() - c.logdet()),
        "dimension_wise_kl": 0.5 * (diagonal - 1 - diagonal.log()).sum(),
    }
    for name, value in exact.items():
        estimates = getattr(parts, name).mean(0)
        allowed = 5 * (estimates.std() / n**0.5).item() + 0.02  # n means are not quite a Gaussian
        assert estimates.mean().item() == pytest.approx(value.item(), abs=allowed), name
        assert value > 2 * allowed  # the comparison tells it from zero
    assert torch.allclose(mutual_information(q, z), parts.mutual_information)
    assert torch.allclose(aggregate_kl(q, z, standard(z)), parts.total_correlation + parts.dimension_wise_kl)


def test_information_of_a_collapsed_and_of_a_perfect_code() -> None:
    collapsed = Independent(Normal(torch.zeros(5, 2), torch.ones(5, 2)), 1)
    assert mutual_information(collapsed, draws(collapsed)).abs().max() < 1e-6
    apart = Independent(Normal(100 * torch.arange(5.0).unsqueeze(1), torch.ones(5, 1)), 1)
    assert torch.allclose(mutual_information(apart, draws(apart)), torch.tensor(math.log(5)))


def test_total_correlation_needs_a_factorized_posterior_and_information_does_not() -> None:
    factor = torch.randn(6, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    full = MultivariateNormal(torch.zeros(6, 2, dtype=torch.float64), factor @ factor.mT + torch.eye(2))
    z = full.rsample((3,))
    pairs = log_pairs(full, z)
    assert pairs.shape == (3, 6, 6)
    assert torch.allclose(pairs[1, 4, 2], MultivariateNormal(full.loc[2], full.covariance_matrix[2]).log_prob(z[1, 4]))
    assert mutual_information(full, z).shape == (3, 6)
    with pytest.raises(CompositionError, match="does not factorize"):
        decompose(full, z, z.sum(-1), log_weights(6))
    with pytest.raises(CompositionError, match="batch shape"):
        log_pairs(Independent(Normal(torch.zeros(3, 6, 2), 1.0), 1), z)


def test_invalid_names_and_sizes_raise() -> None:
    with pytest.raises(InputError, match="'mss' or 'mws'"):
        log_weights(3, 6, "stratified")  # pyright: ignore
    with pytest.raises(InputError, match="size"):
        log_weights(3, 0)
