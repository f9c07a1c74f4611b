"""Mixtures of families, and of logistics with coupled colors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

import tightbound as tb
from tightbound.components import describe, make, rebuild
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise, draw
from tightbound.inference import infer
from tightbound.likelihoods import Gaussian, Mixture, MixtureOfLogistics
from tightbound.likelihoods.logistic_mixture import ColorDistribution


def colors(levels: int = 4, components: int = 2, size: int = 1, n: int = 1):
    likelihood = MixtureOfLogistics((3, 1, size), components=components, levels=levels).double()
    generator = torch.Generator().manual_seed(levels)
    raw = torch.randn(n, likelihood.outputs * 3 * size, generator=generator, dtype=torch.float64)
    return likelihood, raw


def test_colors_are_a_product_of_channels_within_a_component() -> None:
    """Compare with Eqs. 2 and 3 of Salimans et al. 2017, computed by SciPy for one pixel."""
    likelihood, raw = colors()
    logits, m, s, c = raw[0].reshape(4, 2, 3).numpy()
    weights = np.exp(logits.sum(1)) / np.exp(logits.sum(1)).sum()

    def logistic(k: int, location: float, scale: float) -> float:
        p = stats.logistic((location + 1) * 1.5, np.exp(scale) * 1.5)
        return (1.0 if k == 3 else p.cdf(k + 0.5)) - (0.0 if k == 0 else p.cdf(k - 0.5))

    for r, g, b in itertools.product(range(4), repeat=3):
        red, green = r / 1.5 - 1, g / 1.5 - 1
        exact = sum(
            weights[k]
            * logistic(r, m[k, 0], s[k, 0])
            * logistic(g, m[k, 1] + np.tanh(c[k, 0]) * red, s[k, 1])
            * logistic(b, m[k, 2] + np.tanh(c[k, 1]) * red + np.tanh(c[k, 2]) * green, s[k, 2])
            for k in range(2)
        )
        x = torch.tensor([r, g, b], dtype=torch.float64).reshape(3, 1, 1)
        assert likelihood(raw).log_prob(x).item() == pytest.approx(np.log(exact), abs=1e-10)


def test_pixels_are_independent_and_channels_are_not() -> None:
    likelihood, raw = colors(levels=8, components=3, size=2)
    x = draw(likelihood(raw), (50_000,), Noise("pixels"))[:, 0, :, 0]  # (S, 3, 2)
    correlation = np.corrcoef(x.flatten(1).T.numpy())
    pixel = np.array([0, 1, 0, 1, 0, 1])
    apart = pixel[:, None] != pixel[None, :]
    assert np.abs(correlation[apart]).max() < 0.03
    assert np.abs(correlation[~apart & ~np.eye(6, dtype=bool)]).max() > 0.2


@pytest.mark.parametrize("levels", [9, 256])
def test_color_quadrature_is_near_the_moments_and_independent_of_the_batch(levels) -> None:
    """The mean is within 0.02 standard deviations and the variance within 5% of estimates from many draws."""
    likelihood, raw = colors(levels, components=3, n=4)
    p = likelihood(raw)
    x = draw(p, (200_000,), Noise("moments"))
    deviation = x.std(0)
    assert ((p.mean - x.mean(0)) / deviation).abs().max() < 0.02
    assert (p.variance / deviation.square() - 1).abs().max() < 0.05
    assert torch.equal(likelihood(raw[2:3]).mean[0], p.mean[2])


@pytest.mark.parametrize("components", [1, 3])
def test_color_quadrature_is_as_near_the_exact_moments_as_documented(components: int) -> None:
    generator, shape = torch.Generator().manual_seed(0), (24, components, 3, 1, 1)
    logits = torch.randn(24, components, 1, 1, generator=generator)
    location = torch.rand(shape, generator=generator) * 1.6 - 0.8
    scale = 0.03 * 33 ** torch.rand(shape, generator=generator)
    coefficients = torch.tanh(torch.randn(shape, generator=generator))
    exact, near = (ColorDistribution(logits, location, scale, coefficients, 8, exact_levels=n) for n in (8, 2))
    mean, variance = exact.mean, exact.variance  # each sums over all colors
    wide, off = variance >= 1, (near.variance - variance).abs()
    assert 20 < wide.sum() < 72 or components == 3
    assert ((near.mean - mean).abs() / variance.sqrt())[wide].max() < 0.05
    assert (off / variance)[wide].max() < 0.15
    assert not (~wide).any() or off[~wide].max() < 0.2


def test_mixture_of_one_component_is_its_family() -> None:
    raw = torch.randn(5, 2, dtype=torch.float64)
    x = torch.randn(5, dtype=torch.float64)
    mixed = make("likelihood", "mixture(of=gaussian(scale='predicted'), components=1)")
    one = make("likelihood", "gaussian(scale='predicted')")
    got = mixed(torch.cat([torch.randn(5, 1, dtype=torch.float64), raw], 1))
    assert torch.allclose(got.log_prob(x), one(raw).log_prob(x), atol=1e-12)
    assert torch.allclose(got.variance, one(raw).variance)


def test_component_parameters_stay_with_their_pixel() -> None:
    """Outputs are (P * C, H, W) numbers; the parameters of a pixel never affect another pixel."""
    likelihood = Mixture((1, 2, 2), of=Gaussian((1, 2, 2), scale="per-dimension"), components=2)
    raw = torch.randn(1, likelihood.outputs * 4, requires_grad=True)
    likelihood(raw).base_dist.log_prob(torch.zeros(1, 1, 2, 2))[0, 0, 0, 1].backward()
    touched = raw.grad.reshape(likelihood.outputs, 4).abs().sum(0)
    assert touched[1] > 0
    assert touched[[0, 2, 3]].sum() == 0


def test_a_mixture_gets_the_shape_and_levels_of_the_data() -> None:
    data = tb.data.open(np.random.default_rng(0).integers(0, 17, (60, 1, 4, 4)), levels=17)
    text = "mixture(of=discretized_logistic(scale='per-dimension'), components=2)"
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", likelihood=text)
    assert model.likelihood.of.log_scale.shape == (1, 4, 4)
    assert model.likelihood.levels == 17
    again = rebuild(describe(model))
    again.load_state_dict(model.state_dict())
    assert model.likelihood.of.log_scale.max() < 0  # started at the data
    z = torch.randn(3, 2)
    assert torch.equal(again.likelihood(z).mean, model.likelihood(z).mean)


def test_families_that_cannot_be_mixed_raise() -> None:
    for of in (Gaussian((2,), 3, torch.nn.Linear(3, 2)), Gaussian(), MixtureOfLogistics((3, 2, 2))):
        with pytest.raises(CompositionError, match="construct it with the shape only"):
            Mixture((2,) if of.event_dims == 0 else (3, 2, 2), of=of)
    for text in ("mixture(of=3)", "mixture(of=iwae())", "mixture(of='gausian')"):
        with pytest.raises(InputError, match=r"such as of='gaussian'|there is no likelihood"):
            make("likelihood", text)
    data = tb.data.open(np.random.default_rng(0).normal(size=(60, 3)))
    with pytest.raises(CompositionError, match="Poisson is a distribution of counts"):
        tb.VAE.for_data(data, likelihood="mixture(of='poisson')")


def test_a_color_model_is_evaluated_and_reconstructs() -> None:
    data = tb.data.open(np.random.default_rng(0).integers(0, 256, (40, 3, 6, 6), dtype=np.uint8))
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", likelihood="logistic-mixture(components=2)")
    result = tb.evaluate(model, data.test, samples=3)
    assert 8 < result["bits_per_dim"].value < 9  # 8 bits: uniform noise
    mean = infer.reconstruct(model, next(data.test.epoch(2)).x)
    assert mean.shape == (2, 3, 6, 6)
    assert 0 <= mean.min() <= mean.max() <= 255
