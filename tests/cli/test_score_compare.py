"""`tightbound score` and `tightbound compare` from end to end on tiny runs."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tightbound.analysis.detection.detection import auroc

from conftest import TINY, Result, gray
from tightbound.cli.commands import COMMANDS
from tightbound.components import TABLE

Cli = Callable[..., Result]
QUICK = ("--samples", "3", "--scores", "nll", "mahalanobis", "regret(steps=3, measured=4)", "complexity")


def test_score_of_the_runs_own_data_names_the_most_unusual(cli: Cli, run: Path) -> None:
    out = cli("score", run, "-n", "40", *QUICK, "--out", "s.csv", "--picture", "p.png").out
    assert "40 of digits" in out
    assert "the most unusual data" in out
    rows = list(csv.DictReader(Path("s.csv").read_text().splitlines()))
    assert list(rows[0]) == ["data", "index", "nll", "mahalanobis", "regret", "complexity"]
    assert len(rows) == 40
    highest = max(rows, key=lambda row: float(row["nll"]))
    line = next(line for line in out.splitlines() if line.strip().startswith("nll") and "±" not in line)
    assert line.split()[1].rstrip(",") == highest["index"]
    with Image.open("p.png") as picture:
        assert picture.width > picture.height
    found = json.loads((run / "analysis" / "score.json").read_text())
    assert found["data"] == {"own": "digits"}
    assert out.splitlines()[-1] == f"next: tightbound report {run}"
    assert cli("report", run, "--quick").status == 0
    page = (run / "report.html").read_text()
    assert "Unusual data" in page
    assert "The most unusual test data" in page


def test_score_of_other_data_tells_them_apart(cli: Cli, run: Path) -> None:
    np.save("noise.npy", gray(50))
    result = cli("score", run, "noise.npy", "-n", "40", *QUICK, "--json", "--out", "s.npz", "--picture", "h.svg")
    assert result.status == 0, result.err
    found = json.loads(result.out, parse_constant=pytest.fail)
    assert found["data"] == {"own": "digits", "other": "noise"}
    with np.load("s.npz") as file:
        other = file["data"] == "noise"
        assert other.sum() == 40
        for name in ("nll", "mahalanobis", "regret", "complexity"):
            area = auroc(file[name][~other], file[name][other])
            assert found["numbers"][f"{name}_auroc"]["value"] == pytest.approx(area.value)
            assert found["numbers"][f"{name}_auroc"]["interval"] == pytest.approx(area.interval)
            assert found["other"]["numbers"][name]["value"] == pytest.approx(file[name][other].mean())
    assert found["numbers"]["nll_auroc"]["value"] > 0.95
    assert Path("h.svg").read_text().startswith("<?xml")
    shown = cli("score", run, "noise.npy", "-n", "40", *QUICK).out
    assert "noise told from digits" in shown
    assert "chance: 0.5" in shown
    cli("report", run, "--quick")
    assert "Told from other data" in (run / "report.html").read_text()


def test_a_likelihood_that_is_misled_is_said_to_be(cli: Cli, run: Path) -> None:
    """Blank pictures: likelier than any digit."""
    x = np.zeros((30, 8, 8), np.uint8)
    x[0, 7, 7] = 16  # levels are inferred from the highest
    np.save("blank.npy", x)
    out = cli("score", run, "blank.npy", "-n", "30", "--samples", "3", "--scores", "nll").out
    assert "note: the model finds blank more likely than digits" in out


def test_score_refuses_in_one_line(refused: Callable[..., str], run: Path) -> None:
    np.save("wide.npy", gray(20, (9, 9)))
    assert "shape" in refused("score", run, "wide.npy")
    assert "no score 'nlll'" in refused("score", run, "--scores", "nlll")
    assert ".csv or .npz" in refused("score", run, "--out", "s.txt")
    assert "run's own test data" in refused("score", run, "digits")


def test_scores_are_listed(cli: Cli) -> None:
    listed = json.loads(cli("list", "scores", "--json").out)
    assert set(listed) == set(TABLE["score"])
    assert "steps=100" in listed["regret"]["arguments"]


@pytest.mark.usefixtures("plain")
def test_compare_pairs_runs_over_the_same_data(cli: Cli, run: Path) -> None:
    cli("train", "digits", *TINY, "--seed", "1", "--run", "other")
    shutil.copytree(run, "third")
    out = cli("compare", run, "other", "third", "--samples", "3", "-n", "50", "--out", "c.svg").out
    assert "n = 50 data" in out
    assert "3 pairs (Holm)" in out
    assert "no difference can be told between" in out
    assert "not over seeds of training" in out
    following = out.splitlines()[-1].removeprefix("next: tightbound ").split()
    assert following[0] in COMMANDS
    assert cli(*following, "--quick").status == 0
    assert Path("c.svg").read_text().startswith("<?xml")
    found = json.loads(cli("compare", run, "other", "third", "--samples", "3", "-n", "50", "--json").out)
    pair = {(d["a"], d["b"]): d for d in found["differences"] if d["quantity"] == "iwae"}
    same, apart = pair["run", "third"], pair["run", "other"]
    assert (same["difference"]["value"], same["p"], same["probability"]) == (0, 1, 0.5)
    value = found["runs"]["run"]["iwae"]["value"] - found["runs"]["other"]["iwae"]["value"]
    assert apart["difference"]["value"] == pytest.approx(value)
    assert apart["difference"]["stderr"] > 0
    assert found["data"]["name"] == "digits"


def test_compare_refuses_in_one_line(cli: Cli, refused: Callable[..., str], run: Path) -> None:
    np.save("gray.npy", gray(60))
    small = ("--network", "mlp(hidden=(4,))", "--latent", "2", "--epochs", "1", "--evaluate-samples", "0")
    cli(
        "train",
        "gray.npy",
        *small,
        "--levels",
        "17",
        "--run",
        "g",
        "--likelihood",
        "discretized-logistic(scale='per-dimension')",
    )
    cli("train", "digits", *small, "--likelihood", "bernoulli", "--run", "bits")
    cli("train", "--config", "g/config.yaml", "--test", "0.3", "--run", "g3")
    assert "with the same --test" in refused("compare", "g", "g3")
    assert "different data (digits, gray)" in refused("compare", run, "g")
    assert "'17 levels'" in refused("compare", run, "bits")
    assert "two or more" in refused("compare", run)
    assert "named twice" in refused("compare", run, run)
    assert ".svg" in refused("compare", run, "g", "--out", "c.png")
