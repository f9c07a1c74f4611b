"""Splits with random access: arrays, and subsets of other splits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.noise import Key, key_seed
from tightbound.core.terms import Batch
from tightbound.data.splits.base import Cast, Split, chosen, share


class Indexed(Split):
    """A split with random access."""

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """Return the examples at positions (B,), int64; they are the `index` of the batch."""

    def subset(self, indices: Tensor | np.ndarray | Sequence[int]) -> Indexed:
        """Return the examples at positions (M,), numbered 0 .. M - 1, without a copy."""
        return Subset(self, torch.as_tensor(indices, dtype=torch.int64))

    def held_out(self, validation: int, seed: int, *, keep_labeled: bool = False) -> tuple[Split, Split]:
        """See `Split.held_out`; a seeded permutation selects the examples."""
        size = len(self)
        if not 0 < validation < size:
            raise InputError(
                f"{validation} validation examples were asked for, but the training split has {size}; use 0..{size - 1}"
            )
        order = np.random.default_rng(seed).permutation(size)
        if keep_labeled and self.labels is not None:
            order = order[np.argsort(self.labels.numpy()[order] >= 0, kind="stable")]
        return self.subset(np.sort(order[validation:])), self.subset(np.sort(order[:validation]))

    def picked(self, max_examples: int, seed: int) -> Iterator[Batch]:
        """See `Split.picked`; exactly `max_examples`, in order."""
        return self.batches(chosen(len(self), max_examples, seed).split(500), seed) if len(self) else iter(())

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """Yield the batch of each index tensor of a plan; `seed` is for data sets that draw random numbers."""
        return map(self.batch, plan)

    def permutation(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return 0 .. M - 1, which stand for the positions `rows` (M,), in random order.

        All orders are equally probable, unless neighbors must be read together.
        """
        return torch.randperm(len(rows), generator=generator)

    def _epoch(
        self, batch_size: int, key: tuple[Key, ...] | None, start: int, rank: int, world: int
    ) -> Iterator[Batch]:
        seed = key_seed(*(key or ()))
        order = torch.arange(len(self))
        if key is not None:
            order = self.permutation(order, torch.Generator().manual_seed(seed))
        rest = order[start * batch_size :]
        plan = rest.split(min(batch_size, len(rest))) if len(rest) else ()
        return self.batches([part[share(len(part), rank, world)] for part in plan], seed)

    def dealt(self, batch_size: int, *, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """See `Split.dealt`; batches of other processes are not read."""
        plan = torch.arange(len(self)).split(batch_size) if len(self) else ()
        return self.batches(plan[rank::world], key_seed())


class Subset(Indexed):
    """Some examples of another split, numbered from 0."""

    def __init__(self, base: Indexed, rows: Tensor) -> None:
        """The examples of `base` at `rows` (M,); raises InputError for positions that it lacks."""
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(base):
            raise InputError(f"positions must lie in 0..{len(base) - 1}, got {rows.min()}..{rows.max()}")
        self.base, self.rows, self.shape = base, rows, base.shape
        self.labels = None if base.labels is None else base.labels[rows]
        self.classes = base.classes
        if base.names is not None:
            self.names = [base.names[int(i)] for i in rows.numpy()]

    def __len__(self) -> int:
        return len(self.rows)

    def identity(self, positions: Tensor) -> dict[str, Any]:
        """See `Split.identity`."""
        return self.base.identity(self.rows[positions])

    def unknown_entries(self, positions: Tensor) -> np.ndarray | None:
        """See `Split.unknown_entries`."""
        return self.base.unknown_entries(self.rows[positions])

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        return _renumbered(self.base.batch(self.rows[indices]), indices)

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """See `Indexed.batches`."""
        below = self.base.batches([self.rows[indices] for indices in plan], seed)
        return map(_renumbered, below, plan)

    def permutation(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """See `Indexed.permutation`."""
        return self.base.permutation(self.rows[rows], generator)

    def subset(self, indices: Tensor | np.ndarray | Sequence[int]) -> Indexed:
        """See `Indexed.subset`; one level of indirection, however often it is called."""
        return Subset(self.base, self.rows[torch.as_tensor(indices, dtype=torch.int64)])


def _renumbered(batch: Batch, indices: Tensor) -> Batch:
    return replace(batch, index=indices, origin=batch.origins())


class ArraySplit(Indexed):
    """An array, in memory or memory-mapped."""

    def __init__(
        self,
        x: np.ndarray,
        labels: Tensor | None = None,
        names: Sequence[str] | None = None,
        cast: Cast | None = None,
        origin: Tensor | None = None,
        covariates: Tensor | None = None,
    ) -> None:
        """A split of an array.

        Args:
            x: (N, *shape).
            labels: (N,) or (N, factors).
            names: One for each example.
            cast: Applied to each gathered batch, for arrays that are too big to be converted at once.
            origin: Position (N,) of each example in the data that the array is a part of; None: it is all of them.
            covariates: Covariates (N, C) of the examples, which become the raw context of batches.
        """
        self.x = np.asarray(x)  # a plain view: indexing a memmap subclass costs more
        self.shape, self.labels, self.names, self._cast = tuple(x.shape[1:]), labels, names, cast
        self._origin, self._covariates = origin, covariates

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        x = self.x[indices.numpy()]
        x = np.ascontiguousarray(x if self._cast is None else self._cast(x))
        label = None if self.labels is None else self.labels[indices]
        origin = None if self._origin is None else self._origin[indices]
        context = None if self._covariates is None else self._covariates[indices]
        return Batch(torch.from_numpy(x), context=context, label=label, index=indices, origin=origin)


def stack(items: Iterable[np.ndarray]) -> np.ndarray:
    """Stack arrays of one shape to one array (B, ...)."""
    items = list(items)
    for i, item in enumerate(items):
        if item.shape != items[0].shape:
            raise InputError(f"example 0 has shape {items[0].shape} but example {i} has {item.shape}; make them equal")
    return np.stack(items)
