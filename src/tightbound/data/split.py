"""Splits: data in an order that is a pure function of a key, in batches that skip, shard and resume."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tightbound.core.errors import InputError, ReaderLost
from tightbound.core.noise import Key, key_seed
from tightbound.core.terms import Batch

Cast = Callable[[np.ndarray], np.ndarray]
WORKERS = min(4, os.cpu_count() or 1)  # processes or threads that read files


class Split(ABC):
    """A set of data that is read in batches."""

    shape: tuple[int, ...]  # of one example, channels first
    names: Sequence[str] | None = None  # file name of each example
    labels: Tensor | None = None  # (N,) or (N, factors)

    @abstractmethod
    def __len__(self) -> int:
        """N; raises TypeError where it is not known."""

    @property
    def size(self) -> int | None:
        """N; None where it is not known, of a stream."""
        try:
            return len(self)
        except TypeError:
            return None

    def steps(self, batch_size: int) -> int:
        """Global batches of an epoch; raises TypeError where that is not known."""
        return -(-len(self) // batch_size)

    @abstractmethod
    def epoch(
        self,
        batch_size: int,
        *,
        key: tuple[Key, ...] | None = None,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """All data once, in batches of raw x (B, *shape) with label and index; the last may be smaller.

        Arguments:
            batch_size: Size of a global batch.
            key: The order is a random permutation that depends on the key alone; None: natural order.
            start: Leave out this many global batches.
            rank, world: Of each global batch, give the contiguous part `share(len(batch), rank, world)`,
                which is empty where there are more processes than data.

        Raises:
            InputError: for a batch size below 1, a negative start or a rank outside 0 .. world - 1.
        """

    def held_out(self, validation: int, seed: int) -> tuple[Split, Split]:
        """The split without some of its data, and these, for validation.

        Raises:
            InputError: where there are too few, or no way to take some out.
        """
        raise InputError(
            f"{validation} validation data were asked of a DataLoader, which has no random access; "
            "use validation_size=0, or give a pair (train_loader, test_loader) or the data set itself"
        )

    @abstractmethod
    def picked(self, most: int, seed: int) -> Iterator[Batch]:
        """Data of which to pick `most` at random, at least so many where there are; `index` is the place of each in
        natural order."""

    def dealt(self, batch_size: int, *, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """All data once in their natural order, in batches of at most this size, of which this process takes every
        `world`-th, the first being the one numbered `rank`: they are the same batches whatever `world` is."""
        batches = self.epoch(batch_size)  # a loader has a batch size of its own
        parts = (batch[at : at + batch_size] for batch in batches for at in range(0, len(batch), batch_size))
        return islice(parts, rank, None, world)


def share(total: int, rank: int, world: int) -> slice:
    """The part of `total` data that belongs to one of `world` processes; parts differ by at most one."""
    return slice(total * rank // world, total * (rank + 1) // world)


def chosen(size: int, most: int, seed: int) -> Tensor:
    """At most this many of 0 .. size - 1, picked at random, in rising order."""
    generator = torch.Generator().manual_seed(key_seed("pick", seed))
    return torch.randperm(size, generator=generator)[:most].sort().values


class Indexed(Split):
    """A split with random access."""

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """The data at these positions (B,), int64; `index` of the batch is `indices`."""

    def subset(self, indices: Tensor | np.ndarray | Sequence[int]) -> Indexed:
        """The data at these positions (M,), numbered 0 .. M - 1, without a copy."""
        return Subset(self, torch.as_tensor(indices, dtype=torch.int64))

    def held_out(self, validation: int, seed: int) -> tuple[Split, Split]:
        """See `Split.held_out`; by a seeded permutation."""
        size = len(self)
        if not 0 < validation < size:
            raise InputError(
                f"{validation} validation data were asked for, but the training split has {size}; use 0..{size - 1}"
            )
        order = np.random.default_rng(seed).permutation(size)
        return self.subset(np.sort(order[validation:])), self.subset(np.sort(order[:validation]))

    def picked(self, most: int, seed: int) -> Iterator[Batch]:
        """See `Split.picked`: those alone, in order."""
        return self.batches(chosen(len(self), most, seed).split(500), seed) if len(self) else iter(())

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """The batch at each of these index tensors; `seed` is for data that draw random numbers."""
        return map(self.batch, plan)

    def permutation(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Places 0 .. M - 1 of the positions `rows` (M,) in random order: all orders are equally probable, but for
        data of which neighbors must be read together."""
        return torch.randperm(len(rows), generator=generator)

    def epoch(
        self,
        batch_size: int,
        *,
        key: tuple[Key, ...] | None = None,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """See `Split.epoch`; batches before `start` are not read."""
        check_epoch(batch_size, start, rank, world)
        seed = key_seed(*(key or ()))
        order = torch.arange(len(self))
        if key is not None:
            order = self.permutation(order, torch.Generator().manual_seed(seed))
        rest = order[start * batch_size :]
        plan = rest.split(batch_size) if len(rest) else ()
        return self.batches([part[share(len(part), rank, world)] for part in plan], seed)

    def dealt(self, batch_size: int, *, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """See `Split.dealt`; batches of other processes are not read."""
        check_epoch(batch_size, 0, rank, world)
        plan = torch.arange(len(self)).split(batch_size) if len(self) else ()
        return self.batches(plan[rank::world], key_seed())


class Subset(Indexed):
    """Some rows of another split, numbered anew."""

    def __init__(self, base: Indexed, rows: Tensor) -> None:
        """The data of `base` at `rows` (M,); raises InputError for positions that it lacks."""
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(base):
            raise InputError(f"positions must lie in 0..{len(base) - 1}, got {rows.min()}..{rows.max()}")
        self.base, self.rows, self.shape = base, rows, base.shape
        self.labels = None if base.labels is None else base.labels[rows]
        if base.names is not None:
            self.names = [base.names[int(i)] for i in rows.numpy()]

    def __len__(self) -> int:
        """N."""
        return len(self.rows)

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        return replace(self.base.batch(self.rows[indices]), index=indices)

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """See `Indexed.batches`."""
        below = self.base.batches([self.rows[indices] for indices in plan], seed)
        return (replace(batch, index=indices) for batch, indices in zip(below, plan, strict=True))

    def permutation(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """See `Indexed.permutation`."""
        return self.base.permutation(self.rows[rows], generator)

    def subset(self, indices: Tensor | np.ndarray | Sequence[int]) -> Indexed:
        """See `Indexed.subset`; one level of indirection, however often it is called."""
        return Subset(self.base, self.rows[torch.as_tensor(indices, dtype=torch.int64)])


class ArraySplit(Indexed):
    """An array in memory or a memory-mapped one."""

    def __init__(
        self,
        x: np.ndarray,
        labels: Tensor | None = None,
        names: Sequence[str] | None = None,
        cast: Cast | None = None,
    ) -> None:
        """A split of an array.

        Arguments:
            x: (N, *shape).
            labels: (N,) or (N, factors).
            names: One for each example.
            cast: Applied to each gathered batch, for arrays that are too big to be converted at once.
        """
        self.x = np.asarray(x)  # a plain view: indexing a memmap subclass costs more
        self.shape, self.labels, self.names, self._cast = tuple(x.shape[1:]), labels, names, cast

    def __len__(self) -> int:
        """N."""
        return len(self.x)

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        x = self.x[indices.numpy()]
        x = np.ascontiguousarray(x if self._cast is None else self._cast(x))
        label = None if self.labels is None else self.labels[indices]
        return Batch(torch.from_numpy(x), label=label, index=indices)


class MappedSplit(Indexed):
    """Data that are read or computed when they are asked for, by worker processes."""

    def __init__(
        self,
        fetch: Callable[[np.ndarray], tuple[np.ndarray, Tensor | None]],
        size: int,
        shape: tuple[int, ...],
        *,
        labels: Tensor | None = None,
        names: Sequence[str] | None = None,
        workers: int = 0,
    ) -> None:
        """A split of what a function gives.

        Arguments:
            fetch: Positions (B,) -> x (B, *shape) as stored, and labels (B, ...) or None.
            size: N.
            shape: Of one example.
            labels: Of all data, where they are known; else they are taken from `fetch`.
            names: One for each example.
            workers: Processes that read ahead; 0 reads in this one.
        """
        self._fetch, self._size, self.shape, self._workers = fetch, size, shape, workers
        self.labels, self.names = labels, names

    def __len__(self) -> int:
        """N."""
        return self._size

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        if not len(indices):  # the share of a process that has none of a small batch: nothing says their type
            return Batch(
                torch.empty(0, *self.shape), label=None if self.labels is None else self.labels[:0], index=indices
            )
        x, label = self._fetch(indices.numpy())
        label = label if self.labels is None else self.labels[indices]
        return Batch(torch.from_numpy(x), label=label, index=indices)

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """See `Indexed.batches`."""
        loader = DataLoader(
            _Positions(self),
            sampler=plan,
            batch_size=None,
            num_workers=min(self._workers, len(plan)),
            worker_init_fn=_leave_signals,
            generator=torch.Generator().manual_seed(seed),
        )
        try:
            for batch in loader:
                if isinstance(batch, InputError):
                    raise batch
                yield batch
        except (RuntimeError, EOFError, ConnectionError) as error:
            if lost := ReaderLost.of(error):
                raise lost from None
            raise


def _leave_signals(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal: the one that trains says what becomes of it, and ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Positions(Dataset[Batch | InputError]):
    """A split as the data set of whole batches, for worker processes.

    Errors are handed over as values: torch would raise them with a traceback for a message.
    """

    def __init__(self, split: Indexed) -> None:
        self._split = split

    def __getitem__(self, index: Any) -> Batch | InputError:
        try:
            return self._split.batch(index)
        except InputError as error:
            return error


def check_epoch(batch_size: int, start: int, rank: int, world: int) -> None:
    """Raises InputError for what `Split.epoch` refuses."""
    if batch_size < 1:
        raise InputError(f"the batch size is {batch_size}; it must be at least 1")
    if start < 0:
        raise InputError(f"start is {start}; it must be at least 0")
    if not 0 <= rank < world:
        raise InputError(f"rank {rank} of {world} processes; it must lie in 0..{world - 1}")


def stack(items: Iterable[np.ndarray]) -> np.ndarray:
    """Arrays of one shape as one array (B, ...).

    Raises:
        InputError: where shapes differ; names the two.
    """
    items = list(items)
    for i, item in enumerate(items):
        if item.shape != items[0].shape:
            raise InputError(f"example 0 has shape {items[0].shape} but example {i} has {item.shape}; make them equal")
    return np.stack(items)
