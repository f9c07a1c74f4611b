"""Mixed tables from the command line."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

import tightbound as tb
from conftest import TINY, Result, invoke
from tightbound.core.errors import InputError


def write(path: Path, n: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["age", "home town", "visits", "smoker"])
        for _ in range(n):
            row = [f"{rng.normal(40, 9):.1f}", rng.choice(["Oslo", "Paris, FR"]), rng.poisson(2), rng.integers(2)]
            rows.writerow(["" if rng.random() < 0.2 else cell for cell in row])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    write(folder / "t.csv", 80)
    return folder


@pytest.mark.filterwarnings("default::UserWarning")
def test_train_sample_reconstruct_and_evaluate_other_data(run: Path, capsys, tmp_path: Path) -> None:
    kinds = "{'visits': 'counts'}"
    trained = invoke(capsys, "train", run / "t.csv", "--run", run / "run", "--kinds", kinds, *TINY)
    assert trained.status == 0, trained.err
    assert "2 categories (Oslo, Paris, FR)" in trained.out
    assert (run / "run" / "report.html").is_file()
    for command in (("sample", "--draw"), ("sample",), ("reconstruct",)):
        out = tmp_path / "out.csv"
        assert invoke(capsys, command[0], run / "run", *command[1:], "--out", out).status == 0
        rows = list(csv.reader(out.read_text().splitlines()))
        assert rows[0] == ["row"] * (command[0] == "reconstruct") + ["age", "home town", "visits", "smoker"]
        assert len(rows) > 5
        rows = [row[-4:] for row in rows]
        assert {row[1] for row in rows[1:]} <= {"Oslo", "Paris, FR"}
        numbers = np.array([[row[0], *row[2:]] for row in rows[1:]], float)
        assert np.isfinite(numbers).all()
        if "--draw" in command:
            assert (numbers[:, 1:] == numbers[:, 1:].round()).all()
    other = tmp_path / "other.csv"
    other.write_text("age,home town,visits,smoker\n30,Oslo,0,1\n41,Oslo,1,0\n")  # complete, and one town alone
    result = invoke(capsys, "evaluate", run / "run", other, "--samples", "3")
    assert result.status == 0, result.err
    other.write_text("age,home town,visits,smoker\n30,Rome,0,1\n41,Oslo,1,0\n")
    result = invoke(capsys, "evaluate", run / "run", other, "--samples", "3")
    assert result.status == 0
    assert "column 2 (home town) holds 'Rome', unknown to the model" in result.err
    for command, *options in (("evaluate", "--samples", "3"), ("embed", "--out", tmp_path / "z.csv"), ("score",)):
        strict = invoke(capsys, command, run / "run", other, *options, "--strict")
        assert strict.status == 2
        (line,) = strict.err.splitlines()
        for words in ("column 2 (home town) holds 'Rome'", "entries that the model cannot hold", "(row 1)", "--strict"):
            assert words in line
    other.write_text("age,home town,visits,smoker\n30,Oslo,0,1\n41,Oslo,1,0\n")
    assert invoke(capsys, "evaluate", run / "run", other, "--samples", "3", "--strict").status == 0


def test_impute_fills_the_gaps_of_a_file_and_nothing_else(run: Path, capsys, tmp_path: Path) -> None:
    if not (run / "run").is_dir():
        invoke(capsys, "train", run / "t.csv", "--run", run / "run", "--kinds", "{'visits': 'counts'}", *TINY)
    out = tmp_path / "filled.csv"
    result = invoke(capsys, "impute", run / "run", run / "t.csv", "--out", out)
    assert result.status == 0, result.err
    before, after = (list(csv.reader(path.read_text().splitlines())) for path in (run / "t.csv", out))
    assert after[0] == before[0]
    gaps = 0
    for given, filled in zip(before[1:], after[1:], strict=True):
        for i, (cell, written) in enumerate(zip(given, filled, strict=True)):
            gaps += not cell
            assert not cell or written == cell
            assert written in ("Oslo", "Paris, FR") if i == 1 else i == 0 or written == str(int(written))
    assert f"{gaps:,} missing entries" in result.out


@pytest.mark.filterwarnings("default::UserWarning")
def test_impute_replaces_values_that_the_model_cannot_hold(run: Path, capsys, tmp_path: Path) -> None:
    if not (run / "run").is_dir():
        invoke(capsys, "train", run / "t.csv", "--run", run / "run", "--kinds", "{'visits': 'counts'}", *TINY)
    rows = ["30.5,Rome,0,1", "41.0,Oslo,many,0", "21.0,Oslo,-3,", "22.0,Oslo,3,0"]
    (tmp_path / "new.csv").write_text("\n".join(["age,home town,visits,smoker", *rows]) + "\n")
    for ending in (".csv", ".parquet"):
        out = tmp_path / f"filled{ending}"
        result = invoke(capsys, "impute", run / "run", tmp_path / "new.csv", "--out", out)
        assert result.status == 0, result.err
        assert "filled 4 missing entries of 16" in result.out
        assert "3 of these entries held values that the model cannot hold, which were replaced" in result.err
        assert "(row 1, row 2, row 3)" in result.err
    text = (tmp_path / "filled.csv").read_text().splitlines()
    cells = [line.split(",") for line in text[1:4]]
    assert text[4] == rows[3]
    assert cells[0][1] in ("Oslo", '"Paris')
    assert all(float(row[-2]) >= 0 for row in cells)
    held = parquet.read_table(tmp_path / "filled.parquet")
    assert held["visits"].to_pylist() == [int(row[-2]) for row in cells] + [3]
    assert invoke(capsys, "impute", run / "run", tmp_path / "new.csv", "--out", out, "--strict").status == 2


@pytest.mark.parametrize("named", [True, False], ids=["new data", "the run's own"])
def test_impute_fills_lines_without_any_value(named: bool, capsys, tmp_path: Path) -> None:
    write(tmp_path / "t.csv", 40)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    lines[3:3], lines[9:9] = [",,,"], [",,,"]
    (tmp_path / "t.csv").write_text("\n".join([*lines, ",,,"]) + "\n")
    run, out = tmp_path / "run", tmp_path / "filled.csv"
    assert invoke(capsys, "train", tmp_path / "t.csv", "--run", run, *TINY, "--evaluate-samples", "0").status == 0
    result = invoke(capsys, "impute", run, *[tmp_path / "t.csv"] * named, "--out", out)
    assert result.status == 0, result.err
    before, after = (list(csv.reader(path.read_text().splitlines())) for path in (tmp_path / "t.csv", out))
    assert len(after) == len(before) == 44
    assert all(cell for row in after for cell in row)
    assert all(cell in ("", filled) for old, new in zip(before, after, strict=True)
               for cell, filled in zip(old, new, strict=True))  # fmt: skip


def test_impute_writes_gaps_as_their_column_is_written(capsys, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["# from a till", "name;day;price;share;at;note;empty"]
    for i in range(60):
        cells = [f"p{i:03d}", f"2021-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}", f"${rng.normal(50, 9):.2f}",
                 f"{rng.uniform(1, 99):.1f}%", f"{rng.integers(8, 20):02d}:{rng.integers(60):02d}",
                 '"a; ""b"""', ""]  # fmt: skip
        lines.append(";".join("NA" if 0 < k < 5 and rng.random() < 0.2 else cell for k, cell in enumerate(cells)))
    lines.insert(7, "p999;;;;;x;")
    file, out, model = tmp_path / "till.csv", tmp_path / "filled.csv", tmp_path / "run"
    file.write_text("\n".join(lines) + "\n")
    named = ("--id", "name", "--ignore", "note", "empty", "--run", model)
    assert invoke(capsys, "train", file, *named, *TINY, "--evaluate-samples", "0").status == 0
    result = invoke(capsys, "impute", model, file, "--out", out)
    assert result.status == 0, result.err
    before, after = file.read_text().splitlines(), out.read_text().splitlines()
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        pairs = [*zip(*(next(csv.reader([line], delimiter=";")) for line in (old, new)), strict=True)]
        for i, (cell, written) in enumerate(pairs):
            form = {1: r"\d{4}-\d\d-\d\d", 2: r"-?\$\d+\.\d\d", 3: r"-?\d+\.\d%", 4: r"\d+:\d\d"}.get(i)
            if cell not in ("", "NA") or form is None or old.startswith("#"):
                assert written == cell
            else:
                assert re.fullmatch(form, written), written
        assert new == old or "NA" in old or ";;" in old
    result = invoke(capsys, "impute", model, file, "--out", file)
    assert (result.status, file.read_text().splitlines()) == (2, before)
    assert "give another name" in result.err


def test_a_loaded_model_checks_arrays_column_by_column(run: Path) -> None:
    model = tb.load(run / "run")
    complete = model.reconstruct(np.array([[np.nan, 1, 3, np.nan], [np.nan] * 4]))
    assert complete.isfinite().all()
    for match, row in {"column 2": [1, 2, 0, 0], "column 3": [1, 1, 0.5, 0]}.items():
        with pytest.warns(UserWarning, match=f"{match}.*this entry counts as missing"):
            model.encode(np.array([row], float))
    with pytest.raises(InputError, match="finite"):
        model.encode(np.array([[np.inf, 0, 0, 0]]))


def test_kinds_that_cannot_be_read_are_refused(refused, tmp_path: Path) -> None:
    write(tmp_path / "t.csv", 10)
    assert "put words in quotes" in refused("train", "t.csv", "--kinds", "visits=counts")
    assert "did you mean 'visits'" in refused("train", "t.csv", "--kinds", "visit='counts'")
    assert "for each in order" in refused("train", "t.csv", "--kinds", "'real', visits='counts'")


def test_the_commands_offered_for_a_table_work(cli: Callable[..., Result], tmp_path: Path) -> None:
    np.savetxt("t.csv", np.random.default_rng(0).normal(size=(40, 3)), delimiter=",")
    shown = cli("train", "t.csv", "--run", "r", *TINY, "--evaluate-samples", "0")
    for _ in range(4):
        command = shown.out.split("next: tightbound ")[1].split(";")[0].split()
        shown = cli(*command, *(["--quick"] if command[0] == "report" else []))
        assert shown.status == 0, shown.err
    assert (tmp_path / "samples.csv").is_file()
    assert (tmp_path / "interpolation.npz").is_file()


def test_notes_on_the_data_name_flags(cli: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a;b\n" + "".join(f"{i % 7};{i % 5 - 1.5}\n" for i in range(40)))
    result = cli("train", "x.csv", *TINY, "--evaluate-samples", "0", "--run", "new")
    assert result.status == 0, result.err
    assert "--delimiter" in result.out
    assert "delimiter=" not in result.out


def test_rows_without_a_label_have_an_unknown_class_where_it_is_inferred(
    cli: Callable[..., Result], refused: Callable[..., str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        word = "" if i % 3 else ("cat", "dog")[i // 3 % 2]
        rows.append(f"{rng.normal():.3f},{rng.normal():.3f},{word}")
    (tmp_path / "t.csv").write_text("\n".join(["a,b,pet", *rows]) + "\n")
    infer = ("--context", "inferred-labels", "--objective", "m2", "--evaluate-samples", "0", *TINY)
    result = cli("train", "t.csv", "--labels", "pet", *infer, "--run", "r")
    assert result.status == 0, result.err
    assert "40 of 60 examples have no label: their class is unknown (-1)" in result.out
    assert "labels: cat=0, dog=1" in result.out
    (tmp_path / "new.csv").write_text("a,b,pet\n0.1,0.2,\n0.3,-0.1,dog\n0.5,0.5,frog\n")
    assert "'frog', which the model was not trained on" in refused("embed", "r", "new.csv", "--out", "z.csv")
    (tmp_path / "new.csv").write_text("a,b,pet\n0.1,0.2,\n0.3,-0.1,dog\n")
    assert cli("embed", "r", "new.csv", "--out", "z.csv").status == 0
    found = list(csv.DictReader((tmp_path / "z.csv").read_text().splitlines()))
    assert [row["pet"] for row in found] == ["-1", "dog"]
    for context in ((), ("--context", "labels")):
        said = refused("train", "t.csv", "--labels", "pet", *context, "--run", "r2")
        assert "column pet: 40 rows have no label, the first in line 3" in said
        assert "inferred-labels" in said
