"""Gaussian posteriors with correlated dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    register_kl,
)

from tightbound.core.errors import whole
from tightbound.core.noise import Noise, draw, draw_with_log_prob
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
        return LowRankGaussian(raw[..., 0, :], bounded(0.5 * raw[..., 1, :], 12.5).exp(), factor)


class LowRankGaussian(Distribution):
    """Distribution N(loc, diag std^2 + factor factor'), for factors of any size.

    torch's class factorizes I + factor' diag(std)^-2 factor, which fails in float32 where the factor is large. Here,
    with A = diag(std)^-1 factor, the quadratic form at loc + std v is the smallest |v - A t|^2 + |t|^2 over t: what the
    columns of (A, I) leave of (v, 0). Their QR decomposition also gives the determinant.

    Args:
        loc: Mean (*batch, L).
        std: Standard deviations (*batch, L) of the independent part.
        factor: Columns (*batch, L, rank) of the shared part.
    """

    has_rsample = True

    def __init__(self, loc: Tensor, std: Tensor, factor: Tensor) -> None:
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)
        self.loc, self.std, self.factor = loc, std, factor
        rank = factor.shape[-1]
        eye = torch.eye(rank, dtype=factor.dtype, device=factor.device).expand(*factor.shape[:-2], rank, rank)
        self._q, r = torch.linalg.qr(torch.cat([factor / std.unsqueeze(-1), eye], -2))
        self._log_det = r.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1) + std.log().sum(-1)

    @property
    def mean(self) -> Tensor:
        """Mean (*batch, L)."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Variances (*batch, L)."""
        return self.std.square() + self.factor.square().sum(-1)

    @property
    def covariance_matrix(self) -> Tensor:
        """Covariances (*batch, L, L)."""
        return torch.diag_embed(self.std.square()) + self.factor @ self.factor.mT

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> LowRankGaussian:
        """Return the distribution with a larger batch."""
        loc, std = (t.expand(*batch_shape, -1) for t in (self.loc, self.std))
        return LowRankGaussian(loc, std, self.factor.expand(*batch_shape, -1, -1))

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, *batch, L), reparametrized, from torch's default generator."""
        lead, like = (*sample_shape, *self.batch_shape), {"dtype": self.loc.dtype, "device": self.loc.device}
        own, shared = (torch.randn(*lead, size, **like) for size in (self.loc.shape[-1], self.factor.shape[-1]))
        return self.at(own, shared)

    def at(self, own: Tensor, shared: Tensor) -> Tensor:
        """Return loc + std own + factor shared, for own (..., L) and shared (..., rank)."""
        return self.loc + self.std * own + (self.factor @ shared.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density (...) at value (..., L)."""
        own = (value - self.loc) / self.std
        return self.log_density(own, own.new_zeros(*own.shape[:-1], self.factor.shape[-1]))

    def log_density(self, own: Tensor, shared: Tensor) -> Tensor:
        """Return the log-density (...) at `at(own, shared)`.

        The quadratic form is the smallest |own - A d|^2 + |shared + d|^2 over d, so (own, -shared) is projected.
        """
        a = torch.cat([own, -shared], -1).unsqueeze(-1)
        left = (a - self._q @ (self._q.mT @ a)).squeeze(-1)
        return _standard(left) + 0.5 * shared.shape[-1] * math.log(2 * math.pi) - self._log_det

    def entropy(self) -> Tensor:
        """Return the entropy (*batch,) in nats."""
        return 0.5 * self.loc.shape[-1] * (1 + math.log(2 * math.pi)) + self._log_det


@draw.register
def _(distribution: MultivariateNormal, samples: Sequence[int], noise: Noise) -> Tensor:
    return draw_with_log_prob(distribution, samples, noise)[0]


@draw.register
def _(distribution: LowRankGaussian, samples: Sequence[int], noise: Noise) -> Tensor:
    return draw_with_log_prob(distribution, samples, noise)[0]


@draw_with_log_prob.register
def _(distribution: MultivariateNormal, samples: Sequence[int], noise: Noise) -> tuple[Tensor, Tensor | None]:
    """Take the density from the standard normal numbers, for which L far from the data cannot be solved."""
    shape = (*samples, *distribution.batch_shape, *distribution.event_shape)
    e, scale = noise.normal(shape, distribution.loc), distribution.scale_tril
    log_det = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return distribution.loc + (scale @ e.unsqueeze(-1)).squeeze(-1), _standard(e) - log_det


@draw_with_log_prob.register
def _(distribution: LowRankGaussian, samples: Sequence[int], noise: Noise) -> tuple[Tensor, Tensor | None]:
    lead = (*samples, *distribution.batch_shape)
    own = noise.normal((*lead, *distribution.event_shape), distribution.loc)
    shared = noise.normal((*lead, distribution.factor.shape[-1]), distribution.loc)
    return distribution.at(own, shared), distribution.log_density(own, shared)


def _standard(e: Tensor) -> Tensor:
    """Return the log-density of N(0, I) at e (..., L)."""
    return -0.5 * (e.square() + math.log(2 * math.pi)).sum(-1)


@register_kl(MultivariateNormal, Independent)
@register_kl(LowRankGaussian, Independent)
def _(q: MultivariateNormal | LowRankGaussian, p: Independent) -> Tensor:
    """Return KL(q || p) for a diagonal Gaussian p, which torch lacks; E_q[-log p] needs only the moments of q."""
    normal = p.base_dist
    if not isinstance(normal, Normal) or p.event_shape != q.event_shape:
        raise NotImplementedError
    square = ((q.mean - normal.loc).square() + q.variance) / normal.variance
    cross = 0.5 * (square + normal.variance.log() + math.log(2 * math.pi)).sum(-1)
    return cross - q.entropy()
