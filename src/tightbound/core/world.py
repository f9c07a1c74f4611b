"""Collectives of the processes that work together: one, unless a launcher (torchrun) started several.

All processes must call a collective, in the same order, or all of them wait. With one process it does nothing.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tightbound.core.errors import InputError, OtherFailed, TightboundError
from tightbound.core.launch import go_alone, meeting, started

S = TypeVar("S")
T = TypeVar("T")
_apart = ContextVar("apart", default=False)


@contextmanager
def connected() -> Iterator[None]:
    """Join the processes that a launcher started, for the duration of a block."""
    if not started() or dist.is_initialized():
        yield
        return
    _join()
    try:
        yield
    finally:
        leave()


def join() -> None:
    """Join the processes that a launcher started until this one ends, unless they are joined already."""
    if started() and not dist.is_initialized():
        _join()
        atexit.register(leave)


def leave() -> None:
    """Disconnect from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _join() -> None:
    """Connect over nccl if each process has its own GPU, else over gloo.

    The timeout is long because a process that finishes early waits for slower ones; a death is noticed at once.
    """
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, number, count = meeting()
    backend, wait = "cpu:gloo,cuda:nccl" if gpus else "gloo", timedelta(days=1)
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=wait)


@contextmanager
def apart() -> Iterator[None]:
    """Work as if there were no other processes, for the duration of a block."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def dismissed() -> None:
    """Continue in the first process alone, and end the others.

    Raises:
        SystemExit: In the other processes, with status 0.
    """
    if size() > 1:
        others = rank() > 0
        leave()
        go_alone()
        if others:
            raise SystemExit(0)


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() and not _apart.get() else 0


def size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() and not _apart.get() else 1


def summed(values: Tensor) -> Tensor:
    """Return the sum over processes."""
    if size() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def agreed(value: T) -> T:
    """Return the first process's value, which must be picklable."""
    if size() == 1:
        return value
    found = [value]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def gathered(value: T) -> list[T]:
    """Return the value of each process, in order of rank; values must be picklable."""
    if size() == 1:
        return [value]
    found: list[T | None] = [None] * size()
    dist.all_gather_object(found, value)
    return found  # pyright: ignore[reportReturnType]  # all are filled


def shared(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Return `[function(item) for item in items]`; each process computes its part (see `in_turn`)."""
    return in_turn(map(function, items[rank() :: size()]))


def in_turn(own: Iterable[T]) -> list[T]:
    """Return the results of all processes, interleaved, in every process.

    Args:
        own: This process's results, computed `apart`; tensors should be on the CPU.

    Raises:
        TightboundError: In every process, the first one that any process raised.
        InputError: If the processes were given different amounts of work.
    """
    if size() == 1:
        return list(own)
    found: list[T] = []
    error: TightboundError | None = None
    try:
        with apart():
            found.extend(own)
    except TightboundError as raised:
        error = raised
    every = gathered((found, error))
    failed = [(len(part), number, error) for number, (part, error) in enumerate(every) if error is not None]
    if failed:
        raise min(failed, key=lambda each: each[:2])[2]
    counts = [len(part) for part, _ in every]
    total, n = sum(counts), len(counts)
    if counts != [len(range(first, total, n)) for first in range(n)]:
        raise InputError(f"{n} processes were given different data; give all of them the same data, which they share")
    return [every[i % n][0][i // n] for i in range(total)]


def by_first(do: Callable[[], T]) -> T:
    """Call a function in the first process only, and return its result in all of them.

    Raises:
        InputError: In all processes, if the first raised a TightboundError.
    """
    if size() == 1:
        return do()
    found: tuple[T | None, str | None] = (None, None)
    if rank() == 0:
        try:
            found = do(), None
        except TightboundError as error:
            found = None, str(error)
    value, error = agreed(found)
    if error is not None:
        raise InputError(error)
    return value  # pyright: ignore[reportReturnType]  # there was no error


def at_once(do: Callable[[], T]) -> T:
    """Call a function in every process, and return this process's result when all have finished.

    Raises:
        OtherFailed: If another process failed; the failed process raises its own error.
    """
    if size() == 1:
        return do()
    found: list[T] = []
    error: Exception | None = None
    try:
        found.append(do())
    except Exception as raised:
        error = raised
    failed = together([error is not None])[0]
    if error is not None:
        raise error
    if failed:
        raise OtherFailed
    return found[0]


def barrier() -> None:
    """Wait for the other processes."""
    if size() > 1:
        dist.barrier()


def only_one(what: str, instead: str) -> None:
    """Check that there is only one process.

    Raises:
        InputError: If there are several.
    """
    if size() > 1:
        raise InputError(f"{what} works in one process only, but there are {size()}; {instead}")


def together(values: Sequence[float]) -> list[float]:
    """Return the sum of each number over processes, in double precision."""
    return summed(torch.tensor(values, dtype=torch.float64)).tolist() if size() > 1 else list(values)
