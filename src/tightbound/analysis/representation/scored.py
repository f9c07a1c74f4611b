"""Scores over test data, which keep what each example adds: so two of them are compared in pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightbound.analysis.estimate import Array, Estimate, estimate


@dataclass(frozen=True)
class Pair:
    """Training data, to fit on, and test data, to judge on: features (N, L), or labels (N,) or (N, factors)."""

    train: Array
    test: Array


@dataclass(frozen=True)
class Scored:
    """A score and its influence function: what each test example adds to it, of mean zero."""

    value: Array  # () or (factors,)
    influence: Array  # (N,) or (N, factors)

    def number(self, **facts: Any) -> Estimate:
        """With the standard error sd(influence) / sqrt(N)."""
        return _number(self.value, self.influence, facts)

    def less(self, other: Scored, **facts: Any) -> Estimate:
        """The difference to a score on the same data, with the standard error of pairs."""
        return _number(self.value - other.value, self.influence - other.influence, facts)


class Accuracy(Scored):
    """The share of data that are right."""

    def number(self, **facts: Any) -> Estimate:
        """With the binomial standard error, at (k + 1) / (N + 2) lest none of few data is taken for certainty."""
        n = len(self.influence)
        p = (float(self.value) * n + 1) / (n + 2)
        return estimate(self.value, math.sqrt(p * (1 - p) / n), n=n, **facts)


def accuracy(right: Array) -> Accuracy:
    """Of booleans (N,)."""
    return Accuracy(np.asarray(right.mean()), right - right.mean())


def explained(truth: Array, predicted: Array) -> Scored:
    """R^2 of each factor (N, factors): 1 - the mean squared error over the variance; NaN where that is zero."""
    squared, deviation = (truth - predicted) ** 2, (truth - truth.mean(0)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = squared.mean(0) / deviation.mean(0)
        influence = -(squared - share * deviation) / deviation.mean(0)  # of a ratio of means
    return Scored(1 - share, influence)


def _number(value: Array, influence: Array, facts: dict[str, Any]) -> Estimate:
    n = len(influence)
    stderr = influence.std(0, ddof=1) / math.sqrt(n) if n > 1 else None
    if value.ndim and len(value) == 1:
        value, stderr = value[0], None if stderr is None else stderr[0]
    return estimate(value, stderr, n=n, **facts)
