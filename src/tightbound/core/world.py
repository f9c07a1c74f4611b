"""The processes that work together: one, unless a launcher (torchrun) started several and `connected` joined them.

Each function is a collective: all processes call it, in the same order, or all wait. With one process it does nothing.
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
    """Join the processes that a launcher started, for a while."""
    if not started() or dist.is_initialized():
        yield
        return
    _join()
    try:
        yield
    finally:
        leave()


def join() -> None:
    """Join the processes that a launcher started until this one ends, if they are not joined yet."""
    if started() and not dist.is_initialized():
        _join()
        atexit.register(leave)


def leave() -> None:
    """Leave the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _join() -> None:
    """Connect over nccl where each process has a GPU of its own, else over gloo.

    The timeout is long because a process that has done its part waits for slower ones; a death is noticed at once.
    """
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, number, count = meeting()
    backend, wait = "cpu:gloo,cuda:nccl" if gpus else "gloo", timedelta(days=1)
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=wait)


@contextmanager
def apart() -> Iterator[None]:
    """Work alone for a while, as if there were no other processes."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def dismissed() -> None:
    """Let the first process go on as the only one, and end the others.

    Raises:
        SystemExit: With status 0, in the others.
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
    """Return how many processes there are."""
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
    """Return the value of each process, in their order; values must be picklable."""
    if size() == 1:
        return [value]
    found: list[T | None] = [None] * size()
    dist.all_gather_object(found, value)
    return found  # pyright: ignore[reportReturnType]  # all are filled


def shared(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Return `[function(item) for item in items]`, each process computing its part: see `in_turn`."""
    return in_turn(map(function, items[rank() :: size()]))


def in_turn(own: Iterable[T]) -> list[T]:
    """Return the results of all processes, one of each in turn, in all of them.

    Args:
        own: This process's results, computed `apart`; tensors should be on the CPU.

    Raises:
        TightboundError: The first that any process raised, in all of them.
        InputError: If the processes were given different work.
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
        raise InputError(f"{n} processes were given different data; give all of them the same, which they share")
    return [every[i % n][0][i // n] for i in range(total)]


def by_first(do: Callable[[], T]) -> T:
    """Return what the first process computes; the others do not compute it.

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
    """Return what this process computes, once all processes have computed theirs.

    Raises:
        OtherFailed: If another process failed; that one raises its own error.
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
    """Check that there is one process.

    Raises:
        InputError: If there are several.
    """
    if size() > 1:
        raise InputError(f"{what} works in one process, and there are {size()}; {instead}")


def together(values: Sequence[float]) -> list[float]:
    """Return the sums of a few numbers over processes, in double precision."""
    return summed(torch.tensor(values, dtype=torch.float64)).tolist() if size() > 1 else list(values)
