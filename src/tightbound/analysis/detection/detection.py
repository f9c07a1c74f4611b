"""How well a score tells one set of data from another, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightbound.core.noise import key_seed

Array = np.ndarray[Any, Any]
Z = 1.959963984540054  # the normal quantile of 97.5%
RESAMPLES = 1000
AT_ONCE = 1 << 19  # weights of data in resamples, in memory together


@dataclass(frozen=True)
class Area:
    """The area under a curve."""

    value: float
    stderr: float | None  # None: the two sets do not overlap
    interval: tuple[float, float]  # 95%
    estimator: str


def auroc(own: Array, other: Array) -> Area:
    """Probability that an example of `other` (M,) scores higher than one of `own` (N,), ties counted half.

    The standard error is DeLong's, and the interval is symmetric on the logit scale. Where the two do not overlap that
    error is zero, and the interval is the exact binomial one of min(N, M) disjoint pairs, all ordered alike.

    References:
        Comparing the areas under two or more correlated receiver operating characteristic curves (DeLong et al. 1988),
        https://doi.org/10.2307/2531595
    """
    from sklearn.metrics import roc_auc_score

    rank, is_other = _ranks(own, other)
    value = float(roc_auc_score(is_other, rank))
    variance = _components(own, other).var(ddof=1) / len(other) if len(other) > 1 else math.nan
    variance += _components(other, own).var(ddof=1) / len(own) if len(own) > 1 else math.nan
    if value in (0.0, 1.0):
        edge = 0.025 ** (1 / min(len(own), len(other)))
        how = "exact binomial interval of disjoint pairs, since the scores of the two do not overlap"
        return Area(value, None, (edge, 1.0) if value else (0.0, 1 - edge), how)
    stderr = math.sqrt(variance)
    return Area(value, stderr, _interval(value, stderr), "DeLong's standard error; 95% interval on the logit scale")


def aupr(own: Array, other: Array, seed: int = 0) -> Area:
    """Average precision with `other` (M,) as the positives, of which a score that knows nothing has M / (N + M).

    The standard error is that of a bootstrap within both sets, and the interval is symmetric on the logit scale, since
    percentiles cover too seldom. Where the two do not overlap every resample gives the same, and the interval is that
    value alone.

    References:
        Area under the precision-recall curve: point estimates and confidence intervals (Boyd et al. 2013), Section 4,
        https://doi.org/10.1007/978-3-642-40994-3_29
    """
    from sklearn.metrics import average_precision_score

    rank, is_other = _ranks(own, other)
    value = float(average_precision_score(is_other, rank))
    generator = np.random.default_rng(key_seed("aupr", seed))
    some, resampled = max(1, AT_ONCE // len(rank)), np.empty(0)
    while len(resampled) < RESAMPLES:
        rows = min(some, RESAMPLES - len(resampled))
        drawn = [generator.multinomial(len(part), np.full(len(part), 1 / len(part)), rows) for part in (own, other)]
        resampled = np.append(resampled, average_precision(rank, is_other, np.concatenate(drawn, 1)))
    stderr = float(resampled.std(ddof=1))
    if not stderr > 0:
        return Area(value, None, (value, value), "every bootstrap resample within both sets gives the same")
    how = f"standard error of {RESAMPLES:,} bootstrap resamples within both sets; 95% interval on the logit scale"
    return Area(value, stderr, _interval(value, stderr), how)


def _interval(value: float, stderr: float) -> tuple[float, float]:
    """95%, symmetric on the logit scale."""
    center, spread = math.log(value / (1 - value)), Z * stderr / (value * (1 - value))
    return 1 / (1 + math.exp(spread - center)), 1 / (1 + math.exp(-spread - center))


def average_precision(score: Array, positive: Array, weights: Array) -> Array:
    """(R,) average precision of scores (N,) under R rows of weights (R, N); ties are one threshold."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    w, hit = weights[:, order].astype(float), positive[order]
    found, taken = np.cumsum(w * hit, 1)[:, last], np.cumsum(w, 1)[:, last]
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    gained = np.diff(found, axis=1, prepend=0)
    return (gained * precision).sum(1) / found[:, -1]


def _ranks(own: Array, other: Array) -> tuple[Array, Array]:
    """Dense ranks of all scores, which may be infinite, and which are of `other`."""
    _, rank = np.unique(np.concatenate([own, other]), return_inverse=True)
    return rank, np.repeat([0, 1], [len(own), len(other)])


def _components(below: Array, above: Array) -> Array:
    """For each of `above`, the share of `below` that is less, ties counted half."""
    order = np.sort(below)
    return (np.searchsorted(order, above, "left") + np.searchsorted(order, above, "right")) / (2 * len(below))
