"""The measure is kept: what a bound is a bound on, in which unit."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import tightbound as tb
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data.feed import batches, pick
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Binarized, ContinuousBernoulli, Gaussian, Levels, Standardized
from tightbound.pages.rows import rows
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal


class Constant(nn.Module):
    """Ignores z, so that log p(x) is log p(x | z); with the posterior at the prior, all bounds are exact."""

    def __init__(self, raw: torch.Tensor) -> None:
        super().__init__()
        self.raw = nn.Parameter(raw)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.raw.expand(len(z), -1)


def without_latents(likelihood, observation) -> tb.VAE:
    posterior = DiagonalNormal(likelihood.shape, 1, nn.Flatten())
    with torch.no_grad():
        for p in posterior.parameters():
            p.zero_()
    return tb.VAE(Flat(StandardNormal(1), posterior), likelihood, observation).double()


def test_a_uniform_density_of_dequantized_levels_costs_log2_k_bits() -> None:
    shape, levels = (1, 2, 2), 17
    likelihood = ContinuousBernoulli(shape, 1, Constant(torch.zeros(4)))
    model = without_latents(likelihood, Levels(levels, dequantize=True))
    x = torch.randint(0, levels, (9, *shape), generator=torch.Generator().manual_seed(0))
    result = evaluate(model, x, samples=3)
    assert result["bits_per_dim"].value == pytest.approx(math.log2(levels), abs=1e-9)
    assert result["bits_per_dim"].stderr == pytest.approx(0, abs=1e-9)


def test_standardized_columns_are_reported_in_their_own_units() -> None:
    mean, std, x = [3.0, -100.0], [0.5, 40.0], torch.tensor([[2.7, -130.0], [4.0, 10.0]], dtype=torch.float64)
    likelihood = Gaussian((2,), 1, Constant(torch.zeros(2)), scale=1.0)
    result = evaluate(without_latents(likelihood, Standardized(mean, std, (2,))), x, samples=2)
    exact = stats.norm(mean, std).logpdf(x.numpy()).sum(1)
    np.testing.assert_allclose(result.per_example["iwae"], exact, atol=1e-6)
    assert result["bits_per_dim"].value is None
    assert result["bits_per_dim"].reason


def test_expected_binarization_is_the_expectation_over_bits_and_is_named_so() -> None:
    gray = torch.tensor([[0, 64, 255, 128]], dtype=torch.uint8)
    raw = torch.tensor([0.3, -1.0, 2.0, 0.1])
    model = without_latents(Bernoulli((4,), 1, Constant(raw)), Binarized(256, "expected"))
    result = evaluate(model, gray, samples=1)
    p, q = gray[0].numpy() / 255, torch.sigmoid(raw).double().numpy()
    expected = sum(
        np.prod(np.where(b, p, 1 - p)) * np.log(np.where(b, q, 1 - q)).sum()
        for b in map(np.array, itertools.product([False, True], repeat=4))
    )
    assert result["iwae"].value == pytest.approx(expected, abs=1e-6)
    assert result["iwae"].target == "expected, binarized"
    assert result["bits_per_dim"].value is None


def test_binarization_is_fixed_in_evaluation_whatever_the_order_and_fresh_in_training() -> None:
    x = torch.full((50, 1, 4, 4), 128.0)
    index = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    observation = Binarized(256, "dynamic", seed=3)
    a = observation(Batch(x, index=torch.arange(50)), Noise(0), False).x
    b = observation(Batch(x[:20], index=index[:20]), Noise(1), False).x
    assert torch.equal(a[index[:20]], b)
    first, second = (observation(Batch(x, index=index), Noise("step", i), True).x for i in (0, 1))
    assert not torch.equal(first, second)
    static = Binarized(256, "static", seed=3)
    assert torch.equal(static(Batch(x, index=torch.arange(50)), Noise(9), True).x, a)
    assert not torch.equal(Binarized(256, "static", seed=4)(Batch(x, index=torch.arange(50)), Noise(9), True).x, a)
    mean = a.mean().item()
    assert abs(mean - 128 / 255) < 5 * 0.5 / math.sqrt(a.numel())


def test_a_density_on_levels_needs_dequantization() -> None:
    digits = tb.data.open("digits")
    for name in ("gaussian", "laplace", "continuous-bernoulli"):
        with pytest.raises(CompositionError, match="dequantize"):
            tb.VAE.for_data(digits, likelihood=name, observation="levels")
    model = tb.VAE.for_data(digits, likelihood="gaussian")
    assert "dequantized" in model.target_name
    assert evaluate(model, digits.test.subset(range(5)), samples=5)["bits_per_dim"].value > 0
    bits = tb.data.open((torch.rand(30, 1, 4, 4) < 0.4).float())
    assert "2 levels, dequantized" in tb.VAE.for_data(bits, likelihood="gaussian").target_name


def test_levels_that_differ_are_refused() -> None:
    digits = tb.data.open("digits")
    with pytest.raises((CompositionError, InputError), match="levels"):
        tb.VAE.for_data(digits, likelihood="categorical(levels=256)")


@pytest.mark.parametrize("mode", ["dynamic", "static", "expected"])
def test_restore_undoes_the_scaling(mode: str) -> None:
    assert torch.equal(Binarized(256, mode).restore(torch.tensor([0.0, 1.0])), torch.tensor([0.0, 255.0]))
    levels = Levels(17, dequantize=True)
    x = torch.arange(17.0)
    assert torch.allclose(levels.restore((x + 0.5) / 17), x)


def test_reconstructions_are_compared_with_the_levels_and_not_with_their_noise() -> None:
    shape, levels = (1, 2, 2), 17
    model = without_latents(ContinuousBernoulli(shape, 1, Constant(torch.zeros(4))), Levels(levels, dequantize=True))
    x = torch.full((3, *shape), 8)  # the density's mean, one half, is the middle of this level
    assert evaluate(model, x, samples=1)["reconstruction_mse"].value == pytest.approx(0, abs=1e-12)


def test_tiny_columns_are_standardized_and_constant_columns_give_a_warning() -> None:
    rng = np.random.default_rng(0)
    tiny = tb.VAE.for_data(tb.data.open(rng.normal(size=(200, 2)) * 1e-13), latent=2, network="mlp(hidden=(8,))")
    assert torch.allclose(tiny.observation.std, torch.tensor(1e-13), rtol=0.2)  # pyright: ignore
    mixed = np.concatenate([rng.normal(size=(200, 1)), np.full((200, 1), 3.0)], axis=1)
    with pytest.warns(UserWarning, match="column 2 .* constant"):
        tb.VAE.for_data(tb.data.open(mixed, domain="real"), latent=2, network="mlp(hidden=(8,))")


def test_cross_entropy_with_expected_bits_is_not_called_a_likelihood() -> None:
    x = np.random.default_rng(0).integers(0, 17, (60, 1, 4, 4)).astype(np.uint8)
    data = tb.data.open(x, levels=17)
    model = tb.VAE.for_data(
        data, latent=2, network="mlp(hidden=(8,))", likelihood="bernoulli", observation="binarized(mode='expected')"
    )
    trained = tb.fit(model, data, steps=1, quiet=True)
    with pytest.raises(InputError, match="not a likelihood"):
        trained.log_likelihood(data.test)
    result = trained.evaluate(data.test, samples=2)
    assert "nll" not in [row.name for row in rows(result.estimates)]
    assert "not a likelihood" in (result["iwae"].reason or "")


def test_an_example_has_the_same_bits_in_every_view() -> None:
    x = np.random.default_rng(0).integers(0, 17, (60, 1, 4, 4)).astype(np.uint8)
    data = tb.data.open(x, levels=17)
    options: Any = {"latent": 2, "network": "mlp(hidden=(8,))", "likelihood": "bernoulli"}
    model = tb.VAE.for_data(data, **options, observation="binarized(mode='static')")
    place = {row.tobytes(): i for i, row in enumerate(x)}
    assert len(place) == len(x)

    def bits(batch: Batch) -> torch.Tensor:
        return model.observe(batch, Noise("any")).x

    expected = bits(data.whole.batch(torch.arange(60)))
    train, validation = data.held_out(6)
    tail = data.train.subset(torch.arange(30, 50)).subset([3, 1])
    loader = DataLoader(TensorDataset(torch.from_numpy(x)), batch_size=7, shuffle=True)
    part = DataLoader(Subset(TensorDataset(torch.from_numpy(x)), [5, 50, 20]), batch_size=2, shuffle=True)
    views = {
        "split": data.train.epoch(7),
        "test": data.test.epoch(7),
        "training": train.epoch(8, key=("order", 0)),
        "resumed": train.epoch(8, key=("order", 0), start=3),
        "a share": train.epoch(8, rank=1, world=2),
        "validation": validation.epoch(8),
        "subset": tail.epoch(1),
        "picked": iter([pick(model, data.train, 10)]),
        "a batch": batches(model, pick(model, data.train, 10), 3),
        "shuffling loader, evaluated": batches(model, loader, 5),
        "loader of a part": batches(model, part, 5),
        "data set of a part": batches(model, Subset(TensorDataset(torch.from_numpy(x)), [5, 50, 20]), 2),
    }
    for name, view in views.items():
        seen = 0
        for batch in view:
            where = [place[row.tobytes()] for row in batch.x.numpy().astype(np.uint8)]
            assert torch.equal(bits(batch), expected[where]), name
            seen += len(batch)
        assert seen > 1, name
