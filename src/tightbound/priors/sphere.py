"""Uniform prior on the unit sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.noise import Noise, draw
from tightbound.core.terms import UncheckedDistribution
from tightbound.priors.base import Prior


class Sphere(Prior):
    """Uniform prior on the unit sphere |z| = 1 of R^latent, which ignores the context.

    Densities are with respect to the surface measure.

    Args:
        latent: Size L >= 2 of z; for 2 the sphere is a circle.
        context: Size of the context.

    References:
        Hyperspherical variational auto-encoders (Davidson et al. 2018), Section 3, https://arxiv.org/abs/1804.00891
    """

    support = "sphere"
    least = 2

    def __init__(self, latent: int = 2, context: int = 0) -> None:
        super().__init__(latent, context)
        self.register_buffer("like", torch.zeros(latent), persistent=False)

    like: Tensor

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Return the prior with batch shape ()."""
        return UniformSphere(self.like)


class UniformSphere(UncheckedDistribution):
    """Uniform distribution on the unit sphere of R^L, with the dtype and device of `like` (L,)."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        super().__init__(torch.Size(), like.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean (L,), zero."""
        return torch.zeros_like(self.like)

    @property
    def variance(self) -> Tensor:
        """Variance (L,), 1 / L."""
        return torch.full_like(self.like, 1 / len(self.like))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return minus the log of the sphere's area (...) at points (..., L)."""
        return value.new_full(value.shape[:-1], -log_area(value.shape[-1]))


def log_area(size: int) -> float:
    """Return the log of the area 2 pi^(L/2) / Gamma(L/2) of the unit sphere in R^L, where L is `size`."""
    return math.log(2) + size / 2 * math.log(math.pi) - math.lgamma(size / 2)


@draw.register
def _(distribution: UniformSphere, samples: Sequence[int], noise: Noise) -> Tensor:
    return F.normalize(noise.normal((*samples, len(distribution.like)), distribution.like), dim=-1)
