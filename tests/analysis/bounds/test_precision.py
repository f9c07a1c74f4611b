"""Whether bfloat16 saves time is measured, and said if it does not. The clock stands still but for what a test adds."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from tightbound.analysis.bounds.precision import Precision, warn_if_slower
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Identity
from tightbound.model import VAE
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal
from tightbound.trained import evaluate


class Clock:
    """Clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("time.perf_counter", clock := Clock())
    return clock


@pytest.mark.parametrize(("rounded", "slower"), [(0.02, False), (0.05, True), (0.0625, True)])
def test_times_are_compared(rounded: float, slower: bool, clock: Clock) -> None:
    """The first call of each precision, which takes a second, is not counted."""
    first = {"fp32", "bf16"}

    def compute(precision: Precision) -> None:
        clock.now += 1.0 if precision in first else {"fp32": 0.05, "bf16": rounded}[precision]
        first.discard(precision)

    if slower:
        with pytest.warns(UserWarning, match=rf"took {rounded:.3g} s in bfloat16 and 0.05 s in float32"):
            warn_if_slower(compute)
    else:
        warn_if_slower(compute)


class Timed(nn.Linear):
    """Layer that takes two seconds in one precision and one in the other."""

    clock: Clock
    slow_in_bfloat16 = True

    def forward(self, input: Tensor) -> Tensor:
        self.clock.now += 1 + (torch.is_autocast_enabled("cpu") == self.slow_in_bfloat16)
        return super().forward(input)


@pytest.mark.parametrize("slower", [True, False])
def test_an_evaluation_says_that_bfloat16_is_slower(slower: bool, clock: Clock) -> None:
    torch.manual_seed(0)
    network = Timed(2, 4)
    network.clock, network.slow_in_bfloat16 = clock, slower
    posterior = DiagonalNormal((4,), 2, nn.Identity())
    model, x = (
        VAE(Flat(StandardNormal(2), posterior), Bernoulli((4,), 2, network), Identity("binary")),
        torch.ones(50, 4),
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        evaluate(model, x, samples=2000, precision="bf16")
        evaluate(model, x, samples=20, precision="bf16")  # too short to measure
        evaluate(model, x, samples=2000)
    assert ["took 2 s in bfloat16 and 1 s in float32" in str(warning.message) for warning in said] == [True] * slower
