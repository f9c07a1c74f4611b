"""Images that are rendered from known factors, on a grid of all their combinations."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tightbound.core.domain import Domain
from tightbound.core.terms import Batch
from tightbound.data.split import Indexed


class FactorGrid(Indexed):
    """Every combination of some factors, the last varying fastest; rendered when it is asked for."""

    factor_names: ClassVar[tuple[str, ...]]
    factor_sizes: ClassVar[tuple[int, ...]]
    domain: ClassVar[Domain]
    note: ClassVar[str]  # what the pictures are
    definition: str  # of which the fingerprint is made: another one where a picture changes

    def __len__(self) -> int:
        """All combinations."""
        return int(np.prod(self.factor_sizes))

    def batch(self, indices: Tensor) -> Batch:
        """x (B, *shape) uint8, label (B, factors) their indices."""
        factors = self.factors_of(indices)
        return Batch(torch.from_numpy(self.render(*factors.numpy().T)), label=factors, index=indices)

    def index_of(self, factors: Tensor) -> Tensor:
        """Factor indices (..., factors) -> positions (...)."""
        strides = torch.tensor((*self.factor_sizes[1:], 1)).flip(0).cumprod(0).flip(0)
        return (factors * strides).sum(-1)

    def factors_of(self, index: Tensor) -> Tensor:
        """Positions (...) -> factor indices (..., factors)."""
        return torch.stack(torch.unravel_index(index, self.factor_sizes), -1)

    @abstractmethod
    def render(self, *factors: np.ndarray) -> np.ndarray:
        """Factor indices (B,) each -> (B, *shape) uint8."""
