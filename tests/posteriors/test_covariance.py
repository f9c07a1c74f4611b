"""Gaussian posteriors with correlations, against each other and against Monte Carlo."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from tightbound.core.noise import Noise, draw
from tightbound.core.terms import closed_kl
from tightbound.posteriors import FullNormal, LowRankNormal
from tightbound.priors import LearnedNormal, Mixture, StandardNormal

L = 4


def learned() -> Independent:
    prior = LearnedNormal(L).double()
    with torch.no_grad():
        prior.loc.copy_(torch.tensor([0.3, -1.0, 0.0, 2.0]))
        prior.log_scale.copy_(torch.tensor([0.5, -0.3, 0.0, 0.2]))
    p = prior()
    assert isinstance(p, Independent)
    return p


def made(posterior: FullNormal | LowRankNormal):
    generator = torch.Generator().manual_seed(3)
    return posterior.distribution(torch.randn(5, *posterior.raw_shape, generator=generator, dtype=torch.float64))


def full(q) -> MultivariateNormal:
    return MultivariateNormal(q.mean, q.covariance_matrix)


@pytest.mark.parametrize("posterior", [LowRankNormal((6 * L,), L, rank=4), FullNormal((6 * L,), L)])
@pytest.mark.parametrize("p", [StandardNormal(L).double()(), learned()], ids=["normal", "learned"])
def test_kl_to_a_diagonal_gaussian_is_torchs_between_full_covariances(posterior, p) -> None:
    q = made(posterior)
    diagonal = MultivariateNormal(p.mean, torch.diag_embed(p.variance))
    kl = closed_kl(q, p)
    assert kl is not None
    assert kl.shape == (5, 1)
    assert torch.allclose(kl[:, 0], torch.distributions.kl_divergence(full(q), diagonal), atol=1e-10)


def test_there_is_no_closed_kl_to_other_families_than_gaussians() -> None:
    q = made(LowRankNormal((6 * L,), L, rank=4))
    assert closed_kl(q, Mixture(L).double()()) is None
    assert closed_kl(q, Independent(torch.distributions.Laplace(torch.zeros(L), torch.ones(L)), 1)) is None


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_low_rank_draws_have_its_covariance_and_its_density_is_the_full_ones(rank: int) -> None:
    q = made(LowRankNormal(((2 + rank) * L,), L, rank=rank))
    z = draw(q, (100_000,), Noise("cov"))
    for i in range(5):
        expected = full(q).covariance_matrix[i]
        scale = expected.diagonal().sqrt()
        off = (torch.cov(z[:, i].T) - expected) / (scale[:, None] * scale)
        assert off.abs().max() < 5.5 * (2 / 100_000) ** 0.5
    assert torch.allclose(q.log_prob(z[:7]), full(q).log_prob(z[:7]), atol=1e-9)


def test_low_rank_of_full_rank_reaches_any_covariance() -> None:
    """Sigma = lambda I + U U' with lambda its least eigenvalue."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(L, L, generator=generator, dtype=torch.float64)
    sigma = a @ a.T + 0.1 * torch.eye(L)
    values, vectors = torch.linalg.eigh(sigma)
    least = 0.999 * values[0]
    columns = vectors * (values - least).sqrt()
    raw = torch.cat([torch.zeros(1, L), least.log().expand(1, L), columns.T * L**0.5])
    q = LowRankNormal((6 * L,), L, rank=L).distribution(raw[None])
    assert torch.allclose(full(q).covariance_matrix[0], sigma, atol=1e-12)


def test_no_kl_to_a_gaussian_of_another_size() -> None:
    q = made(FullNormal((6 * L,), L))
    assert closed_kl(q, Independent(Normal(torch.zeros(1), torch.ones(1)), 1)) is None
