"""Words in typed tables: the same numbers as from text, whatever holds the table."""

from __future__ import annotations

from datetime import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import tightbound as tb
from tightbound.core.errors import InputError

N = 30
MISSING = 3  # this row lacks most entries
DAYS = pd.date_range("2024-01-30", periods=N, freq="D")


def without(words: list[str]) -> list[str | None]:
    return [None if i == MISSING else word for i, word in enumerate(words)]


FRAME = pd.DataFrame(
    {
        "price": without([f"${i + 0.55:.2f}" for i in range(N)]),
        "share": without([f"{i * 1.5:.1f}%" for i in range(N)]),
        "large": without([f"{1000.5 + 997 * i:,.1f}" for i in range(N)]),
        "thousands": without([f"{1 + i},{500 + i}" for i in range(N)]),
        "plain": [f" {i / 8} " if i != MISSING else "n/a" for i in range(N)],
        "iso": without([f"2024-03-{1 + i:02}" for i in range(N)]),
        "clock": without([f"{i % 24}:30" for i in range(N)]),
        "when": DAYS + pd.Timedelta(hours=6),
        "day": [None if i == MISSING else day.date() for i, day in enumerate(DAYS)],
        "zone": DAYS.tz_localize("Europe/Berlin"),
        "time": [time(i % 24, 15) for i in range(N)],
        "count": pd.array([None if i == MISSING else i for i in range(N)], "Int64"),
        "color": without([["red", "green", "blue"][i % 3] for i in range(N)]),
    }
)
FRAME.loc[MISSING, "when"] = pd.NaT


def forms(frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """The same table, as text and in typed forms."""
    text, typed, mixed = folder / "table.csv", folder / "table.parquet", frame.copy()
    frame.to_csv(text, index=False)
    frame.to_parquet(typed)
    mixed["plain"] = [word if "n" in word else float(word) if i % 2 else word for i, word in enumerate(mixed["plain"])]
    arrow = pa.Table.from_pandas(frame)
    large = arrow.cast(
        pa.schema([f.with_type(pa.large_string()) if f.type == pa.string() else f for f in arrow.schema])
    )
    nullable = frame.convert_dtypes()
    return {"CSV": text, "Parquet": typed, "frame": frame, "mixed": mixed, "nullable": nullable, "Arrow": large}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return forms(FRAME, tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def opened(tables: dict[str, Any]) -> dict[str, tb.data.Data]:
    return {name: tb.data.open(source) for name, source in tables.items()}


def values(data: tb.data.Data) -> np.ndarray:
    return torch.cat([batch.x for batch in data.whole.epoch(N)]).numpy()


def test_all_sources_of_a_table_give_the_same_numbers(opened: dict[str, tb.data.Data]) -> None:
    x = values(opened["frame"])
    rows = np.arange(N)
    right = {
        "price": rows + 0.55,
        "share": rows * 1.5,
        "large": 1000.5 + 997 * rows,
        "thousands": 1000 * (1 + rows) + 500 + rows,
        "plain": rows / 8,
        "iso": 19783 + rows,
        "clock": rows % 24 + 0.5,
        "when": 19752.25 + rows,
        "day": 19752 + rows,
        "time": rows % 24 + 0.25,
        "count": rows,
        "color": np.array([2, 1, 0])[rows % 3],
    }
    for name, column in right.items():
        own = x[:, FRAME.columns.get_loc(name)]
        seen = rows != MISSING if name != "time" else rows >= 0
        assert np.array_equal(own[seen], column[seen].astype(np.float32)), name
        assert np.isnan(own[~seen]).all(), name
    for name, data in opened.items():
        assert np.array_equal(values(data), x, equal_nan=True), name
        assert data.header == opened["CSV"].header
        assert [own.kind for own in data.domain.columns] == [own.kind for own in opened["CSV"].domain.columns], name
        assert any("price ('$0.55' as 0.55)" in note for note in data.notes), name
    assert any("when (days since 1970-01-01)" in note for note in opened["frame"].notes)


@pytest.fixture(scope="module", params=["CSV", "frame"])
def trained(request: pytest.FixtureRequest, opened: dict[str, tb.data.Data]) -> tb.Trained:
    return tb.Trained(tb.VAE.for_data(opened[request.param], latent=2, network="mlp(hidden=(4,))"))


def test_new_data_in_any_form_give_the_same_numbers(trained: tb.Trained, tables: dict[str, Any]) -> None:
    codes = trained.encode(tables["CSV"])
    some: Any = {"train": FRAME, "scores": ("nll", "regret(steps=2)", "mahalanobis"), "samples": 5}
    scores, bound = trained.score(tables["CSV"], **some), trained.evaluate(tables["CSV"], samples=5)["elbo"]
    rebuilt = trained.reconstruct(tables["CSV"])
    for name, source in tables.items():
        assert torch.equal(trained.encode(source), codes), name
        again = trained.score(source, **some).per_example
        assert all(np.array_equal(again[each], scores.per_example[each]) for each in scores.per_example), name
        assert trained.evaluate(source, samples=5)["elbo"].value == bound.value, name
        assert torch.equal(trained.reconstruct(source), rebuilt), name


def test_a_single_row_is_read_as_the_training_data_were(trained: tb.Trained, tmp_path: Path) -> None:
    """The words of one row do not tell its decimal mark: "1,500" is 1500, since it was in the training data."""
    codes = trained.encode(FRAME)
    for name, source in forms(FRAME.iloc[:1], tmp_path).items():
        assert torch.allclose(trained.encode(source)[0], codes[0], atol=1e-6), name


def test_decimal_commas(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["0,86", "1,5", "2,125"], "b": ["1,500", "2,500", "3,500"]})
    assert values(tb.data.open(frame))[:, 1].tolist() == [1.5, 2.5, 3.5]
    with pytest.raises(InputError, match=r"'1,500' could be 1500 or 1\.500; pass decimal='\.'"):
        tb.data.open(frame[["b"]])
    frame[["b"]].to_parquet(tmp_path / "b.parquet")
    for source in (frame[["b"]], tmp_path / "b.parquet", {"b": frame["b"].to_list()}):
        assert values(tb.data.open(source, decimal=","))[:, 0].tolist() == [1.5, 2.5, 3.5]
        assert values(tb.data.open(source, decimal="."))[:, 0].tolist() == [1500, 2500, 3500]
    with pytest.raises(InputError, match="decimal= says how words in a table are read, and an array has none"):
        tb.data.open(np.ones((4, 2)), decimal=",")


def test_a_run_keeps_its_decimal_mark(tmp_path: Path) -> None:
    pd.DataFrame({"b": [f"{i},500" for i in range(1, 30)]}).to_parquet(tmp_path / "b.parquet")
    data = tb.data.open(tmp_path / "b.parquet", decimal=",")
    trained = tb.fit(
        tb.VAE.for_data(data, latent=1, network="mlp(hidden=(4,))"), tmp_path / "b.parquet", steps=1,
        run=tmp_path / "run", quiet=True,
    )  # fmt: skip
    row = pd.DataFrame({"b": ["4,500"]})
    assert torch.allclose(tb.load(tmp_path / "run").encode(row), trained.encode(np.array([[4.5]])), atol=1e-6)


def test_problems_of_words_are_reported_at_once() -> None:
    frame = pd.DataFrame({"a": [*"1234", "many"], "b": ["03/04/2024"] * 5, "c": range(5)})
    with pytest.raises(InputError) as caught:
        tb.data.open(frame)
    assert "column 1 (a): 'many' in row 5 is not a number; correct it, leave it out with ignore=" in str(caught.value)
    assert "column 2 (b): '03/04/2024' could name the day or the month first" in str(caught.value)
    assert tb.data.open(frame, kinds={"a": "categories"}, ignore="b").domain.columns[0].words == (*"1234", "many")


def test_labels_and_names_of_typed_tables(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["01", "02", "03"], "x": ["1%", "2%", "4%"], "y": ["7", "8", "7"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    for source in (frame, tmp_path / "a.csv"):
        data = tb.data.open(source, id="id", labels="y")
        assert data.whole.labels is not None
        assert data.whole.labels.tolist() == [7, 8, 7]
        assert list(data.whole.names or ()) == ["01", "02", "03"]
        assert values(data)[:, 0].tolist() == [1, 2, 4]


def test_months_and_arrays_of_dates_are_days() -> None:
    months = pd.period_range("2024-01", periods=3, freq="M")
    days = np.array(["2024-01-01", "2024-02-01", "2024-03-01"])
    for source in (
        pd.DataFrame({"month": months}),
        {"month": days.astype("M8[ns]")},
        {"month": days.astype("M8[D]")},
        {"month": days.tolist()},
    ):
        assert values(tb.data.open(source))[:, 0].tolist() == [19723, 19754, 19783]


def test_categories_by_type_stay_categories() -> None:
    frame = pd.DataFrame({"a": pd.Categorical(["1", "2", "1"]), "b": [1.0, 2.0, 4.0]})
    assert tb.data.open(frame).domain.columns[0].words == ("1", "2")


def test_words_of_a_table_too_large_for_memory_are_no_categories(tmp_path: Path) -> None:
    small = tb.data.Limits(memory=1000, window=1000)
    table = pa.table({"price": [f"${i}" for i in range(99)], "color": ["red", "blue", "n/a"] * 33, "when": range(99)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=33)
    with pytest.raises(InputError, match="column price holds numbers or dates that are written as words; convert it"):
        tb.data.open(tmp_path / "a.parquet", limits=small)
    dates = table.set_column(2, "when", pa.array(range(99), pa.timestamp("s"))).remove_column(0)
    pq.write_table(dates, tmp_path / "a.parquet", row_group_size=33)
    held, read = tb.data.open(tmp_path / "a.parquet"), tb.data.open(tmp_path / "a.parquet", limits=small)
    assert np.isnan(values(held)[2, 0])
    assert np.array_equal(values(held), values(read), equal_nan=True)


DATES = {
    "%b %d %Y": "Jan 1 2000",
    "%B %d %Y": "January 1 2000",
    "%b %Y": "Jan 2000",
    "%b-%Y": "Jan-2000",
    "%Y-%b-%d": "2000-Jan-01",
    "%a, %d %b %Y": "Sat, 01 Jan 2000",
    "%A, %B %d, %Y": "Saturday, January 1, 2000",
}


@pytest.mark.parametrize("form", DATES)
def test_dates_with_names_of_months_are_read(form: str) -> None:
    days = pd.date_range("2000-01-01", periods=30, freq="MS")
    frame = pd.DataFrame({"when": days.strftime(form), "x": np.arange(30) / 7})
    frame.loc[0, "when"] = DATES[form]
    found = values(tb.data.open(frame))[:, 0]
    assert found.tolist() == [(day - pd.Timestamp("1970-01-01")).days for day in days]


def test_dates_in_no_known_form_are_no_categories() -> None:
    words = [f"{1 + i} of {['March', 'April'][i % 2]}, {2000 + i}" for i in range(25)]
    dots = [f"Mar.{1 + i}.{2000 + i}" for i in range(25)]
    assert "25 categories" in str(tb.data.open(pd.DataFrame({"a": words, "x": np.arange(25) / 7})).notes)
    with pytest.raises(InputError, match="25 different words that look like numbers, such as 'Mar"):
        tb.data.open(pd.DataFrame({"a": dots, "x": np.arange(25) / 7}))


def test_codes_of_which_a_few_are_digits_are_words() -> None:
    codes = [["00M", "A7", "12", "B1"][i % 4] for i in range(40)]
    assert "4 categories (00M, 12, A7, B1)" in str(
        tb.data.open(pd.DataFrame({"a": codes, "x": np.arange(40) / 7})).notes
    )


def test_words_that_name_the_rows_are_said() -> None:
    frame = pd.DataFrame(
        {"name": [f"n{chr(97 + i)}" for i in range(26)], "group": ["a", "b"] * 13, "x": np.arange(26) / 7}
    )
    assert "most rows have a word of their own in name: if it names the rows" in str(tb.data.open(frame).notes)


def test_leading_zeros_of_a_few_codes_are_kept(tmp_path: Path) -> None:
    """A column with many different ones, such as a counter, holds numbers."""
    table = pd.DataFrame({"code": ["007", "042", "113"] * 10, "count": [f"{i:03}" for i in range(30)]})
    table.to_csv(tmp_path / "x.csv", index=False)
    for source in (table, tmp_path / "x.csv"):
        code, count = tb.data.open(source).domain.columns
        assert (code.kind, code.words) == ("categories", ("007", "042", "113"))
        assert count.kind != "categories"
    model = tb.VAE.for_data(table, latent=1, network="mlp(hidden=(4,))")
    row = tb.evaluate(model, pd.DataFrame({"code": ["042"], "count": ["003"]}), samples=5)
    assert row["elbo"].value is not None
