"""Law 9: over simulated data sets, the value ± 1.96 standard errors holds the truth about 95% of the time."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tightbound.analysis import estimate as estimates
from tightbound.analysis.estimate import Estimate, active_units, mean, ratio, resampled_error, share, spread
from tightbound.analysis.representation.supervised import accuracy, explained

FACTS: dict[str, Any] = {"unit": "nats", "estimator": "any", "target": "simulated data"}
Random = np.random.Generator
Case = tuple[Callable[[Random], Estimate], float]


def of_mean(n: int, draw: Callable[[Random, int], Any], truth: float) -> Case:
    return lambda rng: mean(draw(rng, n), **FACTS), truth


def of_share(n: int, p: float) -> Case:
    return lambda rng: share(rng.random(n) < p, **FACTS), p


def of_spread(rng: Random) -> Estimate:
    return spread(rng.normal(0, 3, (40, 1)), rng.chisquare(4, (40, 1)) * 4, **FACTS)


def of_ratio(rng: Random) -> Estimate:
    y = rng.gamma(2, 1, 40)
    return ratio(y * rng.gamma(1, 3, 40), y, **FACTS)


def of_units(rng: Random) -> Estimate:
    """12 dimensions, whose variances lie around the threshold."""
    return active_units(rng.normal(size=(60, 12)) * np.linspace(0.07, 0.16, 12), **FACTS)


def of_r2(rng: Random) -> Estimate:
    truth = rng.normal(size=(60, 1))
    return explained(truth, truth + rng.normal(0, 0.5, (60, 1))).estimate(**FACTS)


CASES: dict[str, Case] = {
    "mean of 5": of_mean(5, lambda rng, n: rng.normal(size=n), 0.0),
    "mean of 60 exponential": of_mean(60, lambda rng, n: rng.exponential(size=n), 1.0),
    "mean of 60 log-normal": of_mean(60, lambda rng, n: rng.lognormal(size=n), math.exp(0.5)),
    "mean of 60 gamma(0.3)": of_mean(60, lambda rng, n: rng.gamma(0.3, size=n), 0.3),
    "mean of 60 uniform": of_mean(60, lambda rng, n: rng.uniform(size=n), 0.5),
    "share of 10, never": of_share(10, 0.0),
    "share of 10, rare": of_share(10, 0.03),
    "share of 10": of_share(10, 0.4),
    "share of 50, mostly": of_share(50, 0.97),
    "spread": (of_spread, 5.0),
    "ratio": (of_ratio, 3.0),
    "active_units": (of_units, float((np.linspace(0.07, 0.16, 12) > 0.1).sum())),
    "accuracy of 20": (lambda rng: accuracy(rng.random(20) < 0.95).estimate(**FACTS), 0.95),
    "R^2 of 60": (of_r2, 0.75),
}


@pytest.mark.parametrize("name", CASES)
def test_standard_errors_cover(name: str) -> None:
    draw, truth = CASES[name]
    rng, held, n = np.random.default_rng(0), 0, 1500
    for _ in range(n):
        found = draw(rng)
        value, stderr = (np.ravel(v)[0] for v in (found.value, found.stderr))
        held += abs(value - truth) <= 1.96 * stderr + 1e-12
    assert held / n >= 0.92, f"{name}: {held / n}"


def test_standard_errors_of_many_symmetric_values_are_not_widened() -> None:
    x = np.random.default_rng(0).normal(size=(4000, 3))
    assert mean(x, **FACTS).stderr == pytest.approx((x.std(0, ddof=1) / math.sqrt(4000)).tolist(), rel=0.002)
    hits = x[:, 0] > 0
    assert share(hits, **FACTS).stderr == pytest.approx(0.5 / math.sqrt(4000), rel=0.01)


def test_no_hit_among_ten_is_not_certainty() -> None:
    none = share(np.zeros(10, bool), **FACTS)
    assert none.value == 0
    assert 1.96 * none.stderr == pytest.approx(1.96**2 / (10 + 1.96**2), rel=1e-3)  # the end of Wilson's interval


def test_resampled_errors_cover_a_share_beyond_a_quantile() -> None:
    """The standard deviation of the bootstrap covers 0.895 here: it is small where the share comes out small."""
    rng, found = np.random.default_rng(0), []
    for _ in range(500):
        codes, draws = rng.normal(size=60), np.sort(rng.normal(size=300))
        limits = np.quantile(rng.choice(codes, (200, 60)), 0.03, axis=1)
        value, again = (np.searchsorted(draws, limit) / 300 for limit in (np.quantile(codes, 0.03), limits))
        found.append((float(value), resampled_error(float(value), again)))
    values, errors = np.array(found).T
    assert (abs(values - values.mean()) <= 1.96 * errors).mean() >= 0.93
    again = rng.normal(5, 2, size=20_000)
    assert resampled_error(5.0, again) == pytest.approx(2, rel=0.03)  # not widened where it is symmetric


def test_every_function_that_estimates_from_examples_is_tested() -> None:
    functions = dict(inspect.getmembers(estimates, inspect.isfunction))
    takes = {name: inspect.signature(function) for name, function in functions.items()}
    found = {name for name, own in takes.items() if own.return_annotation == "Estimate" and "facts" in own.parameters}
    tested = {name.partition(" ")[0] for name in CASES}
    assert found - {"estimate"} <= tested


def test_large_numbers_are_shown_with_an_exponent() -> None:
    assert estimates.with_error(2.678e70, 8e69) == "2.68e+70 ± 8e+69"
