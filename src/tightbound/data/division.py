"""Division of training data into training and validation examples, and into labeled and unlabeled examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tightbound.config import Settings
from tightbound.core.errors import InputError
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch, class_numbers
from tightbound.data.dataset import Data
from tightbound.data.splits.base import Split
from tightbound.data.splits.indexed import Indexed, Subset


def for_training(data: Data, settings: Settings, *, partial: bool) -> tuple[Split, Split | None]:
    """Divide training data into training and validation examples.

    Args:
        data: Data to train on.
        settings: Training options: the number of validation examples, and the share of labels to keep.
        partial: Whether the model infers labels, so that -1 marks an example whose class is unknown. Such examples are
            set aside for validation before labeled ones.

    Returns:
        Training examples, and validation examples; None: there are none.

    Raises:
        InputError: If no training examples would be left, if there are no labels to hide, or if the data come from a
            loader.
    """
    if settings.labels_fraction is not None:
        data = few_labels(data, settings.labels_fraction, settings.seed)
    size = settings.validation_size
    if size is None:
        size = min(5000, len(data.train) // 10) if isinstance(data.train, Indexed) else 0
    return data.held_out(size, settings.seed, keep_labeled=partial)


def few_labels(data: Data, fraction: float, seed: int) -> Data:
    """Keep a share of the labels of training examples, and replace the others by -1 (unknown).

    Args:
        data: Data whose labels are classes.
        fraction: Share of the labels to keep, in (0, 1]; the same number for each class, at least one.
        seed: Random seed.

    Raises:
        InputError: If the training examples have no class labels, or no random access.
    """
    numbers = class_numbers(data.train.labels)
    if numbers is None or not isinstance(data.train, Indexed):
        raise InputError("the training data have no class labels, which labels_fraction= needs; leave it out")
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
        """See `Indexed.subset`."""
        return Indexed.subset(self, indices)  # not a subset of the base, which has other labels

    def _relabeled(self, batch: Batch) -> Batch:
        assert self.labels is not None
        return replace(batch, label=self.labels[batch.positions()])
