"""The example in CONTRIBUTING.md is a likelihood that passes its laws; broken ones do not."""

from __future__ import annotations

import re
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from tightbound.likelihoods import Beta, ElementwiseLikelihood, MixtureOfLogistics
from tightbound.likelihoods.beta import BetaDistribution
from tightbound.likelihoods.counts import PoissonDistribution
from tightbound.likelihoods.logistic_mixture import ColorDistribution
from tightbound.testing import check_likelihood

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_of_contributing_passes_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block, _ = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    module = types.ModuleType("example")  # a file of its own, which a saved model imports again
    monkeypatch.setitem(sys.modules, "example", module)
    exec(textwrap.dedent(block), module.__dict__)
    check_likelihood(module.Gumbel())  # pyright: ignore


class Unnormalized(ElementwiseLikelihood):
    """A squared error without its constant."""

    domains = ("real",)

    def distribution(self, raw: torch.Tensor) -> Any:
        class Shifted(torch.distributions.Normal):
            def log_prob(self, value: torch.Tensor) -> torch.Tensor:
                return super().log_prob(value) + 0.9189

        return Shifted(raw[..., 0], torch.ones(()), validate_args=False)


class WrongSamples(ElementwiseLikelihood):
    """Its samples are too wide."""

    domains = ("real",)

    def distribution(self, raw: torch.Tensor) -> Any:
        class Wide(torch.distributions.Laplace):
            def rsample(self, sample_shape: Any = ()) -> torch.Tensor:
                return 1.1 * super().rsample(sample_shape)

        return Wide(raw[..., 0], torch.ones(()), validate_args=False)


class Leaking(ElementwiseLikelihood):
    """Its mean depends on the batch."""

    domains = ("real",)

    def distribution(self, raw: torch.Tensor) -> Any:
        return torch.distributions.Normal(raw[..., 0] - 0.1 * raw[..., 0].mean(), torch.ones(()), validate_args=False)


class Shortened(ElementwiseLikelihood):
    """Counts that lose their tail: P(x) of a Poisson up to 9 alone."""

    domains = ("counts",)

    def distribution(self, raw: torch.Tensor) -> Any:
        class Short(PoissonDistribution):
            def log_prob(self, value: torch.Tensor) -> torch.Tensor:
                return super().log_prob(value).masked_fill(value > 9, -torch.inf)

        return Short(raw[..., 0])


class WrongMean(ElementwiseLikelihood):
    """Its mean is that of the rate, not of the logit."""

    domains = ("binary",)

    def distribution(self, raw: torch.Tensor) -> Any:
        class Logit(torch.distributions.Bernoulli):
            @property
            def mean(self) -> torch.Tensor:
                return self.logits

        return Logit(logits=raw[..., 0], validate_args=False)


class Apart(MixtureOfLogistics):
    """Each channel is drawn from a component of its own: its moments are right, its colors are not."""

    def distribution(self, raw: torch.Tensor) -> Any:
        class Independent(ColorDistribution):
            def sample(self, sample_shape: Any = ()) -> torch.Tensor:
                return torch.stack([super(Independent, self).sample(sample_shape)[..., i, :, :] for i in range(3)], -3)

        p = super().distribution(raw)
        p.__class__ = Independent
        return p


class AtTheEnds(Beta):
    """Takes 0 for the least number above it."""

    def distribution(self, raw: torch.Tensor) -> Any:
        class Clamped(BetaDistribution):
            def log_prob(self, value: torch.Tensor) -> torch.Tensor:
                return super().log_prob(value.clamp(1e-300, 1 - 1e-16))

        return Clamped(*raw.unbind(-1))


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (Unnormalized(), "normalization"),
        (WrongSamples(), "samples"),
        (Leaking(), "independence"),
        (Shortened(), "normalization"),
        (WrongMean(), "moments"),
        (Apart((3, 1, 1), levels=3), "samples: frequencies"),
        (AtTheEnds(), "ends"),
    ],
)
def test_a_broken_likelihood_is_caught(broken: ElementwiseLikelihood, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_likelihood(broken, cases=2)
