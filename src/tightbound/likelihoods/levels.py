"""Likelihoods on the integers 0 .. K - 1: binomial and categorical."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.domain import Domain, Kind
from tightbound.core.errors import CompositionError, whole
from tightbound.core.limits import LEVELS
from tightbound.core.noise import Noise, draw
from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.nn.base import Network, Shape


class LevelLikelihood(ElementwiseLikelihood):
    """Base class of likelihoods on integer levels.

    Args:
        shape, features, network: As for `ElementwiseLikelihood`.
        levels: Number of levels K.
        **family: Further arguments of the next base class.
    """

    domains: tuple[Kind, ...] = ("levels", "binary")
    free: ClassVar[bool] = False  # whether the network gives a number for each level

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
        levels: int = 256,
        **family: Any,
    ) -> None:
        self.levels = whole("levels", levels, least=1, most=LEVELS)
        if self.free:
            self.outputs = self.levels
        super().__init__(shape, features, network, **family)

    def check_domain(self, target: Domain) -> None:
        """Raise CompositionError if the targets are not integers or have a different number of levels."""
        super().check_domain(target)
        if target.levels != self.levels:
            raise CompositionError(
                f"{type(self).__name__} was built for {self.levels} levels, and the data have {target.levels}; "
                f"pass levels={target.levels}"
            )


class Binomial(LevelLikelihood):
    """Binomial(K - 1, sigmoid(logit)) likelihood, smooth over neighboring levels, with one parameter per element."""

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at logits (..., 1, *shape)."""
        logits = raw.squeeze(-1 - len(self.shape))
        return torch.distributions.Binomial(self.levels - 1, logits=logits, validate_args=False)

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the logits of the mean levels after adding one observation of each end."""
        return torch.logit((x.sum(0) / (self.levels - 1) + 1) / (len(x) + 2)).unsqueeze(0)


class Categorical(LevelLikelihood):
    """Categorical likelihood with K free probabilities per element (K-way softmax)."""

    domains = ("levels", "binary", "categories")
    free = True

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at logits (..., K, *shape)."""
        return LevelCategorical(raw.movedim(-1 - len(self.shape), -1))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the log frequencies after adding one observation, spread over all levels."""
        counts = torch.stack([(x == k).sum(0) for k in range(self.levels)])  # a one-hot tensor would be too large
        return ((counts + 1 / self.levels) / (len(x) + 1)).log().to(x.dtype)


class LevelCategorical(torch.distributions.Categorical):
    """Categorical distribution over the numbers 0 .. K - 1, with a mean and a variance.

    Args:
        logits: Logits of the categories, (..., K).
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits=logits, validate_args=False)

    @property
    def _levels(self) -> Tensor:
        return torch.arange(self.logits.shape[-1], device=self.logits.device, dtype=self.logits.dtype)

    @property
    def mean(self) -> Tensor:
        """The mean sum_k k p_k."""
        return self.probs @ self._levels

    @property
    def variance(self) -> Tensor:
        """The variance sum_k (k - mean)^2 p_k."""
        return (self.probs * (self._levels - self.mean.unsqueeze(-1)).square()).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of levels, given as numbers of any dtype."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        index = value.long().expand(shape).unsqueeze(-1)
        return self.logits.expand(*shape, -1).gather(-1, index).squeeze(-1)


@draw.register
def _(distribution: LevelCategorical, samples: Sequence[int], noise: Noise) -> Tensor:
    """Draw by inversion of the cumulative probabilities."""
    edges = distribution.probs[..., :-1].cumsum(-1)
    u = noise.uniform((*samples, *distribution.batch_shape), edges)
    return (u.unsqueeze(-1) >= edges).sum(-1).to(edges.dtype)
