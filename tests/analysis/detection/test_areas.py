"""AUROC and AUPR: exact small cases, scikit-learn as the oracle, coverage of the intervals."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from tightbound.analysis.detection.areas import aupr, auroc, average_precision


def test_small_cases_by_hand() -> None:
    # pairs (own, other): 1<2, 1<4, 3>2, 3<4: three of four
    assert auroc(np.array([1.0, 3.0]), np.array([2.0, 4.0])).value == 0.75
    # ranked 4+, 3, 2+, 1: precision 1 at the first, 2/3 at the second
    assert aupr(np.array([1.0, 3.0]), np.array([2.0, 4.0])).value == pytest.approx((1 + 2 / 3) / 2)
    # ties are counted half
    assert auroc(np.array([1.0, 2.0]), np.array([2.0, 2.0])).value == 0.75
    # DeLong by hand: shares of own below each other (1/2, 1) and of other above each own (1, 1/2), variance 1/8 each
    assert auroc(np.array([1.0, 3.0]), np.array([2.0, 4.0])).stderr == pytest.approx(math.sqrt(1 / 16 + 1 / 16))


def test_values_equal_scikit_learn_with_ties_and_infinities() -> None:
    rng = np.random.default_rng(0)
    own, other = rng.integers(0, 9, 60).astype(float), rng.integers(2, 12, 40).astype(float)
    y, x = np.repeat([0, 1], [60, 40]), np.concatenate([own, other])
    assert auroc(own, other).value == pytest.approx(roc_auc_score(y, x), abs=1e-12)
    assert aupr(own, other).value == pytest.approx(average_precision_score(y, x), abs=1e-12)
    weights = rng.integers(0, 4, (5, 100))
    expected = [average_precision_score(y, x, sample_weight=w) for w in weights]
    np.testing.assert_allclose(average_precision(x, y, weights), expected, atol=1e-12)
    far = np.where(other == other.max(), np.inf, other)
    assert auroc(own, far).value == auroc(own, other).value
    low, high = auroc(own, other).interval
    assert 0 < low < auroc(own, other).value < high < 1


def test_standard_error_matches_repetitions_and_interval_covers() -> None:
    """Normal scores a distance d apart: AUROC = Phi(d / sqrt 2)."""
    rng, exact = np.random.default_rng(1), NormalDist().cdf(1.5 / math.sqrt(2))
    found = [auroc(rng.normal(size=60), rng.normal(1.5, size=80)) for _ in range(250)]
    spread = np.std([area.value for area in found], ddof=1)
    errors = [area.stderr for area in found if area.stderr is not None]
    assert len(errors) == 250
    assert np.mean(errors) == pytest.approx(spread, rel=0.15)  # the sd of 250 draws is known to 4.5%
    covered = np.mean([area.interval[0] <= exact <= area.interval[1] for area in found])
    assert 0.905 <= covered <= 0.99  # 0.95 +- 3 sd


def test_interval_of_average_precision_covers() -> None:
    rng = np.random.default_rng(5)
    scores = np.append(rng.normal(size=50_000), rng.normal(1, size=50_000))
    exact = average_precision_score(np.repeat([0, 1], 50_000), scores)
    found = [aupr(rng.normal(size=80), rng.normal(1, size=80), seed=i, resamples=100) for i in range(250)]
    covered = np.mean([area.interval[0] <= exact <= area.interval[1] for area in found])
    assert 0.905 <= covered <= 0.99  # 0.95 +- 3 sd
    errors = [area.stderr for area in found if area.stderr is not None]
    assert np.mean(errors) == pytest.approx(np.std([area.value for area in found], ddof=1), rel=0.2)


@pytest.mark.parametrize(("n", "m"), [(500, 50), (200, 15)])
def test_intervals_of_small_sets_and_skewed_scores_cover(n: int, m: int) -> None:
    """Exponential scores whose means differ by a factor of 9 or 32, where the plain intervals cover 0.76 to 0.92."""
    rng = np.random.default_rng(n + m)
    for factor in (9, 32):
        found = [auroc(rng.exponential(size=n), rng.exponential(factor, size=m)) for _ in range(200)]
        assert np.mean([a.interval[0] <= factor / (1 + factor) <= a.interval[1] for a in found]) >= 0.93


def test_intervals_of_average_precision_cover_with_15_positives() -> None:
    rng = np.random.default_rng(5)

    def drawn(n: int, m: int) -> tuple[Any, Any]:
        return rng.normal(size=n), rng.normal(2.66, size=m)

    exact = np.mean([aupr(*drawn(15, 15), resamples=2).value for _ in range(1000)])
    found = [aupr(*drawn(15, 15), seed=i, resamples=100) for i in range(200)]
    assert np.mean([a.interval[0] <= exact <= a.interval[1] for a in found]) >= 0.93


def test_complete_separation_has_an_exact_interval_and_no_standard_error() -> None:
    """n of n disjoint pairs in order: the lower end p solves p^n = 0.025."""
    own, other = np.arange(10.0), np.arange(100.0, 120.0)
    area = auroc(own, other)
    assert (area.value, area.stderr) == (1.0, None)
    assert area.interval == (pytest.approx(0.025**0.1), 1.0)
    turned = auroc(other, own)
    assert turned.value == 0.0
    assert turned.interval == (0.0, pytest.approx(1 - 0.025**0.1))
    assert aupr(own, other).stderr is None


def test_equal_scores_are_at_chance() -> None:
    area = auroc(np.ones(30), np.ones(20))
    assert area.value == 0.5
    assert aupr(np.ones(30), np.ones(20)).value == pytest.approx(0.4)


def test_swapping_the_sets_mirrors_and_increasing_maps_change_nothing() -> None:
    rng = np.random.default_rng(3)
    own, other = rng.normal(size=50), rng.normal(0.5, size=70)
    area, turned, mapped = auroc(own, other), auroc(other, own), auroc(np.exp(own), np.exp(other))
    assert turned.value == pytest.approx(1 - area.value)
    assert turned.stderr == pytest.approx(area.stderr)
    assert turned.interval == pytest.approx((1 - area.interval[1], 1 - area.interval[0]))
    assert (mapped.value, mapped.interval) == (area.value, area.interval)
