"""Every part in the table of names passes the laws of its kind, with its defaults and in the variants below."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tightbound.core.parts import TABLE, make
from tightbound.latents import Flat
from tightbound.nn import MLP
from tightbound.posteriors import DiagonalNormal, Point
from tightbound.priors import StandardNormal
from tightbound.testing import check_latents, check_likelihood, check_objective, check_posterior, check_prior
from tightbound.testing.models import small_model

LIKELIHOODS = [
    *TABLE["likelihood"],
    "gaussian(scale=0.3)",
    "gaussian(scale='per-dimension')",
    "gaussian(scale='predicted')",
    "laplace(scale=2.0)",
    "laplace(scale='predicted')",
    "binomial(levels=2)",
    "binomial(levels=17)",
    "categorical(levels=2)",
    "categorical(levels=17)",
    "discretized-logistic(levels=2)",
    "discretized-logistic(levels=17, scale='shared')",
    "discretized-logistic(levels=17, scale=0.05)",
]
OBJECTIVES = [
    *(name for name in TABLE["objective"] if name != "autoencoder"),
    "elbo(beta=4.0, samples=3)",
    "elbo(kl='monte-carlo', samples=2)",
    "elbo(beta=linear(start=0.1, stop=0.5))",
    "free-bits(free_bits=0.01, average='datum')",
    "free-bits(free_bits=0.01, over='group', average='datum')",
    "free-bits(free_bits=0.01, over='total', average='datum')",
    "free-bits(free_bits=0.02, over='group')",
    "iwae(samples=1)",
    "iwae(samples=8)",
]
LATENTS = [
    *TABLE["latents"],
    "bottom-up(upper=2, hidden=(5,))",
    "bottom-up(upper=(4, 2), hidden=(), top=mixture(latent=2))",
    "ladder(groups=2, hidden=7)",
    "ladder(groups=(2, 3), hidden=6, activation='tanh', top=learned(latent=3))",
]


@pytest.mark.parametrize("text", LIKELIHOODS)
def test_likelihood(text: str) -> None:
    check_likelihood(make("likelihood", text))


@pytest.mark.parametrize("latent", [1, 3])
@pytest.mark.parametrize("name", TABLE["prior"])
def test_prior(name: str, latent: int) -> None:
    check_prior(make("prior", name, latent=latent))


@pytest.mark.parametrize("name", TABLE["posterior"])
@pytest.mark.parametrize("network", [None, MLP((8,), activation="tanh")])
def test_posterior(name: str, network: Any) -> None:
    latent = 2
    outputs = make("posterior", name, latent=latent, shape=(1, 2, 2), network=MLP((2,))).outputs
    shape = (outputs * latent,) if network is None else (1, 3, 3)
    torch.manual_seed(0)
    check_posterior(make("posterior", name, shape=shape, latent=latent, network=network))


@pytest.mark.parametrize("text", LATENTS)
def test_latents(text: str) -> None:
    shape, network = (1, 2, 3), MLP((8,), activation="tanh")
    torch.manual_seed(0)
    parts = {"prior": StandardNormal(3), "posterior": DiagonalNormal(shape, 3, network)}
    check_latents(make("latents", text, shape=shape, latent=3, network=network, **parts), shape)


def test_flat_with_a_point() -> None:
    torch.manual_seed(0)
    check_latents(Flat(StandardNormal(3), Point((1, 2, 3), 3, MLP((8,), activation="tanh"))), (1, 2, 3))


@pytest.mark.parametrize("text", OBJECTIVES)
def test_objective(text: str) -> None:
    check_objective(make("objective", text))


def test_autoencoder_trains_decoder_and_encoder_of_a_point_model() -> None:
    from tightbound.core.schedules import Knobs
    from tightbound.core.terms import Batch

    model, objective = small_model(point=True), make("objective", "autoencoder")
    batch = Batch(torch.ones(4, *model.shape, dtype=torch.float64), index=torch.arange(4))
    terms = model(batch, 1)
    objective.check(terms)
    value = objective(terms, Knobs())
    assert torch.equal(value, terms.log_likelihood[0])
    value.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_free_bits_gives_no_gradient_below_its_limit() -> None:
    objective = make("objective", "free-bits(free_bits=100.0)")
    from tightbound.core.schedules import Knobs

    rates = [torch.rand(5, 3, dtype=torch.float64, requires_grad=True)]
    penalty = objective.penalty(rates, Knobs.final(objective.schedules))
    assert torch.allclose(penalty, torch.tensor(300.0, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(penalty.sum(), rates[0])
    assert gradient.abs().max() == 0
