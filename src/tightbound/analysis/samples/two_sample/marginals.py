"""Distances between the distributions of single columns of two tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tightbound.analysis.samples.two_sample.resampling import Array, Measured, bootstrap_each

MOST, FEWEST = 300, 50  # maximum and minimum number of bootstrap resamples
WORK = 1e8  # number of resampled entries, which sets the number of resamples


def marginal_distances(x: Array, y: Array, nominal: Sequence[bool], seed: int = 0) -> tuple[Measured, list[Measured]]:
    """Return the distance between each column of x (n, D) and y (m, D), and the mean over columns, (mean, columns).

    It is the Kolmogorov-Smirnov distance, the largest difference between the distribution functions. For `nominal`
    columns, whose numbers are positions of categories, it is the total variation distance between their shares. Both
    lie within 0 and 1. Missing entries (NaN) are left out. Standard errors come from a bootstrap of rows.
    """
    n, m = len(x), len(y)
    distances = [
        (_variation if own else _kolmogorov)(np.concatenate([a, b]), n)
        for a, b, own in zip(x.T, y.T, nominal, strict=True)
    ]

    def every(a: Array, b: Array) -> Array:
        weight = np.concatenate([a, b])
        found = np.array([distance(weight) for distance in distances])
        return np.append(found, np.nanmean(found) if np.isfinite(found).any() else np.nan)

    resamples = int(np.clip(WORK / max(x.shape[1] * (n + m), 1), FEWEST, MOST))
    *columns, mean = (each.within(0.0, 1.0) for each in bootstrap_each(n, m, every, seed, resamples))
    return mean, columns


Distance = Callable[[Array], float]  # argument: weight of each row (n + m,)


def _shares(weight: Array, first: Array) -> Array:
    """Return the signed shares of the rows of two samples; the first sample's add up to 1, the other's to -1."""
    own, other = (np.where(part, weight, 0.0) for part in (first, ~first))
    with np.errstate(invalid="ignore"):
        return own / own.sum() - other / other.sum()


def _kolmogorov(values: Array, n: int) -> Distance:
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    last = np.append(np.diff(values[order]) > 0, True) if len(order) else np.zeros(0, bool)  # last one of equal values
    first = order < n
    return lambda weight: float(np.abs(_shares(weight[order], first).cumsum()[last]).max(initial=0.0))


def _variation(values: Array, n: int) -> Distance:
    known = np.flatnonzero(~np.isnan(values))
    first, (_, code) = known < n, np.unique(values[known], return_inverse=True)
    return lambda weight: float(np.abs(np.bincount(code, _shares(weight[known], first))).sum() / 2)
