"""Commands on models and data of every kind: what does not apply is refused in a line, and offers work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY, Result

Cli = Callable[..., Result]


def offered(result: Result) -> list[str]:
    """The command that the last line offers."""
    assert result.status == 0, result.err
    return result.out.splitlines()[-1].removeprefix("next: tightbound ").split()


def test_training_on_five_rows_ends_well_without_a_verdict(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    result = cli("train", "x.npy", *TINY, "--run", "few")
    assert result.status == 0, result.err
    assert "note: no verdict on the model: a diagnosis needs at least two" in result.err
    assert (tmp_path / "few" / "report.html").is_file()
    assert "1 test data are too few" in cli("quality", "few").err
    assert offered(cli("interpolate", "few", "--out", "i.npz"))[0] == "report"


def test_a_model_conditioned_on_labels_is_diagnosed(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", "digits", *TINY, "--context", "labels", "--run", "c")
    assert result.status == 0, result.err
    told = json.loads((tmp_path / "c" / "analysis" / "diagnosis.json").read_text())
    assert "memorisation" in told["checked"]
    assert "takes longer" in told["skipped"]["amortisation-gap"]


def test_what_is_offered_applies_to_codes_on_a_sphere(cli: Cli) -> None:
    parts = ["--prior", "sphere", "--posterior", "von-mises-fisher", "--latent", "3", "--evaluate-samples", "0"]
    assert cli("train", "digits", *TINY, *parts, "--run", "s").status == 0
    assert cli(*offered(cli("attribute", "s", "--label", "1", "--most", "20"))).status == 0


@pytest.mark.parametrize("columns", ["60", "80"])
def test_tables_are_whole_on_a_narrow_terminal(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = cli("interpolate", run, "--pairs", "4")
    assert shown.status == 0, shown.err
    assert "…" not in shown.out
