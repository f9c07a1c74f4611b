"""Examples that occur in two splits, verbatim."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from tightbound.core.terms import Batch
from tightbound.data.split import Split

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


def collision_bits(data: Batch) -> float:
    """Return -log2 of the probability that two examples are equal if their elements are independent, in bits."""
    x, total = data.x.flatten(1).cpu().numpy(), 0.0
    for column in x.T:
        _, counts = np.unique(column, return_counts=True)
        total -= math.log2(((counts / len(x)) ** 2).sum())
    return total


def _rows(batch: Batch) -> Iterator[int]:
    """Yield a hash of each example."""
    for row in np.ascontiguousarray(batch.x.flatten(1).cpu().numpy()):
        yield hash(row.tobytes())
