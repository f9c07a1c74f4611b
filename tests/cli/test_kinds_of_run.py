"""Commands on models and data of every kind: what does not apply is refused in a line, and offers work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import tightbound as tb
from conftest import TINY, Result
from tightbound.core.files import write_atomic
from tightbound.report.charts import drawn
from tightbound.training.folder import RunFolder

Cli = Callable[..., Result]


def offered(result: Result) -> list[str]:
    """The command that the last line offers."""
    assert result.status == 0, result.err
    return result.out.splitlines()[-1].removeprefix("next: tightbound ").split()


def test_training_on_five_rows_ends_well_without_a_verdict(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    result = cli("train", "x.npy", *TINY, "--run", "few")
    assert result.status == 0, result.err
    assert "note: no diagnosis of the model: a diagnosis needs at least two" in result.err
    assert (tmp_path / "few" / "report.html").is_file()
    assert "1 test examples are too few" in cli("quality", "few").err
    assert offered(cli("interpolate", "few", "--out", "i.npz"))[0] == "report"


def test_a_model_conditioned_on_labels_is_diagnosed(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", "digits", *TINY, "--context", "labels", "--run", "c")
    assert result.status == 0, result.err
    found = json.loads((tmp_path / "c" / "analysis" / "diagnose.json").read_text())["details"]
    assert "memorization" in found["checked"]
    assert "quick" in found["skipped"]["amortization-gap"]
    assert "no label was used" not in (tmp_path / "c" / "report.html").read_text()


def test_what_is_offered_applies_to_codes_on_a_sphere(cli: Cli) -> None:
    parts = ["--prior", "sphere", "--posterior", "von-mises-fisher", "--latent", "3", "--evaluate-samples", "0"]
    assert cli("train", "digits", *TINY, *parts, "--run", "s").status == 0
    assert cli(*offered(cli("attribute", "s", "--label", "1", "--max-examples", "20"))).status == 0


def test_a_model_that_completes_data_is_offered_no_paths(cli: Cli, tmp_path: Path) -> None:
    parts = ["--context", "visible(columns=(0, 0.5))", "--evaluate-samples", "0"]
    assert cli("train", "digits", *TINY, *parts, "--run", "half").status == 0
    assert offered(cli("interpolate", "half", "--out", "i.npz"))[0] == "report"
    refused = cli("paths", "half", "--pairs", "4")
    assert refused.status == 2
    assert "hidden part" in refused.err


def test_a_decoder_that_ignores_z_has_paths_without_length(run: Path) -> None:
    trained = tb.load(run)
    with torch.no_grad():
        for parameter in trained.model.likelihood.parameters():
            parameter.zero_()
    found = trained.paths(pairs=4)
    assert found["length_linear"].value is None
    assert found.details["profile"]["step_linear"] == [None] * 16
    assert all(drawn(figure) for figure in found.figures)


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"numbers": 3}'])
@pytest.mark.parametrize("name", ["ais", "diagnose", "paths", "probe", "quality", "score"])
def test_a_damaged_analysis_is_refused_with_what_to_do(
    refused: Callable[..., str], run: Path, name: str, content: str
) -> None:
    file = RunFolder(run).analysis_file(name)
    write_atomic(file, content)
    assert "delete it" in refused("report", run, "--quick")


def test_other_damage_is_refused_with_what_to_do(cli: Cli, refused: Callable[..., str], run: Path) -> None:
    assert cli("fit-sampler", run, "--sampler", "gaussian-mixture(components=2)").status == 0
    write_atomic(run / "checkpoints" / "sampler-gaussian-mixture" / "fitted.safetensors", b"half")
    assert "fit it again with `tightbound fit-sampler`" in refused("sample", run, "--sampler", "gaussian-mixture")
    write_atomic(RunFolder(run).evaluation_file, "{}")
    assert "evaluate.json' is damaged; delete it" in refused("report", run, "--quick")


@pytest.mark.parametrize("columns", ["60", "80"])
def test_tables_are_whole_on_a_narrow_terminal(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = cli("paths", run, "--pairs", "4")
    assert shown.status == 0, shown.err
    assert "…" not in shown.out
