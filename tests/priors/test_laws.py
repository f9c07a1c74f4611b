"""The laws of priors catch priors that are wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from tightbound.priors import Flow, LearnedNormal, Prior
from tightbound.priors.flow import NormalizingFlow
from tightbound.testing import check_prior


class Wide(NormalizingFlow):
    def pull(self, e: Tensor) -> Tensor:
        return super().pull(1.1 * e)


class Shifted(NormalizingFlow):
    def pull(self, e: Tensor) -> Tensor:
        return super().pull(e) + 0.1


class Unnormalized(NormalizingFlow):
    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + 0.1


@pytest.mark.parametrize(
    ("kind", "law"), [(Wide, "variance is off"), (Shifted, "mean is off"), (Unnormalized, "normalization")]
)
def test_a_wrong_flow_is_caught_though_it_has_no_closed_moments(kind: type[NormalizingFlow], law: str) -> None:
    class Wrong(Flow):
        def forward(self, context: Tensor | None = None) -> Distribution:
            right = super().forward(context)
            return kind(right.bijection, right.base.base_dist)  # pyright: ignore

    with pytest.raises(AssertionError, match=law):
        check_prior(Wrong(2))


class Leaking(LearnedNormal):
    """A prior whose contexts are centered by the mean of the batch."""

    def forward(self, context: Tensor | None = None) -> Distribution:
        assert context is not None
        return super().forward(context - context.mean(0))


class Deaf(Prior):
    """Has a network for the context, and leaves it out."""

    def __init__(self, latent: int = 1, context: int = 0) -> None:
        super().__init__(latent, context)
        self.network = torch.nn.Linear(context, latent)

    def forward(self, context: Tensor | None = None) -> Distribution:
        zero = torch.zeros(self.latent, dtype=torch.float64)
        return Independent(Normal(zero, torch.ones_like(zero)), 1)


@pytest.mark.parametrize(("kind", "law"), [(Leaking, "depends on its batch"), (Deaf, "no gradient reaches network")])
def test_a_wrong_use_of_the_context_is_caught(kind: type[Prior], law: str) -> None:
    torch.manual_seed(0)
    prior = kind(2, context=3)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    with pytest.raises(AssertionError, match=law):
        check_prior(prior)
