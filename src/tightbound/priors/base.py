"""Base class of priors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.component import Component
from tightbound.core.errors import whole
from tightbound.core.latents import LatentDensity
from tightbound.core.schedules import Schedule

Encode = Callable[[Tensor], Distribution]  # encoder inputs (K, *shape) -> q(z | x), batch shape (K,)


class Prior(LatentDensity, Component, nn.Module, ABC):
    """Base class of priors p(z | context), whose call returns a distribution of vectors of size `latent`.

    Args:
        latent: Size of z.
        context: Size of the context (B, context); 0: there is none.
    """

    support: str = "real"  # support of z: "real" (R^L), "sphere", ...; the posterior needs the same support
    least: ClassVar[int] = 1  # minimum size of z
    needs_encoder: ClassVar[bool] = False  # whether it is called with the encoder: forward(context, encode)
    standard: ClassVar[bool] = False  # whether the prior is N(0, I) for every context
    needs_evaluable: ClassVar[bool] = False  # whether it evaluates the encoder's density at arbitrary z
    shape: tuple[int, ...] = ()  # shape of the encoder's input, if the prior holds pseudo-inputs
    schedules: Mapping[str, Schedule] = {}

    def __init__(self, latent: int = 1, context: int = 0) -> None:
        super().__init__()
        self.latent, self.context = whole("latent", latent, least=self.least), whole("context", context, least=0)

    @abstractmethod
    def forward(self, context: Tensor | None = None) -> Distribution:
        """Return p(z) with event shape (latent,) and batch shape () or, if it depends on the context, (B,)."""

    def start_at(self, x: Tensor) -> None:
        """Initialize the prior's pseudo-inputs, if it has any, from encoder inputs x (N, *shape)."""


def conditioner(context: int, outputs: int, hidden: int = 64) -> nn.Module | None:
    """Return a small network from the context to parameter shifts, zero at first, or None without a context."""
    if not context:
        return None
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(context, hidden), nn.SiLU(), last)
