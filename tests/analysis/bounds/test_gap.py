"""The split of the inference gap, against Gaussians whose KL is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from laws.linear import Linear, evidence, linear_gaussian
from tightbound.analysis.bounds.gap import encoder_overfitting, inference_gap
from tightbound.analysis.result import Result
from tightbound.core.errors import InputError, NotABound
from tightbound.latents import BottomUp, Flat, Ladder
from tightbound.likelihoods import Gaussian, Identity
from tightbound.model import VAE
from tightbound.nn import MLP
from tightbound.posteriors import Point
from tightbound.priors import StandardNormal


def data(linear: Linear, n: int = 12, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, linear.w.shape[1], generator=generator, dtype=torch.float64)
    noise = torch.randn(n, len(linear.w), generator=generator, dtype=torch.float64)
    return z @ linear.w.T + linear.m + linear.sigma * noise


def value(gap: Result, name: str) -> float:
    number = gap[name].value
    assert isinstance(number, float)
    return number


def correlated(linear: Linear) -> Tensor:
    """Turns the columns of W into ones that are not orthogonal; gives KL(best diagonal Gaussian || p(z|x))."""
    mix = torch.eye(linear.w.shape[1], dtype=torch.float64) + 0.6 * torch.ones(3, 3, dtype=torch.float64).tril(-1)
    mix[0, 1], mix[2, 0] = 0.9, -0.7
    linear.w.copy_(linear.w @ mix)
    decoder = linear.model.likelihood.network
    assert isinstance(decoder, nn.Linear)
    decoder.weight.data.copy_(linear.w)
    precision = torch.eye(len(mix), dtype=torch.float64) + linear.w.T @ linear.w / linear.sigma**2
    return 0.5 * (precision.diagonal().log().sum() - precision.logdet())


def test_an_exact_posterior_has_no_gap() -> None:
    linear = linear_gaussian()
    gap = inference_gap(linear.model, data(linear), samples=100, steps=40)
    assert value(gap, "amortization_gap") == pytest.approx(0, abs=5e-3)
    assert value(gap, "approximation_gap") == pytest.approx(0, abs=5e-3)
    assert value(gap, "elbo") == pytest.approx(float(linear.evidence(data(linear)).mean()), abs=1e-9)


def test_the_amortization_gap_of_a_shifted_posterior_is_its_kl_from_the_exact_one() -> None:
    off = 0.4
    linear = linear_gaussian(off=off)
    variance = linear.sigma**2 / (linear.w.square().sum(0) + linear.sigma**2)
    kl = 0.5 * (math.exp(off) + off**2 / variance - 1 - off).sum()
    gap = inference_gap(linear.model, data(linear), samples=2000, steps=200)
    number = gap["amortization_gap"]
    assert value(gap, "amortization_gap") == pytest.approx(float(kl), abs=max(4 * float(number.stderr or 0), 0.02))
    assert value(gap, "approximation_gap") == pytest.approx(0, abs=0.01)
    assert abs(value(gap, "gain_of_doubling")) < 0.02


def test_the_approximation_gap_of_a_diagonal_posterior_is_the_kl_of_the_best_one() -> None:
    linear = linear_gaussian()
    kl = float(correlated(linear))
    assert kl > 0.1
    x = data(linear)
    exact = evidence(x, linear.w, linear.m, linear.sigma)
    gap = inference_gap(linear.model, x, samples=1000, steps=130, log_likelihood=exact)
    error = float(gap["approximation_gap"].stderr or 0)
    assert value(gap, "approximation_gap") == pytest.approx(kl, abs=4 * error + 0.01)
    assert value(gap, "amortization_gap") > 0.5
    # the importance-weighted estimate is below log p(x)
    estimated = inference_gap(linear.model, x[:4], samples=1000, steps=70)
    assert 0.5 * kl < value(estimated, "approximation_gap") < kl


def test_gaps_add_up_and_do_not_depend_on_other_data() -> None:
    linear = linear_gaussian(off=0.3)
    x = data(linear)
    gap = inference_gap(linear.model, x, samples=50, steps=20)
    parts = [gap.per_example[name] for name in ("amortization_gap", "approximation_gap", "inference_gap")]
    assert np.allclose(parts[0] + parts[1], parts[2])
    few = inference_gap(linear.model, x[:4], samples=50, steps=20)
    assert np.allclose(few.per_example["amortization_gap"], gap.per_example["amortization_gap"][:4], atol=1e-9)


def test_the_choice_of_a_fit_does_not_depend_on_the_batch_size() -> None:
    linear = linear_gaussian(off=0.05)
    x = data(linear, 40)
    how = {"samples": 20, "steps": 4}  # so few that the choice is close
    whole = inference_gap(linear.model, x, **how)
    parts = inference_gap(linear.model, x, max_rows=240, **how)
    for name in ("elbo_fitted", "gain_of_doubling", "log_likelihood"):
        assert np.allclose(parts.per_example[name], whole.per_example[name], atol=1e-9)


def test_a_fit_that_diverges_is_not_kept() -> None:
    def diverged(model: VAE, seen: object, **_: object) -> tuple[Tensor, Tensor]:
        start = model.latents.local(model.encoder_input(seen))  # pyright: ignore[reportArgumentType]
        return start, torch.full_like(start, torch.nan)

    linear = linear_gaussian(off=0.3)
    gap = inference_gap(linear.model, data(linear), samples=50, steps=20, fit=diverged)
    assert np.array_equal(gap.per_example["amortization_gap"], np.zeros(12))


def test_encoder_overfitting_is_the_difference_of_the_gaps() -> None:
    linear = linear_gaussian(off=0.3)
    test, train = (inference_gap(linear.model, data(linear, seed=s), samples=50, steps=20) for s in (3, 4))
    number = encoder_overfitting(test, train)
    assert number.value == pytest.approx(value(test, "amortization_gap") - value(train, "amortization_gap"))
    errors = [float(gap["amortization_gap"].stderr or 0) for gap in (test, train)]
    assert number.stderr == pytest.approx(math.hypot(*errors))


@pytest.mark.parametrize("kind", ["bottom-up", "ladder"])
def test_hierarchies_say_what_was_fitted(kind: str) -> None:
    torch.manual_seed(0)
    network = MLP((8,))
    latents = BottomUp((4,), 3, network) if kind == "bottom-up" else Ladder((4,), 3, network, groups=2, hidden=8)
    model = VAE(latents, Gaussian((4,), latents.features, network, scale=0.5), Identity())
    gap = inference_gap(model, torch.randn(5, 4), samples=100, steps=30)
    assert value(gap, "amortization_gap") > 0.01
    assert latents.local_of != "q(z|x)"
    assert latents.local_of in gap["amortization_gap"].estimator


def test_refusals() -> None:
    network = MLP((4,))
    point = VAE(Flat(StandardNormal(2), Point((3,), 2, network)), Gaussian((3,), 2, network), Identity())
    with pytest.raises(NotABound, match="point mass"):
        inference_gap(point, torch.randn(4, 3))
    linear = linear_gaussian()
    with pytest.raises(InputError, match="no data"):
        inference_gap(linear.model, torch.zeros(0, 6, dtype=torch.float64))
    with pytest.raises(InputError, match="one value for each"):
        inference_gap(linear.model, data(linear), samples=5, steps=2, log_likelihood=torch.zeros(3))
