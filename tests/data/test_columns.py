"""Mixed tables: kinds, words and missing entries."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import tightbound as tb
from tightbound.core.domain import BINARY, COUNTS, REAL, WHOLE, Domain, as_domain
from tightbound.core.errors import InputError
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data import open
from tightbound.data.feed import as_split
from tightbound.data.given import training_data

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
    assert data.domain == Domain("mixed", columns=(REAL, COLORS, WHOLE, BINARY, Domain("categories", 2, ("a", "b"))))
    x = next(data.whole.epoch(5)).x.numpy()
    expected = [[1.5, 2, 3, 1, 0], [NAN, 1, 0, NAN, 1], [2.5, NAN, 1, 0, 0], [NAN, 0, 2, 1, NAN], [-4, 2, 7, NAN, 1]]
    assert x.dtype == np.float32
    assert np.array_equal(x, np.array(expected, np.float32), equal_nan=True)
    notes = "\n".join(data.notes)
    assert "missing: 6 of 25 entries (size 2, color 1, yes 2, note 1)" in notes
    assert "color: 3 categories (blue, green, red)" in notes
    assert "n: whole numbers" in notes
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
    assert data.domain.columns == (BINARY, REAL, WHOLE)
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
            r"column 2 \(color\) holds words, such as 'blue', so it cannot be real numbers;",
        ),
        (TEXT, {"kinds": "real"}, r"color\) holds words, such as 'blue', so it cannot be 'real'"),
        (TEXT, {"kinds": {"n": "reel"}}, "did you mean 'real'"),
        (TEXT, {"kinds": {"color": "real"}}, r"\(color\) holds words, such as 'blue'"),
        (TEXT, {"kinds": {"size": "counts"}}, "outside counts"),
        (TEXT, {"kinds": {"n": ("levels", 5)}}, "outside integers 0..4"),
        (TEXT, {"kinds": {"n": "counts"}, "domain": "real"}, "in place of levels and domain"),
        ("a,b\n1,\n2,NA\n", {}, r"column 2 \(b\) has no values"),
        ("a,b\n1,x\n2,x\n", {}, r"column 2 \(b\) has one value only, 'x'"),
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


MONTHS = as_domain(("values", range(1, 13)))


def few(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    rows = (f"{i % 12 + 1},{i / 7},{i * 999},{17.5 + i % 2},{-i}\n" for i in range(240))
    path.write_text("month,rain,steps,age,below\n" + "".join(rows))
    return path


def test_a_numeric_table_holds_few_numbers_whole_ones_and_real_ones(tmp_path: Path) -> None:
    data = open(few(tmp_path))
    assert data.domain.columns == (MONTHS, REAL, WHOLE, as_domain(("values", (17.5, 18.5))), REAL)
    assert data.domain.plain == REAL
    assert next(data.whole.epoch(240)).x[:, 3].unique().tolist() == [17.5, 18.5]
    kept = open(few(tmp_path), kinds={"month": ("levels", 13), "age": "real"})
    assert kept.domain.columns[0] == Domain("levels", 13)
    assert kept.domain.columns[3] == REAL
    with pytest.raises(InputError, match=r"column 3 \(steps\) has more than 32 different numbers"):
        open(few(tmp_path), kinds={"steps": "values"})
    with pytest.raises(InputError, match=r"column 4 \(age\) holds 17.5, which is none of its 2 numbers \(18.5, 19.5\)"):
        open(few(tmp_path), kinds={"age": ("values", (18.5, 19.5))})


def test_a_number_unknown_to_the_model_counts_as_missing(tmp_path: Path) -> None:
    model = tb.VAE.for_data(few(tmp_path), latent=1, network="mlp(hidden=(4,))")
    path = tmp_path / "new.csv"
    path.write_text("month,rain,steps,age,below\n13,0.5,99999999,17.5,0\n2,0.5,3,18.5,0\n")
    with pytest.warns(UserWarning, match=r"column 1 \(month\) holds 13, unknown to the model"):
        seen = next(as_split(model, path).epoch(2)).x
    assert seen[0].isnan().tolist() == [True, False, False, False, False]
    assert seen[1].tolist() == [2, 0.5, 3, 18.5, 0]


def test_a_density_asked_for_takes_the_numbers_of_a_table_as_real(tmp_path: Path) -> None:
    model = tb.VAE.for_data(few(tmp_path), latent=1, network="mlp(hidden=(4,))", likelihood="student-t")
    assert model.observation.source == REAL
    trained = tb.fit(model, few(tmp_path), steps=1, quiet=True)
    assert math.isfinite(trained.evaluate(samples=2)["elbo"].value)


def test_numbers_that_only_test_data_hold_make_a_column_real() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, 4, 100) / 2, rng.normal(size=100)], 1)
    assert training_data((x, x[:5])).domain.columns == (as_domain(("values", (0, 0.5, 1, 1.5))), REAL)
    assert training_data((x, x[:5] + 0.25)).domain == REAL


def test_numbers_that_float32_rounds_are_known_again() -> None:
    """Batches hold float32, and the domain of the column holds the numbers as they were given."""
    x = np.stack([np.tile([-0.044641636506989144, 0.05068011873981862], 40), np.linspace(-1, 1, 80)], 1)
    model = tb.VAE.for_data(x, latent=1, network="mlp(hidden=(2,))")
    batch = next(training_data(x).train.epoch(80))
    assert tb.evaluate(model, batch, samples=1)["elbo"].n == 80
    assert torch.isfinite(model.loss(batch.x, seed=0))


@pytest.mark.parametrize("width", [50, 51])
def test_pixels_keep_one_domain(width: int) -> None:
    bytes_ = (np.arange(160 * width) % 7).astype(np.uint8).reshape(160, width)
    assert open(bytes_).domain == Domain("levels", 256)
    halves = bytes_ / 2
    assert open(halves).domain.kind == ("mixed" if width == 50 else "real")


UNFIT = {  # a value in the second row, and its column: what the column of the model cannot hold
    "-3": "steps",
    "3.5": "steps",
    "1e30": "steps",
    "9": "age",
}


@pytest.mark.parametrize("value", UNFIT)
@pytest.mark.parametrize("form", ["file", "frame", "array"])
def test_a_number_that_a_column_cannot_hold_counts_as_missing(tmp_path: Path, value: str, form: str) -> None:
    model = tb.VAE.for_data(few(tmp_path), latent=1, network="mlp(hidden=(4,))")
    frame = pd.DataFrame(
        [[2, 0.5, 3, 17.5, 0], [2, 0.5, 4, 18.5, 0]], columns=["month", "rain", "steps", "age", "below"]
    )
    frame[UNFIT[value]] = frame[UNFIT[value]].astype(float)
    frame.loc[1, UNFIT[value]] = float(value)
    path = tmp_path / "new.csv"
    frame.to_csv(path, index=False)
    source = {"file": path, "frame": frame, "array": frame.to_numpy(float)}[form]
    column = list(frame).index(UNFIT[value])
    held = re.escape(f"{float(value):.9g}")
    said = rf"column {column + 1} \(.*\) holds {held}, unknown .*: this entry counts as missing"
    with pytest.warns(UserWarning, match=said):
        seen = next(as_split(model, source).epoch(2)).x
    assert seen.isnan().nonzero().tolist() == [[1, column]]


@pytest.mark.parametrize("form", ["file", "frame"])
def test_a_large_whole_number_stays_as_large(tmp_path: Path, form: str) -> None:
    model = tb.VAE.for_data(few(tmp_path), latent=1, network="mlp(hidden=(4,))")
    frame = pd.DataFrame({"month": 2, "rain": 0.5, "steps": [3.0, 1e10, 1e12], "age": 17.5, "below": 0})
    path = tmp_path / "new.csv"
    frame.to_csv(path, index=False)
    source = path if form == "file" else frame
    assert next(as_split(model, source).epoch(3)).x[:, 2].tolist() == torch.tensor([3.0, 1e10, 1e12]).tolist()
    trained = tb.fit(model, few(tmp_path), steps=1, quiet=True)
    usual, large, larger = trained.log_likelihood(source, samples=2)
    assert usual > large > larger > -math.inf


def test_a_word_in_a_column_of_numbers_counts_as_missing(tmp_path: Path) -> None:
    model = tb.VAE.for_data(few(tmp_path), latent=1, network="mlp(hidden=(4,))")
    path = tmp_path / "new.csv"
    path.write_text("month,rain,steps,age,below\n2,0.5,3,17.5,0\n2,0.5,abc,18.5,0\n")
    said = r"column 3 \(steps\): 'abc' in line 3 is not a number, and .* this entry counts as missing"
    with pytest.warns(UserWarning, match=said):
        seen = next(as_split(model, path).epoch(2)).x
    assert seen[0].tolist() == [2, 0.5, 3, 17.5, 0]
    assert seen.isnan().nonzero().tolist() == [[1, 2]]


@pytest.mark.filterwarnings("default::UserWarning")
def test_results_say_which_rows_hold_unknown_entries(tmp_path: Path) -> None:
    model = tb.VAE.for_data(few(tmp_path), latent=1, network="mlp(hidden=(4,))")
    trained = tb.Trained(model, few(tmp_path))
    path = tmp_path / "new.csv"
    rows = ["2,0.5,3,17.5,0", "2,0.5,-3,9,0", "2,0.5,3,17.5,0", "2,0.5,many,18.5,0"]
    path.write_text("\n".join(["month,rain,steps,age,below", *rows]))
    with pytest.warns(UserWarning, match=r"holds -3, .* as missing \(row 2\), and likelihoods and scores leave it"):
        found = trained.score(path, scores=("nll",), samples=2)
    assert found.per_example["unknown_entries"].tolist() == [0, 2, 0, 1]
    assert found.sentences[0].startswith("row 2, row 4 hold entries that the model cannot hold")
    assert found.unusual(2) == {"nll": [1, 3]}
    assert found.tables[0].rows[0][1].startswith("row 2, row 4, ")
    assert "unknown_entries" not in trained.score(few(tmp_path), scores=("nll",), samples=2).per_example


@pytest.mark.parametrize("width", [2, 60])
def test_a_column_of_one_number_is_certain_whatever_that_is(width: int) -> None:
    """It adds nothing to the bound, where a density on it would grow without limit."""
    x: Any = np.random.default_rng(0).normal(size=(40, width))
    for value in (3.7, 0.0, 12.0, 1e30, -5.0):
        x[:, 1] = value
        known = pytest.approx(value, rel=1e-6, abs=0.05)
        for source in (x, pd.DataFrame(x)):
            model = tb.VAE.for_data(source, latent=1, network="mlp(hidden=(4,))")
            kinds = [own.kind for own in model.observation.source.columns]
            assert kinds == ["real", "binary" if value == 0 else "values", *["real"] * (width - 2)]
            drawn = tb.evaluate(model, source, samples=2)
            assert math.isfinite(drawn["elbo"].value)
            seen = model.observe(Batch(torch.tensor(x, dtype=torch.float32)), Noise("test"))
            with torch.no_grad():
                p: Any = model.likelihood(torch.zeros(1, model.latents.features))
            assert float(p.base_dist.log_prob(seen.x)[:, 1].abs().max()) < 0.05
            assert float(p.mean[0, 1]) == known
    with pytest.warns(UserWarning, match="column 2 .* holds 3.5, unknown to the model, which knows the number -5 only"):
        tb.Trained(model).encode(np.where(np.arange(width) == 1, 3.5, x[:2]))


@pytest.mark.parametrize("size", [1e-200, 1e-40, 1e-37])
def test_numbers_too_small_for_float32_are_refused_by_the_name_of_their_column(size: float) -> None:
    frame = pd.DataFrame({"b": np.arange(40) / 7, "tiny": np.arange(40) / 7 * size})
    with pytest.raises(InputError, match=r"column 2 \(tiny\) varies by .*, too little for float32; multiply it"):
        tb.data.open(frame)
    frame["tiny"] *= 1e-30 / size
    assert tb.data.open(frame).domain == REAL


LARGE = np.array([[2**62 + i % 4, i % 5] for i in range(100)])


@pytest.mark.parametrize(
    "given",
    [
        LARGE,
        LARGE.astype(np.uint64) * np.uint64(2),
        LARGE.tolist(),
        [[2**70 + i % 4, i % 5] for i in range(100)],
        torch.from_numpy(LARGE),
        np.ma.masked_equal(LARGE, 0),
        pd.DataFrame(LARGE, columns=["a", "b"]),
        pd.DataFrame(LARGE.astype(np.uint64), columns=["a", "b"]),
        pd.DataFrame(LARGE, columns=["a", "b"]).astype("Int64").mask(LARGE == 0),
    ],
    ids=["array", "uint64", "list", "more than 64 bits", "tensor", "masked", "frame", "frame of uint64", "nulls"],
)
@pytest.mark.parametrize("kind", [None, "categories"])
def test_whole_numbers_that_floats_cannot_tell_apart_are_refused(given: Any, kind: str | None) -> None:
    with pytest.raises(InputError, match=r"floating-point numbers cannot tell apart|too little for float32"):
        tb.data.open(given, kinds={0: kind} if kind else None)


def test_whole_numbers_of_text_that_floats_cannot_tell_apart_are_refused_or_words(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "t.csv", LARGE, "%d", ",", header="a,b", comments="")
    with pytest.raises(InputError, match=r"column 1 \(a\) holds 4611686018427387904 and 4611686018427387905"):
        tb.data.open(tmp_path / "t.csv")
    data = tb.data.open(tmp_path / "t.csv", kinds={"a": "categories"})
    assert data.domain.columns[0].words == tuple(str(2**62 + i) for i in range(4))


def test_long_numbers_are_different_categories() -> None:
    x = np.array([[2**40 + i % 4, i % 5] for i in range(100)], float)
    data = tb.data.open(x, kinds={0: "categories"})
    assert data.domain.columns[0].words == tuple(str(2**40 + i) for i in range(4))
    stored = torch.cat([batch.x for batch in data.whole.epoch(100)])
    assert torch.equal(stored[:, 0], torch.arange(100) % 4)


@pytest.mark.parametrize("labels", [np.uint64(2**63), 2**63, 2.0**64])
def test_labels_beyond_64_bits_are_refused(labels: Any) -> None:
    with pytest.raises(InputError, match=r"whole numbers below 2\*\*63, or words"):
        tb.data.open(np.zeros((4, 2)) + np.arange(4)[:, None], labels=np.array([labels] * 3 + [type(labels)(1)]))


def test_labels_are_not_rounded() -> None:
    y = np.array([2**53 + 1, 2**53, 2**53, 2**53], object)
    label = next(tb.data.open(np.arange(8.0).reshape(4, 2) + 0.5, labels=y).whole.epoch(4)).label
    assert label is not None
    assert label.tolist() == y.tolist()


def test_zeros_and_ones_beside_real_numbers_get_probabilities() -> None:
    x = np.column_stack([np.random.default_rng(0).normal(size=40), np.arange(40) % 2])
    assert tb.data.open(x).domain.columns == (REAL, BINARY)


def test_a_number_that_recurs_among_real_ones_has_a_kind_of_its_own() -> None:
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(300) < 0.4, 0.0, rng.exponential(size=300))
    rain[:30] = NAN
    spread = rng.normal(size=300)
    for kinds in (None, {0: "semicontinuous"}):
        data = open(np.stack([rain, spread], 1), kinds=kinds)
        assert data.domain.columns[0] == Domain("semicontinuous", atom=0.0)
    assert "real numbers, often 0" in str(data.domain.columns[0])
    shifted = open(np.stack([rain - 7.3, spread], 1))
    assert shifted.domain.columns[0] == as_domain(("semicontinuous", -7.3))
    assert as_domain(shifted.domain.columns[0].literal) == shifted.domain.columns[0]
    assert open(np.stack([rain, spread], 1), kinds={0: "real"}).domain.columns[0] == REAL
    with pytest.raises(InputError, match=r"holds no number more than once.*use 'real'"):
        open(np.stack([rain, spread], 1), kinds={1: "semicontinuous"})


@pytest.mark.parametrize(
    "x",
    [
        np.round(np.random.default_rng(0).standard_t(2, 3000)),  # rounded to a coarse unit, with neighbors of the mode
        np.round(np.random.default_rng(0).normal(size=3000), 1),
        np.round(np.random.default_rng(0).lognormal(1, 1.5, 3000)) - 1,
        np.where(np.arange(3000) < 450, 0.0, np.random.default_rng(0).normal(size=3000)),  # 15%
        np.where(np.arange(60) < 19, 0.0, np.random.default_rng(0).normal(size=60)),  # 19 rows
    ],
)
def test_rounded_numbers_and_rare_repetitions_stay_real(x: np.ndarray) -> None:
    beside = np.random.default_rng(1).normal(size=len(x))
    columns = open(np.stack([x, beside], 1)).domain.columns
    assert not columns or columns[0].kind in ("real", "whole")
