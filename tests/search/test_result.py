"""Results of a sweep: the best run, dominated runs, tables and the rate-distortion plane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tightbound.analysis.estimate import Estimate
from tightbound.analysis.figures import Scatter
from tightbound.analysis.result import Result
from tightbound.search import SweepResult, SweptRun


def swept(value: str, rate: float | None, distortion: float, score: float | None = None, **more: Any) -> SweptRun:
    values = {"rate": rate, "distortion": distortion, "elbo": None if rate is None else -(rate + distortion)}
    numbers = {
        name: Estimate(v if v is None else float(v), None if v is None else 0.1, 60, "nats", "mean", "8x8 digits")
        for name, v in values.items()
    }
    return SweptRun(Path(f"beta-{value}"), {"beta": value, **more}, score=score, tested=Result(numbers))


def result(*runs: SweptRun, all_tested: bool = True) -> SweepResult:
    return SweepResult.of(list(runs[0].values), "ELBO", runs, all_tested=all_tested)


def test_the_best_run_is_that_of_the_highest_score_whatever_the_test_numbers_say() -> None:
    found = result(swept("1", 10, 80, score=-9.0), swept("2", 10, 90, score=-8.0), swept("3", 1, 1))
    assert found.best is found.runs[1]
    assert found.details["best"] == "beta-2"
    assert found.sentences == ["Best: beta-2, the highest ELBO on validation data (-8.00)."]
    none = result(swept("1", 10, 80))
    assert none.best is None
    assert none.sentences == ["No best run: no run has validation data and a finite ELBO on them."]
    assert found["beta-2/elbo"].value == -100


def test_dominated_runs_have_no_less_of_either_and_more_of_one() -> None:
    points = [(30, 65), (10, 80), (12, 80), (3, 100), (10, 80), (None, 50)]
    found = result(*(swept(str(i), rate, distortion) for i, (rate, distortion) in enumerate(points)))
    assert [run["dominated"] for run in json.loads(json.dumps(found.to_json()))["details"]["runs"]] == [
        False, False, True, False, False, False,
    ]  # fmt: skip


def test_the_table_has_a_row_for_each_run() -> None:
    failed = SweptRun(Path("beta-4"), {"beta": "4"}, "failed", reason="the loss became nan")
    (table,) = result(swept("1", 10, 80, score=-9.0), swept("2", 11, 90, score=-10.0), failed).tables
    assert list(table.columns) == ["beta", "validation", "rate", "distortion", "ELBO", "active", ""]
    assert table.rows == [
        ["1", "-9.00", "10.00 ± 0.10", "80.00 ± 0.10", "-90.00 ± 0.10", "-", "best"],
        ["2", "-10.00", "11.00 ± 0.10", "90.00 ± 0.10", "-101.00 ± 0.10", "-", "○"],
        ["4", "-", "-", "-", "-", "-", "failed"],
    ]
    assert table.notes[0].startswith("○ dominated")


def test_a_search_lists_the_best_first_without_test_numbers() -> None:
    found = result(swept("1", 10, 80, score=-9.0), swept("2", 1, 9, score=-8.0), all_tested=False)
    (table,) = found.tables
    assert table.rows == [["2", "-8.00", "best"], ["1", "-9.00", ""]]
    assert found.sentences[1].startswith("The best on test data: rate 1.00 ± 0.10, ")
    assert not found.figures


def test_runs_that_differ_in_their_seed_are_averaged() -> None:
    runs = [swept("1", 10 + seed, 80, score=-9.0 - seed, seed=str(seed)) for seed in (0, 2)]
    _, table = result(*runs, swept("2", 1, 9, seed="0")).tables
    assert list(table.columns) == ["beta", "seeds", "validation", "rate", "distortion", "ELBO"]
    assert table.rows == [["1", "2", "-10.00 ± 1.41", "11.00 ± 1.41", "80.00 ± 0.00", "-91.00 ± 1.41"]]


def test_the_line_of_equal_elbo_goes_through_the_best_with_slope_minus_one() -> None:
    runs = [swept("0.1", 30, 65, score=-95), swept("1", 10, 80, score=-90), swept("3", 3, 100), swept("4", None, 7)]
    (figure,) = result(*runs, swept("9", 12, 80)).figures
    (panel,) = figure.panels
    assert isinstance(panel, Scatter)
    assert panel.series == {"": [(30, 65), (10, 80), (3, 100)], "dominated": [(12, 80)]}
    assert panel.names == {"": ["0.1", "1", "3"], "dominated": ["9"]}
    ((name, ((left, high), (right, low))),) = panel.lines.items()
    assert name == "ELBO of the best run: -90.00"
    assert (left, right) == (3, 30)
    assert (low - high) / (right - left) == pytest.approx(-1)
    assert left + high == pytest.approx(90)
    assert not result(swept("1", None, 50)).figures
