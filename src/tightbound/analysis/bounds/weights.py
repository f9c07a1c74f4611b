"""Importance weights of a batch, added in blocks; memory grows with the square root of their number."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.bounds.pareto import MIN_TAIL, pareto_shape, tail_size
from tightbound.analysis.estimate import Array
from tightbound.core.numerics import precise

BLOCK = 100  # samples that share a noise key: part of the definition of the numbers, not a batch size
FIRST = (1, 10, 100, 1000, 5000)


def rungs(samples: int) -> list[int]:
    """Return 1, 10, 100, 1000, 5000, 10,000, 50,000, ... below `samples`, and `samples` itself."""
    further = (k * 10**power for power in range(4, 1 + math.ceil(math.log10(samples))) for k in (1, 5))
    return [k for k in (*FIRST, *further) if k < samples] + [samples]


class PerExample(NamedTuple):
    """Summaries of the importance weights of each example.

    Attributes:
        bounds: IWAE bound by k, (N, rungs).
        effective: Effective sample size, (N,).
        pareto_k: Shape of the tail, (N,); NaN if no tail could be fitted.
    """

    bounds: Array
    effective: Array
    pareto_k: Array


class Weights:
    """IWAE bounds for several k, effective sample size and tail of weights log w (S, B), added in blocks.

    Each block but the last holds `BLOCK` samples. The bound for k is the mean over all disjoint sets of k consecutive
    samples; samples left over do not count.

    Args:
        samples: Number of samples S in all.
    """

    def __init__(self, samples: int) -> None:
        self.samples, self.rungs = samples, rungs(samples)
        self._bounds: list[Tensor | float] = [0.0 for _ in self.rungs]  # (B,) sums over sets
        self._open: list[Tensor | None] = [None for _ in self.rungs]  # (B,) log-sum of a set that is not full yet
        self._added = 0
        self._squares: Tensor | None = None
        self._largest: list[Tensor] = []
        self._tail = tail_size(samples) + 1

    def add(self, log_weight: Tensor) -> None:
        """Add the next samples, (S, B)."""
        log_weight = precise(log_weight)
        count = len(log_weight)
        self._added += count
        whole = log_weight.logsumexp(0)
        for i, k in enumerate(self.rungs):
            if k > count:
                self._fill(i, k, whole)
            elif k == 1:
                self._bounds[i] = self._bounds[i] + log_weight.sum(0)
            else:
                sets = log_weight[: count // k * k].unflatten(0, (-1, k))
                self._bounds[i] = self._bounds[i] + sets.logsumexp(1).sum(0)
        squares = (2 * log_weight).logsumexp(0)
        self._squares = squares if self._squares is None else torch.logaddexp(self._squares, squares)
        self._largest.append(log_weight)
        if len(self._largest) * BLOCK > 4 * self._tail or self._added == self.samples:
            some = torch.cat(self._largest)
            self._largest = [some.topk(min(self._tail, len(some)), 0, sorted=False).values]

    def _fill(self, rung: int, k: int, block: Tensor) -> None:
        """Add a block to a set that spans several blocks."""
        before = self._open[rung]
        total = block if before is None else torch.logaddexp(before, block)
        full = self._added % k == 0
        self._open[rung] = None if full else total
        if full:
            self._bounds[rung] = self._bounds[rung] + total

    def ladder(self) -> Tensor:
        """Return the IWAE bound for each k, (B, rungs) nats."""
        bounds = zip(self._bounds, self.rungs, strict=True)
        return torch.stack([torch.as_tensor(sums) / (self.samples // k) - math.log(k) for sums, k in bounds], dim=1)

    def effective(self) -> Tensor:
        """Return the effective sample size (sum w)^2 / sum w^2, (B,)."""
        assert self._squares is not None
        log_sum = self.ladder()[:, -1] + math.log(self.samples)
        return (2 * log_sum - self._squares).exp()

    def pareto_k(self) -> Array:
        """Return the shape of the tail k-hat, (B,); NaN if there are too few samples."""
        (largest,) = self._largest
        if len(largest) <= MIN_TAIL:
            return np.full(largest.shape[1], np.nan)
        return pareto_shape(largest.T.cpu().numpy())

    def summary(self) -> PerExample:
        """Return what is kept of the weights."""
        return PerExample(self.ladder().cpu().numpy(), self.effective().cpu().numpy(), self.pareto_k())
