"""New numbers of a column are written as its own, by one cell that holds none of them."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

import tightbound as tb
from tightbound.data.readers.tabular.notation import Notation, example

CASES = {
    "decimals": (["39.1", "40", "7.25"], None, "0.00", -3.14159, "-3.14"),
    "whole": (["12", "7"], None, "0", 3.7, "4"),
    "price": (["$1.50", "-$2.25"], None, "$0.00", -9.999, "-$10.00"),
    "percent": (["45%", "3%"], None, "0%", 12.2, "12%"),
    "comma": (["1,5", "22,25"], ",", "0,00", 1234.5, "1234,50"),
    "date": (["2024-03-12", "1999-01-01"], None, "2000-12-31", 19794.4, "2024-03-12"),
    "day first": (["13/02/2024", "01/02/2024"], None, "31/12/2000", 19794.0, "12/03/2024"),
    "month first": (["02/13/2024", "02/01/2024"], None, "12/31/2000", 19794.0, "03/12/2024"),
    "moment": (["2024-03-12 08:00:00"], None, "2000-12-31 09:30:00", 19794.25, "2024-03-12 06:00:00"),
    "clock": (["08:15", "23:59"], None, "13:30", 6.5, "6:30"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_example_stands_for_a_column(case: str) -> None:
    cells, decimal, shown, value, text = CASES[case]
    assert example(cells, decimal) == shown
    assert Notation(shown, decimal).text(value) == text


@pytest.mark.parametrize("cells", [["1e-9", "2.5E3"], ["0.123456789012", "1"], ["red", "blue"], []])
def test_other_columns_are_written_as_numbers_usually_are(cells: list[str]) -> None:
    assert example(cells) == ""


def test_values_have_the_precision_of_the_text() -> None:
    assert Notation("0.0").values(np.array([1.24, -3.26])).tolist() == [1.2, -3.3]
    assert Notation("$0.00").values(np.array([1.239])).tolist() == [1.24]
    assert Notation("31/12/2000").values(np.array([19794.4])).tolist() == [date(2024, 3, 12)]
    assert Notation("true").values(np.array([0.0, 1.0])).dtype == bool
    assert Notation("true").values(np.array([0.0, 0.3])).tolist() == [0, 0.3]  # means
    assert [Notation("true").text(value) for value in (1.0, 0.25)] == ["1", "0.25"]
    for far in (1e12, -1e12):
        assert Notation("2000-12-31").text(far)[-6] == "-"  # a date, not an overflow


def test_a_model_knows_how_its_columns_are_written() -> None:
    frame = pd.DataFrame({"on": pd.to_datetime(["2024-03-12", "2024-05-01"] * 20), "x": np.linspace(0, 1, 40)})
    assert tb.data.open(frame).schema.notation == ("2000-12-31 09:30:00", "")
    words = pd.DataFrame({"price": ["$1.50", "$2.25", "$3.75"] * 20, "x": np.linspace(0, 1, 60)})
    assert tb.data.open(words).schema.notation == ("$0.00", "")
    frame = pd.DataFrame({"member": [True, False] * 20, "x": np.linspace(0, 1, 40)})
    assert tb.data.open(frame).schema.notation == ("true", "")
    assert tb.data.open(np.zeros((30, 2)) + np.arange(30)[:, None]).schema.notation == ()
