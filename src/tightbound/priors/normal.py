"""Standard normal prior."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from tightbound.priors.base import Prior


class StandardNormal(Prior):
    """Standard normal prior N(0, I), which ignores the context."""

    standard = True

    def __init__(self, latent: int = 1, context: int = 0) -> None:
        super().__init__(latent, context)
        self.register_buffer("loc", torch.zeros(latent), persistent=False)
        self.register_buffer("scale", torch.ones(latent), persistent=False)

    loc: Tensor
    scale: Tensor

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Return N(0, I) with batch shape ()."""
        return Independent(Normal(self.loc, self.scale, validate_args=False), 1, validate_args=False)
