"""Conditional models: the context reaches encoder, prior and likelihood, and what is bounded is conditional."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import nn

import tightbound as tb
from tightbound.components import TABLE
from tightbound.contexts import Attributes, Labels
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.join import append, join, joined_shape
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.latents import Flat
from tightbound.likelihoods import Gaussian, Identity
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import LearnedNormal


@pytest.mark.parametrize(
    ("shape", "context"), [((3,), (2,)), ((1, 4, 5), (2, 4, 5)), ((2, 4, 5), (7,)), ((1, 2, 2), (9,)), ((), (3,))]
)
def test_joined_examples_hold_both_in_the_expected_shape(shape, context) -> None:
    x, c = torch.randn(6, *shape), torch.randn(6, *context)
    both = join(x, c)
    assert both.shape[1:] == joined_shape(shape, context)
    flat = [t.reshape(6, -1) for t in (x, c)]
    total = sum(t.square().sum(1) for t in flat)
    assert torch.allclose(both.flatten(1).square().sum(1), total)
    moved = join(x, c + 1)
    assert (moved != both).sum() == c.numel()


def test_append_repeats_the_context_for_each_sample() -> None:
    features, c = torch.randn(4, 3, 2), torch.randn(3, 1, 5)
    both = append(features, c)
    assert both.shape == (4, 3, 7)
    for s in range(4):
        assert torch.equal(both[s], torch.cat([features[s], c.flatten(1)], 1))


def linear_conditional(seed: int = 0):
    """x = W z + V c + e with z ~ N(A c, I): log p(x | c) is Gaussian with mean (W A + V) c."""
    d, latent, size, sigma = 5, 2, 3, 0.6
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    basis, _ = torch.linalg.qr(normal(d, latent))
    w, v, a = basis * torch.tensor([0.8, 1.5], dtype=torch.float64), normal(d, size), normal(latent, size)
    decoder = nn.Linear(latent + size, d)
    posterior = DiagonalNormal((d + size,), latent, nn.Flatten())
    prior = LearnedNormal(latent, context=size)
    model = tb.VAE(
        Flat(prior, posterior), Gaussian((d,), latent + size, decoder, scale=sigma), Identity(), Attributes(size)
    ).double()
    prior.shift = nn.Linear(size, 2 * latent).double()
    precision = 1 + w.square().sum(0) / sigma**2
    head = posterior.network[-1]
    with torch.no_grad():
        for layer in (prior.shift, decoder, head):
            layer.weight.zero_()
            layer.bias.zero_()
        prior.shift.weight[:latent] = a
        decoder.weight.copy_(torch.cat([w, v], 1))
        # E[z | x, c] = (A c + W'(x - V c) / sigma^2) / precision
        head.weight[:latent, :d] = w.T / sigma**2 / precision[:, None]
        head.weight[:latent, d:] = (a - w.T @ v / sigma**2) / precision[:, None]
        head.bias[latent:] = -precision.log()
    covariance = w @ w.T + sigma**2 * torch.eye(d, dtype=torch.float64)

    def evidence(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        mean = c @ (w @ a + v).T
        return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)

    return model, evidence


def test_the_bounds_of_a_conditional_linear_model_are_its_exact_conditional_evidence() -> None:
    model, evidence = linear_conditional()
    x, c = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    terms = model(Batch(x, label=c), 6, Noise("test"), Knobs())
    assert torch.allclose(terms.log_weight, evidence(x, c).expand(6, 7), atol=1e-9)
    assert (evidence(x, c) - evidence(x, c.flip(0))).abs().max() > 1e-2


def test_samples_follow_the_context() -> None:
    model, _ = linear_conditional()
    c = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64)
    z = model.latents.draw(20_000, Noise("test"), c.expand(20_000, 3))
    assert torch.allclose(z.mean(0), model.latents.prior(c).mean[0], atol=0.05)


@pytest.mark.parametrize("name", TABLE["context"])
def test_every_context_trains_and_samples_after_loading(name: str, tmp_path) -> None:
    x = torch.rand(40, 6)
    y = torch.rand(40, 2) if name == "attributes" else torch.arange(40) % 3
    data = tb.data.open(x, labels=y, domain="unit")
    if name == "covariates":
        frame = pd.DataFrame(x.numpy()).rename(columns=str).assign(batch=y.tolist(), age=torch.rand(40).tolist())
        data, y = tb.data.open(frame, covariates=["batch", "age"], kinds={"batch": "categories"}), torch.eye(2)
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", context=name, prior="mixture(components=3)")
    objective = "m2" if name == "inferred-labels" else "elbo"
    trained = tb.fit(model, data, objective, epochs=1, quiet=True, run=tmp_path / "run")
    again = tb.load(tmp_path / "run")
    batch = next(data.test.epoch(4))
    assert torch.equal(again.reconstruct(batch), trained.reconstruct(batch))
    assert torch.equal(again.encode(batch), trained.encode(batch))
    if name == "visible":
        assert torch.equal(again.complete(batch), trained.complete(batch))
    else:
        assert torch.equal(again.sample(6, context=y[:2]), trained.sample(6, context=y[:2]))
        a, b = (again.sample(1, context=y[i : i + 1]) for i in (0, 1))
        assert not torch.equal(a, b)


@pytest.mark.parametrize("values", [[-1], [3], [0.5], [[0, 1]]])
def test_labels_outside_the_classes_are_refused(values) -> None:
    with pytest.raises(InputError, match=r"0\.\.2"):
        Labels(3).encode(torch.tensor(values))


def test_a_context_without_its_data_is_refused() -> None:
    data = tb.data.open(torch.rand(20, 6), domain="unit")
    for name in ("labels", "attributes"):
        with pytest.raises(CompositionError, match="give"):
            tb.VAE.for_data(data, context=name)
    model = tb.VAE.for_data(tb.data.open("digits"), latent=2, context="labels", network="mlp(hidden=(4,))")
    with pytest.raises(InputError, match="labels"):
        model(Batch(torch.zeros(2, 1, 8, 8)))
    with pytest.raises(InputError, match="context"):
        model.generate(2, Noise("test"))


def test_samples_are_drawn_for_attribute_values() -> None:
    data = tb.data.open("digits")
    trained = tb.fit(
        tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", context="attributes"), data, steps=2, quiet=True
    )
    assert trained.sample(3, context=torch.tensor([1.0, 5.0, 9.0])).shape == (3, 1, 8, 8)
