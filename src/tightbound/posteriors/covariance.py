"""Gaussian posteriors with correlations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from tightbound.core.noise import Noise, draw
from tightbound.nn.base import Architecture
from tightbound.posteriors.base import Posterior


class FullNormal(Posterior):
    """N(mu(x), L L') with a lower triangular L(x): log-variances of the diagonal, and what is below it.

    References:
        An introduction to variational autoencoders (Kingma and Welling 2019), Section 2.5.1, Algorithm 2,
        https://arxiv.org/abs/1906.02691
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        latent: int = 1,
        network: Architecture | nn.Module | None = None,
    ) -> None:
        self.outputs = 2 + latent  # mean, log-variance, a row of L
        super().__init__(shape, latent, network)

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
