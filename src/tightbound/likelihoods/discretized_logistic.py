"""Logistic density integrated over the cells of K levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

from tightbound.core.noise import Noise, draw
from tightbound.likelihoods.levels import LevelLikelihood
from tightbound.likelihoods.location_scale import LocationScaleLikelihood, Scale
from tightbound.nn.base import Architecture


class DiscretizedLogistic(LevelLikelihood, LocationScaleLikelihood):
    """P(k) = F(k + 1/2) - F(k - 1/2) for a logistic F; the first and the last level take the tails.

    Location and scale are those of the levels mapped to [-1, 1].

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
        """Locations, and log scales where they are predicted."""
        location, scale = self.location_scale(raw)
        half = (self.levels - 1) / 2
        return DiscretizedLogisticDistribution((location + 1) * half, scale * half, self.levels)

    def fitted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, and the scale of a logistic with the data's standard deviation, of a level at least."""
        y = x / ((self.levels - 1) / 2) - 1
        return y.mean(0), y.std(0, correction=0).clamp_min(2 / self.levels) * math.sqrt(3) / math.pi


class DiscretizedLogisticDistribution(Distribution):
    """A logistic rounded to the nearest of the integers 0 .. K - 1.

    Arguments:
        location, scale: (...), in units of levels.
        levels: K.
    """

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """None are checked here."""
        return {}

    def __init__(self, location: Tensor, scale: Tensor, levels: int) -> None:
        self.location, self.scale, self.levels = location, scale, levels
        super().__init__(location.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), exact far into the tails.

        With a, b the standardised upper and lower edge of the cell, s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)).
        """
        width = 1 / self.scale
        centre = (value - self.location) * width
        first, last = value <= 0, value >= self.levels - 1
        upper = F.logsigmoid(centre + width / 2).masked_fill(last, 0.0)
        lower = F.logsigmoid(width / 2 - centre).masked_fill(first, 0.0)
        inner = torch.log(-torch.expm1(-width)).masked_fill(first | last, 0.0)
        return upper + lower + inner

    @property
    def mean(self) -> Tensor:
        """sum_k k P(k) = sum over the inner edges of P(X > edge)."""
        return self._exceedance().sum(-1)

    @property
    def variance(self) -> Tensor:
        """E[X^2] - mean^2, with E[X^2] = sum_k (2k + 1) P(X > k)."""
        above = self._exceedance()
        k = torch.arange(self.levels - 1, device=above.device, dtype=above.dtype)
        return ((2 * k + 1) * above).sum(-1) - above.sum(-1).square()

    def _exceedance(self) -> Tensor:
        """P(X > k) for k = 0 .. K - 2: (..., K - 1)."""
        edges = torch.arange(self.levels - 1, device=self.location.device, dtype=self.location.dtype) + 0.5
        return torch.sigmoid((self.location.unsqueeze(-1) - edges) / self.scale.unsqueeze(-1))

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Rounded and clipped logistic draws (*sample_shape, ...)."""
        return self.rounded(torch.rand(*sample_shape, *self.location.shape, device=self.location.device))

    def rounded(self, u: Tensor) -> Tensor:
        """The draws at uniform numbers u (..., *batch)."""
        u = u.to(self.location.dtype).clamp_min(torch.finfo(self.location.dtype).tiny)
        return (self.location + self.scale * torch.logit(u)).round().clamp(0, self.levels - 1)


@draw.register
def _(distribution: DiscretizedLogisticDistribution, samples: Sequence[int], noise: Noise) -> Tensor:
    with torch.no_grad():
        return distribution.rounded(noise.uniform((*samples, *distribution.location.shape), distribution.location))
