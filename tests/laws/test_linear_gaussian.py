"""Law 1: bounds against the exact evidence of the linear-Gaussian model."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.linear import linear_gaussian
from tightbound.analysis.bounds.annealed import ais
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.objectives import CIWAE, ELBO, IWAE, MIWAE, PIWAE, TVO, DReG, Renyi, VRMax


def value(objective, linear, x, noise=None):
    batch = Batch(x, index=torch.arange(len(x)))
    terms = linear.model(batch, objective.samples, noise or Noise("test"))
    return objective(terms, Knobs.final(objective.schedules))


@settings(max_examples=15, deadline=None)
@given(d=st.integers(3, 9), latent=st.integers(1, 3), sigma=st.floats(0.2, 3.0), seed=st.integers(0, 99))
def test_exact_posterior_makes_every_bound_the_evidence(d, latent, sigma, seed) -> None:
    linear = linear_gaussian(d, latent, sigma, seed)
    x = torch.randn(5, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    exact = linear.evidence(x)
    more = (MIWAE(3, 2), PIWAE(3, 2), CIWAE(5), Renyi(0.3), VRMax(3), DReG(3), TVO(4), TVO(1))
    for objective in (IWAE(1), IWAE(7), ELBO(kl="monte-carlo", samples=4), *more):
        assert torch.allclose(value(objective, linear, x), exact, atol=1e-9)
    result = evaluate(linear.model, x, samples=150)
    assert torch.allclose(torch.from_numpy(result.per_example["iwae"]), exact, atol=1e-9)


def test_closed_kl_elbo_is_the_evidence_in_expectation() -> None:
    linear = linear_gaussian()
    x = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    elbo = value(ELBO(samples=200_000), linear, x)
    assert torch.allclose(elbo, linear.evidence(x), atol=0.03)


def test_bounds_of_an_inexact_posterior_increase_to_the_evidence() -> None:
    linear = linear_gaussian(off=0.5)
    x = torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    exact = linear.evidence(x).mean().item()
    many = x.repeat(500, 1)
    bounds = [value(IWAE(k), linear, many).mean().item() for k in (1, 4, 16, 64)]
    elbo = value(ELBO(), linear, many).mean().item()
    assert elbo == pytest.approx(bounds[0], abs=0.02)
    assert bounds == sorted(bounds)
    assert all(later - earlier > 0.01 for earlier, later in pairwise(bounds))
    assert bounds[-1] < exact + 0.002
    assert exact - bounds[-1] < 0.1


def test_annealing_finds_the_evidence_whatever_the_posterior() -> None:
    """Within three standard errors, where the bound of a posterior that is far off is loose by nats."""
    linear = linear_gaussian(off=2.0)
    x = torch.randn(30, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    bound = evaluate(linear.model, x, samples=100)
    found = ais(linear.model, x, temperatures=60, chains=8, leapfrog=4, against=bound)
    difference = torch.from_numpy(found.per_example["ais"]) - linear.evidence(x)
    error = difference.std() / len(x) ** 0.5
    assert error < 0.1
    assert difference.mean().abs() < 3 * error
    assert found["ais_minus_iwae"].value > 1


def test_one_sample_iwae_is_the_monte_carlo_elbo() -> None:
    linear = linear_gaussian(off=0.3)
    x = torch.randn(8, 6, dtype=torch.float64)
    iwae, elbo = (
        value(objective, linear, x, ExampleNoise("same", index=torch.arange(8)))
        for objective in (IWAE(1), ELBO(kl="monte-carlo"))
    )
    assert torch.allclose(iwae, elbo, atol=1e-12)


def test_minus_elbo_is_rate_plus_distortion_exactly() -> None:
    linear = linear_gaussian(off=0.3)
    result = evaluate(linear.model, torch.randn(11, 6, dtype=torch.float64), samples=20)
    total = result["rate"].value + result["distortion"].value
    assert -result["elbo"].value == pytest.approx(total, abs=1e-12)
    assert sum(result["kl_per_dimension"].value) == pytest.approx(result["rate"].value, abs=1e-12)


def test_relatives_of_iwae_at_their_limits() -> None:
    """MIWAE(1, k) = IWAE-k, MIWAE(m, 1) = the ELBO; CIWAE at 0 and 1; Renyi at 0, and towards 1."""
    linear = linear_gaussian(off=0.5)
    x = torch.randn(8, 6, dtype=torch.float64)

    def at(objective):
        return value(objective, linear, x, ExampleNoise("same", index=torch.arange(8)))

    iwae, elbo = at(IWAE(6)), at(ELBO(kl="monte-carlo", samples=6))
    for objective, limit in (
        (MIWAE(1, 6), iwae),
        (MIWAE(6, 1), elbo),
        (CIWAE(6, beta=0), iwae),
        (CIWAE(6, beta=1), elbo),
        (Renyi(0, 6), iwae),
        (Renyi(1, 6), elbo),
    ):
        assert torch.allclose(at(objective), limit, atol=1e-12)
    assert torch.allclose(at(Renyi(1 - 1e-6, 6)), elbo, atol=1e-4)
    between = at(MIWAE(2, 3))
    assert elbo.mean() < between.mean() < iwae.mean()
