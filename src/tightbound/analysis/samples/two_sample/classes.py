"""Shares of classes in a sample."""

from __future__ import annotations

import numpy as np

from tightbound.analysis.samples.two_sample.resampling import Array, Measured, bootstrap, resampled


def class_entropy(labels: Array, classes: int, seed: int = 0) -> Measured:
    """Return the entropy in nats of the shares of classes among labels (n,): log of their number if all are equally
    frequent, 0 if there is only one."""

    def of(counts: Array, _: Array) -> float:
        return _entropy(np.bincount(labels, counts, classes) / len(labels))

    n = len(labels)
    return bootstrap(of(np.ones(n), np.ones(1)), resampled(n, 1, of, seed)).within(0.0, np.log(classes))


def class_distance(x: Array, y: Array, classes: int, seed: int = 0) -> Measured:
    """Return the total variation distance between the class shares of labels x (n,) and y (m,): the share of samples
    that would have to change class."""

    def of(a: Array, b: Array) -> float:
        shares = np.bincount(x, a, classes) / len(x) - np.bincount(y, b, classes) / len(y)
        return float(np.abs(shares).sum() / 2)

    value = of(np.ones(len(x)), np.ones(len(y)))
    return bootstrap(value, resampled(len(x), len(y), of, seed)).within(0.0, 1.0)


def _entropy(shares: Array) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum()) + 0.0
