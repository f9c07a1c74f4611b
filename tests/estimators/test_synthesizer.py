"""Synthetic rows look like the data frame that they were made from."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import tightbound as tb
from tightbound.analysis.samples.row_quality import compare_rows
from tightbound.sklearn import VAEImputer, VAESynthesizer

R = np.random.default_rng(0)
N = 300
SEX = R.choice(["female", "male"], N)
FRAME: Any = pd.DataFrame(
    {
        "mass": np.where(SEX == "male", 25.0 * R.integers(160, 200, N), 25.0 * R.integers(100, 140, N)),
        "length": np.round(R.normal(40, 3, N), 1),
        "sex": pd.Categorical(SEX),
        "visits": R.integers(0, 400, N),
        "tagged": R.random(N) < 0.3,
        "on": pd.to_datetime("2024-01-01") + pd.to_timedelta(R.integers(0, 90, N), unit="D"),
        "code": np.where(R.random(N) < 0.5, "007", "042"),
        "one": 3,
    }
)
FRAME.loc[R.random(N) < 0.2, "length"] = np.nan
TINY: dict[str, Any] = {"network": "mlp(hidden=(16,), skip=True)", "max_epochs": 100, "random_state": 0}


@pytest.fixture(scope="module")
def synthesizer() -> VAESynthesizer:
    return VAESynthesizer(4, **TINY).fit(FRAME)


def test_rows_have_the_form_of_the_data(synthesizer: VAESynthesizer) -> None:
    rows = synthesizer.sample(500)
    assert rows.dtypes.equals(FRAME.dtypes)
    assert list(rows.columns) == list(FRAME.columns)
    for name in ("sex", "code", "tagged"):
        assert set(rows[name]) == set(FRAME[name])
    for name in ("mass", "length", "visits", "on"):
        assert rows[name].dropna().between(FRAME[name].min(), FRAME[name].max()).all()
    assert (rows["mass"] % 25 == 0).all()
    assert np.array_equal(rows["length"].round(1), rows["length"], equal_nan=True)
    assert rows["mass"].nunique() > 30
    assert (rows["one"] == 3).all()


def test_entries_are_missing_as_often_as_in_the_data(synthesizer: VAESynthesizer) -> None:
    rows = synthesizer.sample(2000)
    assert rows.drop(columns="length").notna().all(axis=None)
    assert abs(rows["length"].isna().mean() - FRAME["length"].isna().mean()) < 0.05
    assert synthesizer.sample(100, complete=True).notna().all(axis=None)


def test_columns_keep_their_dependence(synthesizer: VAESynthesizer) -> None:
    rows = synthesizer.sample(500)
    ours: Any
    real: Any
    ours, real = (table.groupby("sex", observed=True)["mass"].mean() for table in (rows, FRAME))
    assert ours["male"] - ours["female"] > 0.5 * (real["male"] - real["female"])
    given = synthesizer.sample(300, given={"sex": "male"})
    assert set(given["sex"]) == {"male"}
    assert abs(given["mass"].mean() - ours["male"]) < 150
    assert 100 < synthesizer.effective_sample_size_ < 10_000
    date = synthesizer.sample(20, given={"on": pd.Timestamp("2024-02-01"), "tagged": True})
    assert (date["on"] == pd.Timestamp("2024-02-01")).all()
    assert date["tagged"].all()


def test_new_rows_are_compared_with_held_out_ones(synthesizer: VAESynthesizer) -> None:
    held = FRAME.sample(100, random_state=0)
    found = synthesizer.quality(held[reversed(held.columns)], target="sex")
    assert {"mass", "sex", "length is missing"} <= {*found.details["columns"]}
    assert found.floor["target_score"].value > 0.95
    assert found["column_distance"].value > 0
    with pytest.raises(tb.TightboundError, match="lacks the columns mass"):
        synthesizer.quality(held.drop(columns="mass"))
    with pytest.raises(tb.TightboundError, match="training data"):
        pickle.loads(pickle.dumps(synthesizer)).quality(held)
    array = VAESynthesizer(2, **{**TINY, "max_epochs": 2}).fit(R.normal(size=(60, 2)))
    assert {*array.quality(R.normal(size=(30, 2))).details["columns"]} == {"0", "1"}


def test_gaps_of_new_rows_lie_where_they_are_marked() -> None:
    """No classifier tells new rows from data by marks that contradict the gaps: these columns are independent."""
    random = np.random.default_rng(5)
    table = pd.DataFrame(random.normal(size=(800, 2)), columns=["a", "b"])
    table.loc[random.random(800) < 0.3, "b"] = np.nan
    found = VAESynthesizer(2, **{**TINY, "max_epochs": 5}).fit(table[:500]).quality(table[500:])
    assert found["classifier_auroc"].value < 0.6


def test_draws_depend_on_the_seed(synthesizer: VAESynthesizer) -> None:
    assert synthesizer.sample(5).equals(synthesizer.sample(5))
    assert not synthesizer.sample(5).equals(synthesizer.sample(5, random_state=1))


def test_a_warning_says_if_few_codes_fit() -> None:
    x = R.normal(size=N)
    frame = pd.DataFrame({"x": x, "y": 10 * x + 0.1 * R.normal(size=N)})
    synthesizer = VAESynthesizer(2, **{**TINY, "max_epochs": 2}).fit(frame)
    with pytest.warns(UserWarning, match="latent codes fit"):
        synthesizer.sample(1000, given={"x": 2.0, "y": -20.0})
    with pytest.warns(
        UserWarning, match=r"4000 for column 'x', which is [34],\d\d\d standard deviations from the mean"
    ):
        synthesizer.model_.sample_given({"x": 4000}, 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sexx": 1}, "did you mean 'sex'"),
        ({"sex": "frog"}, "give a known value"),
        ({"one": 3}, "leave it out"),
        ({"mass": 9e9}, "range"),
        ({"mass": "heavy"}, "range"),
        ({"mass": None}, "range"),
        ({"visits": 40.5, "sex": "female"}, "40.5 for column 'visits'.*whole numbers"),
        ({"on": pd.Timestamp("1999-01-01")}, "range"),
        (["sex"], "values by column"),
    ],
)
def test_what_is_unknown_is_refused(synthesizer: VAESynthesizer, given: Any, words: str) -> None:
    with pytest.raises(tb.TightboundError, match=words):
        synthesizer.sample(3, given=given)


def test_other_frames(synthesizer: VAESynthesizer) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {
            "x": [1.5, None, 2.5, 3.0] * 10,
            "word": pa.array(["u", "v", "w", None] * 10).dictionary_encode(),
            "n": pa.array([1, 2, None, 4] * 10, pa.int16()),
        }
    )
    rows = VAESynthesizer(2, **{**TINY, "max_epochs": 2}).fit(table).sample(30)
    assert VAEImputer(2, **{**TINY, "max_epochs": 1}).fit_transform(table).schema.equals(table.schema)
    assert rows.schema.equals(table.schema)
    assert set(rows["word"].to_pylist()) <= {"u", "v", "w", None}
    x = np.round(R.normal(size=(40, 2)), 2)
    new = VAESynthesizer(2, **{**TINY, "max_epochs": 2}).fit(x).sample(7)
    assert isinstance(new, np.ndarray)
    assert new.shape == (7, 2)
    assert np.array_equal(new, new.round(2))
    with pytest.raises(tb.TightboundError, match="nothing to learn"):
        VAESynthesizer(2, **TINY).fit(FRAME[["one"]])


KINDS: dict[str, Any] = {
    "zones": pd.date_range("2024-01-01", periods=40, tz="Europe/Berlin"),
    "durations": pd.to_timedelta(R.integers(0, 1000, 40), unit="s"),
    "whole numbers with gaps": pd.array([1, 2, None, 400] * 10, dtype="Int64"),
    "truth with gaps": pd.array([True, False, None, True] * 10, dtype="boolean"),
    "ordered words": pd.Categorical(["lo", "hi"] * 20, categories=["lo", "mid", "hi"], ordered=True),
    "prices": ["$1.50", "$2.75", "$9.00", "$0.25"] * 10,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_type_of_a_column_is_kept(kind: str) -> None:
    """Also where another column has the name that says where entries are missing."""
    frame: Any = pd.DataFrame({"x": KINDS[kind], "x is missing": R.normal(size=40)})
    rows: Any = (
        VAESynthesizer(2, **{**TINY, "max_epochs": 1, "fit_options": {"validation_size": 0}}).fit(frame).sample(20)
    )
    assert rows.dtypes.equals(frame.dtypes)
    assert list(rows.columns) == list(frame.columns)
    if kind in ("zones", "durations"):
        assert rows["x"].between(frame["x"].min(), frame["x"].max()).all()
    else:
        known = set(frame["x"].dropna())
        assert all(value in known or kind in ("whole numbers with gaps", "prices") for value in rows["x"].dropna())
    if kind == "prices":
        assert rows["x"].str.fullmatch(r"\$\d\.\d\d").all()


def test_given_prices_and_dates_may_be_new_ones_in_the_notation_of_the_data() -> None:
    frame = pd.DataFrame(
        {
            "price": [f"${price:.2f}" for price in R.uniform(1, 99, 60)],
            "paid": [f"{day:%d.%m.%Y}" for day in pd.date_range("2024-01-20", periods=60)],
            "due": pd.date_range("2024-01-20", periods=60),
            "zone": pd.date_range("2024-01-20", periods=60, tz="Europe/Berlin"),
        }
    )
    once: dict[str, Any] = {**TINY, "max_epochs": 1, "fit_options": {"validation_size": 0}}
    synthesizer = VAESynthesizer(1, **once).fit(frame)
    day = pd.Timestamp("2024-02-03")
    asked = {"price": "$50.00", "paid": "03.02.2024", "due": "2024-02-03", "zone": day.tz_localize("UTC")}
    for name, value in asked.items():
        assert set(synthesizer.sample(3, given={name: value})[name]) == {day if name == "due" else value}
    assert set(synthesizer.sample(3, given={"price": 50})["price"]) == {"$50.00"}
    refused = {"price": ("$500.00", "many"), "paid": ("03.02.1999", "soon"), "due": ("1999-01-01", "soon")}
    for name, values in refused.items():
        for value in values:
            with pytest.raises(tb.TightboundError, match=rf"'{re.escape(value)}' for column '{name}', .* lie between"):
                synthesizer.sample(3, given={name: value})


def test_shares_of_the_highest_level_are_written_as_shares() -> None:
    frame = pd.DataFrame({"share": R.integers(0, 5, 60) / 4, "x": R.normal(size=60)})
    once: dict[str, Any] = {**TINY, "max_epochs": 1, "kinds": {"share": ("levels", 5, "shares")}}
    synthesizer = VAESynthesizer(1, **once).fit(frame)
    for rows in (synthesizer.sample(200), synthesizer.sample(200, given={"x": 0.0})):
        assert set(rows["share"]) == {0, 0.25, 0.5, 0.75, 1}


def test_columns_that_hold_one_value_are_not_compared() -> None:
    x = torch.from_numpy(R.normal(size=(60, 2)))
    wide = torch.cat([x, torch.full((60, 3), 2.0)], 1)
    alone, found = (compare_rows(rows[:20], rows[20:40], rows[40:]) for rows in (x, wide))
    assert found["column_distance"].value == alone["column_distance"].value
    assert {*found.details["columns"]} == {"x1", "x2"}
    assert "always hold the same value are left out" in found.caption
    assert "left out" not in alone.caption


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x": [f"person {i}" for i in range(40)]}, "names the rows"),
        ({"x": pd.period_range("2020-01", periods=40, freq="M")}, "convert it"),
    ],
)
def test_columns_that_cannot_be_made_anew_are_refused(columns: dict[str, Any], words: str) -> None:
    frame = pd.DataFrame({**columns, "y": R.normal(size=40)})
    with pytest.raises(tb.TightboundError, match=words):
        VAESynthesizer(2, **TINY).fit(frame)


def test_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame(R.normal(size=(20, 2)), columns=["x", "x"])
    with pytest.raises(tb.TightboundError, match="several columns with the name 'x'"):
        VAESynthesizer(2, **TINY).fit(frame)


def test_a_pickle_holds_no_numbers_of_the_data(synthesizer: VAESynthesizer) -> None:
    inside = {column.name: len(column.known) for column in synthesizer._columns}
    assert (inside["length"], inside["mass"], inside["on"], inside["sex"]) == (1, 1, 1, 2)
    again = pickle.loads(pickle.dumps(synthesizer))
    assert again.sample(20).equals(synthesizer.sample(20))


def test_names_of_columns_may_be_numbers() -> None:
    frame = pd.DataFrame({0: R.normal(size=40), 1: R.choice(["u", "v"], 40)})
    rows = VAESynthesizer(2, **{**TINY, "max_epochs": 1}).fit(frame).sample(5, given={1: "v"})
    assert list(rows.columns) == [0, 1]
    assert set(rows[1]) == {"v"}
