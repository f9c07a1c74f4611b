"""Scores over test examples that keep what each example contributes, so that two of them can be compared in pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightbound.analysis.estimate import Array, Estimate, estimate, mean_error


@dataclass(frozen=True)
class Pair:
    """Training examples to fit on and test examples to judge by: features (N, L), or labels (N,) or (N, factors)."""

    train: Array
    test: Array


@dataclass(frozen=True)
class Scored:
    """A score with its influence function: the contribution of each test example, of mean zero.

    Attributes:
        value: Score () or (factors,).
        influence: Contributions (N,) or (N, factors).
    """

    value: Array
    influence: Array

    def estimate(self, **facts: Any) -> Estimate:
        """Return the score with its standard error sd(influence) / sqrt(N)."""
        return _estimate(self.value, self.influence, facts)

    def minus(self, other: Scored, **facts: Any) -> Estimate:
        """Return the difference to a score on the same examples, with the standard error of paired values."""
        return _estimate(self.value - other.value, self.influence - other.influence, facts)


class Accuracy(Scored):
    """Share of examples that are right."""

    def estimate(self, **facts: Any) -> Estimate:
        """Return the share with its binomial standard error.

        The error is taken at (k + 1) / (N + 2), so that no errors among few examples does not mean certainty.
        """
        n = len(self.influence)
        p = (float(self.value) * n + 1) / (n + 2)
        return estimate(self.value, math.sqrt(p * (1 - p) / n), n=n, **facts)


def accuracy(right: Array) -> Accuracy:
    """Return the accuracy from booleans (N,)."""
    return Accuracy(np.asarray(right.mean()), right - right.mean())


def explained(truth: Array, predicted: Array) -> Scored:
    """Return R^2 of each factor (N, factors): 1 - mean squared error / variance; NaN if the variance is zero."""
    squared, deviation = (truth - predicted) ** 2, (truth - truth.mean(0)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = squared.mean(0) / deviation.mean(0)
        influence = -(squared - share * deviation) / deviation.mean(0)  # influence function of a ratio of means
    return Scored(1 - share, influence)


def _estimate(value: Array, influence: Array, facts: dict[str, Any]) -> Estimate:
    n = len(influence)
    stderr = mean_error(influence) if n > 1 else None
    if value.ndim and len(value) == 1:
        value, stderr = value[0], None if stderr is None else stderr[0]
    return estimate(value, stderr, n=n, **facts)
