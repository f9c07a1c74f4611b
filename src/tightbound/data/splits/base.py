"""Splits: examples in an order that is a pure function of a key, in batches that skip, shard and resume."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
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

    shape: tuple[int, ...]  # shape of an example, channels first
    names: Sequence[str] | None = None  # by example: its file name, or its value in the column `names_column`
    names_column: str = "name"
    row_numbers: Sequence[int] | None = None  # by example: its row in the file, from 1
    labels: Tensor | None = None  # (N,) or (N, factors)
    unknown: np.ndarray | None = None  # (N,) number of entries of each example that the model cannot hold
    classes: Sequence[str] = ()  # names of the labels 0, 1, ...; (): they are numbers

    @abstractmethod
    def __len__(self) -> int:
        """Return N; raise TypeError if it is not known."""

    def identify(self, names: Sequence[str] | None, column: str | None, row_numbers: Sequence[int] | None) -> None:
        """Record how a person identifies examples: names, the column that holds them, and rows of a file."""
        self.names, self.names_column, self.row_numbers = names, column or self.names_column, row_numbers

    def identity(self, positions: Tensor) -> dict[str, Any]:
        """Return columns that identify the examples at positions (M,) for a person.

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
        """Return titles of the examples at positions (M,): name, row of a file, or index."""
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
        """Return the name of a class, or its number if it has no name."""
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

    def held_out(self, validation: int, seed: int, *, keep_labeled: bool = False) -> tuple[Split, Split]:
        """Return the other examples for training, and some examples for validation.

        With `keep_labeled`, labeled examples are taken only if there are too few unlabeled ones (label -1).

        Raises:
            InputError: If there are too few examples, or the split has no random access.
        """
        raise InputError(
            f"{validation} validation examples were asked of a DataLoader, which has no random access; "
            "use validation=0, or give separate validation data, or the data set itself"
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
