"""`tightbound probe`, `attribute` and `sample --label` on a tiny run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from conftest import TINY, Result, gray

Cli = Callable[..., Result]


def test_probe_prints_tables_and_is_shown_in_the_report(cli: Cli, run: Path) -> None:
    result = cli("probe", run, "--max-examples", "150")
    assert result.status == 0, result.err
    for word in ("Predicting the labels", "Clustering", "Few labels", "5-NN", "[x|z]", "next: tightbound report"):
        assert word in result.out, word
    assert "…" not in result.out
    found = json.loads((run / "analysis/probe.json").read_text())
    assert found["details"]["about"]["train"] == 150
    assert cli("report", run, "--quick").status == 0
    assert "What are the latent codes worth?" in (run / "report.html").read_text()
    assert (run / "figures/few-labels.svg").is_file()


def test_probe_as_json_is_what_the_run_records(cli: Cli, run: Path) -> None:
    found = json.loads(cli("probe", run, "--max-examples", "150", "--json").out)
    assert found["estimates"]["linear"]["n"] == 150
    stored = json.loads((run / "analysis/probe.json").read_text())
    assert {name: stored[name] for name in found} == found


def test_probe_without_labels_says_so(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", gray())
    assert cli("train", "x.npy", *TINY, "--evaluate-samples", "0", "--run", "bare").status == 0
    result = cli("probe", "bare")
    assert result.status == 0
    assert "the data have no labels" in result.out
    assert "Clustering" not in result.out


def test_attribute_pictures_and_measures_the_shift(cli: Cli, run: Path) -> None:
    result = cli("attribute", run, "--label", "3", "--against", "8", "--rows", "4", "--figures", "f")
    assert result.status == 0, result.err
    assert "are classified as 3" in result.out
    with Image.open("f/attribute.png") as picture:
        picture.load()
    found = json.loads(cli("attribute", run, "--label", "3", "-n", "8", "--per-example", "a.npz", "--json").out)
    assert len(found["details"]["strengths"]) == len(found["estimates"]) == 9
    with np.load("a.npz") as file:
        assert file["x"].shape == (8, 9, 1, 8, 8)
    assert not (run / "analysis" / "attribute.json").exists()


def test_a_class_is_sampled_from_its_region(cli: Cli, run: Path) -> None:
    assert cli("fit-sampler", run, "--sampler", "class-regions(components=1)").status == 0
    result = cli("sample", run, "--sampler", "class-regions", "--label", "3", "-n", "4", "--out", "threes.png")
    assert result.status == 0
    assert "of 500 such samples are assigned to class 3" in result.out


def test_unknown_labels_are_refused(refused: Callable[..., str], run: Path) -> None:
    assert "no example has label 12" in refused("attribute", run, "--label", "12")
    assert "--label" in refused("attribute", run)
    assert "class-regions" in refused("sample", run, "--label", "3", "--out", "s.png")
    assert "--max-examples 1" in refused("probe", run, "--max-examples", "1")
