"""Examples that worker processes read."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tightbound.core.errors import InputError, ReaderLost
from tightbound.core.terms import Batch
from tightbound.data.splits.indexed import Indexed

WORKERS = min(4, os.cpu_count() or 1)  # processes or threads that read files
_END = object()


class MappedSplit(Indexed):
    """Examples that worker processes read or compute on demand."""

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
        """Make a split of the examples that a function returns.

        Args:
            fetch: Function from positions (B,) to x (B, *shape) as stored, and labels (B, ...) or None.
            size: N.
            shape: Shape of one example.
            labels: Labels of all examples, if they are known; otherwise they are taken from `fetch`.
            names: One for each example.
            workers: Processes that read ahead; 0: read in this process.
        """
        self._fetch, self._size, self.shape, self._workers = fetch, size, shape, workers
        self.labels, self.names = labels, names

    def __len__(self) -> int:
        return self._size

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        if not len(indices):  # a process without a share of a small batch does not know the type
            return Batch(
                torch.empty(0, *self.shape), label=None if self.labels is None else self.labels[:0], index=indices
            )
        x, label = self._fetch(indices.numpy())
        label = label if self.labels is None else self.labels[indices]
        return Batch(torch.from_numpy(x), label=label, index=indices)

    def drawn(self, indices: Tensor, seed: int) -> Batch:
        """Return the examples at these positions, with this seed for random draws."""
        return self.batch(indices)

    def batches(self, plan: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        """See `Indexed.batches`."""
        loader = DataLoader(
            _Positions(self, seed),
            sampler=plan,
            batch_size=None,
            num_workers=min(self._workers, len(plan)),
            worker_init_fn=leave_signals,
            generator=torch.Generator().manual_seed(seed),
        )
        for batch in read_by(loader):
            if isinstance(batch, InputError):
                raise batch
            yield batch


class _Positions(Dataset[Batch | InputError]):
    """A split as a data set of whole batches, for worker processes.

    Errors are returned as values, because torch would raise them with a traceback as the message.
    """

    def __init__(self, split: MappedSplit, seed: int) -> None:
        self._split, self._seed = split, seed

    def __getitem__(self, index: Any) -> Batch | InputError:
        try:
            return self._split.drawn(index, self._seed)
        except InputError as error:
            return error


def read_by(loader: DataLoader[Any]) -> Iterator[Any]:
    """Iterate over a loader.

    Raises:
        ReaderLost: If a worker process was killed.
        InputError: If the processes cannot start, because the script is not guarded.
    """
    begun, error = False, None
    try:
        iterator = iter(loader)
    except RuntimeError as caught:
        if "bootstrapping phase" in str(caught):  # this is such a process, which runs the script again
            raise SystemExit(1) from None
        raise
    with _deaf_to_children() if loader.num_workers else nullcontext():
        try:
            while (item := next(iterator, _END)) is not _END:
                begun = True
                yield item
        except (RuntimeError, EOFError, ConnectionError) as caught:
            error = ReaderLost.of(caught)
            if error is None:
                raise
        del iterator  # ends the other readers
    if error is not None:
        method = getattr(loader.multiprocessing_context, "get_start_method", multiprocessing.get_start_method)()
        if not begun and method != "fork":
            error = InputError(
                f"no process of the DataLoader could start: with the start method {method!r} each of them runs the "
                "script again; put its statements under `if __name__ == '__main__':`, or use num_workers=0"
            )
        raise error


@contextmanager
def _deaf_to_children() -> Iterator[None]:
    """Ignore the end of children: torch would raise it wherever the program is; its iterator notices it as well."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def leave_signals(worker: int) -> None:
    """Ignore Ctrl-C, which reaches all processes of a terminal: the one that trains handles it and ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
