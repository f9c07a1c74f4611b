"""The base of priors over grids of codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.component import Component
from tightbound.core.errors import whole


class CodePrior(Component, nn.Module, ABC):
    """p(codes | maps of the groups above, context): a module whose call returns a distribution of integers.

    Positions are in raster order. At a position stand `depth` codes, in order (residual or grouped quantization).

    Arguments:
        grid: (H, W); P = H * W positions.
        depth: Codes at a position.
        codebook_size: K, values that a code can take.
        maps: Channels of maps (B, maps, H, W) that it is given, made of the groups above; 0: none.
        context: Size of the context (B, context) that it is given; 0: none.
    """

    blind: ClassVar[bool] = False  # it is the same whatever it is given

    def __init__(
        self, grid: tuple[int, int] = (1, 1), depth: int = 1, codebook_size: int = 2, maps: int = 0, context: int = 0
    ) -> None:
        super().__init__()
        self.grid = (whole("grid", grid[0], least=1), whole("grid", grid[1], least=1))
        self.depth, self.codebook_size = whole("depth", depth, least=1), whole("codebook_size", codebook_size, least=2)
        self.maps, self.context = whole("maps", maps, least=0), whole("context", context, least=0)

    @property
    def needs(self) -> Mapping[str, object]:
        """What it was made for, by the constructor's names."""
        return {name: getattr(self, name) for name in ("grid", "depth", "codebook_size", "maps", "context")}

    @property
    def positions(self) -> int:
        """P."""
        return self.grid[0] * self.grid[1]

    @abstractmethod
    def forward(self, maps: Tensor | None = None, context: Tensor | None = None) -> Distribution:
        """Distribution with event shape (P, depth), and batch shape () or, where it is given anything, (B,)."""
