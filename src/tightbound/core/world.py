"""The processes that work together: one, unless `torchrun` started several and `connected` joined them.

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
    """Joins the processes that `torchrun` started, for a while."""
    if not started() or dist.is_initialized():
        yield
        return
    _join()
    try:
        yield
    finally:
        leave()


def join() -> None:
    """Joins the processes that `torchrun` started until this one ends; does nothing where they are joined."""
    if started() and not dist.is_initialized():
        _join()
        atexit.register(leave)


def leave() -> None:
    """This process has no others any more."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _join() -> None:
    """Over nccl where each has a GPU of its own, else over gloo.

    One that has done its share of an evaluation waits for slower ones; who dies is missed at once.
    """
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, number, count = meeting()
    backend, wait = "cpu:gloo,cuda:nccl" if gpus else "gloo", timedelta(days=1)
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=wait)


@contextmanager
def apart() -> Iterator[None]:
    """What a process does by itself: in here there are no others, and nothing waits for them."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def dismissed() -> None:
    """The first process goes on as the only one; the others have done their part, and end.

    Raises:
        SystemExit: with status 0, in the others.
    """
    if size() > 1:
        others = rank() > 0
        leave()
        go_alone()
        if others:
            raise SystemExit(0)


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() and not _apart.get() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() and not _apart.get() else 1


def summed(values: Tensor) -> Tensor:
    """The sum over processes."""
    if size() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def agreed(value: T) -> T:
    """What the first process description, for anything that can be pickled."""
    if size() == 1:
        return value
    said = [value]
    dist.broadcast_object_list(said, src=0)
    return said[0]


def gathered(value: T) -> list[T]:
    """What each process description, in their order, for anything that can be pickled."""
    if size() == 1:
        return [value]
    said: list[T | None] = [None] * size()
    dist.all_gather_object(said, value)
    return said  # pyright: ignore[reportReturnType]  # all have spoken


def shared(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """`[function(item) for item in items]`, each process doing its part: see `in_turn`."""
    return in_turn(map(function, items[rank() :: size()]))


def in_turn(own: Iterable[T]) -> list[T]:
    """One of each process in turn, from the first: what work that is dealt out like cards comes to, in all processes.

    Each computes its own `apart`. Tensors should be on the CPU.

    Raises:
        TightboundError: the first that any process raised, in all of them.
        InputError: processes that were given different work.
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
    said = gathered((found, error))
    failed = [(len(part), number, error) for number, (part, error) in enumerate(said) if error is not None]
    if failed:
        raise min(failed, key=lambda each: each[:2])[2]
    counts = [len(part) for part, _ in said]
    total, n = sum(counts), len(counts)
    if counts != [len(range(first, total, n)) for first in range(n)]:
        raise InputError(f"{n} processes were given different data; give all of them the same, which they share")
    return [said[i % n][0][i // n] for i in range(total)]


def by_first(do: Callable[[], T]) -> T:
    """What the first process gets from this call, which the others leave to it.

    Raises:
        InputError: in all processes, where the first raised an error of ours.
    """
    if size() == 1:
        return do()
    said: tuple[T | None, str | None] = (None, None)
    if rank() == 0:
        try:
            said = do(), None
        except TightboundError as error:
            said = None, str(error)
    value, error = agreed(said)
    if error is not None:
        raise InputError(error)
    return value  # pyright: ignore[reportReturnType]  # there was no error


def at_once(do: Callable[[], T]) -> T:
    """What this process gets from this call, when all of them have got something.

    Raises:
        OtherFailed: where one that did not raises what it met.
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
    """Waits for the others."""
    if size() > 1:
        dist.barrier()


def only_one(what: str, instead: str) -> None:
    """Refuses what works in one process alone.

    Raises:
        InputError: where there are several.
    """
    if size() > 1:
        raise InputError(f"{what} works in one process, and there are {size()}; {instead}")


def together(values: Sequence[float]) -> list[float]:
    """The sums of a few numbers over processes, in double precision."""
    return summed(torch.tensor(values, dtype=torch.float64)).tolist() if size() > 1 else list(values)
