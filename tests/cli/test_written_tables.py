"""Tables that commands write: CSV and Parquet, rows of tables with given values, and several completed tables."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

import tightbound as tb
from conftest import TINY, Result, invoke
from tightbound.cli.files import write_table
from tightbound.core.errors import CompositionError

R = np.random.default_rng(0)
N = 200
NAMES = ["sex", "mass", "on=leave", "code"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a table with words, dates, whole numbers, gaps, and a column whose name holds "="."""
    folder = tmp_path_factory.mktemp("written")
    sex = R.integers(0, 2, N)
    with (folder / "t.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(NAMES)
        for one in sex:
            row = ["fm"[one], f"{20 * one + R.normal(50, 3):.1f}", f"2024-0{R.integers(1, 9)}-1{R.integers(9)}"]
            row.append(R.choice(["007", "042", "100"]))
            rows.writerow([row[0], *("" if R.random() < 0.15 else cell for cell in row[1:3]), row[3]])
    return folder


@pytest.fixture
def ask(run: Path, capsys: Any) -> Callable[..., Result]:
    """Runs a command on the run that each test shares."""
    if not (run / "run").is_dir():
        trained = invoke(capsys, "train", run / "t.csv", "--run", run / "run", *TINY, "--epochs", "40")
        assert trained.status == 0, trained.err
    return lambda command, *words: invoke(capsys, command, run / "run", *words)


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_a_table_is_written_part_by_part(tmp_path: Path) -> None:
    x = torch.tensor([[0.5, 1], [39.1, 0], [-3, 1], [1e-9, 0], [7, 1]])
    for rows in (1, 2, 10):
        out = tmp_path / f"{rows}.csv"
        write_table(out, x, ["a", "b"], [(), ("no", "yes, yes")], {"row": np.arange(1, 6)}, rows=rows)
        expected = 'row,a,b\n1,0.5,"yes, yes"\n2,39.1,no\n3,-3,"yes, yes"\n4,1e-09,no\n5,7,"yes, yes"\n'
        assert out.read_text() == expected


def test_parquet_holds_numbers_whole_numbers_and_words(tmp_path: Path) -> None:
    x = torch.tensor([[0.5, 1, 3], [39.1, 0, -2]])
    about = {"row": np.array([4, 9]), "name": np.array(["u", "v"])}
    write_table(tmp_path / "x.parquet", x, ["a", "b", "c"], [(), ("no", "yes"), ()], about)
    expected = {"row": [4, 9], "name": ["u", "v"], "a": [0.5, 39.1], "b": ["yes", "no"], "c": [3, -2]}
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.to_pydict() == expected
    assert [str(kind) for kind in table.schema.types] == ["int64", "string", "double", "string", "int64"]


def test_booleans_of_parquet_stay_booleans(cli: Callable[..., Result], tmp_path: Path) -> None:
    member = pa.array([None if i % 9 == 0 else bool(i % 2) for i in range(60)])
    parquet.write_table(pa.table({"x": R.normal(size=60), "member": member}), tmp_path / "t.parquet")
    short = ("--epochs", "1", "--evaluate-samples", "0", "--sampler", "prior")
    assert cli("train", "t.parquet", "--run", "r", *TINY, *short).status == 0
    for command in ("sample", "impute"):
        assert cli(command, "r", "--out", "x.parquet").status == 0
        column = parquet.read_table(tmp_path / "x.parquet")["member"]
        assert pa.types.is_boolean(column.type)
        assert column.null_count == 0


@pytest.mark.parametrize("command", ["sample", "reconstruct", "embed", "impute", "score"])
def test_each_command_writes_the_same_table_as_csv_and_parquet(
    command: str, ask: Callable[..., Result], tmp_path: Path, run: Path
) -> None:
    flag = "--per-example" if command == "score" else "--out"
    data = () if command == "sample" else (run / "t.csv",)
    more = ("--scores", "elbo") if command == "score" else ()
    for ending in (".csv", ".parquet"):
        result = ask(command, *data, flag, tmp_path / f"out{ending}", *more)
        assert result.status == 0, result.err
    header, *rows = read(tmp_path / "out.csv")
    table = parquet.read_table(tmp_path / "out.parquet")
    if command == "impute":  # a file that is completed keeps its columns
        table = table.drop_columns("row")
    assert table.column_names == header
    assert len(table) == len(rows)
    for name, cells in zip(header, zip(*rows, strict=True), strict=True):
        column = table[name]
        if pa.types.is_string(column.type):
            assert column.to_pylist() == list(cells)
        elif pa.types.is_date(column.type):
            assert [str(day) for day in column.to_pylist()] == list(cells)
        else:
            np.testing.assert_allclose(column.to_numpy(), np.array(cells, float), rtol=1e-7, atol=1e-9)


def test_numbers_are_written_as_in_the_data(ask: Callable[..., Result], tmp_path: Path) -> None:
    assert ask("sample", "-n", "40", "--out", tmp_path / "x.csv").status == 0
    for row in read(tmp_path / "x.csv")[1:]:
        assert re.fullmatch(r"-?\d+\.\d", row[1])
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", row[2])


def test_numbers_stay_in_the_range_of_the_training_rows(cli: Callable[..., Result], tmp_path: Path) -> None:
    """Uniform numbers; the density of a model is positive beyond their range."""
    x = np.round(R.uniform(-9, 9, size=(100, 2)), 1)
    lines = [f"{a:.1f},{b:.1f}" for a, b in x]
    (tmp_path / "t.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    assert cli("train", "t.csv", "--run", "r", *TINY, "--evaluate-samples", "0").status == 0
    trained = tb.load("r")
    data = tb.data.open("t.csv")
    inside = torch.cat([batch.x for batch in data.train.epoch(100)]).aminmax(dim=0)
    for name in ("x.csv", "x.parquet"):
        assert cli("sample", "r", "-n", "2000", "--out", name).status == 0
    rows = np.array(read(tmp_path / "x.csv")[1:], float)
    assert np.allclose([rows.min(0), rows.max(0)], [inside.min.numpy(), inside.max.numpy()])
    table = parquet.read_table("x.parquet")
    assert np.allclose(np.stack([table["a"], table["b"]], 1), rows)
    assert trained.sample(2000).abs().amax() > inside.max.amax()
    far = 2 * float(inside.max[0])
    assert cli("sample", "r", "--given", f"a={far:.1f}", "-n", "9", "--out", "x.csv").status == 0
    assert {row[0] for row in read(tmp_path / "x.csv")[1:]} == {f"{far:.1f}"}


def test_rows_of_a_table_are_drawn_unless_means_are_asked_for(ask: Callable[..., Result], tmp_path: Path) -> None:
    for words in ((), ("--draw",), ("--mean",)):
        assert ask("sample", "-n", "50", "--out", tmp_path / "_".join(["x", *words, ".csv"]), *words).status == 0
    usual, drawn, mean = (read(tmp_path / name) for name in ("x_.csv", "x_--draw_.csv", "x_--mean_.csv"))
    assert usual == drawn != mean
    spread = [np.std([float(row[1]) for row in rows[1:] if row[0] == "f"]) for rows in (usual, mean)]
    assert spread[1] < 0.7 * spread[0]
    assert "both given" in ask("sample", "--draw", "--mean").err


def test_python_draws_rows_and_takes_the_means_of_images(ask: Callable[..., Result], run: Path) -> None:
    ask("sample", "--help")
    trained = tb.load(run / "run")
    assert torch.equal(trained.sample(5), trained.sample(5, draw=True))
    assert not torch.equal(trained.sample(5), trained.sample(5, draw=False))
    data = tb.data.open("digits")
    images = tb.Trained(tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))"))
    assert torch.equal(images.sample(3), images.sample(3, draw=False))


def test_rows_are_drawn_given_values(ask: Callable[..., Result], tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    given = ("--given", "sex='f'", "code=007", "on=leave=2024-03-12")
    result = ask("sample", *given, "-n", "300", "--out", out)
    assert result.status == 0, result.err
    assert "effective number of latent codes:" in result.out
    header, *rows = read(out)
    assert header == NAMES
    assert {(row[0], row[3], row[2]) for row in rows} == {("f", "007", "2024-03-12")}
    trained = tb.load(Path(result.out.split("tightbound quality ")[1].strip()))
    found = trained.sample_given({"sex": "f", "code": "007", "on=leave": "2024-03-12"}, 300)
    mass = found.x[:, 1].numpy().clip(*trained.model.schema.ranges[1])
    assert np.allclose(mass, [float(row[1]) for row in rows], atol=0.051)  # one decimal
    assert 1 < found.effective <= found.codes == 10_000


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--given", "sx=f"), "did you mean 'sex'"),
        (("--given", "sex=frog"), "2 categories (f, m)"),
        (("--given", "sex"), "COLUMN=VALUE"),
        (("--given", "mass=heavy"), "real numbers"),
        (("--given", "sex=f", "sex=m"), "names a column twice"),
        (("--given", "sex=f", "--keep", "0.5"), "leave out --keep"),
    ],
)
def test_values_that_cannot_be_given_are_refused(words: tuple[str, ...], part: str, ask: Callable[..., Result]) -> None:
    result = ask("sample", *words)
    assert result.status == 2
    assert part in result.err
    assert len(result.err.splitlines()) == 1


def test_a_table_of_plain_numbers_can_be_given_values() -> None:
    """The other columns follow the given one, as they do in the data."""
    x = R.normal(size=(400, 1)) + 0.3 * R.normal(size=(400, 3))
    trained = tb.fit(tb.VAE.for_data(x, latent=2, network="mlp(hidden=(16,))"), x, steps=300, quiet=True)
    found = trained.sample_given({"x2": 1.0}, 500)
    assert (found.x[:, 1] == 1).all()
    assert found.x[:, 0].mean() > 0.5
    coupled = tb.VAE.for_data(tb.data.open("digits"), latent=2)
    with pytest.raises(CompositionError, match="table"):
        tb.Trained(coupled).sample_given({"x1": 1.0}, 2)


def test_multiple_imputation_writes_tables_below_each_other(
    ask: Callable[..., Result], tmp_path: Path, run: Path
) -> None:
    """In long format, as `complete(action="long")` of R's mice and `groupby("draw")` of pandas expect."""
    out = tmp_path / "draws.csv"
    result = ask("impute", run / "t.csv", "--draws", "3", "--out", out)
    assert result.status == 0, result.err
    header, *rows = read(out)
    given = read(run / "t.csv")
    assert header == ["draw", *NAMES]
    assert [row[0] for row in rows] == [str(1 + i // N) for i in range(3 * N)]
    tables = [[row[1:] for row in rows if row[0] == str(i)] for i in (1, 2, 3)]
    differ = 0
    for places in zip(given[1:], *tables, strict=True):
        for cell, *filled in zip(*places, strict=True):
            assert all(filled)
            assert not cell or {*filled} == {cell}
            differ += not cell and len({*filled}) > 1
    gaps = sum(not cell for row in given for cell in row)
    assert differ > 0.8 * gaps
    again = tmp_path / "draws.parquet"
    assert ask("impute", run / "t.csv", "--draws", "2", "--out", again).status == 0
    table = parquet.read_table(again)
    assert table["draw"].to_pylist() == [1] * N + [2] * N
    mass = [float(row[1]) for table in tables[:2] for row in table]
    np.testing.assert_allclose(table["mass"].to_numpy(), mass)
    assert "--draws" in ask("impute", run / "t.csv", "--draws", "2", "--out", tmp_path / "x.npz").err
