"""Places of prior draws and latent codes, for models where both are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from torch import Tensor, nn

import tightbound as tb
from laws.linear import linear_gaussian
from tightbound.analysis.estimate import Estimate
from tightbound.analysis.samples.coverage import holes, log_mixture
from tightbound.core.errors import CompositionError, InputError
from tightbound.latents import Flat, Ladder
from tightbound.likelihoods import Gaussian, Identity
from tightbound.model import VAE
from tightbound.nn import MLP
from tightbound.posteriors import DiagonalNormal, Point
from tightbound.priors import StandardNormal


def value(number: Estimate) -> float:
    assert isinstance(number.value, float), number.reason
    return number.value


def within(number: Estimate, truth: float, errors: float = 4.0) -> bool:
    assert isinstance(number.stderr, float)
    return abs(value(number) - truth) <= errors * number.stderr


def test_the_mixture_agrees_with_scipy() -> None:
    generator = np.random.default_rng(0)
    z, mean, variance = (
        generator.normal(size=(7, 3)),
        generator.normal(size=(40, 3)),
        generator.uniform(0.01, 2, (40, 3)),
    )
    each = norm(mean, np.sqrt(variance)).logpdf(z[:, None]).sum(2)
    found = log_mixture(*(torch.from_numpy(x) for x in (z, mean, variance)))
    assert np.allclose(found, logsumexp(each, axis=1) - math.log(40), atol=1e-9)


def test_the_mixture_does_not_depend_on_the_blocks() -> None:
    z, mean = (torch.randn(n, 3, generator=torch.Generator().manual_seed(n)) for n in (50, 90))
    whole = log_mixture(z, mean, torch.ones(90, 3))
    blocks = log_mixture(z, mean, torch.ones(90, 3), components_at_once=20, codes_at_once=7)
    assert torch.allclose(blocks, whole, atol=1e-12)


def test_a_prior_that_is_the_aggregate_posterior_has_no_holes() -> None:
    linear = linear_gaussian()
    torch.manual_seed(0)

    def data(n: int) -> Tensor:
        noise = linear.sigma * torch.randn(n, len(linear.w), dtype=torch.float64)
        return torch.randn(n, linear.w.shape[1], dtype=torch.float64) @ linear.w.T + linear.m + noise

    estimates = holes(linear.model, data(4000), data(1000), n_samples=3000, level=0.05).estimates
    assert within(estimates["uncovered"], 0.05)
    assert within(estimates["separation"], 0.5)
    # z -> x -> E[z|x] is off by the exact posterior's standard deviation
    assert within(estimates["round_trip_covered"], 1.0)
    assert within(estimates["round_trip_codes"], 1.0)


def one_dimensional(width: float = 0.5) -> VAE:
    """q(z | x) = N(x, width^2), whose prior is N(0, 1)."""
    posterior = DiagonalNormal((1,), 1, nn.Flatten())
    model = VAE(Flat(StandardNormal(1), posterior), Gaussian((1,), 1, nn.Identity(), scale=0.1), Identity()).double()
    assert posterior.network is not None
    head = posterior.network[-1]  # pyright: ignore[reportIndexIssue]
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [0.0]]))
        head.bias.copy_(torch.tensor([0.0, 2 * math.log(width)]))
    return model


@pytest.mark.parametrize("level", [0.01, 0.1])
def test_the_share_between_two_clusters_agrees_with_quadrature(level: float) -> None:
    z = np.linspace(-8, 8, 200_001)
    p, q = norm(0, 1).pdf(z), 0.5 * norm(-2, 0.5).pdf(z) + 0.5 * norm(2, 0.5).pdf(z)
    order = np.argsort(q / p)  # the worst covered places first
    below = np.cumsum(q[order]) / q.sum() < level
    truth = (p[order] / p.sum())[below].sum()
    assert truth > 0.4  # most of the prior is between the clusters and beyond them
    data = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
    found = holes(one_dimensional(), data, data.repeat(2000, 1), n_samples=4000, level=level)
    assert within(found.estimates["uncovered"], float(truth))
    # each draw of the prior is compared with each code: the same by quadrature
    ratio = (q / p)[order]
    assert (np.diff(ratio) >= 0).all()
    less = np.cumsum(p[order]) / p.sum()
    assert within(found.estimates["separation"], float((less * q[order] / q.sum()).sum()))
    curve = found.details["curve"]
    at = np.searchsorted(curve["codes"], level)
    assert (np.diff(curve["prior"]) >= 0).all()
    if level == 0.1:
        assert curve["prior"][at] == pytest.approx(value(found.estimates["uncovered"]), abs=0.05)


def test_codes_of_an_autoencoder_can_lie_far_from_the_prior() -> None:
    torch.manual_seed(0)
    network = MLP((4,))
    model = VAE(Flat(StandardNormal(2), Point((2,), 2, network)), Gaussian((2,), 2, network), Identity())
    head = model.latents.posterior.network[-1]  # pyright: ignore
    with torch.no_grad():
        head.bias.fill_(50.0)
    estimates = holes(model, torch.randn(200, 2), torch.randn(100, 2), n_samples=200).estimates
    assert value(estimates["uncovered"]) == 1.0
    assert value(estimates["separation"]) == 1.0
    assert "kernel" in estimates["uncovered"].estimator
    assert estimates["round_trip_covered"].value is None
    assert estimates["round_trip_holes"].unit == "standard deviations of the codes"


def test_hierarchies_are_measured_reproducibly() -> None:
    torch.manual_seed(0)
    network = MLP((8,))
    latents = Ladder((4,), 3, network, groups=2, hidden=8)
    model = VAE(latents, Gaussian((4,), latents.features, network, scale=0.5), Identity())
    one, two = (holes(model, torch.ones(50, 4), torch.zeros(40, 4), n_samples=100).estimates for _ in range(2))
    assert one == two
    assert 0 <= value(one["uncovered"]) <= 1


def test_bad_requests_are_rejected() -> None:
    model = one_dimensional()
    with pytest.raises(InputError, match="at least two"):
        holes(model, torch.zeros(4, 1), torch.zeros(1, 1))
    with pytest.raises(InputError, match="level"):
        holes(model, torch.zeros(4, 1), torch.zeros(4, 1), level=0.7)
    digits = tb.data.open("digits")
    conditional = tb.VAE.for_data(digits, latent=2, network="mlp(hidden=(4,))", context="labels")
    with pytest.raises(CompositionError, match="conditional"):
        holes(conditional, digits.train, digits.test)
