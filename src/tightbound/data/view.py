"""Opened data as a model knows them: columns in its order, labels by its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.schema import Schema, listed
from tightbound.core.terms import Batch
from tightbound.data.covariates import renumbered
from tightbound.data.labels import known_classes
from tightbound.data.options import Options
from tightbound.data.splits.base import Split
from tightbound.data.splits.indexed import Indexed


def matched(split: Split, own: Schema, options: Options, name: str) -> Split:
    """Return a split of opened data with its columns and labels as a model knows them.

    Args:
        split: The examples.
        own: Names of their columns and classes.
        options: The names that the model knows.
        name: Name of the data in messages.

    Raises:
        InputError: If the columns are others, or the model is conditional and does not know a class.
    """
    known = options.schema
    order = column_order(own, known, name)
    classes = known_classes(own.classes, options) if own.classes else known.classes
    numbers = [classes.index(word) for word in own.classes]
    beside = own.covariates and known.covariates and own.covariates != known.covariates
    if order is None and numbers == [*range(len(numbers))] and not beside:
        return split
    if not isinstance(split, Indexed):
        raise InputError(f"{name} has names that differ from those of the model; pass what {name} was opened from")
    change = partial(renumbered, own=own, known=known, title=name) if beside else None
    return View(split, order, numbers, classes, change)


def column_order(own: Schema, known: Schema, name: str) -> list[int] | None:
    """Return the position in the data of each column that a model knows; None: they are in its order."""
    if not own.columns or not known.columns or own.columns == known.columns:
        return None
    if {*own.columns} != {*known.columns}:
        lacking = [column for column in known.columns if column not in own.columns]
        other = [column for column in own.columns if column not in known.columns]
        what = f"lacks the columns {listed(lacking)}" if lacking else f"has other columns, {listed(other)}"
        raise InputError(f"{name} {what}; pass what {name} was opened from, and its columns are matched by name")
    return [own.columns.index(column) for column in known.columns]


class View(Indexed):
    """A split with its columns in another order, and other numbers for its labels."""

    def __init__(
        self,
        base: Indexed,
        order: Sequence[int] | None,
        numbers: Sequence[int],
        classes: Sequence[str],
        covariates: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """A view of a split.

        Args:
            base: The split.
            order: Position of each column in the base; None: as they are.
            numbers: The new numbers of the labels 0, 1, ...; (): as they are.
            classes: Names of the new numbers.
            covariates: Function that converts covariates (B, C) of the base. Default: no conversion.
        """
        self.base, self.shape, self.names, self.classes = base, base.shape, base.names, classes
        self._covariates = covariates
        self._order = None if order is None else torch.tensor(order)
        self._numbers = torch.tensor(numbers, dtype=torch.int64)
        self.labels = None if base.labels is None else self._numbered(base.labels)

    def __len__(self) -> int:
        return len(self.base)

    def identity(self, positions: Tensor) -> dict[str, Any]:
        """See `Split.identity`."""
        return self.base.identity(positions)

    def unknown_entries(self, positions: Tensor) -> np.ndarray | None:
        """See `Split.unknown_entries`."""
        return self.base.unknown_entries(positions)

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        return self._changed(self.base.batch(indices))

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """See `Indexed.batches`."""
        return map(self._changed, self.base.batches(plan, seed))

    def permutation(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """See `Indexed.permutation`."""
        return self.base.permutation(rows, generator)

    def _changed(self, batch: Batch) -> Batch:
        x = batch.x if self._order is None else batch.x[:, self._order]
        context = batch.context
        if context is not None and self._covariates is not None:
            context = self._covariates(context)
        return replace(batch, x=x, context=context, label=None if batch.label is None else self._numbered(batch.label))

    def _numbered(self, labels: Tensor) -> Tensor:
        """Return labels by their new numbers; -1, an unknown class, stays."""
        return torch.where(labels < 0, labels, self._numbers[labels]) if len(self._numbers) else labels
