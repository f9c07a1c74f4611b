"""`tightbound probe`, `attribute` and `sample --label` on a tiny run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from conftest import TINY, Result, gray

Cli = Callable[..., Result]


def test_probe_prints_records_and_is_shown_in_the_report(cli: Cli, run: Path) -> None:
    result = cli("probe", run, "--most", "150")
    assert result.status == 0
    for word in ("Predicting the labels", "Groups", "Few labels", "Doubt", "5-NN", "[x|z]", "next: tightbound report"):
        assert word in result.out, word
    assert "…" not in result.out
    found = json.loads((run / "analysis/probe.json").read_text())
    assert found["about"]["train"] == 150
    assert cli("report", run, "--quick").status == 0
    assert "What the codes are worth" in (run / "report.html").read_text()
    assert (run / "figures/probe.svg").is_file()


def test_probe_as_json_is_one_object_of_the_same_numbers(cli: Cli, run: Path) -> None:
    found = json.loads(cli("probe", run, "--most", "150", "--json").out)
    assert found["numbers"]["linear"]["n"] == 150
    assert json.loads((run / "analysis/probe.json").read_text()) == found


def test_probe_of_data_without_labels_says_so(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", gray())
    assert cli("train", "x.npy", *TINY, "--evaluate-samples", "0", "--run", "bare").status == 0
    result = cli("probe", "bare")
    assert result.status == 0
    assert "the data have no labels" in result.out
    assert "Groups" not in result.out


def test_attribute_draws_and_measures(cli: Cli, run: Path) -> None:
    result = cli("attribute", run, "--label", "3", "--against", "8", "--rows", "4", "--out", "a.png")
    assert result.status == 0
    assert "share called 3" in result.out
    with Image.open("a.png") as picture:
        picture.load()
    found = json.loads(cli("attribute", run, "--label", "3", "--out", "a.npz", "--json").out)
    assert len(found["strengths"]) == len(found["numbers"]) == 9
    with np.load("a.npz") as file:
        assert file["x"].shape == (8, 9, 1, 8, 8)


def test_a_class_is_sampled_from_its_region(cli: Cli, run: Path) -> None:
    assert cli("fit-sampler", run, "--sampler", "class-regions(components=1)").status == 0
    result = cli("sample", run, "--sampler", "class-regions", "--label", "3", "-n", "4", "--out", "threes.png")
    assert result.status == 0
    assert "of 500 such means" in result.out
    assert "are called 3" in result.out


def test_labels_that_are_not_there_are_refused(refused: Callable[..., str], run: Path) -> None:
    assert "no example has label 12" in refused("attribute", run, "--label", "12", "--out", "a.png")
    assert "--label" in refused("attribute", run)
    assert "class-regions" in refused("sample", run, "--label", "3", "--out", "s.png")
    assert "most = 1" in refused("probe", run, "--most", "1")
