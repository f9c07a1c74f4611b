"""Removal of most labels, for semi-supervised learning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch, class_numbers
from tightbound.data.dataset import Data
from tightbound.data.splits.base import Split
from tightbound.data.splits.indexed import Indexed, Subset


def few_labels(data: Data, fraction: float, seed: int) -> Data:
    """Return the data with labels for a share of the training examples; the other labels become -1 (unknown).

    Args:
        data: Data whose labels are classes.
        fraction: Share of the labels to keep, in (0, 1]; the same number for each class, at least one.
        seed: Random seed.

    Raises:
        InputError: If the training examples have no class labels, or are not held with random access.
    """
    numbers = class_numbers(data.train.labels)
    if numbers is None or not isinstance(data.train, Indexed):
        raise InputError("labels_fraction= needs class labels of the training data, and these have none; leave it out")
    generator = torch.Generator().manual_seed(key_seed("labels", seed))
    order = torch.randperm(len(numbers), generator=generator)
    classes = numbers[numbers >= 0].unique()
    each = max(1, round(fraction * len(numbers) / len(classes)))
    kept = torch.cat([order[numbers[order] == number][:each] for number in classes])
    labels = torch.full_like(numbers, -1).index_put((kept,), numbers[kept])
    return replace(data, train=Relabeled(data.train, labels))


class Relabeled(Subset):
    """Examples of another split, with different labels (N,)."""

    def __init__(self, base: Indexed, labels: Tensor) -> None:
        super().__init__(base, torch.arange(len(base)))
        self.labels = labels

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        return self._relabeled(super().batch(indices))

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """See `Indexed.batches`."""
        return map(self._relabeled, super().batches(plan, seed))

    def subset(self, indices: Tensor | np.ndarray | Sequence[int]) -> Indexed:
        """See `Indexed.subset`; the base has other labels."""
        return Indexed.subset(self, indices)

    def held_out(self, validation: int, seed: int) -> tuple[Split, Split]:
        """See `Split.held_out`; as long as there are others, labeled examples are kept for training."""
        assert self.labels is not None
        size = len(self)
        if not 0 < validation < size:
            return super().held_out(validation, seed)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(size))
        order = order[(self.labels[order] >= 0).int().argsort(stable=True)]
        return self.subset(order[validation:].sort().values), self.subset(order[:validation].sort().values)

    def _relabeled(self, batch: Batch) -> Batch:
        assert self.labels is not None
        return replace(batch, label=self.labels[batch.positions()])
