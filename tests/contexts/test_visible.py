"""Models of the hidden part of an example given the visible part."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.components import TABLE
from tightbound.contexts import Visible
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.join import append, joined_shape
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch, log_density
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Gaussian, Identity
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal
from tightbound.testing.matrix import SMALL, data_for

SMALL_NET = "mlp(hidden=(8,))"
HALF = "visible(columns=(0, 0.5))"


def binary(latent: int = 2, **visible) -> tb.VAE:
    torch.manual_seed(0)
    context = Visible((1, 2, 3), **visible)
    size = context.size
    network = tb.nn.MLP((8,))
    posterior = DiagonalNormal(joined_shape((1, 2, 3), context.shape), latent, network)
    likelihood = Bernoulli((1, 2, 3), latent + size, network)
    return tb.VAE(Flat(StandardNormal(latent), posterior), likelihood, Identity("binary"), context).double()


def test_a_completing_model_is_a_distribution_of_the_hidden_elements_alone() -> None:
    """Summed over the hidden bits, at given z and visible bits, p is 1; the visible bits count nothing."""
    model = binary(columns=(0, 0.4))  # one column of three: four hidden bits
    assert model.dimensions == 4
    visible = torch.tensor([1.0, 0.0], dtype=torch.float64)
    total = 0.0
    for bits in product([0.0, 1.0], repeat=4):
        x = torch.empty(1, 1, 2, 3, dtype=torch.float64)
        x[0, 0, :, 0], x[0, 0, :, 1:] = visible, torch.tensor(bits).reshape(2, 2)
        seen = model.observe(Batch(x), Noise("test"))
        z = torch.tensor([[[0.3, -1.0]]], dtype=torch.float64)
        p = model.likelihood(append(z, seen.context), seen.context)
        total += log_density(p, seen.x, seen.mask).exp().item()
    assert total == pytest.approx(1, abs=1e-12)


def test_a_mask_integrates_out_what_is_hidden() -> None:
    p = Gaussian((3,), scale="predicted")(torch.randn(4, 6, dtype=torch.float64))
    x = torch.randn(4, 3, dtype=torch.float64)
    mask = torch.tensor([[True, False, True]]).expand(4, 3)
    expected = p.base_dist.log_prob(x)[:, [0, 2]].sum(1)
    assert torch.allclose(log_density(p, x, mask), expected)
    assert torch.equal(log_density(p, x, None), p.log_prob(x))


def test_a_density_without_elements_refuses_a_mask() -> None:
    p = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    with pytest.raises(CompositionError, match="independent elements"):
        log_density(p, torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))


def test_completions_and_reconstructions_keep_the_visible_part() -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=3, network="mlp(hidden=(16,))", context=HALF, prior="learned")
    trained = tb.fit(model, data, epochs=1, quiet=True)
    x = next(data.test.epoch(5)).x
    drawn = trained.complete(x, 4)
    assert drawn.shape == (5, 4, 1, 8, 8)
    assert torch.equal(drawn[..., :4], x.unsqueeze(1).expand(-1, 4, -1, -1, -1)[..., :4].to(drawn))
    assert torch.equal(drawn, trained.complete(x, 4))
    assert (drawn[:, 0] != drawn[:, 1]).any()
    bits = trained.evaluate(data.test, samples=5)
    assert bits["bits_per_dim"].value == pytest.approx(-bits["iwae"].value / (32 * math.log(2)))
    assert "given the visible" in bits["elbo"].target
    assert torch.equal(trained.reconstruct(x)[..., :4], x[..., :4].float())
    with pytest.raises(InputError, match="complete"):
        trained.sample(3)
    with pytest.raises(CompositionError, match="complete"):
        trained.fit_sampler("kernel", data.train)


@pytest.mark.parametrize("name", TABLE["likelihood"])
def test_a_likelihood_leaves_out_the_visible_part_or_is_refused_at_construction(name: str) -> None:
    parts = {"network": SMALL_NET, "likelihood": SMALL["likelihood"].get(name, name)}
    if name in ("pixelcnn", "columns"):
        with pytest.raises(CompositionError, match="use "):
            tb.VAE.for_data(data_for(name), latent=2, context=HALF, **parts)
        return
    model = tb.VAE.for_data(data_for(name), latent=2, context=HALF, **parts)
    batch = next(data_for(name).train.epoch(4))
    terms = model.eval()(batch, 3)
    assert terms.log_likelihood.shape == (3, 4)
    alone = model(batch[:1], 3)
    assert alone.log_likelihood.shape == (3, 1)


def test_a_likelihood_with_dependent_colors_refuses_a_visible_part() -> None:
    data = tb.data.open(np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4)).astype(np.uint8))
    with pytest.raises(CompositionError, match="leave elements out"):
        tb.VAE.for_data(data, latent=2, network=SMALL_NET, likelihood="logistic-mixture", context="visible")


def test_a_visible_part_of_a_mixed_table_is_refused_with_the_reason() -> None:
    data = tb.data.open(np.random.default_rng(0).random((20, 3)).astype(np.float32), kinds=["real", "real", "unit"])
    with pytest.raises(CompositionError, match="changes their shape"):
        tb.VAE.for_data(data, latent=2, network=SMALL_NET, context="visible")


@pytest.mark.parametrize("share", [{"columns": (0, 1)}, {"columns": (0, 0)}, {"columns": (0.9, 0.1)}, {"rows": (0, 2)}])
def test_some_elements_must_be_visible_but_not_all(share) -> None:
    with pytest.raises(InputError):
        Visible((1, 4, 4), **share)
