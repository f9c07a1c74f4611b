"""Columns, labels and rows keep their names, from the data to all that is written."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tightbound as tb
from conftest import invoke
from tightbound.cli.main import main

CENTERS = {"a": -3.0, "b": 0.0, "c": 3.0}
TINY = ("--latent", "1", "--network", "mlp(hidden=(16,))", "--epochs", "60", "--lr", "0.01", "--evaluate-samples", "0")


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    species = np.array(list(CENTERS))[rng.integers(0, 3, 240)]
    u = np.array([CENTERS[word] for word in species]) + 0.1 * rng.normal(size=240)
    columns = {"code": [f"00{i}" for i in range(240)], "day": "x", "u": u, "v": 10 + 2 * u, "species": species}
    return pd.DataFrame(columns)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    frame().to_csv(folder / "t.csv", index=False)
    named = ("--labels", "species", "--ignore", "day", "--id", "code", "--context", "labels")
    main(
        [
            str(word)
            for word in ("train", folder / "t.csv", *named, *TINY, "--evaluate-samples", "0", "--run", folder / "run")
        ]
    )
    return folder / "run"


def written(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_other_data_are_matched_by_the_names_of_columns_and_labels(run, capsys, tmp_path):
    other = frame()[lambda t: t.species != "a"][["species", "v", "u", "code"]]
    other.to_csv(tmp_path / "bc.csv", index=False)
    assert invoke(capsys, "reconstruct", run, tmp_path / "bc.csv", "--out", tmp_path / "r.csv").status == 0
    rows = written(tmp_path / "r.csv")
    assert list(rows[0]) == ["row", "code", "species", "u", "v"]
    assert [row["row"] for row in rows] == [str(i + 1) for i in range(len(other))]
    assert [row["code"] for row in rows] == other.code.tolist()
    assert [row["species"] for row in rows] == other.species.tolist()
    for row in rows:
        assert float(row["u"]) == pytest.approx(CENTERS[row["species"]], abs=0.6)
        assert float(row["v"]) == pytest.approx(10 + 2 * CENTERS[row["species"]], abs=1.2)


def test_samples_of_a_class_are_kept_if_no_example_shows_the_class(capsys, tmp_path):
    table = frame()[["u", "v"]]
    table.to_csv(tmp_path / "plain.csv", index=False)
    brief = (*TINY[:4], "--epochs", "1", "--evaluate-samples", "0", "--sampler", "prior")
    main([str(word) for word in ("train", tmp_path / "plain.csv", *brief, "--run", tmp_path / "run")])
    labels = np.arange(len(table)) % 2
    tb.load(tmp_path / "run").fit_sampler("class-regions(components=1)", (table, labels), default=True)
    result = invoke(capsys, "sample", tmp_path / "run", "--label", 1, "--out", tmp_path / "s.csv")
    assert result.status == 0, result.err
    assert len(written(tmp_path / "s.csv")) == 64
    assert "the data have no labels" in result.err


def test_unknown_classes_and_renamed_columns_are_one_line(run, refused, tmp_path):
    frame().assign(species="zebra").to_csv(tmp_path / "z.csv", index=False)
    assert "hold 'zebra', which the model was not trained on; known classes: a, b, c" in refused(
        "evaluate", run, tmp_path / "z.csv"
    )
    frame().rename(columns={"u": "w"}).to_csv(tmp_path / "w.csv", index=False)
    assert "lacks the column u, which the model was trained on, and has the column w" in refused(
        "evaluate", run, tmp_path / "w.csv"
    )
    assert "'bb' is no class of this model; did you mean 'b'?" in refused("sample", run, "--context", "bb")
    assert "has no column 'specis'; did you mean 'species'?" in refused(
        "train", run.parent / "t.csv", "--labels", "specis"
    )


@pytest.mark.filterwarnings("default::UserWarning")
def test_extra_columns_are_ignored_with_a_note(run, capsys, tmp_path):
    frame().assign(extra=1).to_csv(tmp_path / "more.csv", index=False)
    result = invoke(capsys, "embed", run, tmp_path / "more.csv", "--out", tmp_path / "e.csv")
    assert result.status == 0, result.err
    assert "note: " in result.err
    assert "the column extra is ignored" in result.err
    rows = written(tmp_path / "e.csv")
    assert list(rows[0]) == ["row", "code", "species", "z1"]
    assert len(rows) == 240  # also of the file that the run was trained on, of which a part was set aside


def test_one_row_is_enough(run, capsys, tmp_path):
    frame()[4:5].to_csv(tmp_path / "one.csv", index=False)
    result = invoke(capsys, "embed", run, tmp_path / "one.csv", "--out", tmp_path / "e.csv")
    assert result.status == 0, result.err
    [row] = written(tmp_path / "e.csv")
    assert row["code"] == "004"
    assert tb.load(run).encode(str(tmp_path / "one.csv"))[0, 0].item() == pytest.approx(float(row["z1"]), abs=1e-5)


def test_classes_are_sampled_by_name(run, capsys, tmp_path):
    out = tmp_path / "s.csv"
    assert invoke(capsys, "sample", run, "--context", "c", "b", "-n", "6", "--mean", "--out", out).status == 0
    rows = written(out)
    assert [row["species"] for row in rows] == ["c", "b"] * 3
    for row in rows:
        assert float(row["u"]) == pytest.approx(CENTERS[row["species"]], abs=0.6)


def test_scores_belong_to_rows_of_the_file(run, capsys, tmp_path):
    table = frame().iloc[:40].copy()
    table.loc[17, ["u", "v"]] = [40.0, -40.0]
    table.to_csv(tmp_path / "odd.csv", index=False)
    options = ("--scores", "nll", "--per-example", tmp_path / "s.csv")
    result = invoke(capsys, "score", run, tmp_path / "odd.csv", *options)
    assert result.status == 0, result.err
    rows = written(tmp_path / "s.csv")
    assert [row["row"] for row in rows] == [str(i + 1) for i in range(40)]
    worst = max(rows, key=lambda row: float(row["nll"]))
    assert (worst["row"], worst["code"]) == ("18", "0017")
    assert "0017, " in result.out


def test_interpolation_begins_at_examples_by_name_or_row(run, capsys, tmp_path):
    """As other commands name them: by the column of names, or by row of the file."""
    trained = tb.load(run)
    x = frame()[["u", "v"]].to_numpy(np.float32)
    labels = frame().species.to_numpy()
    for start, end, all_of_them in (("0017", "row 4", True), ("18", "004", True)):
        out = tmp_path / "i.npz"
        words = ("--from", start, "--to", end, "--steps", 3, "--split", "all" if all_of_them else "auto")
        found = invoke(capsys, "interpolate", run, *words, "--out", out)
        assert found.status == 0, found.err
        first, last = 17, 4 if end == "004" else 3
        assert f"from example 00{first} to example 00{last}," in found.out
        expected = trained.interpolate(x[first], x[last], steps=3, labels=[labels[first], labels[last]])
        np.testing.assert_allclose(np.load(out)["linear"], expected, rtol=1e-4)
    names = trained.data.test.names
    missing = next(name for name in trained.data.train.names if name not in names)
    refused = invoke(capsys, "interpolate", run, "--from", missing, "--out", tmp_path / "no.npz")
    assert refused.status == 2
    assert f"--from {missing}: there is no example '{missing}'; examples are {names[0]}, " in refused.err
    assert "--split all" in refused.err
    assert not (tmp_path / "no.npz").exists()
    frame().iloc[:40].to_csv(tmp_path / "other.csv", index=False)  # of which all examples are searched
    refused = invoke(capsys, "interpolate", run, tmp_path / "other.csv", "--from", "nobody")
    assert "--from nobody: there is no example 'nobody'" in refused.err
    assert "--split all" not in refused.err
