"""Differences between the pairwise dependence of the columns of two tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tightbound.analysis.samples.two_sample.resampling import Array, Measured, jackknife, leave_out
from tightbound.core.noise import key_seed

WIDTH = 100  # maximum number of scores of the compared columns; each category has one score


class Dependence(NamedTuple):
    """Differences in the dependence between pairs of columns.

    Attributes:
        mean: Mean over pairs.
        pairs: Each pair (i, j), i < j.
        gaps: The difference for each pair, as `mean`.
        own: Association (P,) of each pair among the rows of x.
        other: Association (P,) of each pair among the rows of y.
    """

    mean: Measured
    pairs: list[tuple[int, int]]
    gaps: list[Measured]
    own: Array
    other: Array


def dependence(x: Array, y: Array, levels: Sequence[int], seed: int = 0) -> Dependence | None:
    """Compare the dependence between the columns of x (n, D) with that between the columns of y (m, D).

    Numbers are replaced by their ranks, and categories by indicators, each whitened. The dependence between two columns
    is the matrix of correlations between these scores, divided by the square root of the smaller number of degrees of
    freedom: Spearman's correlation for numbers, and a matrix whose norm is the correlation ratio of ranks for a number
    and categories, and Cramér's V for two columns of categories. The difference is the norm of the difference between
    these matrices, so that it also shows which categories go together. Missing entries (NaN) are left out.

    Args:
        x: A table.
        y: Another table.
        levels: Number of categories of each column (D,); 0 for a column of numbers.
        seed: Seed of the blocks for standard errors, and of the choice of columns if there are too many.

    Returns:
        The differences; None if there are fewer than two columns.

    References:
        The proof and measurement of association between two things (Spearman 1904)
        Mathematical methods of statistics (Cramér 1946), Section 21.9
    """
    order = np.random.default_rng(key_seed("columns", seed)).permutation(len(levels))
    width = np.maximum(np.array(levels), 1)
    kept = np.sort(order[width[order].cumsum() <= WIDTH])
    if len(kept) < 2:
        return None
    own = [levels[i] for i in kept]
    x, y = x[:, kept], y[:, kept]
    upper = np.triu_indices(len(kept), 1)

    def gaps(a: Array, b: Array) -> Array:
        found = norms(correlations(a, own) - correlations(b, own), own)[upper]
        return np.append(found, found.mean())

    values = leave_out(x, y, seed, gaps)
    *pairs, mean = (jackknife(each).within(0.0, np.inf) for each in values.T)
    named = [(int(kept[i]), int(kept[j])) for i, j in zip(*upper, strict=True)]
    return Dependence(mean, named, pairs, *(association(part, own)[upper] for part in (x, y)))


def association(x: Array, levels: Sequence[int]) -> Array:
    """Return the association (D, D) between columns of x (n, D).

    It is Spearman's correlation, with its sign, for two columns of numbers, otherwise the correlation ratio of ranks or
    Cramér's V.
    """
    numbers = np.array([not own for own in levels])
    found = correlations(x, levels)
    starts = _starts(levels)
    signed = found[np.ix_(starts, starts)]
    return np.where(np.outer(numbers, numbers), signed, norms(found, levels))


def correlations(x: Array, levels: Sequence[int]) -> Array:
    """Return the correlations (W, W) between the whitened scores of the columns of x (n, D)."""
    known = ~np.isnan(x)
    scores = np.concatenate([_scores(column, own) for column, own in zip(x.T, levels, strict=True)], 1)
    width = np.maximum(np.array(levels), 1)
    together = (known.T.astype(float) @ known).repeat(width, 0).repeat(width, 1)
    return scores.T @ scores / np.maximum(together, 1)


def norms(matrix: Array, levels: Sequence[int]) -> Array:
    """Return the norm (D, D) of each pair's block, divided by the square root of the smaller degrees of freedom."""
    starts, free = _starts(levels), np.array([max(own - 1, 1) for own in levels])
    blocks = np.add.reduceat(np.add.reduceat(matrix**2, starts, 0), starts, 1)
    return np.sqrt(blocks / np.minimum.outer(free, free))


def _starts(levels: Sequence[int]) -> Array:
    width = np.maximum(np.array(levels), 1)
    return width.cumsum() - width


def _scores(column: Array, levels: int) -> Array:
    """Return scores (n, max(levels, 1)) with mean 0 over the known entries; 0 for missing entries."""
    from scipy.stats import rankdata

    known = ~np.isnan(column)
    if levels:
        shown = (column[:, None] == np.arange(levels)).astype(float)
        share = shown.sum(0) / max(known.sum(), 1)
        scores = np.divide(shown - share, np.sqrt(share), out=np.zeros_like(shown), where=share > 0)
    else:
        scores = np.zeros((len(column), 1))
        ranks = rankdata(column[known])
        spread = ranks.std() if len(ranks) else 0.0
        scores[known, 0] = (ranks - ranks.mean()) / spread if spread > 0 else 0.0
    return scores * known[:, None]
