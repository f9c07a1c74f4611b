"""Splits with several random draws of each example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tightbound.core.terms import Batch
from tightbound.data.splits.indexed import Indexed


class Drawn(Indexed):
    """Examples of each of which an epoch takes one of several draws; outside of epochs, it is the first."""

    def __init__(self, draws: Tensor, labels: Tensor | None = None, context: Tensor | None = None) -> None:
        """A split of draws.

        Args:
            draws: (N, draws, *shape).
            labels: (N,) or (N, factors).
            context: Contexts (N, *context).
        """
        self.draws, self.labels, self._context = draws, labels, context
        self.shape = tuple(draws.shape[2:])

    def __len__(self) -> int:
        return len(self.draws)

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        return self._taken(indices, torch.zeros_like(indices))

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """See `Indexed.batches`."""
        generator = torch.Generator().manual_seed(seed)
        for indices in plan:
            yield self._taken(indices, torch.randint(self.draws.shape[1], (len(indices),), generator=generator))

    def _taken(self, indices: Tensor, draw: Tensor) -> Batch:
        label = None if self.labels is None else self.labels[indices]
        context = None if self._context is None else self._context[indices]
        return Batch(self.draws[indices, draw], context=context, label=label, index=indices)
