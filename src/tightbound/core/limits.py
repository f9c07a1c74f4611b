"""Limits on memory and on the amount of work. Does not import torch."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path

from tightbound.core.errors import InputError

LEVELS = 2**24  # float32 holds the integers up to here
PASSES = 10**8  # passes through the networks for each example; more take days on any machine
_COPIES = 5  # of a result at once, at most: its parts, the whole, and conversions to the form of the data
_CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache
def memory() -> float:
    """Return the bytes of memory of this machine or container; infinity if the system does not say."""
    found = [float("inf")]
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in _CONTAINER:
        with contextlib.suppress(ValueError, OSError):
            found.append(int(Path(file).read_text()))
    return min(found)


def trainable() -> float:
    """Return the bytes that parameters may take, so that gradients and two moments of the optimizer fit, too."""
    return memory() / 4


def check_held(name: str, count: int, numbers: int, *, of: str = "values") -> int:
    """Check that memory can hold `count` items at once, and return `count`.

    Args:
        name: Name of the argument that sets the count.
        count: Value of the argument.
        numbers: Number of 4-byte numbers in each item.
        of: What the items are, such as "samples".

    Raises:
        InputError: If the items do not fit in memory together with the copies that are made of them.
    """
    most = memory() / (4 * _COPIES * max(numbers, 1))
    if count > most:
        raise InputError(
            f"{name} = {count:,} needs {gigabytes(4 * _COPIES * count * numbers)} of memory ({of} of {numbers:,} "
            f"numbers each, in {_COPIES} copies), and this machine has {gigabytes(memory())}; "
            f"needed: at most {int(most):,}"
        )
    return count


def gigabytes(size: float) -> str:
    """Return a number of bytes as text, in gigabytes."""
    return f"{size / 1e9:,.1f} GB" if size < 1e11 else f"{size / 1e9:,.0f} GB"
