"""Mixed tables: kinds, words and missing entries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import tightbound as tb
from tightbound.core.domain import BINARY, COUNTS, REAL, Domain
from tightbound.core.errors import InputError
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data import open

NAN = np.nan
COLORS = Domain("categories", 3, ("blue", "green", "red"))
TEXT = """size,color,n,yes,note
1.5,red,3,1,a
,green,0,NA,b
2.5,?,1,0,a
nan,blue,2,1,
-4,"red",7,n/a,b
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TEXT)
    return path


def test_words_numbers_and_holes_of_a_text_table(table: Path) -> None:
    data = open(table)
    assert data.header == ("size", "color", "n", "yes", "note")
    assert data.domain == Domain("mixed", columns=(REAL, COLORS, REAL, BINARY, Domain("categories", 2, ("a", "b"))))
    x = next(data.whole.epoch(5)).x.numpy()
    expected = [[1.5, 2, 3, 1, 0], [NAN, 1, 0, NAN, 1], [2.5, NAN, 1, 0, 0], [NAN, 0, 2, 1, NAN], [-4, 2, 7, NAN, 1]]
    assert x.dtype == np.float32
    assert np.array_equal(x, np.array(expected, np.float32), equal_nan=True)
    notes = "\n".join(data.notes)
    assert "missing: 6 of 25 entries (size 2, color 1, yes 2, note 1)" in notes
    assert "color: 3 categories (blue, green, red)" in notes
    assert "whole numbers taken as real: n 0..7; samples of them are fractions: to keep them whole, pass" in notes
    assert "kinds={'n': ('levels', 8)}" in notes
    assert len(data.train) + len(data.test) == 5


def test_kinds_by_name_by_number_and_in_order(table: Path) -> None:
    counted = (REAL, COLORS, COUNTS, BINARY, Domain("categories", 2, ("a", "b")))
    for kinds in ({"n": "counts"}, {2: "counts"}, [None, None, "counts", None, None]):
        assert open(table, kinds=kinds).domain.columns == counted
    levels = open(table, kinds={"n": ("levels", 8), "yes": "categories"}).domain.columns
    assert levels[2] == Domain("levels", 8)
    assert levels[3].words == ("0", "1")
    assert open(table, kinds=counted).domain.columns == counted  # as a run opens other data
    assert open(table, labels="n", kinds={"yes": "binary"}).shape == (4,)


def test_words_keep_the_places_that_kinds_name(tmp_path: Path) -> None:
    path = tmp_path / "more.csv"
    path.write_text("color,x\nred,1\nblue,2\n")
    data = open(path, kinds={"color": ("categories", ("blue", "green", "red"))})
    assert next(data.whole.epoch(2)).x[:, 0].tolist() == [2, 0]
    path.write_text("color,x\nred,1\npink,2\n")
    with pytest.raises(InputError, match=r"column 1 \(color\) holds 'pink', which is none of its 3 categories"):
        open(path, kinds={"color": COLORS})


def test_arrays_with_holes() -> None:
    x = np.array([[1.0, NAN, 5], [0, 2.5, 2], [1, -1, 9]])
    data = open(x)
    assert data.domain.columns == (BINARY, REAL, REAL)
    assert np.array_equal(next(data.whole.epoch(3)).x, x, equal_nan=True)
    assert open(x, domain="real").domain.columns == (REAL,) * 3
    assert open(x, kinds={2: "categories"}).domain.columns[2].words == ("2", "5", "9")
    again = open(x, kinds={2: ("categories", ("1", "2", "5", "9"))})  # words that are numbers are met as written
    assert next(again.whole.epoch(3)).x[:, 2].tolist() == [2, 1, 3]
    places = open(x - 2, kinds={2: ("categories", [*"abcdefgh"])})  # others by their place
    assert next(places.whole.epoch(3)).x[:, 2].tolist() == [3, 0, 7]
    whole = open(np.nan_to_num(x), kinds=["binary", "real", "counts"])
    assert whole.domain.columns == (BINARY, REAL, COUNTS)


def test_tables_that_differ_in_words_alone_have_other_fingerprints(tmp_path: Path) -> None:
    prints = set()
    for words in ("ab", "ac"):
        path = tmp_path / f"{words}.csv"
        path.write_text("w,x\n" + "".join(f"{w},1\n" for w in words))
        prints.add(open(path).fingerprint)
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        (TEXT, {"kinds": {"colors": "real"}}, "did you mean 'color'"),
        (TEXT, {"kinds": {7: "real"}}, "the column 7"),
        (TEXT, {"kinds": ["real"]}, "1 kinds given for 5 columns"),
        (
            TEXT,
            {"kinds": {"color": REAL}},
            r"column 2 \(color\) holds words, such as 'blue', so it is no real numbers;",
        ),
        (TEXT, {"kinds": "real"}, r"color\) holds words, such as 'blue', so it is no 'real'"),
        (TEXT, {"kinds": {"n": "reel"}}, "did you mean 'real'"),
        (TEXT, {"kinds": {"color": "real"}}, r"\(color\) holds words, such as 'blue'"),
        (TEXT, {"kinds": {"size": "counts"}}, "outside counts"),
        (TEXT, {"kinds": {"n": ("levels", 5)}}, "outside integers 0..4"),
        (TEXT, {"kinds": {"n": "counts"}, "domain": "real"}, "in place of levels and domain"),
        ("a,b\n1,\n2,NA\n", {}, r"column 2 \(b\) has no values"),
        ("a,b\n1,x\n2,x\n", {}, r"column 2 \(b\) has 1 different values"),
        ("a,b\n" + "".join(f"{i},w{i}\n" for i in range(300)), {}, "more than 256 different words"),
    ],
)
def test_refusals(tmp_path: Path, text: str, options: dict, match: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=match) as caught:
        open(path, **options)
    assert "\n" not in str(caught.value)


def test_kinds_are_for_tables() -> None:
    for source in (np.zeros((3, 2, 2)), "digits"):
        with pytest.raises(InputError, match="kinds are for"):
            open(source, kinds=["real", "real"])


def test_rows_without_any_value_are_said_to_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,x\n,\n\n3,y\n4,x\n")
    data = open(tmp_path / "t.csv")
    assert len(data.whole) == 3
    assert any("every cell is empty: 1 of the rows" in note for note in data.notes)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,a\n1,2,3\n4,5,6\n")
    with pytest.raises(InputError, match="more than one column named a"):
        open(tmp_path / "t.csv")


def test_categories_given_as_integers_are_no_ordinals():
    codes = np.array([[3, 0], [5, 1], [9, 2], [3, 1]] * 5)
    frame = pd.DataFrame({"a": pd.Categorical(codes[:, 0]), "b": [0.5, 1, 2, 3] * 5})
    assert open(frame).domain.columns == (Domain("categories", 3, ("3", "5", "9")), REAL)
    data = open(codes, kinds="categories")
    assert data.domain.columns == (Domain("categories", 3, ("3", "5", "9")), Domain("categories", 3, ("0", "1", "2")))
    model = tb.VAE.for_data(data, latent=1, network="mlp(hidden=(4,))")
    seen = model.observe(Batch(torch.tensor([[0.0, 2.0]])), Noise("test")).input
    assert seen.tolist() == [[1, 0, 0, 0, 0, 1, 1, 1]]  # one-hot, then which entries are observed


def test_the_encoder_sees_levels_one_hot_if_each_has_its_own_probability():
    tokens = np.array([[0, 3, 1], [2, 0, 3]])
    model = tb.VAE.for_data(tokens, latent=1, likelihood="categorical", network="mlp(hidden=(4,))")
    seen = model.observe(Batch(torch.from_numpy(tokens).float()), Noise("test")).input
    assert seen.tolist() == [[1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1]]
    assert tb.Trained(model).reconstruct(tokens).shape == (2, 3)
    pixels = tb.VAE.for_data(tokens[:, None, :], latent=1, likelihood="categorical", network="mlp(hidden=(4,))")
    assert pixels.observation.input_shape((1, 1, 3)) == (1, 1, 3)


def test_whole_numbers_of_a_numeric_table_are_said_with_their_ranges(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("month,rain,steps\n" + "".join(f"{i % 12 + 1},{i / 7},{i * 999}\n" for i in range(24)))
    said = "\n".join(open(path).notes)
    assert "whole numbers taken as real: month 1..12, steps 0..22977;" in said
    assert "pass kinds={'month': ('levels', 13), 'steps': 'counts'}" in said
    kept = open(path, kinds={"month": ("levels", 13)})
    assert kept.domain.columns == (Domain("levels", 13), REAL, REAL)
    assert open(np.array([[1, 0.5], [12, 0.25]])).notes[2].endswith("pass kinds={0: ('levels', 13)}")
