"""Statistics of the elements of x: pixels or columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tightbound.analysis.samples.two_sample.resampling import (
    BLOCKS,
    Array,
    Measured,
    block_of,
    jackknife,
)


def mean_gap(x: Array, y: Array, seed: int = 0) -> Measured:
    """Return the root mean square, over elements, of the difference between the means of x (n, D) and y (m, D)."""
    return _by_block(x, y, seed, lambda a, b: float(np.sqrt(np.mean((a.mean - b.mean) ** 2))))


def spread(x: Array, y: Array, seed: int = 0) -> Measured:
    """Return the variance of x (n, D) over that of y (m, D), each summed over elements."""
    return _by_block(x, y, seed, lambda a, b: _over(np.trace(a.covariance), np.trace(b.covariance)))


def covariance_gap(x: Array, y: Array, seed: int = 0) -> Measured:
    """Return |C - C'| / |C'| for the covariances C of x (n, D) and C' of y (m, D), in the Frobenius norm."""

    def gap(a: _Moments, b: _Moments) -> float:
        return _over(np.linalg.norm(a.covariance - b.covariance), np.linalg.norm(b.covariance))

    return _by_block(x, y, seed, gap)


def mean_ratio(x: Array, y: Array, seed: int = 0) -> Measured:
    """Return the mean of x (n,) over the mean of y (m,)."""
    blocks_x, blocks_y = block_of(len(x), seed, "x"), block_of(len(y), seed, "y")
    left = [_over(x[blocks_x != b].mean(), y[blocks_y != b].mean()) for b in range(BLOCKS)]
    return jackknife(_over(x.mean(), y.mean()), np.array(left)).within(0.0, np.inf)


def _over(a: Any, b: Any) -> float:
    return float(a / b) if b > 0 else np.nan


class _Moments:
    def __init__(self, n: int, total: Array, gram: Array) -> None:
        self.n, self.total, self.gram = n, total, gram

    @classmethod
    def of(cls, x: Array) -> _Moments:
        return cls(len(x), x.sum(0), x.T @ x)

    def without(self, other: _Moments) -> _Moments:
        return _Moments(self.n - other.n, self.total - other.total, self.gram - other.gram)

    @property
    def mean(self) -> Array:
        return self.total / self.n

    @property
    def covariance(self) -> Array:
        return (self.gram - np.outer(self.total, self.mean)) / (self.n - 1)


def _by_block(x: Array, y: Array, seed: int, statistic: Callable[[_Moments, _Moments], float]) -> Measured:
    blocks_x, blocks_y = block_of(len(x), seed, "x"), block_of(len(y), seed, "y")
    center = y.mean(0)  # sums of squares about a distant point would lose precision
    x, y = x - center, y - center
    all_x, all_y = _Moments.of(x), _Moments.of(y)
    left = [
        statistic(all_x.without(_Moments.of(x[blocks_x == b])), all_y.without(_Moments.of(y[blocks_y == b])))
        for b in range(BLOCKS)
    ]
    return jackknife(statistic(all_x, all_y), np.array(left)).within(0.0, np.inf)
