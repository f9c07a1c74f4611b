"""beta-TC, DIP and FactorVAE: their terms, against values computed independently."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, LatentTerms, Terms
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Identity
from tightbound.nn import MLP
from tightbound.objectives import DIP, BetaTC, FactorVAE
from tightbound.objectives.adversarial import permute_dimensions
from tightbound.posteriors import FullNormal
from tightbound.priors import StandardNormal
from tightbound.testing.objectives import small_model

N = 6


def terms(model=None, samples: int = 2) -> Terms:
    index = torch.arange(N)
    x = (torch.arange(N * 6).reshape(N, 1, 2, 3) % 5 < 2).double()
    return (model or small_model())(Batch(x, index=index), samples, ExampleNoise(0, index=index), Knobs())


def with_full_covariance():
    network = MLP((8,))
    latents = Flat(StandardNormal(3), FullNormal((1, 2, 3), 3, network))
    from tightbound import VAE

    return VAE(latents, Bernoulli((1, 2, 3), 3, network), Identity("binary")).double()


def final(objective) -> Knobs:
    return Knobs.final(objective.schedules)


@pytest.mark.parametrize("sampling", ["mss", "mws"])
@pytest.mark.parametrize("size", [N, 10_000])
def test_beta_tc_with_weights_of_one_is_the_elbo(sampling, size: int) -> None:
    objective, t = BetaTC(beta=1.0, sampling=sampling), terms()
    objective.prepare(small_model(), size)
    assert torch.allclose(objective(t, final(objective)), t.log_weight.mean(0), atol=1e-10)


def test_beta_tc_weights_the_three_exact_terms() -> None:
    """The batch is the data set, and NumPy computes each term from the mixture's densities."""
    t = terms()
    group = t.latents[0]
    assert isinstance(group.posterior, Independent)
    normal = group.posterior.base_dist
    assert isinstance(normal, Normal)
    z, m, s = (v.detach().numpy() for v in (group.z, normal.loc, normal.scale))
    each = np.exp(-0.5 * ((z[:, :, None] - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))  # (S, B, B, L)
    own = np.log(each.prod(-1)[:, range(N), range(N)])
    q, product = np.log(each.prod(-1).mean(2)), np.log(each.mean(2)).sum(-1)
    prior = (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum(-1)
    penalty = 0.5 * (own - q) + 4 * (q - product) + 2 * (product - prior)
    objective = BetaTC(beta=4.0, alpha=0.5, gamma=2.0)
    objective.prepare(small_model(), N)
    expected = (t.log_likelihood.detach().numpy() - penalty).mean(0)
    assert np.allclose(objective(t, final(objective)).detach().numpy(), expected, atol=1e-10)


def test_beta_tc_raises_for_streams_point_masses_and_unfactorized_posteriors() -> None:
    with pytest.raises(CompositionError, match="stream"):
        BetaTC().prepare(small_model(), None)
    with pytest.raises(CompositionError, match="point mass"):
        BetaTC().check(terms(small_model(point=True)))
    with pytest.raises(CompositionError, match="does not factorize"):
        BetaTC().check(terms(with_full_covariance()))
    with pytest.raises(CompositionError, match="prepare"):
        BetaTC()(terms(), final(BetaTC()))
    with pytest.raises(InputError, match="sampling"):
        BetaTC(sampling="all")  # pyright: ignore


def test_dip_is_the_squared_distance_of_the_covariance_from_the_identity() -> None:
    torch.manual_seed(0)
    q = Independent(Normal(torch.randn(9, 3).double(), 0.1 + torch.rand(9, 3).double()), 1)
    between = np.cov(q.mean.numpy().T, bias=True)
    for kind, covariance in ((1, between), (2, between + np.diag(q.variance.numpy().mean(0)))):
        off = covariance - np.diag(covariance.diagonal())
        expected = 3 * (off**2).sum() + 7 * ((covariance.diagonal() - 1) ** 2).sum()
        assert DIP(kind, lambda_od=3, lambda_d=7).penalty(q).item() == pytest.approx(expected)
    assert (DIP(1, 2.0).lambda_d, DIP(2, 2.0).lambda_d) == (20, 2)


def test_dip_penalty_is_zero_for_identity_covariance() -> None:
    corners = torch.tensor([[1.0, 1.0], [1, -1], [-1, 1], [-1, -1]])
    assert DIP(1).penalty(Independent(Normal(corners, 0.3), 1)).item() == 0
    half = Independent(Normal(corners * 0.5**0.5, torch.full((4, 2), 0.5**0.5)), 1)
    assert DIP(2).penalty(half).item() == pytest.approx(0, abs=1e-12)
    assert DIP(1).penalty(half).item() > 1


def test_dip_of_kind_2_needs_a_factorized_posterior() -> None:
    DIP(1).check(terms(with_full_covariance()))
    with pytest.raises(CompositionError, match="does not factorize"):
        DIP(2).check(terms(with_full_covariance()))
    with pytest.raises(InputError, match="1 or 2"):
        DIP(3)


def test_permute_dimensions_keeps_marginals_and_removes_dependence() -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 4000, 1).expand(2, 4000, 3)
    mixed = permute_dimensions(z)
    assert torch.equal(mixed.sort(1).values, z.sort(1).values)
    for s in range(2):
        correlation = torch.corrcoef(mixed[s].T) - torch.eye(3)
        assert correlation.abs().max() < 0.1  # before: 1


def test_the_best_discriminator_gives_the_total_correlation() -> None:
    """For a Gaussian with correlation .8 it is -log(1 - .64) / 2; the optimal D is quadratic."""
    rho, n = 0.8, 100_000
    exact = -0.5 * math.log(1 - rho**2)
    torch.manual_seed(0)
    z = torch.randn(1, n, 2).double() @ torch.tensor([[1, 0], [rho, 0.6]]).double().T
    standard = Independent(Normal(torch.zeros(n, 2).double(), 1.0), 1)
    t = Terms(torch.zeros(1, n), (LatentTerms(z, standard, standard),), standard, Batch(torch.zeros(n, 1)))

    class Squares(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.stack([z.square().sum(-1), z.prod(-1)], -1)

    objective = FactorVAE(network=MLP((2,)))
    objective.prepare(small_model(), None)
    objective.discriminator.shape, objective.discriminator.body = (2,), Squares()
    objective.discriminator.head = head = torch.nn.Linear(2, 1).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-(rho**2), 2 * rho]]) / (2 * (1 - rho**2)))
        head.bias.fill_(exact)
    value = objective(t, Knobs(gamma=torch.tensor(1.0)))
    stderr = (value.std() / n**0.5).item()
    assert -value.mean().item() == pytest.approx(exact, abs=5 * stderr)
    assert stderr < 0.01
    gradient = torch.autograd.grad(objective.adversary().loss(t, Knobs()), [head.weight, head.bias])
    assert all(g.abs().max() < 0.02 for g in gradient)
