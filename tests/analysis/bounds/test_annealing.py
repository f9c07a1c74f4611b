"""Chains of annealed importance sampling: where their temperatures lie, that they move, and what is said of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tightbound as tb
from analysis.bounds.test_ais import X
from laws.linear import linear_gaussian
from tightbound.analysis.bounds.annealed import ais, bdmc
from tightbound.analysis.bounds.annealing import Annealing, Chains, equally_long
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.bounds.shown import Estimates, annealed_sentences
from tightbound.analysis.estimate import Estimate, scalar
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.likelihoods import Gaussian, Identity
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal


def test_the_path_rises_from_0_to_1_and_is_dense_at_both_ends() -> None:
    path = Annealing(10).path
    assert (len(path), path[0], path[-1]) == (11, 0.0, 1.0)
    assert path[5] == pytest.approx(0.5)
    steps = np.diff(path)
    assert (steps > 0).all()
    assert (np.diff(steps[:5]) > 0).all()
    # Wu et al.: sigmoid from -4 to 4, rescaled
    low, high = 1 / (1 + math.exp(4)), 1 / (1 + math.exp(-4))
    assert path[1] == pytest.approx((1 / (1 + math.exp(3.2)) - low) / (high - low))
    assert Annealing(1).path == [0.0, 1.0]


def test_step_sizes_are_fixed_and_independent_of_the_chains() -> None:
    """However many chains there are and wherever they go, the pilot run alone decides."""
    model = linear_gaussian().model
    seen, index = model.observe(Batch(X[:4]), Noise()), torch.arange(4)
    few, many = (
        Chains(model, seen, index, Annealing(6, chains, leapfrog=2), "ais", lambda _: None) for chains in (3, 5)
    )
    before = [size.clone() for size in few.sizes]
    few.forward("ais")
    assert len(before) == 5
    for size, now, other in zip(before, few.sizes, many.sizes, strict=True):
        assert torch.equal(size, now)
        assert torch.equal(size, other)


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"temperatures": 100, "chains": 6, "leapfrog": 5}, 3.0),
        pytest.param({"temperatures": 500}, 1.0, marks=pytest.mark.slow),
    ],
)
def test_small_observation_noise_does_not_stop_the_chains(how: dict[str, Any], error: float) -> None:
    """The scale of p(z|x) then shrinks by orders of magnitude along the first few temperatures."""
    sigma = 0.017
    linear = linear_gaussian(64, 4, sigma=sigma)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    x = z @ linear.w.T + linear.m + sigma * torch.randn(3, 64, dtype=torch.float64, generator=generator)
    found, drawn = ais(linear.model, x, **how), bdmc(linear.model, 2, **how)
    assert found["ais"].value == pytest.approx(linear.evidence(x).mean().item(), abs=error)
    assert found["acceptance"].value == pytest.approx(0.65, abs=0.1)
    assert 0 < scalar(drawn["bdmc_gap"]) < 2 * error


def test_temperatures_lie_where_the_likelihood_varies() -> None:
    """Up to a fifth follow a fixed path; the others divide the integral of the deviation of log p(x|z) equally."""
    inner = equally_long(np.array([0.0, 0.5, 1.0]), np.array([1.0, 1.0, 1.0]), 3)
    np.testing.assert_allclose(inner, [0.25, 0.5, 0.75])
    betas = np.concatenate([[0.0], np.geomspace(1e-4, 1, 80)])
    inner = equally_long(betas, 1 / np.maximum(betas, 1e-4), 200)
    ratios = inner[1:] / inner[:-1]
    assert ratios[inner[:-1] > 1e-3] == pytest.approx(ratios[-1], rel=0.05)  # a deviation of 1 / beta: geometric
    linear = linear_gaussian(sigma=0.05)
    chains = Chains(
        linear.model, linear.model.observe(Batch(X[:3]), Noise()), torch.arange(3), Annealing(30, 2), "ais", lambda _: 0
    )
    assert chains.betas.shape == (31, 3)
    assert chains.sizes.shape == (29, 3)
    assert (chains.betas.diff(dim=0) > 0).all()
    assert torch.equal(chains.betas[0], torch.zeros(3, dtype=torch.float64))
    assert torch.equal(chains.betas[-1], torch.ones(3, dtype=torch.float64))


def test_ais_sees_a_mode_that_the_encoder_misses() -> None:
    """For x = z^2 + e and q on the positive root, IWAE converges to p(x) / 2, and says what it cannot see."""
    x = torch.full((6, 1), 2.0, dtype=torch.float64)
    sigma = 0.5
    posterior = DiagonalNormal((1,), 1, nn.Flatten())
    model = tb.VAE(tb.Flat(StandardNormal(1), posterior), Gaussian((1,), 1, Square(), scale=sigma), Identity()).double()
    head = posterior.network[-1]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([2**0.5, 2 * math.log(0.2)]))
    axis = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    normal = torch.distributions.Normal
    log_joint = normal(0.0, 1.0).log_prob(axis) + normal(axis.square(), sigma).log_prob(torch.tensor(2.0))
    exact = (log_joint.logsumexp(0) + math.log(axis[1] - axis[0])).item()
    bound = evaluate(model, Batch(x, index=torch.arange(6)), samples=2000)
    assert bound["iwae"].value == pytest.approx(exact - math.log(2), abs=0.05)
    assert "ais() can" in bound.sentences[0]
    found = ais(model, x, temperatures=50, chains=16, leapfrog=5, against=bound)
    assert found["ais_minus_iwae"].value == pytest.approx(math.log(2), abs=0.2)


class Square(nn.Module):
    """z^2."""

    def forward(self, z: Tensor) -> Tensor:
        return z.square()


def numbers(difference: float, stderr: float | None, gap: float = 0.12, gap_error: float | None = 0.5) -> Estimates:
    def number(value: float, error: float | None = 0.5) -> Estimate:
        return Estimate(value, error, 50, "nats", "", "binarized", samples=5000)

    return {
        "ais": number(-90.0), "iwae": number(-90.0 - difference), "ais_minus_iwae": number(difference, stderr),
        "bdmc_gap": number(gap, gap_error),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("difference", "stderr", "expected"),
    [
        (0.5, 0.1, "the IWAE bound is loose by 0.50 ± 0.10 nats, even if it has converged"),
        (-0.5, 0.1, "AIS is the looser one by 0.50 ± 0.10 nats; use more temperatures."),
        (0.15, 0.1, "they agree, with a paired difference of 0.15 ± 0.10 nats."),
        (0.5, None, "they differ by 0.50 nats"),
    ],
)
def test_the_verdict_is_as_certain_as_the_numbers(difference: float, stderr: float | None, expected: str) -> None:
    bound, gap = annealed_sentences(numbers(difference, stderr))
    assert bound.startswith("Over 50 examples, AIS estimates log p(x) as -90.00 ± 0.50 nats and IWAE-5000 as -")
    assert expected in bound
    assert "cannot be told apart (0.12 ± 0.50 nats)" in gap


@pytest.mark.parametrize(
    ("gap", "stderr", "expected"),
    [(0.8, 0.1, "0.80 ± 0.10 nats apart: the mean error"), (-0.5, 0.4, "no error of AIS is visible"),
     (-0.06, None, "a single example cannot tell")],
)  # fmt: skip
def test_the_error_of_ais_is_as_certain_as_the_numbers(gap: float, stderr: float | None, expected: str) -> None:
    assert expected in annealed_sentences(numbers(0.5, 0.1, gap, stderr))[1]


def test_chains_that_hardly_move_are_reported() -> None:
    estimates = {**numbers(0.5, 0.1), "acceptance": Estimate(0.03, 0.01, 50, "share", "", "")}
    assert "3% of their moves were accepted" in annealed_sentences(estimates)[2]
    assert len(annealed_sentences({**estimates, "acceptance": Estimate(0.6, 0.01, 50, "share", "", "")})) == 2
