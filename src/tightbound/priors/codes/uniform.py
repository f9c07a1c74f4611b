"""Uniform code prior."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent

from tightbound.priors.codes.base import CodePrior


class Uniform(CodePrior):
    """Uniform code prior, with log p = -P depth log K for all code indices."""

    blind: ClassVar[bool] = True

    def __init__(
        self, grid: tuple[int, int] = (1, 1), depth: int = 1, codebook_size: int = 2, maps: int = 0, context: int = 0
    ) -> None:
        super().__init__(grid, depth, codebook_size, maps, context)
        self.register_buffer("logits", torch.zeros(()), persistent=False)

    logits: Tensor

    def forward(self, maps: Tensor | None = None, context: Tensor | None = None) -> Distribution:
        """Return the distribution with batch shape ()."""
        logits = self.logits.expand(self.positions, self.depth, self.codebook_size)
        return Independent(Categorical(logits=logits, validate_args=False), 2, validate_args=False)
