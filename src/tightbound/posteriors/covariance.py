"""Gaussian posteriors with correlated dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    register_kl,
)

from tightbound.core.errors import whole
from tightbound.core.noise import Noise, draw
from tightbound.core.numerics import bounded
from tightbound.nn.base import Network, Shape
from tightbound.posteriors.base import Posterior


class FullNormal(Posterior):
    """Full-covariance Gaussian posterior N(mu(x), L L') with a lower triangular L(x).

    References:
        An introduction to variational autoencoders (Kingma and Welling 2019), Section 2.5.1, Algorithm 2,
        https://arxiv.org/abs/1906.02691
    """

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """The shape of one example's parameters: mean, log-variance and rows of L."""
        return (2 + self.latent, self.latent)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at means, log-variances and rows (B, 2 + latent, latent)."""
        lower = raw[..., 2:, :].tril(-1) / self.latent**0.5
        scale = lower + torch.diag_embed(bounded(0.5 * raw[..., 1, :]).exp())
        return MultivariateNormal(raw[..., 0, :], scale_tril=scale, validate_args=False)


class LowRankNormal(Posterior):
    """Gaussian posterior N(mu(x), diag sigma^2(x) + U(x) U(x)'), whose cost is linear in `latent`.

    Args:
        shape, latent, network: As for `Posterior`.
        rank: Number of columns of U.

    References:
        Stochastic backpropagation and approximate inference in deep generative models (Rezende et al. 2014),
        https://arxiv.org/abs/1401.4082; the paper makes the precision, not the covariance, diagonal plus low-rank
    """

    def __init__(self, shape: Shape = (), latent: int = 1, network: Network | None = None, rank: int = 2) -> None:
        self.rank = whole("rank", rank, least=1)
        super().__init__(shape, latent, network)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """The shape of one example's parameters: mean, log-variance and columns of U."""
        return (2 + self.rank, self.latent)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at means, log-variances and columns (B, 2 + rank, latent)."""
        factor = raw[..., 2:, :].mT / self.rank**0.5
        return LowRankMultivariateNormal(raw[..., 0, :], factor, bounded(raw[..., 1, :]).exp(), validate_args=False)


@draw.register
def _(distribution: MultivariateNormal, samples: Sequence[int], noise: Noise) -> Tensor:
    shape = (*samples, *distribution.batch_shape, *distribution.event_shape)
    e = noise.normal(shape, distribution.loc)
    return distribution.loc + (distribution.scale_tril @ e.unsqueeze(-1)).squeeze(-1)


@draw.register
def _(distribution: LowRankMultivariateNormal, samples: Sequence[int], noise: Noise) -> Tensor:
    lead = (*samples, *distribution.batch_shape)
    own = noise.normal((*lead, *distribution.event_shape), distribution.loc)
    shared = noise.normal((*lead, distribution.cov_factor.shape[-1]), distribution.loc)
    together = (distribution.cov_factor @ shared.unsqueeze(-1)).squeeze(-1)
    return distribution.loc + distribution.cov_diag.sqrt() * own + together


@register_kl(MultivariateNormal, Independent)
@register_kl(LowRankMultivariateNormal, Independent)
def _(q: MultivariateNormal | LowRankMultivariateNormal, p: Independent) -> Tensor:
    """Return KL(q || p) for a diagonal Gaussian p, which torch lacks; E_q[-log p] needs only the moments of q."""
    normal = p.base_dist
    if not isinstance(normal, Normal) or p.event_shape != q.event_shape:
        raise NotImplementedError
    square = ((q.mean - normal.loc).square() + q.variance) / normal.variance
    cross = 0.5 * (square + normal.variance.log() + math.log(2 * math.pi)).sum(-1)
    return cross - q.entropy()
