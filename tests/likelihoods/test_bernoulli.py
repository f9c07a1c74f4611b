"""Bernoulli and continuous Bernoulli: sums per example, and accuracy against arbitrary precision."""

from __future__ import annotations

import mpmath
import pytest
import torch
from torch.distributions import Bernoulli, Independent

from tightbound.core.terms import log_density
from tightbound.likelihoods import Bernoulli as Likelihood
from tightbound.likelihoods import ContinuousBernoulli


@pytest.mark.parametrize("scale", [1.0, 30.0, 400.0])  # the last overflows exp in float32
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bits", [False, True])
def test_in_place_sum_equals_sum_of_elements(scale: float, dtype: torch.dtype, masked: bool, bits: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(7, 5, 2, 3, 4, generator=generator, dtype=dtype)
    before = logits.clone()
    x = torch.rand(5, 2, 3, 4, generator=generator, dtype=dtype)
    x = (x < 0.5).to(dtype) if bits else x
    observed = torch.rand(5, 2, 3, 4, generator=generator) < 0.7 if masked else None
    given = x if observed is None else x.masked_fill(~observed, 0.5)
    distribution = Likelihood((2, 3, 4))(logits.flatten(-3))
    elements = Independent(Bernoulli(logits=logits.double(), validate_args=False), 3).base_dist.log_prob(given.double())
    exact = (elements if observed is None else elements * observed).sum((-3, -2, -1))
    unseen = x if observed is None else x.masked_fill(~observed, torch.nan)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        fast = log_density(distribution, unseen, observed)
    assert fast.dtype == dtype
    torch.testing.assert_close(fast.double(), exact, rtol=1e-13 if dtype == torch.float64 else 1e-5, atol=1e-9 * 2e3)
    assert torch.equal(logits, before)
    torch.testing.assert_close(log_density(distribution, given, observed), fast, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("logit", [15.0, 60.0])
def test_large_sums_that_cancel_stay_accurate(logit: float) -> None:
    """For white images of 12,288 nearly certain elements, the sums of x l and of log(1 + exp l) are large."""
    generator = torch.Generator().manual_seed(0)
    logits = logit + torch.randn(4, 3, 12_288, generator=generator)
    distribution = Likelihood((12_288,))(logits)
    exact = -torch.nn.functional.softplus(-logits.double()).sum(-1)
    with torch.no_grad():
        found = log_density(distribution, torch.ones(3, 12_288), None)
    torch.testing.assert_close(found.double(), exact, atol=5e-3, rtol=0)


SIZES = (1e-30, 1e-8, 1e-4, 0.0045, 0.01, 0.1, 0.5, 1.0, 2.0, 2.99, 3.0, 3.01, 4.0, 7.0, 16.0, 40.0, 80.0, 88.0, 100.0)
POINTS = (0.0, 1e-3, 0.25, 0.5, 0.75, 0.999, 1.0)


@pytest.mark.parametrize("logit", [0.0, *SIZES, *(-size for size in SIZES)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_continuous_bernoulli_agrees_with_arbitrary_precision(
    logit: float, dtype: torch.dtype, tolerance: float
) -> None:
    """Log-density, mean, variance and quantiles; a quantile near 1 is as exact as a number near 1 can be."""
    given = torch.tensor([logit], dtype=dtype)
    p = ContinuousBernoulli().distribution(given)
    with mpmath.workdps(150):
        size = mpmath.mpf(given.item())
        log_total = mpmath.log(mpmath.expm1(size) / size) if size else mpmath.mpf(0)
        mean = 1 / (1 - mpmath.exp(-size)) - 1 / size if size else mpmath.mpf(1) / 2
        variance = 1 / size**2 - 1 / (2 * mpmath.sinh(size / 2)) ** 2 if size else mpmath.mpf(1) / 12
        assert float(abs(p.mean.item() - mean) / mean) < tolerance
        assert float(abs(p.variance.item() - variance) / variance) < tolerance
        for point in torch.tensor(POINTS, dtype=dtype):
            x = mpmath.mpf(point.item())
            exact = size * x - log_total
            assert float(abs(p.log_prob(point).item() - exact)) < tolerance * max(1.0, float(abs(exact)))
            quantile = mpmath.log1p(x * mpmath.expm1(size)) / size if size else x
            if 1e-6 < x < 1 - 1e-6:
                assert float(abs(p.icdf(point).item() - quantile)) < tolerance * max(float(quantile), 0.1)


def test_gradient_of_continuous_bernoulli_is_x_less_the_mean() -> None:
    logits = torch.tensor([0.0, -0.0, 1e-8, 0.3, -2.0, 3.0, 50.0, -100.0, 1e5], requires_grad=True)
    p = ContinuousBernoulli().distribution(logits.unsqueeze(-1))
    (gradient,) = torch.autograd.grad(p.log_prob(torch.tensor(0.3)).sum(), logits)
    torch.testing.assert_close(gradient, 0.3 - p.mean.detach(), rtol=1e-6, atol=1e-6)
