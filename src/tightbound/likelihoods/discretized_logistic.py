"""Logistic density integrated over the cell of each level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.noise import Noise, draw
from tightbound.core.terms import UncheckedDistribution
from tightbound.likelihoods.levels import LevelLikelihood
from tightbound.likelihoods.location_scale import LocationScaleLikelihood, Scale
from tightbound.nn.base import Architecture


class DiscretizedLogistic(LevelLikelihood, LocationScaleLikelihood):
    """Discretized logistic likelihood: P(k) = F(k + 1/2) - F(k - 1/2) for a logistic F.

    The first and last levels include the tails. Location and scale refer to levels mapped to [-1, 1].

    References:
        Improved variational inference with inverse autoregressive flow (Kingma et al. 2016), Section 5;
        PixelCNN++ (Salimans et al. 2017), Eq. 2, https://arxiv.org/abs/1701.05517
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        features: int | None = None,
        network: Architecture | nn.Module | None = None,
        levels: int = 256,
        scale: Scale = "predicted",
    ) -> None:
        super().__init__(shape, features, network, levels, scale=scale)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at locations and, if predicted, log scales."""
        location, scale = self.location_scale(raw)
        half = (self.levels - 1) / 2
        return DiscretizedLogisticDistribution((location + 1) * half, scale * half, self.levels)

    def fit_location_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean, and the scale of a logistic with the data's standard deviation, at least one level."""
        y = x / ((self.levels - 1) / 2) - 1
        return y.mean(0), y.std(0, correction=0).clamp_min(2 / self.levels) * math.sqrt(3) / math.pi


class DiscretizedLogisticDistribution(UncheckedDistribution):
    """Logistic distribution rounded to the nearest of the integers 0 .. K - 1.

    Args:
        location: Locations (...), in units of levels.
        scale: Scales (...), in units of levels.
        levels: Number of levels K.
    """

    def __init__(self, location: Tensor, scale: Tensor, levels: int) -> None:
        self.location, self.scale, self.levels = location, scale, levels
        super().__init__(location.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log P(value), accurate far into the tails.

        If a and b are the standardized upper and lower edges of the cell, s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)).
        """
        width = 1 / self.scale
        center = (value - self.location) * width
        first, last = value <= 0, value >= self.levels - 1
        upper = F.logsigmoid(center + width / 2).masked_fill(last, 0.0)
        lower = F.logsigmoid(width / 2 - center).masked_fill(first, 0.0)
        inner = torch.log(-torch.expm1(-width)).masked_fill(first | last, 0.0)
        return upper + lower + inner

    @property
    def mean(self) -> Tensor:
        """The mean sum_k P(X > k), summed level by level to save memory."""
        return sum((self._above(k) for k in range(self.levels - 1)), torch.zeros_like(self.location))

    @property
    def variance(self) -> Tensor:
        """The variance E[X^2] - mean^2, with E[X^2] = sum_k (2k + 1) P(X > k)."""
        second = sum(((2 * k + 1) * self._above(k) for k in range(self.levels - 1)), torch.zeros_like(self.location))
        return second - self.mean.square()

    def _above(self, k: int) -> Tensor:
        """Return P(X > k)."""
        return torch.sigmoid((self.location - (k + 0.5)) / self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        """Return the level at which the distribution function reaches a value in [0, 1], rounded and clipped."""
        return (self.location + self.scale * torch.logit(value)).round().clamp(0, self.levels - 1)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples (*sample_shape, ...)."""
        return self.icdf(torch.rand_like(self.location.expand(*sample_shape, *self.batch_shape)))


@draw.register
def _(distribution: DiscretizedLogisticDistribution, samples: Sequence[int], noise: Noise) -> Tensor:
    with torch.no_grad():
        return distribution.icdf(noise.uniform((*samples, *distribution.batch_shape), distribution.location))
