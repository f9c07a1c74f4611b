"""The aggregate posterior at given latent codes, from a stream of densities given all examples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tightbound.core.numerics import capable


class AggregateStream:
    """Accumulator of log q(z_i) and log q(z_id) at M latent codes, with q(z) the mean of q(z | x_j) over examples.

    Args:
        own: Position (M,) of each latent code's own example in the order of adding.
        dimensions: Number of latent dimensions L.

    References:
        Isolating sources of disentanglement in VAEs (Chen et al. 2018), Eq. 2, https://arxiv.org/abs/1802.04942
    """

    def __init__(self, own: Tensor, dimensions: int) -> None:
        own = capable(own)
        self._own, self._latent = own, dimensions
        self.own = own.new_full(own.shape, torch.nan, dtype=torch.float64)  # (M,) log q(z_i | x_i)
        self._others = torch.full_like(self.own, -torch.inf)
        self._dimensions: Tensor | None = None  # (M, L)
        self.size = 0

    def add(self, pairs: Tensor) -> None:
        """Add the next B examples, given log q(z_i | x_j) (M, B, F) from `Latents.log_pairs`."""
        pairs = capable(pairs)
        if pairs.shape[-1] == self._latent:
            part = pairs.logsumexp(1).double()
            self._dimensions = part if self._dimensions is None else torch.logaddexp(self._dimensions, part)
        joint = pairs.sum(-1, dtype=torch.float64)
        column = self._own - self.size
        rows = ((column >= 0) & (column < joint.shape[1])).nonzero().squeeze(1)
        self.own[rows] = joint[rows, column[rows]]
        joint[rows, column[rows]] = -torch.inf
        self._others = torch.logaddexp(self._others, joint.logsumexp(1))
        self.size += joint.shape[1]

    @property
    def aggregate(self) -> Tensor:
        """log q(z_i), (M,)."""
        return torch.logaddexp(self.own, self._others) - math.log(self.size)

    @property
    def without_own(self) -> Tensor:
        """Log of the mean of q(z_i | x_j) over the other examples, (M,); -inf if there are none."""
        return self._others - math.log(max(self.size - 1, 1))

    @property
    def by_dimension(self) -> Tensor | None:
        """log q(z_id), (M, L); None if q does not factorize over the dimensions."""
        return None if self._dimensions is None else self._dimensions - math.log(self.size)
