"""Bernoulli: sums of log-probabilities without gradients equal those per element."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, Independent

from tightbound.core.terms import log_density
from tightbound.likelihoods import Bernoulli as Likelihood


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
