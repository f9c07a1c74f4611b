"""Gaussian posteriors with correlations, against each other and against Monte Carlo."""

from __future__ import annotations

import mpmath
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from tightbound.core.noise import Noise, draw, draw_with_log_prob
from tightbound.core.terms import closed_kl
from tightbound.posteriors import FullNormal, LowRankNormal
from tightbound.posteriors.covariance import LowRankGaussian
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


@pytest.mark.parametrize("size", [1.0, 1e3, 1e8, 1e12])
@pytest.mark.parametrize("posterior", [LowRankNormal((4 * L,), L, rank=2), FullNormal((6 * L,), L)])
def test_the_density_of_a_draw_holds_for_outputs_of_any_size(posterior, size: float) -> None:
    """Against the quadratic form and determinant in 400 digits; float32 cannot solve L e = z - mu far from the data."""
    raw = size * torch.randn(5, *posterior.raw_shape, generator=torch.Generator().manual_seed(3))
    q, noise = posterior.distribution(raw), Noise("far")
    z, log_q = draw_with_log_prob(q, (3,), Noise("far"))
    assert log_q is not None
    assert torch.isfinite(z).all()
    low = isinstance(q, LowRankGaussian)
    e = torch.cat([noise.normal((3, 5, L), z), *[noise.normal((3, 5, 2), z)] * low], -1)
    with mpmath.workdps(400):
        for i in range(5):
            factor = torch.cat([torch.diag(q.std[i]), q.factor[i]], -1) if low else q.scale_tril[i]
            columns = mpmath.matrix(factor.tolist())
            covariance = columns * columns.T
            log_det = mpmath.log(mpmath.det(covariance))
            for k in range(3):
                moved = columns * mpmath.matrix(e[k, i].tolist())
                square = (moved.T * mpmath.lu_solve(covariance, moved))[0]
                exact = -(square + log_det + L * mpmath.log(2 * mpmath.pi)) / 2
                near = 1e-5 if size == 1 or not low else 1e-3  # rows of different sizes cost a QR decomposition digits
                assert float(log_q[k, i]) == pytest.approx(float(exact), rel=near, abs=500 * near)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_low_rank_densities_agree_with_the_full_ones_at_other_points(rank: int) -> None:
    q = made(LowRankNormal(((2 + rank) * L,), L, rank=rank))
    z = 3 * torch.randn(7, 5, L, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(q.log_prob(z), full(q).log_prob(z), atol=1e-10)
    assert torch.allclose(q.entropy(), full(q).entropy(), atol=1e-10)
    assert torch.allclose(q.variance, full(q).variance, atol=1e-10)
    torch.manual_seed(0)
    covariances = torch.stack([torch.cov(x.T) for x in q.sample((40_000,)).unbind(1)])
    assert ((covariances - full(q).covariance_matrix).abs() < 0.05 * (1 + q.variance.amax((0, 1)))).all()
    assert torch.equal(q.expand((2, 5)).log_prob(z[:2]), q.log_prob(z[:2]))
