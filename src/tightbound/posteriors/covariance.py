"""Gaussian posteriors with correlations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from tightbound.core.noise import Noise, draw
from tightbound.posteriors.base import Posterior


class FullNormal(Posterior):
    """N(mu(x), L L') with a lower triangular L(x): log-variances of the diagonal, and what is below it.

    References:
        An introduction to variational autoencoders (Kingma and Welling 2019), Section 2.5.1, Algorithm 2,
        https://arxiv.org/abs/1906.02691
    """

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Mean, log-variance, rows of L."""
        return (2 + self.latent, self.latent)

    def distribution(self, raw: Tensor) -> Distribution:
        """Means, log-variances and rows (B, 2 + latent, latent)."""
        lower = raw[:, 2:].tril(-1) / self.latent**0.5
        scale = lower + torch.diag_embed((0.5 * raw[:, 1]).exp())
        return MultivariateNormal(raw[:, 0], scale_tril=scale, validate_args=False)


@draw.register
def _(distribution: MultivariateNormal, samples: Sequence[int], noise: Noise) -> Tensor:
    shape = (*samples, *distribution.batch_shape, *distribution.event_shape)
    e = noise.normal(shape, distribution.loc)
    return distribution.loc + (distribution.scale_tril @ e.unsqueeze(-1)).squeeze(-1)
