"""The autoregressive decoder."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from tightbound import data as sources
from tightbound.core.domain import BINARY, REAL, Domain
from tightbound.core.errors import CompositionError
from tightbound.core.noise import Noise, draw
from tightbound.core.terms import Batch
from tightbound.likelihoods import Categorical, Gaussian, PixelCNN
from tightbound.model import VAE
from tightbound.nn import MLP


def strong(likelihood: PixelCNN, by: float = 2.0) -> PixelCNN:
    """Set weights that make elements depend on each other."""
    with torch.no_grad():
        for p in likelihood.net.parameters():
            p.mul_(by)
    return likelihood.double()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("shape", "levels", "arguments"),
    [
        ((1, 6, 5), 2, {}),
        ((3, 4, 5), 7, {}),
        ((3, 4, 4), 16, {"family": "discretized-logistic"}),
        ((2, 4, 4), 2, {"family": Gaussian(scale="predicted")}),
        ((2, 4, 4), 2, {"network": MLP((5,)), "maps": 3}),
    ],
)
def test_cached_sampling_equals_sampling_from_scratch(shape, levels, arguments) -> None:
    likelihood = strong(PixelCNN(shape, 3, levels=levels, hidden=9, layers=3, kernel=3, **arguments))
    distribution = likelihood(torch.randn(2, 2, 3, dtype=torch.float64))
    cached = draw(distribution, (), Noise("same", 1))
    noise, x = Noise("same", 1), torch.zeros(2, 2, *shape, dtype=torch.float64)
    for row, column, channel in itertools.product(range(shape[1]), range(shape[2]), range(shape[0])):
        with torch.no_grad():
            raw = likelihood.net(likelihood.written(x).flatten(0, 1), distribution.rows(torch.Size((2, 2))))
            element = likelihood.parameters_of(raw[:, channel, row, column].reshape(2, 2, -1))
            x[..., channel, row, column] = draw(element, (), noise)
    assert torch.allclose(cached, x, atol=1e-9)
    assert likelihood.family.domains[0] == "real" or torch.equal(cached, x)
    assert cached.flatten(2).std(-1).min() > 0


def test_real_images_have_a_normalized_density() -> None:
    likelihood = strong(PixelCNN((1, 1, 2), 1, family="gaussian(scale=0.7)", hidden=4, layers=1, kernel=3), 3)
    grid = torch.linspace(-12, 12, 601, dtype=torch.float64)
    x = torch.cartesian_prod(grid, grid).reshape(-1, 1, 1, 2)
    with torch.no_grad():
        density = likelihood(torch.ones(1, dtype=torch.float64)).log_prob(x).exp()
    assert abs(density.sum().item() * (24 / 600) ** 2 - 1) < 1e-9


def test_mean_is_unbiased_and_better_than_averaged_samples() -> None:
    """Compare with the enumerated mean, over many streams of noise."""
    likelihood = strong(PixelCNN((1, 2, 2), 2, hidden=6, layers=2, kernel=3, paths=20_000), 4)
    p = likelihood(torch.randn(2, dtype=torch.float64))
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)), dtype=torch.float64).reshape(-1, 1, 2, 2)
    with torch.no_grad():
        weight = p.log_prob(every).exp()
    exact = (weight[:, None, None, None] * every).sum(0)
    y, means = p.ancestral((20_000,), Noise("test"))
    stderr = means.std(0) / 20_000**0.5
    assert ((means.mean(0) - exact).abs() <= 5 * stderr + 1e-12).all()
    assert ((p.mean - exact).abs() <= 5 * stderr + 1e-12).all()
    assert (means.var(0) < y.var(0)).all()


def test_pixelcnn_composes_trains_and_reconstructs() -> None:
    data = sources.open("digits")
    model = VAE.for_data(
        data, latent=2, network="mlp(hidden=(8,))", likelihood="pixelcnn(hidden=6, layers=1, kernel=3, paths=2)"
    )
    batch = next(data.train.epoch(6))
    terms = model(batch, 3)
    assert terms.log_likelihood.shape == (3, 6)
    terms.log_weight.mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.likelihood.family.levels == 17
    mean = model.likelihood(torch.zeros(4, 2)).mean
    assert mean.shape == (4, 1, 8, 8)
    assert torch.allclose(mean, mean[:1].expand_as(mean), atol=1e-5)  # the same z, the same mean


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: PixelCNN((5,), 2), "needs images"),
        (lambda: PixelCNN((1, 2, 2), 2, family=Gaussian((3,))), "shape=()"),
        (lambda: PixelCNN((1, 2, 2), 2, network=nn.Linear(2, 6)), "multiple of 4"),
        (lambda: PixelCNN((1, 2, 2), 2).check_domain(REAL), "family.*gaussian"),
        (lambda: PixelCNN((1, 2, 2), 2, family=Categorical(levels=5)).check_domain(Domain("levels", 6)), "levels=6"),
    ],
)
def test_invalid_arguments_raise(make, match: str) -> None:
    with pytest.raises(CompositionError, match=match):
        make()


def test_expected_binarization_raises() -> None:
    data = sources.open("digits")
    with pytest.raises(CompositionError, match="no closed expectation"):
        VAE.for_data(
            data, network="mlp(hidden=(4,))", likelihood="pixelcnn(hidden=4)", observation="binarized(mode='expected')"
        )
    model = VAE.for_data(data, network="mlp(hidden=(4,))", likelihood="pixelcnn(hidden=4)", observation="binarized")
    model.likelihood.check_domain(BINARY)
    assert model(Batch(next(data.train.epoch(2)).x)).log_likelihood.shape == (1, 2)
