"""Means over pairs of rows, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tightbound.analysis.samples.two_sample.resampling import BLOCKS, Array, Measured, block_of, jackknife


def tiles(x: Array, y: Array, size: int = 1 << 22) -> Iterator[tuple[slice, Array]]:
    """Yield slices of rows of x (n, F) and their products with all of y (m, F), at most `size` numbers at once."""
    step = max(1, size // len(y))
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        yield rows, x[rows] @ y.T


def squared_distances(x: Array, y: Array, rows: slice, inner: Array) -> Array:
    """Return |x_i - y_j|^2 for a tile."""
    square = (x[rows] ** 2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * inner
    return np.maximum(square, 0.0)


def kernel_distance(x: Array, y: Array, seed: int = 0) -> Measured:
    """Return the squared maximum mean discrepancy between features x (n, F) and y (m, F).

    The kernel is (x'y / F + 1)^3. The estimate uses all pairs and is unbiased: it may be negative, since its
    expectation is zero for two samples of one distribution. The standard error is from a jackknife over blocks of rows.

    References:
        Demystifying MMD GANs (Binkowski et al. 2018), Section 4.3, https://arxiv.org/abs/1801.01401
        A kernel two-sample test (Gretton et al. 2012), Eq. 3, https://jmlr.org/papers/v13/gretton12a.html
    """
    size = x.shape[1]

    def cubic(a: Array, b: Array, rows: slice, inner: Array) -> Array:
        base = inner / size + 1
        return base * base * base

    within_x, within_y = _within(x, cubic, seed, "x"), _within(y, cubic, seed, "y")
    between = _Sums.of(x, y, cubic, block_of(len(x), seed, "x"), block_of(len(y), seed, "y"))

    value = within_x.mean() + within_y.mean() - 2 * between.mean()
    left = [within_x.mean(b) + within_y.mean(b) - 2 * between.mean(b) for b in range(BLOCKS)]
    return jackknife(value, np.array(left))


def diversity(x: Array, y: Array, seed: int = 0) -> Measured:
    """Return the mean distance between two rows of x (n, F) over that between two rows of y (m, F)."""

    def distance(a: Array, b: Array, rows: slice, inner: Array) -> Array:
        return np.sqrt(squared_distances(a, b, rows, inner))

    within_x, within_y = _within(x, distance, seed, "x"), _within(y, distance, seed, "y")
    left = [_ratio(within_x.mean(b), within_y.mean(b)) for b in range(BLOCKS)]
    return jackknife(_ratio(within_x.mean(), within_y.mean()), np.array(left)).within(0.0, np.inf)


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else np.nan


class _Sums:
    """Sums of a kernel over pairs of rows, by block, so that any block can be left out."""

    def __init__(self, sums: Array, pairs: Array) -> None:
        self.sums, self.pairs = sums, pairs  # (BLOCKS, BLOCKS) each

    @classmethod
    def of(cls, x: Array, y: Array, kernel: Callable[..., Array], blocks_x: Array, blocks_y: Array) -> _Sums:
        to_x, to_y = np.eye(BLOCKS)[blocks_x], np.eye(BLOCKS)[blocks_y]
        sums = np.zeros((BLOCKS, BLOCKS))
        for rows, inner in tiles(x, y):
            sums += to_x[rows].T @ (kernel(x, y, rows, inner) @ to_y)
        return cls(sums, np.outer(to_x.sum(0), to_y.sum(0)))

    def mean(self, without: int | None = None) -> float:
        """Return the mean over all pairs, or over those without the rows of a block."""
        keep = np.arange(BLOCKS) != (-1 if without is None else without)
        return float(self.sums[np.ix_(keep, keep)].sum() / self.pairs[np.ix_(keep, keep)].sum())


def _within(x: Array, kernel: Callable[..., Array], seed: int, name: str) -> _Sums:
    """Return the sums over pairs of two different rows."""
    blocks = block_of(len(x), seed, name)

    def apart(a: Array, b: Array, rows: slice, inner: Array) -> Array:
        values = kernel(a, b, rows, inner)
        values[np.arange(len(values)), np.arange(rows.start, rows.stop)] = 0.0
        return values

    found = _Sums.of(x, x, apart, blocks, blocks)
    return _Sums(found.sums, found.pairs - np.diag(np.bincount(blocks, minlength=BLOCKS)))
