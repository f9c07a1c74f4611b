"""Logistic density integrated over the cell of each level, or of each whole number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.noise import Noise, draw
from tightbound.core.numerics import precise
from tightbound.core.terms import UncheckedDistribution
from tightbound.likelihoods.levels import LevelLikelihood
from tightbound.likelihoods.location_scale import LocationScaleLikelihood, Scale
from tightbound.nn.base import Network, Shape

DEVIATION = math.sqrt(3) / math.pi  # scale of a logistic distribution with standard deviation 1


class DiscretizedLogistic(LevelLikelihood, LocationScaleLikelihood):
    """Discretized logistic likelihood: P(k) = F(k + 1/2) - F(k - 1/2) for a logistic F.

    The first and last levels include the tails. Location and scale refer to levels mapped to [-1, 1].

    References:
        Improved variational inference with inverse autoregressive flow (Kingma et al. 2016), Section 5;
        PixelCNN++ (Salimans et al. 2017), Eq. 2, https://arxiv.org/abs/1701.05517
    """

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
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
        return y.mean(0), y.std(0, correction=0).clamp_min(2 / self.levels) * DEVIATION


class RoundedLogistic(LocationScaleLikelihood):
    """Logistic likelihood of whole numbers: P(k) = F(k + 1/2) - F(k - 1/2) for a logistic F; 0 includes the tail below.

    Once the mean and standard deviation are fitted, location and scale refer to standardized numbers.

    Args:
        shape, features, network, scale: As for `LocationScaleLikelihood`.
    """

    domains = ("counts", "whole")

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
        scale: Scale = "per-dimension",
    ) -> None:
        super().__init__(shape, features, network, scale)
        self.register_buffer("center", torch.zeros(self.shape))
        self.register_buffer("spread", torch.ones(self.shape))

    center: Tensor
    spread: Tensor

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at locations and, if predicted, log scales."""
        location, scale = self.location_scale(raw)
        return RoundedLogisticDistribution(self.center + location * self.spread, scale * self.spread, math.inf)

    def fit_location_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean, and the scale of a logistic with the data's standard deviation, which is at least 1."""
        scale = x.std(0, correction=0).clamp_min(1.0) * DEVIATION
        return (x.mean(0) - self.center) / self.spread, scale / self.spread

    @torch.no_grad()
    def fit_learned(self, x: Tensor) -> None:
        """Set the mean and standard deviation to those of targets x (N, *shape), and fit a learned scale."""
        self.center.copy_(x.mean(0))
        self.spread.copy_(x.std(0, correction=0).clamp_min(1.0))
        super().fit_learned(x)


class DiscretizedLogisticDistribution(UncheckedDistribution):
    """Logistic distribution rounded to the nearest of the integers 0 .. K - 1.

    Args:
        location: Locations (...), in units of levels.
        scale: Scales (...), in units of levels.
        levels: Number of levels K; may be infinite.
    """

    def __init__(self, location: Tensor, scale: Tensor, levels: float) -> None:
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
        return sum((self._above(k) for k in range(int(self.levels) - 1)), torch.zeros_like(self.location))

    @property
    def variance(self) -> Tensor:
        """The variance E[X^2] - mean^2, with E[X^2] = sum_k (2k + 1) P(X > k)."""
        levels = range(int(self.levels) - 1)
        second = sum(((2 * k + 1) * self._above(k) for k in levels), torch.zeros_like(self.location))
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


class RoundedLogisticDistribution(DiscretizedLogisticDistribution):
    """Logistic distribution rounded to the nearest of the integers 0, 1, 2, ...

    E[X] = sum_k P(X > k) and E[X^2] = sum_k (2k + 1) P(X > k). At scales above 3, the terms are so smooth that
    integrals replace the sums (midpoint rule with two Euler-Maclaurin corrections). At smaller scales, only a few terms
    differ from 0 and 1.
    """

    @property
    def mean(self) -> Tensor:
        """The mean."""
        first, above = self._edges()
        return torch.where(self.scale > 3, self._smooth()[0].to(first), first + above.sum(-1))

    @property
    def variance(self) -> Tensor:
        """The variance."""
        _, above = self._edges()
        k = torch.arange(above.shape[-1], device=above.device, dtype=above.dtype)
        exact = ((2 * k + 1) * above).sum(-1) - above.sum(-1).square()  # of X - first
        mean, second = self._smooth()
        return torch.where(self.scale > 3, (second - mean.square()).to(exact), exact).clamp_min(0.0)

    def _smooth(self) -> tuple[Tensor, Tensor]:
        """Return E[X] and E[X^2] for a large scale, in float64, which the variance needs."""
        s = precise(self.scale)
        u = precise(self.location) / s
        p = torch.sigmoid(u)
        slope = -p * (1 - p) / s  # derivatives of P(Y > y) at y = 0
        bend, third = -slope * (1 - 2 * p) / s, slope * (1 - 6 * p + 6 * p.square()) / s.square()
        mean = s * F.softplus(u) + slope / 24 - 7 * third / 5760
        second = 2 * s.square() * _integral_of_softplus(u) + p / 12 - 7 * bend / 960
        return mean, second

    def _edges(self) -> tuple[Tensor, Tensor]:
        """Return the first k (...) at which P(X > k) may differ from 1, and P(X > k) from there on (..., 160)."""
        first = (self.location.floor() - 80).clamp_min(0.0)
        k = first.unsqueeze(-1) + torch.arange(160, device=first.device, dtype=first.dtype)
        return first, torch.sigmoid((self.location.unsqueeze(-1) - (k + 0.5)) / self.scale.unsqueeze(-1))


def _integral_of_softplus(u: Tensor) -> Tensor:
    """Return the integral of log(1 + exp(t)) over t from -inf to u, by Gauss-Legendre quadrature below 0."""
    nodes, weights = (torch.as_tensor(part, device=u.device, dtype=u.dtype) for part in _QUADRATURE)
    v = (nodes + 1) / 2
    below = (torch.log1p(torch.exp(-u.abs()).unsqueeze(-1) * v) / v * weights / 2).sum(-1)
    return torch.where(u > 0, u.square() / 2 + math.pi**2 / 6 - below, below)


_QUADRATURE = np.polynomial.legendre.leggauss(16)


@draw.register
def _(distribution: DiscretizedLogisticDistribution, samples: Sequence[int], noise: Noise) -> Tensor:
    with torch.no_grad():
        return distribution.icdf(noise.uniform((*samples, *distribution.batch_shape), distribution.location))
