"""Distribution of a differentiable map of Gaussian noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

from tightbound.core.errors import DensityUnknown
from tightbound.core.noise import Noise, draw, draw_with_log_prob

Push = Callable[[Tensor], tuple[Tensor, Tensor]]  # e (..., B, L) -> z (..., B, L), log |det dz/de| (..., B)
Pull = Callable[[Tensor], Tensor]  # z (..., B, L) -> e (..., B, L)


class Pushforward(Distribution):
    """Distribution of z = f(e), e ~ N(0, I): log q(z) = log N(e; 0, I) - log |det df/de|.

    Mean and variance are estimates from `moment_draws` noise vectors, the same for all examples: scrambled Sobol points
    (seed 0) mapped by the normal quantile function, and their negatives, scaled to variance 1 in each dimension. They
    are exact if f is affine with a diagonal matrix.

    Args:
        push: The map f, which also returns its log-determinant.
        pull: Inverse of f; None: unknown, so that the density is known only at draws.
        like: Tensor (B, latent) that gives batch shape, dtype and device.
    """

    moment_draws: ClassVar[int] = 128  # draws behind mean and variance; distributions with exact moments lack this
    has_rsample = True

    def __init__(self, push: Push, pull: Pull | None, like: Tensor) -> None:
        self.push, self.pull, self._like = push, pull, like
        super().__init__(like.shape[:-1], like.shape[-1:], validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """Return no constraints."""
        return {}

    @property
    def mean(self) -> Tensor:
        """Mean (B, latent), an estimate."""
        return self._nodes.mean(0)

    @property
    def variance(self) -> Tensor:
        """Variance (B, latent), an estimate."""
        return self._nodes.var(0, correction=0)

    @cached_property
    def _nodes(self) -> Tensor:
        """Return the images (moment_draws, B, latent) of the noise vectors."""
        engine = torch.quasirandom.SobolEngine(self.event_shape[0], scramble=True, seed=0)
        # use the middles of the sequence's 2^30 cells, so that no quantile is infinite
        half = torch.special.ndtri(engine.draw(self.moment_draws // 2, dtype=torch.float64) + 2.0**-31)
        half = (half / half.square().mean(0).sqrt()).to(self._like)
        noise = torch.cat([half, -half]).reshape(-1, *[1] * len(self.batch_shape), *self.event_shape)
        # process few at a time, because the networks of a spline take a hundred times the memory of z
        parts = [self.push(e.expand(len(e), *self._like.shape))[0] for e in noise.split(8)]
        return torch.cat(parts)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw with torch's default generator."""
        return self.push(torch.randn((*sample_shape, *self._like.shape)).to(self._like))[0]

    def at(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """Map noise (..., B, latent) to z (..., B, latent) and log q(z) (..., B)."""
        z, log_det = self.push(e)
        return z, -0.5 * (e.square() + math.log(2 * math.pi)).sum(-1) - log_det

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q (..., B) in nats, using the inverse of f.

        Raises:
            DensityUnknown: If the inverse is unknown.
        """
        if self.pull is None:
            raise DensityUnknown(
                "this flow has no closed-form inverse, so its density is known only at its own draws; use an "
                "invertible flow, such as posterior 'flow'"
            )
        return self.at(self.pull(value))[1]


@draw.register
def _(distribution: Pushforward, samples: Sequence[int], noise: Noise) -> Tensor:
    return draw_with_log_prob(distribution, samples, noise)[0]


@draw_with_log_prob.register
def _(distribution: Pushforward, samples: Sequence[int], noise: Noise) -> tuple[Tensor, Tensor | None]:
    like = distribution._like
    return distribution.at(noise.normal((*samples, *like.shape), like))
