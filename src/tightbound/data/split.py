"""Splits: examples in an order that is a pure function of a key, in batches that skip, shard and resume."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.noise import Key, key_seed
from tightbound.core.schema import Schema
from tightbound.core.terms import Batch

Cast = Callable[[np.ndarray], np.ndarray]


class Split(ABC):
    """A set of examples that is read in batches."""

    shape: tuple[int, ...]  # of one example, channels first
    names: Sequence[str] | None = None  # of each example: its file name, or its value in the column `names_column`
    names_column: str = "name"
    row_numbers: Sequence[int] | None = None  # of each example in its file, from 1
    labels: Tensor | None = None  # (N,) or (N, factors)
    unknown: np.ndarray | None = None  # (N,) entries of each example that the model cannot hold, if there are any
    classes: Sequence[str] = ()  # names of the labels 0, 1, ...; (): they are numbers

    @abstractmethod
    def __len__(self) -> int:
        """Return N; raise TypeError if it is not known."""

    def identify(self, names: Sequence[str] | None, column: str | None, row_numbers: Sequence[int] | None) -> None:
        """Record by what a person knows the examples: names, the column that holds them, and rows of a file."""
        self.names, self.names_column, self.row_numbers = names, column or self.names_column, row_numbers

    def identity(self, positions: Tensor) -> dict[str, Any]:
        """Return columns that tell a person which examples these are, at positions (M,) of the split.

        They are "row", the row of a file counted from 1 without the header; names, by the column that holds them, or
        "name" for names of files; or else "index", the position in the data counted from 0.
        """
        at, found = positions.numpy(), {}
        if self.row_numbers is not None:
            found["row"] = np.array([self.row_numbers[int(i)] for i in at])
        if self.names is not None:
            found[self.names_column] = np.array([self.names[int(i)] for i in at])
        return found or {"index": at}

    def unknown_entries(self, positions: Tensor) -> np.ndarray | None:
        """Return how many entries of the examples at positions (M,) count as missing, since the model cannot hold them.

        None: none of any example.
        """
        return None if self.unknown is None else self.unknown[positions.numpy()]

    def about(self, positions: Tensor) -> dict[str, Any]:
        """Return the columns of `identity`, and "unknown_entries" if there are any, for results of examples (M,)."""
        unknown = self.unknown_entries(positions)
        return self.identity(positions) | ({} if unknown is None else {"unknown_entries": unknown})

    def titles(self, positions: Tensor) -> list[str]:
        """Return how a person knows the examples at positions (M,): by name, by row of a file, or by index."""
        known = self.identity(positions)
        *_, column = known
        return [f"row {value}" if column == "row" else str(value) for value in known[column].tolist()]

    def position(self, title: str) -> int:
        """Return the position of the example with this name, row in a file, or index.

        Raises:
            InputError: If no example, or more than one, has this name.
        """
        known = self.identity(torch.arange(len(self)))
        for column in reversed(known):  # a name takes precedence over a row
            found = np.flatnonzero(known[column].astype(str) == title.removeprefix("row "))
            if len(found) > 1:
                others = " or ".join(known["row"][found[:2]].astype(str)) if "row" in known else "another file"
                raise InputError(f"{len(found)} examples are called {title!r}; give the row, such as {others}")
            if len(found):
                return int(found[0])
        some = ", ".join(self.titles(torch.arange(min(3, len(self)))))
        raise InputError(f"there is no example {title!r}; examples are {some}, ... ({len(self):,} in all)")

    def class_name(self, number: float) -> str:
        """Return the name of a class; its number, if it has no name."""
        return Schema(classes=tuple(self.classes)).class_name(number)

    @property
    def size(self) -> int | None:
        """N; None if it is not known, as for a stream."""
        try:
            return len(self)
        except TypeError:
            return None

    def steps(self, batch_size: int) -> int:
        """Return the number of global batches per epoch; raise TypeError if it is not known."""
        return -(-len(self) // batch_size)

    def smallest_batch(self, batch_size: int) -> int | None:
        """Return the size of the smallest global batch of an epoch; None if it is not known."""
        return None if self.size is None else self.size % batch_size or min(self.size, batch_size)

    def epoch(
        self,
        batch_size: int,
        *,
        key: tuple[Key, ...] | None = None,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """Yield all examples once, in batches of raw x (B, *shape) with label and index; the last may be smaller.

        Args:
            batch_size: Size of a global batch.
            key: The order is a random permutation that depends on the key alone; None: natural order.
            start: Leave out this many global batches.
            rank: Yield only the contiguous part `share(len(batch), rank, world)` of each global batch, which is empty
                if there are more processes than examples.
            world: Number of processes.

        Raises:
            InputError: If the batch size is below 1, start is negative or rank lies outside 0 .. world - 1.
        """
        if batch_size < 1:
            raise InputError(f"the batch size is {batch_size}; it must be at least 1")
        if start < 0:
            raise InputError(f"start is {start}; it must be at least 0")
        if not 0 <= rank < world:
            raise InputError(f"rank {rank} of {world} processes; it must lie in 0..{world - 1}")
        return self._epoch(batch_size, key, start, rank, world)

    @abstractmethod
    def _epoch(
        self, batch_size: int, key: tuple[Key, ...] | None, start: int, rank: int, world: int
    ) -> Iterator[Batch]: ...

    def held_out(self, validation: int, seed: int) -> tuple[Split, Split]:
        """Return the split without some of its examples, and these, for validation.

        Raises:
            InputError: If there are too few, or no way to take some out.
        """
        raise InputError(
            f"{validation} validation examples were asked of a DataLoader, which has no random access; "
            "use validation=0, or give validation data of their own, or the data set itself"
        )

    @abstractmethod
    def picked(self, max_examples: int, seed: int) -> Iterator[Batch]:
        """Yield candidates from which to pick `max_examples` at random, at least so many if there are.

        `index` is the position of each in natural order.
        """

    def dealt(self, batch_size: int, *, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Yield every `world`-th batch of the natural order, beginning with the one numbered `rank`.

        The batches, of at most `batch_size` examples, are the same whatever `world` is.
        """
        batches = self.epoch(batch_size)  # a loader has a batch size of its own
        parts = (batch[at : at + batch_size] for batch in batches for at in range(0, len(batch), batch_size))
        return islice(parts, rank, None, world)


def share(total: int, rank: int, world: int) -> slice:
    """Return the part of `total` examples that belongs to a process; parts differ by at most one."""
    return slice(total * rank // world, total * (rank + 1) // world)


def chosen(size: int, max_examples: int, seed: int) -> Tensor:
    """Return at most `max_examples` of 0 .. size - 1, picked at random, in ascending order."""
    generator = torch.Generator().manual_seed(key_seed("pick", seed))
    return torch.randperm(size, generator=generator)[:max_examples].sort().values


class Indexed(Split):
    """A split with random access."""

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """Return the examples at these positions (B,), int64, which are the `index` of the batch."""

    def subset(self, indices: Tensor | np.ndarray | Sequence[int]) -> Indexed:
        """Return the examples at these positions (M,), numbered 0 .. M - 1, without a copy."""
        return Subset(self, torch.as_tensor(indices, dtype=torch.int64))

    def held_out(self, validation: int, seed: int) -> tuple[Split, Split]:
        """See `Split.held_out`; by a seeded permutation."""
        size = len(self)
        if not 0 < validation < size:
            raise InputError(
                f"{validation} validation examples were asked for, but the training split has {size}; use 0..{size - 1}"
            )
        order = np.random.default_rng(seed).permutation(size)
        return self.subset(np.sort(order[validation:])), self.subset(np.sort(order[:validation]))

    def picked(self, max_examples: int, seed: int) -> Iterator[Batch]:
        """See `Split.picked`: exactly these, in order."""
        return self.batches(chosen(len(self), max_examples, seed).split(500), seed) if len(self) else iter(())

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """Yield the batch at each of these index tensors; `seed` is for data sets that draw random numbers."""
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
    """An array in memory or a memory-mapped one."""

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
    """Return arrays of one shape as one array (B, ...)."""
    items = list(items)
    for i, item in enumerate(items):
        if item.shape != items[0].shape:
            raise InputError(f"example 0 has shape {items[0].shape} but example {i} has {item.shape}; make them equal")
    return np.stack(items)
