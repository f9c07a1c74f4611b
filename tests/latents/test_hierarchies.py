"""Hierarchies against the exact evidence of a linear-Gaussian model of two layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from tightbound.analysis.bounds.estimator import evaluate
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.latents import BottomUp, Ladder
from tightbound.latents.ladder import merge
from tightbound.likelihoods import Gaussian, Identity
from tightbound.model import VAE
from tightbound.objectives import ELBO, IWAE

LARGE, SMALL, D = 3, 2, 5  # sizes of z_1, z_2 and x


@dataclass
class TwoLayers:
    """z_2 ~ N(0, I), z_1 ~ N(A z_2 + a, s^2 I), x ~ N(W z_1 + m, sigma^2 I); A is diagonal and W has orthogonal
    columns, so that all posteriors are diagonal."""

    w: Tensor  # (D, LARGE)
    m: Tensor  # (D,)
    a: Tensor  # (LARGE, SMALL)
    shift: Tensor  # (LARGE,)
    s: float = 0.6
    sigma: float = 0.5

    def evidence(self, x: Tensor) -> Tensor:
        """(N,) log p(x)."""
        noise = self.sigma**2 * torch.eye(D).double()
        covariance = self.w @ self.marginal() @ self.w.T + noise
        return MultivariateNormal(self.w @ self.shift + self.m, covariance).log_prob(x)

    def marginal(self) -> Tensor:
        """Covariance of z_1."""
        return self.a @ self.a.T + self.s**2 * torch.eye(LARGE).double()


def two_layers(seed: int = 0) -> TwoLayers:
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(D, LARGE, generator=generator, dtype=torch.float64))
    a = torch.zeros(LARGE, SMALL, dtype=torch.float64)
    a.diagonal().copy_(torch.tensor([1.3, -0.8]))
    m, shift = (torch.randn(n, generator=generator, dtype=torch.float64) for n in (D, LARGE))
    return TwoLayers(basis * torch.tensor([0.7, 1.2, 2.0]), m, a, shift)


@torch.no_grad()
def put(linear: nn.Module, weight: Tensor, bias: Tensor, variance: Tensor | None = None) -> None:
    """Sets a linear layer, or a head to means and log-variances."""
    assert isinstance(linear, nn.Linear)
    if variance is not None:
        weight = torch.cat([weight, torch.zeros_like(weight)])
        bias = torch.cat([bias, variance.log()])
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


def bottom_up(true: TwoLayers, off: float = 0.0) -> VAE:
    """With the exact posterior; `off` shifts q's means and widens it."""
    latents = BottomUp((D,), LARGE, nn.Flatten(), upper=SMALL, hidden=())
    decoder = nn.Linear(LARGE, D)
    model = VAE(latents, Gaussian((D,), LARGE, decoder, scale=true.sigma), Identity()).double()
    put(decoder, true.w, true.m)
    put(latents.priors[0].network[-1], true.a, true.shift, torch.full((LARGE,), true.s**2))
    prior = true.marginal().diagonal()
    precision = 1 / prior + true.w.square().sum(0) / true.sigma**2
    weight = true.w.T / true.sigma**2 / precision[:, None]
    bias = true.shift / prior / precision - weight @ true.m
    put(latents.posteriors[0].network[-1], weight, bias + off, math.exp(off) / precision)
    precision = 1 + true.a.square().sum(0) / true.s**2
    weight = true.a.T / true.s**2 / precision[:, None]
    put(latents.posteriors[1].network[-1], weight, off - weight @ true.shift, math.exp(off) / precision)
    return model


def ladder(true: TwoLayers, off: float = 0.0) -> VAE:
    """With the exact posterior: the estimate of z_1 is p(x | z_1) as a density of z_1."""
    width = LARGE + SMALL
    latents = Ladder((D,), LARGE, nn.Flatten(), groups=(LARGE, SMALL), hidden=width, activation="identity")
    for head in (*latents.estimates, latents.priors[0][-1]):
        head[0] = nn.Identity()  # layer normalization is not linear
    decoder = nn.Linear(width, D)
    model = VAE(latents, Gaussian((D,), width, decoder, scale=true.sigma), Identity()).double()
    eye, no = torch.eye(width).double(), torch.zeros(width, dtype=torch.float64)
    put(decoder, torch.cat([true.w, torch.zeros(D, SMALL)], 1), true.m)
    put(latents.states[0][0], eye[:, LARGE:], no)
    put(latents.states[0][2], eye, no)
    weight = torch.cat([torch.zeros(LARGE, LARGE), true.a], 1)
    put(latents.priors[0][-1][-1], weight, true.shift, torch.full((LARGE,), true.s**2))
    put(latents.up[1][1], torch.eye(width, D), no)
    squared = true.w.square().sum(0)
    weight = true.w.T / squared[:, None]
    put(latents.estimates[0][-1], weight, off - weight @ true.m, math.exp(off) * true.sigma**2 / squared)
    slope = true.w @ true.a
    noise = true.s**2 * true.w @ true.w.T + true.sigma**2 * torch.eye(D).double()
    back = torch.linalg.solve(noise, slope).T
    precision = 1 + (back @ slope).diagonal()
    weight = back / precision[:, None]
    put(latents.estimates[1][-1], weight, off - weight @ (true.w @ true.shift + true.m), math.exp(off) / precision)
    return model


MODELS = {"bottom-up": bottom_up, "ladder": ladder}


def data(n: int, seed: int = 1) -> Tensor:
    return 1.5 * torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(objective, model: VAE, x: Tensor) -> Tensor:
    terms = model(Batch(x, index=torch.arange(len(x))), objective.samples, Noise("test"))
    return objective(terms, Knobs.final(objective.schedules))


@pytest.mark.parametrize("made", MODELS)
def test_with_the_exact_posterior_every_bound_is_the_evidence(made: str) -> None:
    true, x = two_layers(), data(6)
    model = MODELS[made](true)
    for objective in (IWAE(1), IWAE(5), ELBO(kl="monte-carlo", samples=2)):
        assert torch.allclose(value(objective, model, x), true.evidence(x), atol=1e-9)
    elbo = value(ELBO(samples=100_000), model, x[:2])
    assert torch.allclose(elbo, true.evidence(x[:2]), atol=0.03)


@pytest.mark.parametrize("made", MODELS)
def test_bounds_rise_to_the_evidence_and_weights_have_its_mean(made: str) -> None:
    true, x = two_layers(), data(4)
    model = MODELS[made](true, off=0.3)
    evidence, many = true.evidence(x), x.repeat(2000, 1)
    bounds = [value(o, model, many).reshape(2000, 4).mean(0) for o in (ELBO(), IWAE(4), IWAE(32))]
    assert (bounds[1] - bounds[0] > 0.05).all()
    assert (bounds[2] - bounds[1] > 0.01).all()
    assert (bounds[2] < evidence + 0.01).all()
    weight = model(Batch(x), 100_000, Noise("weights")).log_weight - evidence
    mean, error = weight.exp().mean(0), weight.exp().std(0) / len(weight) ** 0.5
    assert ((mean - 1).abs() < 4 * error).all()
    assert (error < 0.02).all()


@pytest.mark.parametrize("made", MODELS)
def test_the_elbo_by_closed_forms_is_that_by_monte_carlo(made: str) -> None:
    """A KL whose prior is conditional on a later draw would be off here by far more than the tolerance."""
    true, x = two_layers(), data(3)
    terms = MODELS[made](true, off=0.5)(Batch(x), 100_000, Noise("kl"))
    closed = sum(group.rate().sum(-1) for group in terms.latents)
    ratio = sum(group.log_ratio() for group in terms.latents)
    difference = closed - ratio
    assert (difference.mean(0).abs() < 4 * difference.std(0) / len(difference) ** 0.5).all()
    assert any(group.kl is not None for group in terms.latents)


def test_there_is_no_closed_kl_from_a_prior_that_saw_a_later_draw() -> None:
    terms = bottom_up(two_layers(), off=0.5)(Batch(data(3)), 20_000, Noise("kl"))
    bottom, top = terms.latents
    assert bottom.kl is None
    assert top.kl is not None
    wrong = torch.distributions.kl_divergence(bottom.posterior, bottom.prior).mean(0)
    assert ((wrong - bottom.log_ratio().mean(0)).abs() > 0.3).all()


def test_the_merge_is_the_product_of_gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (tuple(torch.randn(2, 50, generator=generator, dtype=torch.float64).unbind()) for _ in range(2))
    mean, log_variance = merge(one, other)
    z = torch.randn(7, 50, generator=generator, dtype=torch.float64)
    product, left, right = (Normal(m, (0.5 * v).exp()).log_prob(z) for m, v in ((mean, log_variance), one, other))
    constant = left + right - product
    assert torch.allclose(constant, constant[:1].expand_as(constant), atol=1e-9)
    sure = torch.tensor([200.0]), torch.tensor([-200.0])
    vague = torch.tensor([-1.0]), torch.tensor([200.0])
    for pair in ((sure, vague), (vague, sure)):
        assert torch.equal(torch.stack(merge(*pair)), torch.stack(sure))


@pytest.mark.parametrize("made", MODELS)
def test_samples_have_the_marginals_of_the_model(made: str) -> None:
    true = two_layers()
    model = MODELS[made](true)
    n = 100_000
    x = model.generate(n, Noise("sample")).mean
    covariance = true.w @ true.marginal() @ true.w.T
    assert torch.allclose(x.mean(0), true.w @ true.shift + true.m, atol=6 * (covariance.diagonal().max() / n) ** 0.5)
    assert torch.allclose(x.T.cov(), covariance, atol=0.05)


@pytest.mark.parametrize("made", MODELS)
def test_evaluation_adds_up_by_group(made: str) -> None:
    true, x = two_layers(), data(9)
    result = evaluate(MODELS[made](true, off=0.2), x, samples=30)
    assert sum(result["kl_per_group"].value) == pytest.approx(result["rate"].value, abs=1e-12)
    assert -result["elbo"].value == pytest.approx(result["rate"].value + result["distortion"].value, abs=1e-12)
