"""Every prior under the bounds, against evidence that is known: by quadrature in one dimension, or in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import tightbound as tb
from laws.linear import evidence
from tightbound.components import TABLE, find, make
from tightbound.contexts import Attributes
from tightbound.core.noise import ExampleNoise, Noise, draw
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.latents import Flat
from tightbound.likelihoods import Gaussian, Identity
from tightbound.nn import MLP
from tightbound.objectives import ELBO, IWAE
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import LearnedNormal, Mixture

D, C = 2, 3
REAL = [name for name in TABLE["prior"] if getattr(find("prior", name), "support", "real") in ("real", "any")]
PRIORS = [*REAL, "flow(kind='nsf')", "flow(kind='realnvp')"]
DATA = torch.randn(6, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
GIVEN = torch.randn(6, C, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


def model_of(prior: str, context: bool) -> tb.VAE:
    """One latent, a linear decoder, and everything away from where it starts."""
    torch.manual_seed(0)
    beside = C if context else 0
    part = make("prior", prior, latent=1, shape=(D + beside,), context=beside, components=5, exemplars=5)
    posterior = DiagonalNormal((D + beside,), 1, MLP((8,), activation="tanh"))
    likelihood = Gaussian((D,), 1 + beside, nn.Linear(1 + beside, D), scale=0.8)
    model = tb.VAE(Flat(part, posterior), likelihood, Identity(), Attributes(C) if context else None)
    model.latents.start_at(torch.randn(40, D + beside))
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        posterior.network[-1].bias[1] = 1.0  # wide, so that few importance samples suffice
    return model.double().eval()


def quadrature(model: tb.VAE, c: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """(6,) log of the integral over z of p(z | c) and of p(z | c) p(x | z, c)."""
    grid = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
    z = grid[:, None, None].expand(-1, 6, 1)
    log_prior = model.latents.prior_given(c).log_prob(z)  # pyright: ignore
    features = z if c is None else torch.cat([z, c.expand(len(z), -1, -1)], -1)
    log_joint = log_prior + model.likelihood(features, c).log_prob(DATA)
    step = math.log(grid[1] - grid[0])
    return log_prior.logsumexp(0) + step, log_joint.logsumexp(0) + step


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("prior", PRIORS)
def test_bounds_and_draws_of_every_prior_agree_with_quadrature(prior: str, context: bool) -> None:
    model, c = model_of(prior, context), GIVEN if context else None
    with torch.no_grad():
        mass, exact = quadrature(model, c)
        assert torch.allclose(mass, torch.zeros(6, dtype=torch.float64), atol=1e-4)
        batch = Batch(DATA, context=c, index=torch.arange(6))
        terms = model(batch, 20_000, ExampleNoise("test", index=torch.arange(6)), Knobs())
        knobs = Knobs.final(ELBO().schedules)
        elbo, iwae = ELBO(kl="monte-carlo")(terms, knobs), IWAE(20_000)(terms, knobs)
        assert (elbo < exact).all()
        # the error of a log-mean-exp, by the delta method
        weight = terms.log_weight.softmax(0)
        error = ((weight - 1 / 20_000).square().sum(0)).sqrt()
        assert error.max() < 0.1
        assert ((iwae - exact).abs() < 5 * error + 1e-3).all()
        # draws from the prior, weighted by the likelihood, find the same evidence
        p = model.latents.prior_given(c)  # pyright: ignore
        z = draw(p, (20_000,), Noise("test"))
        z = z if p.batch_shape else z.unsqueeze(1).expand(-1, 6, -1)
        features = z if c is None else torch.cat([z, c.expand(len(z), -1, -1)], -1)
        each = model.likelihood(features, c).log_prob(DATA).exp()
        assert ((each.mean(0) - exact.exp()).abs() < 5 * each.std(0) / 20_000**0.5).all()


def conditional_linear(prior, c_to_x: torch.Tensor) -> tuple[tb.VAE, torch.Tensor, torch.Tensor]:
    """x = W z + V c + m + sigma e, orthogonal columns in W; the model, W and m."""
    generator = torch.Generator().manual_seed(1)
    basis, _ = torch.linalg.qr(torch.randn(4, 2, generator=generator, dtype=torch.float64))
    w, m = basis * torch.tensor([0.7, 1.6]), torch.randn(4, generator=generator, dtype=torch.float64)
    decoder = nn.Linear(2 + C, 4)
    posterior = DiagonalNormal((4 + C,), 2, nn.Flatten())
    model = tb.VAE(Flat(prior, posterior), Gaussian((4,), 2 + C, decoder, scale=0.6), Identity(), Attributes(C))
    with torch.no_grad():
        model.double()
        decoder.weight.copy_(torch.cat([w, c_to_x], 1))
        decoder.bias.copy_(m)
    return model, w, m


def test_a_context_reaches_prior_posterior_and_likelihood() -> None:
    """z given c is N(A c, diag s^2): with the exact posterior, linear in x and c, every bound is the evidence."""
    generator = torch.Generator().manual_seed(2)
    a, v = (torch.randn(n, C, generator=generator, dtype=torch.float64) for n in (2, 4))
    s, sigma = torch.tensor([0.5, 1.3], dtype=torch.float64), 0.6
    prior = LearnedNormal(2, context=C)
    prior.shift = nn.Linear(C, 4, bias=False)
    model, w, m = conditional_linear(prior, v)
    precision = w.square().sum(0) / sigma**2 + 1 / s**2
    head = model.latents.posterior.network[-1]  # pyright: ignore
    with torch.no_grad():
        prior.log_scale.copy_(s.log())
        prior.shift.weight.copy_(torch.cat([a, torch.zeros_like(a)]))
        gain = w.T / sigma**2
        head.weight.zero_()
        head.weight[:2] = torch.cat([gain, a / s[:, None] ** 2 - gain @ v], 1) / precision[:, None]
        head.bias[:2] = -(gain @ m) / precision
        head.bias[2:] = -precision.log()
    x = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    means = GIVEN @ (w @ a + v).T + m
    exact = torch.stack([evidence(x[i], torch.cat([w * s], 1), means[i], sigma) for i in range(6)])
    for objective in (IWAE(1), IWAE(5), ELBO(kl="monte-carlo", samples=3)):
        terms = model(Batch(x, context=GIVEN), objective.samples, Noise("test"))
        assert torch.allclose(objective(terms, Knobs.final(objective.schedules)), exact, atol=1e-9)
    drawn = model.latents.draw(6, Noise("test"), GIVEN)
    many = torch.stack([model.latents.draw(6, Noise("test", i), GIVEN) for i in range(2000)])
    assert drawn.shape == (6, 2)
    assert ((many.mean(0) - GIVEN @ a.T).abs() < 5 * s / 2000**0.5).all()


def test_a_context_chooses_among_the_components_of_a_mixture() -> None:
    generator = torch.Generator().manual_seed(3)
    v = torch.randn(4, C, generator=generator, dtype=torch.float64)
    torch.manual_seed(1)
    prior = Mixture(2, 3, context=C)
    prior.shift = nn.Linear(C, 3)
    model, w, m = conditional_linear(prior, v)
    x = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        logits = (prior.logits + prior.shift(GIVEN)).log_softmax(-1)
        exact = torch.stack(
            [
                torch.stack(
                    [
                        logits[i, k]
                        + evidence(x[i], w * prior.log_scale[k].exp(), w @ prior.loc[k] + v @ GIVEN[i] + m, 0.6)
                        for k in range(3)
                    ]
                ).logsumexp(0)
                for i in range(6)
            ]
        )
        head = model.latents.posterior.network[-1]  # pyright: ignore
        head.weight.zero_()
        head.bias[:2].zero_()
        head.bias[2:].fill_(2 * math.log(1.5))
        terms = model(Batch(x, context=GIVEN), 100_000, Noise("test"))
        error = terms.log_weight.softmax(0).square().sum(0).sqrt()
        assert error.max() < 0.05
        assert ((IWAE(100_000)(terms, Knobs()) - exact).abs() < 5 * error).all()
