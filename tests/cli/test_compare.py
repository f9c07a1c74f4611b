"""`tightbound compare` from end to end on tiny runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY, Result, gray

Cli = Callable[..., Result]


def test_compare_pairs_runs_over_the_same_examples(cli: Cli, run: Path) -> None:
    assert cli("train", "digits", *TINY, "--evaluate-samples", "0", "--seed", "1", "--run", "other").status == 0
    shutil.copytree(run, "third")
    words = ("compare", run, "other", "third", "--samples", "3", "-n", "50")
    out = cli(*words, "--figures", "f").out
    assert "50 examples (digits, test split)" in out
    assert "corrected for 3 pairs, Holm" in " ".join(out.split())
    assert "no significant difference between" in out
    assert "other seeds of training may differ" in " ".join(out.split())
    assert Path("f/differences.svg").read_text().startswith("<?xml")
    found = json.loads(cli(*words, "--json").out)
    details = found["details"]
    pair = {(d["a"], d["b"]): d for d in details["differences"] if d["quantity"] == "iwae"}
    same, apart = pair["run", "third"], pair["run", "other"]
    assert (same["difference"]["value"], same["p"], same["probability"]) == (0, 1, 0.5)
    value = details["runs"]["run"]["iwae"]["value"] - details["runs"]["other"]["iwae"]["value"]
    assert apart["difference"]["value"] == pytest.approx(value)
    assert apart["difference"]["stderr"] > 0
    assert not (run / "analysis" / "compare.json").exists()


def test_incomparable_runs_are_refused_in_one_line(cli: Cli, refused: Callable[..., str], run: Path) -> None:
    np.save("gray.npy", gray(60))
    small = ("--network", "mlp(hidden=(4,))", "--latent", "2", "--epochs", "1", "--evaluate-samples", "0")
    likelihood = ("--likelihood", "discretized-logistic(scale='per-dimension')")
    cli("train", "gray.npy", *small, "--levels", "17", *likelihood, "--run", "g")
    cli("train", "digits", *small, "--likelihood", "bernoulli", "--run", "bits")
    cli("train", "--config", "g/config.yaml", "--test", "0.3", "--run", "g3")
    assert "with the same test data" in refused("compare", "g", "g3")
    assert "different data (digits, gray)" in refused("compare", run, "g")
    assert "'17 levels'" in refused("compare", run, "bits")
    assert "two or more" in refused("compare", run)
    assert "named twice" in refused("compare", run, run)
    assert cli("compare", run, "g", "--data", "digits", "--samples", "2", "-n", "20").status == 0
