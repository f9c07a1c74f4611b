"""Splits of groups that are read whole, such as the row groups of a Parquet file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from tightbound.core.terms import Batch
from tightbound.data.splits.indexed import Indexed

_Item = TypeVar("_Item")
_END: Any = object()
Group: TypeAlias = Callable[[np.ndarray], np.ndarray]  # places (B,) in a group that was read -> x (B, *shape) as stored


class GroupedSplit(Indexed):
    """Groups of examples, each read whole when it is needed and held as long as the batches to come need it.

    A permutation keeps neighbors together: groups are shuffled, `window` of them at a time are held, and the examples
    of a window are shuffled among themselves. A thread reads ahead.
    """

    def __init__(
        self,
        load: Callable[[int], Group],
        sizes: Sequence[int] | np.ndarray,
        shape: tuple[int, ...],
        dtype: np.dtype,
        window: int,
        labels: Tensor | None = None,
    ) -> None:
        """A split of groups of these sizes; `load` reads the group of a number."""
        self._load, self.shape, self._dtype, self.window, self.labels = load, shape, dtype, window, labels
        self._ends = np.cumsum(np.asarray(sizes, np.int64))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`; reads each group that holds one of the examples."""
        return next(self._read([indices]))

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """See `Indexed.batches`."""
        return ahead(self._read(plan))

    def permutation(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """See `Indexed.permutation`; a pure function of the generator's state."""
        groups = torch.from_numpy(self._groups(rows))
        place = torch.randperm(len(self._ends), generator=generator)  # of each group in the order of groups
        shuffled = torch.randperm(len(rows), generator=generator)
        return shuffled[(place[groups[shuffled]] // self.window).argsort(stable=True)]

    def _groups(self, rows: Tensor) -> np.ndarray:
        return np.searchsorted(self._ends, rows.numpy(), side="right")

    def _read(self, plan: Sequence[Tensor]) -> Iterator[Batch]:
        needed = [np.unique(self._groups(rows)) for rows in plan]
        last = {int(group): number for number, groups in enumerate(needed) for group in groups}
        held: dict[int, Group] = {}
        for number, (rows, groups) in enumerate(zip(plan, needed, strict=True)):
            for group in groups.tolist():
                if group not in held:
                    held[group] = self._load(group)
            owner, x = self._groups(rows), np.empty((len(rows), *self.shape), self._dtype)
            for group in groups.tolist():
                mine = owner == group
                x[mine] = held[group](rows.numpy()[mine] - (self._ends[group - 1] if group else 0))
            yield Batch(torch.from_numpy(x), label=None if self.labels is None else self.labels[rows], index=rows)
            held = {group: own for group, own in held.items() if last[group] > number}


def ahead(items: Iterator[_Item], depth: int = 2) -> Iterator[_Item]:
    """Yield the same items; a thread prepares so many of them before they are asked for."""
    pool = ThreadPoolExecutor(1)
    try:
        waiting = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
