"""Areas under curves, with intervals: how well a score tells one data set from another."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tightbound.analysis.estimate import Z
from tightbound.core.noise import key_seed

Array = np.ndarray[Any, Any]
INTERVAL = "95% interval by Student's t on the logit scale, with room for one example more in each set"


class Area(NamedTuple):
    """An area under a curve.

    Attributes:
        value: The area.
        stderr: Standard error; None: the two sets do not overlap.
        interval: 95% interval.
        estimator: How the standard error and the interval are estimated.
    """

    value: float
    stderr: float | None
    interval: tuple[float, float]
    estimator: str


def auroc(own: Array, other: Array) -> Area:
    """Return the probability that an example of `other` (M,) scores higher than one of `own` (N,); ties count half.

    The standard error is DeLong's. The interval is symmetric on the logit scale, with Student's t. A small set may lack
    the few examples that are out of order, which makes that interval too short, so the returned one also spans the
    interval with one more example in each set, at the other's median. If the two sets do not overlap, the standard
    error is zero; the interval is then the exact binomial one for min(N, M) disjoint pairs that are all in order.

    References:
        Comparing the areas under two or more correlated receiver operating characteristic curves (DeLong et al. 1988),
        https://doi.org/10.2307/2531595
    """
    below, above = shares_below(own, other), shares_below(other, own)
    value = float(below.mean())
    if value in (0.0, 1.0):
        edge = 0.025 ** (1 / min(len(own), len(other)))
        how = "exact binomial interval for disjoint pairs, since the scores of the two sets do not overlap"
        return Area(value, None, (edge, 1.0) if value else (0.0, 1 - edge), how)
    stderr, freedom = _delong(below, above)
    more = np.append(below, 0.5), np.append(above, 0.5)
    interval = _hull(
        _interval(value, stderr, freedom), _interval((more[0].mean() + 1 - more[1].mean()) / 2, *_delong(*more))
    )
    return Area(value, stderr, interval, f"DeLong's standard error; {INTERVAL}")


def aupr(own: Array, other: Array, seed: int = 0, *, resamples: int = 1000, block: int = 1 << 19) -> Area:
    """Return the average precision with `other` (M,) as the positives beside `own` (N,); M / (N + M) is chance.

    The standard error comes from a bootstrap within both sets and is widened by Student's t if they are small. The
    interval is made as for `auroc`, because percentile intervals cover too seldom. If the two sets do not overlap,
    every resample gives the same value, and only the example that is added to each set gives the interval its width.

    Args:
        own: Scores (N,).
        other: Scores (M,).
        seed: Random seed of the bootstrap.
        resamples: Number of bootstrap resamples.
        block: Weights in memory at a time.

    References:
        Area under the precision-recall curve: point estimates and confidence intervals (Boyd et al. 2013), Section 4,
        https://doi.org/10.1007/978-3-642-40994-3_29
    """
    generator = np.random.default_rng(key_seed("aupr", seed))

    def bootstrapped(own: Array, other: Array) -> tuple[float, float]:
        rank, is_other = _ranks(own, other)
        rows_at_once, resampled = max(1, block // len(rank)), np.empty(0)
        while len(resampled) < resamples:
            rows = min(rows_at_once, resamples - len(resampled))
            drawn = [generator.multinomial(len(part), np.full(len(part), 1 / len(part)), rows) for part in (own, other)]
            resampled = np.append(resampled, average_precision(rank, is_other, np.concatenate(drawn, 1)))
        value = average_precision(rank, is_other, np.ones((1, len(rank))))
        return float(value[0]), float(resampled.std(ddof=1))

    freedom = min(len(own), len(other)) - 1
    value, stderr = bootstrapped(own, other)
    more = bootstrapped(np.append(own, _middle(other)), np.append(other, _middle(own)))
    interval = _hull(_interval(value, stderr, freedom), _interval(*more, freedom))
    if not stderr > 0:
        return Area(value, None, interval, "every bootstrap resample within both sets gives the same value")
    how = f"standard error of {resamples:,} bootstrap resamples within both sets, widened by Student's t; {INTERVAL}"
    return Area(value, stderr * _student(freedom) / Z, interval, how)


def average_precision(score: Array, positive: Array, weights: Array) -> Array:
    """Return the average precision (R,) of scores (N,) under R rows of weights (R, N); ties share one threshold."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    w, hit = weights[:, order].astype(float), positive[order]
    found, taken = np.cumsum(w * hit, 1)[:, last], np.cumsum(w, 1)[:, last]
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    gained = np.diff(found, axis=1, prepend=0)
    return (gained * precision).sum(1) / found[:, -1]


def _delong(below: Array, above: Array) -> tuple[float, float]:
    """Return DeLong's standard error and its degrees of freedom (Welch), from the shares of each set in order."""
    parts = [share.var(ddof=1) / len(share) if len(share) > 1 else math.nan for share in (below, above)]
    each = sum(part**2 / max(len(share) - 1, 1) for part, share in zip(parts, (below, above), strict=True))
    return math.sqrt(sum(parts)), sum(parts) ** 2 / each if each else math.inf


def _interval(value: float, stderr: float, freedom: float) -> tuple[float, float]:
    """Return the 95% interval by Student's t that is symmetric on the logit scale."""
    from scipy.special import expit, logit

    if not stderr > 0:
        return value, value
    spread = _student(freedom) * stderr / (value * (1 - value))
    return float(expit(logit(value) - spread)), float(expit(logit(value) + spread))


def _student(freedom: float) -> float:
    """Return the 97.5% quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(min(max(freedom, 1), 1e6), 0.975))


def _middle(scores: Array) -> float:
    return np.sort(scores)[len(scores) // 2]  # one of them, since they may be infinite


def _hull(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), max(one[1], other[1])


def _ranks(own: Array, other: Array) -> tuple[Array, Array]:
    """Return dense ranks of all scores, which may be infinite, and which of them belong to `other`."""
    _, rank = np.unique(np.concatenate([own, other]), return_inverse=True)
    return rank, np.repeat([0, 1], [len(own), len(other)])


def shares_below(below: Array, above: Array) -> Array:
    """Return, for each of `above`, the share of `below` that is less; ties count half."""
    order = np.sort(below)
    return (np.searchsorted(order, above, "left") + np.searchsorted(order, above, "right")) / (2 * len(below))
