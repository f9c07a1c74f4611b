"""The base of priors, and the standard normal one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from tightbound.core.errors import whole
from tightbound.core.parts import Part


class Prior(Part, nn.Module, ABC):
    """p(z): a module whose call returns a distribution over vectors of size `latent`.

    Arguments:
        latent: Size of z.
    """

    def __init__(self, latent: int = 1) -> None:
        super().__init__()
        self.latent = whole("latent", latent, least=1)

    @abstractmethod
    def forward(self, context: Tensor | None = None) -> Distribution:
        """Distribution with event shape (latent,) and batch shape () or, given a context, (B,)."""


class StandardNormal(Prior):
    """N(0, I)."""

    def __init__(self, latent: int = 1) -> None:
        super().__init__(latent)
        self.register_buffer("loc", torch.zeros(latent), persistent=False)
        self.register_buffer("scale", torch.ones(latent), persistent=False)

    loc: Tensor
    scale: Tensor

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Batch shape ()."""
        return Independent(Normal(self.loc, self.scale, validate_args=False), 1, validate_args=False)
