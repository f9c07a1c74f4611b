"""Base class of code priors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.component import Component
from tightbound.core.errors import whole


class CodePrior(Component, nn.Module, ABC):
    """Base class of code priors p(indices | maps of the groups above, context), whose call returns a distribution.

    Positions are in raster order. Each has `depth` ordered code indices (residual or grouped quantization).

    Args:
        grid: Height and width (H, W) of the grid; P = H * W positions.
        depth: Number of code indices at each position.
        codebook_size: Number of values K of a code index.
        maps: Number of channels of the maps (B, maps, H, W) of the groups above; 0: there are no maps.
        context: Size of the context (B, context); 0: there is none.
    """

    blind: ClassVar[bool] = False  # whether the prior ignores maps and context

    def __init__(
        self, grid: tuple[int, int] = (1, 1), depth: int = 1, codebook_size: int = 2, maps: int = 0, context: int = 0
    ) -> None:
        super().__init__()
        self.grid = (whole("grid", grid[0], least=1), whole("grid", grid[1], least=1))
        self.depth, self.codebook_size = whole("depth", depth, least=1), whole("codebook_size", codebook_size, least=2)
        self.maps, self.context = whole("maps", maps, least=0), whole("context", context, least=0)

    @property
    def needs(self) -> Mapping[str, object]:
        """The sizes that the prior was built for, by constructor argument."""
        return {name: getattr(self, name) for name in ("grid", "depth", "codebook_size", "maps", "context")}

    @property
    def positions(self) -> int:
        """Number of positions P."""
        return self.grid[0] * self.grid[1]

    @abstractmethod
    def forward(self, maps: Tensor | None = None, context: Tensor | None = None) -> Distribution:
        """Return the distribution with event shape (P, depth) and batch shape () or, if it is conditional, (B,)."""
