"""Statistics of two samples: closed forms, oracles, brute force, invariances, and coverage of intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import sqrtm

from tightbound.analysis.samples import two_sample
from tightbound.analysis.samples.two_sample import Measured
from tightbound.analysis.samples.two_sample.pairs import tiles
from tightbound.analysis.samples.two_sample.resampling import BLOCKS, Array, block_of, jackknife

Statistic = Callable[[Array, Array], float]


def normal(n: int, size: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, size))


def spd(size: int, rank: int, seed: int) -> Array:
    a = normal(size, rank, seed)
    return a @ a.T


def test_frechet_distance_of_diagonal_gaussians_has_its_closed_form() -> None:
    a, b, gap = np.array([1.0, 4.0, 0.0]), np.array([9.0, 0.25, 2.0]), np.array([1.0, -2.0, 0.5])
    expected = (gap**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert two_sample.frechet_distance(gap, np.diag(a), np.zeros(3), np.diag(b)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rank", [6, 9])
def test_frechet_distance_agrees_with_scipy_and_is_symmetric(rank: int) -> None:
    a, b, m, n = spd(6, rank, 0), spd(6, rank, 1), normal(1, 6, 2)[0], normal(1, 6, 3)[0]
    root = np.asarray(sqrtm(a @ b)).real
    expected = ((m - n) ** 2).sum() + np.trace(a + b - 2 * root)
    assert two_sample.frechet_distance(m, a, n, b) == pytest.approx(expected, rel=1e-9)
    assert two_sample.frechet_distance(n, b, m, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_takes_singular_covariances() -> None:
    a = spd(6, 2, 0)
    assert two_sample.frechet_distance(np.zeros(6), a, np.zeros(6), a) == pytest.approx(0, abs=1e-6)
    assert two_sample.frechet_distance(np.zeros(6), a, np.zeros(6), 4 * a) == pytest.approx(np.trace(a), rel=1e-6)


def test_equal_samples_are_at_no_distance() -> None:
    x = normal(200)
    assert two_sample.frechet(x, x)[0].value == pytest.approx(0, abs=1e-9)
    assert two_sample.kernel_distance(x, x).value < 0  # unbiased: pairs of a row with itself count between, not within
    found = two_sample.neighbors(x, x)
    assert [found[name].value for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert found["density"].value == pytest.approx(1 + 1 / 5)  # each ball holds k others and its own row


def test_the_jackknife_takes_the_bias_off_the_frechet_distance_and_its_interval_covers() -> None:
    truth = 3 * (1.5 - 1) ** 2 + 3 * 0.3**2
    covered, values = 0, []
    for seed in range(40):
        x, y = 1.5 * normal(100, seed=seed) + 0.3, normal(100, seed=1000 + seed)
        biased, debiased = two_sample.frechet(x, y, seed)
        covered += debiased.low <= truth <= debiased.high
        values.append((biased.value, debiased.value))
    biased, debiased = np.mean(values, 0) - truth
    error = np.std([v for _, v in values]) / np.sqrt(40)
    assert biased > 2 * error
    assert abs(debiased) < 3 * error
    assert covered >= 32


def test_the_debiased_distance_between_samples_of_one_distribution_is_near_zero() -> None:
    """With many features too, for which a bootstrap would leave 0.2."""
    values = [two_sample.frechet(normal(300, 40, s), normal(300, 40, 500 + s), s)[1].value for s in range(20)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(20)


def brute_kernel(x: Array, y: Array) -> float:
    def k(a: Array, b: Array) -> Array:
        return (a @ b.T / x.shape[1] + 1) ** 3

    n, m = len(x), len(y)
    within = (k(x, x).sum() - np.trace(k(x, x))) / (n * (n - 1)) + (k(y, y).sum() - np.trace(k(y, y))) / (m * (m - 1))
    return within - 2 * k(x, y).mean()


def distances(x: Array, y: Array) -> Array:
    return np.linalg.norm(x[:, None] - y[None], axis=-1)


def brute_neighbors(x: Array, y: Array, k: int = 5) -> dict[str, float]:
    """Follow the equations of the papers."""
    radius_x, radius_y = (np.sort(distances(a, a), axis=1)[:, k] for a in (x, y))
    d = distances(x, y)
    in_data, in_samples = d <= radius_y[None], d <= radius_x[:, None]
    return {
        "precision": in_data.any(1).mean(),
        "recall": in_samples.any(0).mean(),
        "density": in_data.sum() / (k * len(x)),
        "coverage": in_data.any(0).mean(),
    }


def brute_diversity(x: Array, y: Array) -> float:
    def within(a: Array) -> float:
        return distances(a, a).sum() / (len(a) * (len(a) - 1))

    return within(x) / within(y)


def brute_covariance(x: Array, y: Array) -> float:
    a, b = np.cov(x.T), np.cov(y.T)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


MEASURES: dict[str, tuple[Callable[[Array, Array], Measured], Statistic]] = {
    "kernel": (two_sample.kernel_distance, brute_kernel),
    "diversity": (two_sample.diversity, brute_diversity),
    "covariance_gap": (lambda x, y: two_sample.elements(x, y)["covariance_gap"], brute_covariance),
    **{
        name: (
            lambda x, y, name=name: two_sample.neighbors(x, y)[name],
            lambda x, y, name=name: brute_neighbors(x, y)[name],
        )
        for name in ("precision", "recall", "density", "coverage")
    },
}


@pytest.mark.parametrize("name", MEASURES)
def test_values_and_jackknife_agree_with_brute_force(name: str) -> None:
    x, y = normal(90, 2, 1) * [1.6, 0.3] + 0.5, normal(70, 2, 2)
    measure, brute = MEASURES[name]
    measured = measure(x, y)
    assert measured.value == pytest.approx(brute(x, y), rel=1e-9)
    a, b = block_of(len(x), 0, "x"), block_of(len(y), 0, "y")
    left = np.array([brute(x[a != i], y[b != i]) for i in range(BLOCKS)])
    assert measured.stderr == pytest.approx(jackknife(np.append(left, measured.value)).stderr, rel=1e-6)
    assert measured.stderr > 0


def test_tiles_cover_all_pairs() -> None:
    x, y = normal(90, 2, 1), normal(70, 2, 2)
    parts = list(tiles(x, y, size=1000))
    assert len(parts) == 7
    assert max(inner.size for _, inner in parts) <= 1000
    assert np.allclose(np.concatenate([inner for _, inner in parts]), x @ y.T)
    assert [rows.start for rows, _ in parts] == [rows.stop - len(inner) for rows, inner in parts]


@pytest.mark.parametrize("name", ["frechet", "kernel", "diversity", "precision", "recall", "density", "coverage"])
def test_rotating_the_features_changes_nothing(name: str) -> None:
    x, y = 0.8 * normal(80, 4, 1) + 0.3, normal(80, 4, 2)
    rotation = np.linalg.qr(normal(4, 4, 3))[0]
    measure = (lambda a, b: two_sample.frechet(a, b)[0]) if name == "frechet" else MEASURES[name][0]
    plain, rotated = measure(x, y), measure(x @ rotation, y @ rotation)
    assert rotated.value == pytest.approx(plain.value, rel=1e-6)
    assert rotated.stderr == pytest.approx(plain.stderr, rel=1e-5)


def test_the_kernel_distance_is_unbiased() -> None:
    values = [two_sample.kernel_distance(normal(50, 3, s), normal(60, 3, 900 + s), s).value for s in range(150)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(150)
    assert min(values) < 0 < max(values)


def test_disjoint_supports_share_nothing() -> None:
    found = two_sample.neighbors(normal(60, 1), normal(60, 1, 1) + 100)
    assert [m.value for m in found.values()] == [0, 0, 0, 0]
    assert found["density"].high == 0
    for name in ("precision", "recall", "coverage"):  # none of 60 rows: with 97.5% certainty the share is below this
        assert (1 - found[name].high) ** 60 == pytest.approx(0.025)


def test_a_sampler_that_drops_a_mode_has_precision_but_half_the_recall_and_coverage() -> None:
    modes = np.repeat([0.0, 50.0], 100)[:, None]
    found = two_sample.neighbors(normal(200, 2, 1), normal(200, 2, 2) + modes)
    assert found["precision"].value > 0.9
    assert found["recall"].value == pytest.approx(0.5, abs=0.05)
    assert found["coverage"].value == pytest.approx(0.5, abs=0.05)


def test_a_sampler_of_one_point_in_the_data_has_precision_and_no_variety() -> None:
    y = normal(200, 2, 2)
    found = two_sample.neighbors(np.zeros((200, 2)), y)
    assert found["precision"].value == 1
    assert found["recall"].value == 0
    assert two_sample.diversity(np.zeros((200, 2)), y).value == 0


def test_a_jackknife_interval_covers_the_ratio_of_scales() -> None:
    found = [two_sample.diversity(2 * normal(100, 2, s), normal(100, 2, 700 + s), s) for s in range(100)]
    assert 86 <= sum(m.low <= 2 <= m.high for m in found) <= 100
    assert np.mean([m.stderr for m in found]) == pytest.approx(np.std([m.value for m in found]), rel=0.25)


def test_statistics_of_elements_have_their_known_values() -> None:
    y = normal(100, 5)
    assert two_sample.elements(2 * y, y)["spread"].value == pytest.approx(4)
    assert two_sample.elements(y + np.array([3.0, 4, 0, 0, 0]), y)["mean_gap"].value == pytest.approx(np.sqrt(5))
    assert two_sample.elements(2 * y + 7, y)["covariance_gap"].value == pytest.approx(3)
    assert two_sample.mean_ratio(3 * np.abs(y[:, 0]), np.abs(y[:, 0])).value == pytest.approx(3)
    assert two_sample.elements(y + 1e6, y + 1e6)["covariance_gap"].value == pytest.approx(0, abs=1e-9)


def test_class_shares() -> None:
    even, one = np.arange(1000) % 10, np.zeros(1000, int)
    assert two_sample.class_entropy(even, 10).value == pytest.approx(np.log(10))
    assert two_sample.class_entropy(one, 10) == Measured(0, 0, 0, 0)
    assert two_sample.class_distance(one, even, 10).value == pytest.approx(0.9)
    half = two_sample.class_distance(even % 5, even, 10)
    assert half.value == pytest.approx(0.5)
    assert 0.005 < half.stderr < 0.03


def test_ratios_are_undefined_if_nothing_varies() -> None:
    still = np.ones((60, 2))
    assert np.isnan(two_sample.diversity(still, still).value)
    assert np.isnan(two_sample.elements(still, still)["spread"].value)
