"""The quality of new rows of a table: SciPy as the oracle, known defects, and rows that have none."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.stats.contingency import association as cramer
from scipy.stats.contingency import crosstab

import tightbound as tb
from conftest import TINY, Result, invoke
from tightbound.analysis.samples import two_sample
from tightbound.analysis.samples.row_quality import compare_rows
from tightbound.analysis.samples.sample_quality import SampleQuality
from tightbound.analysis.samples.two_sample.dependence import association
from tightbound.core.domain import REAL, as_domain
from tightbound.core.errors import InputError

Array = np.ndarray[Any, Any]
COLUMNS = [as_domain(("categories", ("f", "m"))), REAL, REAL, as_domain(("categories", ("p", "q", "r", "s")))]
NAMES = ["sex", "mass", "length", "color"]
LEVELS = [2, 0, 0, 4]
N = 150


def table(seed: int, n: int = N) -> Array:
    """Return rows whose mass depends on sex, and whose length depends on mass; color depends on sex."""
    random = np.random.default_rng(seed)
    sex = random.integers(0, 2, n)
    mass = random.normal(size=n) + 2 * sex
    return np.stack([sex, mass, mass + random.normal(size=n), random.integers(0, 4, n) * sex], 1).astype(float)


def compared(samples: Array, target: str | None = None) -> SampleQuality:
    return compare_rows(samples, table(1), table(2), columns=COLUMNS, names=NAMES, target=target)


@pytest.fixture(scope="module")
def true() -> SampleQuality:
    """Return the quality of rows from the distribution of the data."""
    return compared(table(3), target="sex")


def test_distances_and_associations_are_those_of_scipy() -> None:
    x, y = table(0), table(1, 150)
    x[:20, 1] = np.nan
    mean, columns = two_sample.marginal_distances(x, y, [True, False, False, True])
    for i in (1, 2):
        expected = stats.ks_2samp(x[20 * (i == 1) :, i], y[:, i]).statistic  # 20 entries of column 1 are missing
        assert columns[i].value == pytest.approx(expected, abs=1e-12)
    shares = [np.bincount(part[:, 3].astype(int), minlength=4) / len(part) for part in (x, y)]
    assert columns[3].value == pytest.approx(abs(shares[0] - shares[1]).sum() / 2, abs=1e-12)
    assert mean.value == pytest.approx(np.mean([each.value for each in columns]))
    found = association(y, LEVELS)
    assert found[1, 2] == pytest.approx(stats.spearmanr(y[:, 1], y[:, 2])[0])
    assert association(y * [1, -1, 1, 1], LEVELS)[1, 2] == pytest.approx(-found[1, 2])
    assert found[0, 3] == pytest.approx(cramer(crosstab(y[:, 0], y[:, 3]).count))
    ranks = stats.rankdata(y[:, 1])
    f = stats.f_oneway(*(ranks[y[:, 3] == k] for k in range(4)))[0]
    assert found[1, 3] == pytest.approx((3 * f / (3 * f + len(y) - 4)) ** 0.5)


def test_the_dependence_of_other_categories_differs() -> None:
    """Also where the associations of both tables are equal."""
    y = table(1)
    found = two_sample.dependence(np.stack([1 - y[:, 0], y[:, 1]], 1), y[:, :2], [2, 0])
    assert found is not None
    assert found.own == pytest.approx(found.other)
    assert found.gaps[0].value == pytest.approx(2 * found.own[0], rel=0.05)


def test_rows_from_the_distribution_of_the_data_meet_the_floor() -> None:
    """The standard errors of the samples and of the floor cover the difference of the two."""
    covered = []
    for seed in range(0, 45, 3):
        x, y, z = (table(seed + i, 80) for i in range(3))
        pairs = [two_sample.marginal_distances(part, y, [True, False, False, True], seed)[0] for part in (x, z)]
        covered.append(abs(pairs[0].value - pairs[1].value) <= 1.96 * np.hypot(pairs[0].stderr, pairs[1].stderr))
        gaps = [two_sample.dependence(part, y, LEVELS, seed) for part in (x, z)]
        assert gaps[0] is not None
        assert gaps[1] is not None
        own, other = gaps[0].mean, gaps[1].mean
        covered.append(abs(own.value - other.value) <= 1.96 * np.hypot(own.stderr, other.stderr))
    assert np.mean(covered) >= 0.93


def test_true_rows_look_like_the_data(true: SampleQuality) -> None:
    assert "about as much like the test data" in true.sentences[0]
    for name, number in true.floor.items():
        assert abs(true[name].value - number.value) <= 3 * np.hypot(true[name].stderr, number.stderr), name
    assert abs(true["target_loss"].value) <= 3 * true["target_loss"].stderr
    assert abs(true["classifier_auroc"].value - 0.5) <= 3 * true["classifier_auroc"].stderr


def test_a_shifted_column_is_named_and_its_distance_is_right() -> None:
    x = table(3)
    x[:, 2] += 1.5 * np.sqrt(2)
    x[:, 2] = np.where(x[:, 0] > 0, x[:, 2], table(4)[:, 2])  # the data's column is a mixture of two Gaussians
    found = compared(x)
    assert found.details["worst_column"] == "length"
    assert "length" in found.sentences[1]
    assert "one column has a different distribution" in found.sentences[0]
    expected = stats.ks_2samp(x[:, 2], table(1)[:, 2]).statistic
    assert found["worst_column"].value == pytest.approx(expected, abs=1e-12)
    assert found.tables[1].rows[0][0] == "length"
    assert found["classifier_auroc"].value > found.floor["classifier_auroc"].value + 0.1


def test_the_distance_of_a_shift_has_its_closed_form() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(1.0, 1, (1000, 1)), random.normal(0, 1, (1000, 1))
    _, (found,) = two_sample.marginal_distances(x, y, [False])
    assert found.value == pytest.approx(2 * stats.norm.cdf(0.5) - 1, abs=3 * found.stderr)


def test_lost_dependence_is_found_where_columns_are_right() -> None:
    x, random = table(3), np.random.default_rng(0)
    x[:, 2] = x[random.permutation(N), 2]
    found = compared(x, target="length")
    assert "depend on each other differently" in found.sentences[0]
    assert "different distribution" not in found.sentences[0]
    assert found.tables[2].rows[0][0] == "mass, length"
    assert found.floor["target_score"].value > 0.5
    assert found["target_score"].value < 0.2
    loss = found["target_loss"]
    assert loss.value == pytest.approx(found.floor["target_score"].value - found["target_score"].value)
    assert loss.value > 3 * loss.stderr


def test_copies_of_training_rows_are_found() -> None:
    found = compared(table(2))
    assert found["too_near"].value == 1
    assert found["nearer_than_test"].value > 0.95
    assert "some are copies" in found.sentences[0]
    assert "different distribution" not in found.sentences[0]


def test_numbers_are_described_and_survive_json(true: SampleQuality) -> None:
    again = SampleQuality.from_json(json.loads(json.dumps(true.to_json(), allow_nan=False)))
    assert again.estimates == true.estimates
    assert again.floor == true.floor
    assert {*true.floor} == {*true.estimates} - {"target_loss"}
    for number in true.estimates.values():
        assert number.description
        assert number.stderr >= 0
    assert true["target_score"].value > 0.8
    assert "accuracy" in true["target_score"].description


def test_missing_entries_are_left_out() -> None:
    parts = [table(i) for i in range(3)]
    for part in parts:
        part[np.random.default_rng(5).random(part.shape) < 0.2] = np.nan
    found = compare_rows(*parts, columns=COLUMNS, names=NAMES, target="color")
    assert all(number.value is not None for number in found.estimates.values())
    assert "about as much like the test data" in found.sentences[0]


def test_a_column_without_entries_is_left_out() -> None:
    parts = [table(i, 60) for i in range(3)]
    parts[1][:, 1] = np.nan
    found = compare_rows(*parts, columns=COLUMNS, names=NAMES, target="color")
    assert {*found.details["columns"]} == {"sex", "length", "color"}
    assert all(number.value is not None for number in found.estimates.values())
    parts[1][:] = np.nan
    with pytest.raises(InputError, match="no column has enough known entries"):
        compare_rows(*parts, columns=COLUMNS, names=NAMES)


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ((table(0), table(1), table(2)[:, :3]), {}, "equal D"),
        ((table(0), table(1, 10), table(2)), {}, "at least 20"),
        ((table(0), table(1), table(2)), {"target": "sx"}, "x1"),
    ],
)
def test_what_cannot_be_compared_is_refused(rows: Any, options: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compare_rows(*rows, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    with (folder / "t.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(NAMES)
        for sex, mass, length, color in table(7, 450):
            rows.writerow(["fm"[int(sex)], f"{mass:.2f}", f"{length:.2f}", "pqrs"[int(color)]])
    return folder


def test_the_command_shows_columns_and_a_target(
    run: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    trained = invoke(capsys, "train", run / "t.csv", "--run", run / "run", *TINY)
    assert trained.status == 0, trained.err
    result: Result = invoke(capsys, "quality", run / "run", "--target", "sex")
    assert result.status == 0, result.err
    for words in ("Kolmogorov-Smirnov", "color", "target_loss", "too_near", "draws from p(x|z)"):
        assert words in result.out
    found = json.loads((run / "run" / "analysis" / "quality.json").read_text())
    assert found["estimates"]["column_distance"]["value"] > 0
    assert "frechet" not in found["estimates"]
    both = invoke(capsys, "quality", run / "run", "--features", "identity", "--json")
    assert {"frechet", "column_distance"} <= {*json.loads(both.out)["estimates"]}
    assert "did you mean 'sex'" in refused("quality", run / "run", "--target", "sexx")


def test_a_target_needs_a_table() -> None:
    data = tb.data.open("digits")
    trained = tb.Trained(tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))"), data)
    with pytest.raises(InputError, match="column of a table"):
        trained.quality(target="sex")
