"""Examples that occur in two splits, verbatim."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from tightbound.core.terms import Batch
from tightbound.data.splits.base import Split

FEW = 0.05  # share of the test examples
CHANCE = 40.0  # bits: examples with fewer can be equal by chance
READ = 200  # batches of training examples to compare with, at most


def verbatim(train: Split, test: Batch | Split, batches: int = READ) -> Tensor:
    """Return whether each test example (N,) is also among the training examples, bit for bit.

    Args:
        train: Training examples.
        test: Test examples.
        batches: Read at most this many batches of 1000 training examples.
    """
    seen = {row for batch in islice(train.dealt(1000), batches) for row in _rows(batch)}
    parts = [test] if isinstance(test, Batch) else test.dealt(1000)
    return torch.tensor([row in seen for batch in parts for row in _rows(batch)], dtype=torch.bool)


def note(train: Split, test: Split) -> tuple[str, ...]:
    """Return a note if many test examples are also training examples, and chance does not explain it."""
    share = verbatim(train, test).float().mean().item()
    if share < FEW or collision_bits(next(iter(train.dealt(1000))), CHANCE) < CHANCE:
        return ()
    return (
        f"duplicates: {share:.0%} of the test examples are also training examples, verbatim, so that numbers on test "
        "data are too good; remove them from the file",
    )


def collision_bits(data: Batch, enough: float = math.inf) -> float:
    """Return -log2 of the probability that two examples are equal if their elements are independent, in bits.

    Args:
        data: Examples.
        enough: Leave out further elements once this many bits are reached.
    """
    x, bits = data.x.flatten(1).cpu().numpy(), 0.0
    for column in x.T[(x != x[0]).any(0)]:  # constant elements tell nothing
        _, counts = np.unique(column, return_counts=True)
        bits -= math.log2(((counts / len(x)) ** 2).sum())
        if bits >= enough:
            break
    return bits


def _rows(batch: Batch) -> Iterator[int]:
    """Yield a hash of each example."""
    for row in np.ascontiguousarray(batch.x.flatten(1).cpu().numpy()):
        yield hash(row.tobytes())
