"""Images rendered from known factors, on a grid of all their combinations."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tightbound.core.domain import Domain
from tightbound.core.terms import Batch
from tightbound.data.splits.indexed import Indexed


class FactorGrid(Indexed):
    """All combinations of some factors, the last varying fastest; images are rendered when they are asked for."""

    factor_names: ClassVar[tuple[str, ...]]
    factor_sizes: ClassVar[tuple[int, ...]]
    domain: ClassVar[Domain]
    note: ClassVar[str]  # on the images
    definition: str  # the fingerprint is made from it: change it if an image changes

    def __len__(self) -> int:
        return int(np.prod(self.factor_sizes))

    def batch(self, indices: Tensor) -> Batch:
        """Return x (B, *shape) uint8, with the indices of the factors as label (B, factors)."""
        factors = self.factors_of(indices)
        return Batch(torch.from_numpy(self.render(*factors.numpy().T)), label=factors, index=indices)

    def index_of(self, factors: Tensor) -> Tensor:
        """Return the positions (...) of factor indices (..., factors)."""
        strides = torch.tensor((*self.factor_sizes[1:], 1)).flip(0).cumprod(0).flip(0)
        return (factors * strides).sum(-1)

    def factors_of(self, index: Tensor) -> Tensor:
        """Return the factor indices (..., factors) at positions (...)."""
        return torch.stack(torch.unravel_index(index, self.factor_sizes), -1)

    @abstractmethod
    def render(self, *factors: np.ndarray) -> np.ndarray:
        """Return the images (B, *shape) uint8 of factor indices, (B,) for each factor."""
