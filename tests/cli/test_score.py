"""`tightbound score` and `tightbound detect` from end to end on a tiny run."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Result, gray
from tightbound.analysis.detection.areas import auroc
from tightbound.components import TABLE

Cli = Callable[..., Result]
QUICK = ("--samples", "3", "--scores", "nll", "mahalanobis", "regret(steps=3, measured=4)", "complexity")


def test_score_names_the_most_unusual_examples(cli: Cli, run: Path) -> None:
    result = cli("score", run, "-n", "40", *QUICK, "--per-example", "s.csv", "--figures", "figures")
    assert result.status == 0, result.err
    assert "Mean over 40 examples (digits, test split)" in result.out
    rows = list(csv.DictReader(Path("s.csv").read_text().splitlines()))
    assert list(rows[0]) == ["index", "nll", "mahalanobis", "regret", "complexity"]
    assert len(rows) == 40
    highest = max(rows, key=lambda row: float(row["nll"]))
    line = next(line for line in result.out.splitlines() if line.strip().startswith("nll") and "±" not in line)
    assert line.split()[1].rstrip(",") == highest["index"]
    with Image.open("figures/most-unusual.png") as picture:
        assert picture.width > picture.height
    assert Path("figures/scores.svg").read_text().startswith("<?xml")
    assert result.out.splitlines()[-1] == f"next: tightbound report {run}"


def test_a_run_records_its_scores_of_its_own_test_data(cli: Cli, run: Path) -> None:
    np.save("noise.npy", gray(50))
    assert cli("score", run, "noise.npy", "-n", "5", "--samples", "2").status == 0
    file = run / "analysis" / "score.json"
    assert not file.exists()
    found = json.loads(cli("score", run, "-n", "5", "--samples", "2", "--json").out, parse_constant=pytest.fail)
    stored = json.loads(file.read_text())
    assert stored["estimates"] == found["estimates"]
    assert set(stored["estimates"]) == set(TABLE["score"])


def test_scores_of_other_data_are_compared_with_the_runs_training_data(cli: Cli, run: Path) -> None:
    np.save("noise.npy", gray(50))
    chosen = ("-n", "30", "--samples", "3", "--scores", "typicality", "--json")
    alone = json.loads(cli("score", run, "noise.npy", *chosen).out)
    detected = json.loads(cli("detect", run, "noise.npy", *chosen).out)
    assert "noise, all examples" in alone["caption"]
    assert alone["estimates"]["typicality"] == detected["estimates"]["typicality_other"]


def test_detect_tells_other_data_from_the_runs_own(cli: Cli, run: Path) -> None:
    np.save("noise.npy", gray(50))
    result = cli("detect", run, "noise.npy", "-n", "40", *QUICK, "--json", "--per-example", "s.npz", "--figures", "f")
    assert result.status == 0, result.err
    found = json.loads(result.out, parse_constant=pytest.fail)
    with np.load("s.npz") as file:
        other = file["is_other"] == 1
        assert other.sum() == 40
        for name in ("nll", "mahalanobis", "regret", "complexity"):
            area = auroc(file[name][~other], file[name][other])
            assert found["estimates"][f"{name}_auroc"]["value"] == pytest.approx(area.value)
            assert found["details"]["intervals"][f"{name}_auroc"] == pytest.approx(area.interval)
            assert found["estimates"][f"{name}_other"]["value"] == pytest.approx(file[name][other].mean())
    assert found["estimates"]["nll_auroc"]["value"] > 0.95
    assert found["details"]["chance"] == {"auroc": 0.5, "aupr": 0.5}
    assert not any("misled: " in sentence for sentence in found["sentences"])
    assert Path("f/scores.svg").read_text().startswith("<?xml")
    shown = " ".join(cli("detect", run, "noise.npy", "-n", "40", *QUICK).out.split())
    assert "40 examples (noise, all examples) against 40 of the model's own (digits, test split)" in shown
    assert "AUROC [95%]" in shown


def test_a_misled_likelihood_is_the_first_conclusion(cli: Cli, run: Path) -> None:
    """Blank images are more likely than any digit."""
    x = np.zeros((30, 8, 8), np.uint8)
    x[0, 7, 7] = 16  # levels are inferred from the highest value
    np.save("blank.npy", x)
    result = cli("detect", run, "blank.npy", "-n", "30", "--samples", "3", "--scores", "nll", "--json")
    assert "The likelihood is misled: the model finds blank" in json.loads(result.out)["sentences"][0]


def test_unusable_scores_and_data_are_refused_in_one_line(refused: Callable[..., str], run: Path) -> None:
    np.save("wide.npy", gray(20, (9, 9)))
    assert "shape" in refused("score", run, "wide.npy")
    assert "no score 'nlll'" in refused("score", run, "--scores", "nlll")
    assert ".npz or .csv" in refused("score", run, "--per-example", "s.txt")
    assert "-n 0" in refused("score", run, "-n", "0")
    assert "model's own test data" in refused("detect", run, "digits")
    assert "DATA" in refused("detect", run)


def test_scores_are_listed(cli: Cli) -> None:
    listed = json.loads(cli("list", "scores", "--json").out)
    assert set(listed) == set(TABLE["score"])
    assert "steps=100" in listed["regret"]["arguments"]
