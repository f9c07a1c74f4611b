"""Whether bfloat16 saves time is measured, and said if it does not."""

from __future__ import annotations

import time
import warnings

import pytest
import torch
from torch import Tensor, nn

from tightbound.analysis.bounds.precision import REPEATS, Precision, warn_if_slower
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Identity
from tightbound.model import VAE
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal
from tightbound.trained import evaluate


@pytest.mark.parametrize(("rounded", "slower"), [(0.02, False), (0.05, True), (0.0625, True)])
def test_times_are_compared(rounded: float, slower: bool) -> None:
    """The first call of each precision, which takes a second, is not counted."""
    now, first = 0.0, {"fp32", "bf16"}

    def compute(precision: Precision) -> None:
        nonlocal now
        now += 1.0 if precision in first else {"fp32": 0.05, "bf16": rounded}[precision]
        first.discard(precision)

    if slower:
        with pytest.warns(UserWarning, match=rf"took {rounded:.3g} s in bfloat16 and 0.05 s in float32"):
            warn_if_slower(compute, lambda: now)
    else:
        warn_if_slower(compute, lambda: now)


class Sleepy(nn.Linear):
    """Layer that waits in one of the two precisions while they are timed, which are its first calls."""

    waits_in_bfloat16, timed = True, 2 * (REPEATS + 1)

    def forward(self, input: Tensor) -> Tensor:
        if self.timed > 0 and torch.is_autocast_enabled("cpu") == self.waits_in_bfloat16:
            time.sleep(0.2)
        self.timed -= 1
        return super().forward(input.float())


@pytest.fixture
def model() -> VAE:
    torch.manual_seed(0)
    posterior = DiagonalNormal((4,), 2, nn.Identity())
    return VAE(Flat(StandardNormal(2), posterior), Bernoulli((4,), 2, Sleepy(2, 4)), Identity("binary"))


@pytest.mark.parametrize("slower", [True, False])
def test_an_evaluation_says_that_bfloat16_is_slower(model: VAE, slower: bool) -> None:
    network = model.likelihood.network
    assert isinstance(network, Sleepy)
    network.waits_in_bfloat16 = slower
    x = torch.ones(50, 4)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        evaluate(model, x, samples=2000, precision="bf16")
        evaluate(model, x, samples=20, precision="bf16")  # too short to measure
        evaluate(model, x, samples=2000)
    assert ["saves no time" in str(warning.message) for warning in said] == [True] * slower
