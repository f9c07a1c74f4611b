"""The base of priors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.component import Component
from tightbound.core.errors import whole
from tightbound.core.schedules import Schedule

Encode = Callable[[Tensor], Distribution]  # encoder inputs (K, *shape) -> q(z | x), batch shape (K,)


class Prior(Component, nn.Module, ABC):
    """p(z | context): a module whose call returns a distribution over vectors of size `latent`.

    Arguments:
        latent: Size of z.
        context: Size of the context (B, context) that it is given; 0: it is given none.
    """

    support: str = "real"  # where z lies: "real" (R^L), "sphere", ...; that of the posterior must be the same
    least: ClassVar[int] = 1  # smallest size of z
    needs_encoder: ClassVar[bool] = False  # True: it is called with the encoder, too: forward(context, encode)
    standard: ClassVar[bool] = False  # N(0, I), whatever the context
    needs_evaluable: ClassVar[bool] = False  # True: and takes the encoder's density at any z
    shape: tuple[int, ...] = ()  # of that encoder's input, where the prior holds such
    schedules: Mapping[str, Schedule] = {}

    def __init__(self, latent: int = 1, context: int = 0) -> None:
        super().__init__()
        self.latent, self.context = whole("latent", latent, least=self.least), whole("context", context, least=0)

    @abstractmethod
    def forward(self, context: Tensor | None = None) -> Distribution:
        """Distribution with event shape (latent,) and batch shape () or, where it depends on the context, (B,)."""

    def start_at(self, x: Tensor) -> None:
        """Lets a prior that holds pseudo-data take them from encoder inputs x (N, *shape)."""


def conditioner(context: int, outputs: int, hidden: int = 64) -> nn.Module | None:
    """A small network from the context to shifts of a prior's parameters, zero at first; None without a context."""
    if not context:
        return None
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(context, hidden), nn.SiLU(), last)
