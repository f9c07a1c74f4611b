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

    return jackknife(
        _means(x, x, cubic, seed, "xx") + _means(y, y, cubic, seed, "yy") - 2 * _means(x, y, cubic, seed, "xy")
    )


def diversity(x: Array, y: Array, seed: int = 0) -> Measured:
    """Return the mean distance between two rows of x (n, F) over that between two rows of y (m, F)."""

    def distance(a: Array, b: Array, rows: slice, inner: Array) -> Array:
        return np.sqrt(squared_distances(a, b, rows, inner))

    within_x, within_y = _means(x, x, distance, seed, "xx"), _means(y, y, distance, seed, "yy")
    return jackknife(np.where(within_y > 0, within_x / np.where(within_y > 0, within_y, 1), np.nan)).within(0.0, np.inf)


def _means(x: Array, y: Array, kernel: Callable[..., Array], seed: int, names: str) -> Array:
    """Return the mean of a kernel over pairs of rows, without each block in turn, then with all rows (BLOCKS + 1,).

    If both names are the same, x and y are one sample, and a pair is two different rows.
    """
    within = names[0] == names[1]
    in_x, in_y = (np.eye(BLOCKS)[block_of(len(rows), seed, name)] for rows, name in zip((x, y), names, strict=True))
    sums, pairs = np.zeros((BLOCKS, BLOCKS)), np.outer(in_x.sum(0), in_y.sum(0))
    for rows, inner in tiles(x, y):
        values = kernel(x, y, rows, inner)
        if within:
            values[np.arange(len(values)), np.arange(rows.start, rows.stop)] = 0.0
        sums += in_x[rows].T @ (values @ in_y)
    pairs -= np.diag(in_x.sum(0)) * within
    keep = [np.ix_(kept, kept) for kept in (*~np.eye(BLOCKS, dtype=bool), np.ones(BLOCKS, bool))]
    return np.array([sums[kept].sum() / pairs[kept].sum() for kept in keep])
