"""Damaged files of a run: one line that says which file and what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import TINY, Result
from tightbound.core.files import write_atomic
from tightbound.training.folder import RunFolder

Refused = Callable[..., str]


RUNS: dict[str, Callable[[Path], object]] = {
    "no folder": lambda run: shutil.rmtree(run),
    "a file": lambda run: (shutil.rmtree(run), run.write_text("hello")),
    "no model.json": lambda run: (run / "model.json").unlink(),
    "model.json not JSON": lambda run: (run / "model.json").write_text("{"),
    "model.json of nothing": lambda run: (run / "model.json").write_text("{}"),
    "model.json a list": lambda run: (run / "model.json").write_text("[1]"),
    "model.json without arguments": lambda run: (run / "model.json").write_text('{"part": "model/vae", "id": 0}'),
    "model.json without numbers": lambda run: (run / "model.json").write_text('{"part": "model/vae"}'),
    "model.json of an unknown kind": lambda run: (run / "model.json").write_text('{"part": "a/b", "id": 0}'),
    "model.json with a dangling reference": lambda run: (run / "model.json").write_text('{"same": 7}'),
    "model.json of another part": lambda run: (run / "model.json").write_text('{"part": "network/mlp", "id": 0}'),
    "model.json that names code": lambda run: (run / "model.json").write_text('{"part": "os:system", "id": 0}'),
    "no run.json": lambda run: (run / "run.json").unlink(),
    "run.json of nothing": lambda run: (run / "run.json").write_text("{}"),
    "no config.yaml": lambda run: (run / "config.yaml").unlink(),
    "metrics.jsonl not JSON": lambda run: (run / "metrics.jsonl").write_text("{\n"),
    "no checkpoints": lambda run: shutil.rmtree(run / "checkpoints"),
    "checkpoint truncated": lambda run: os.truncate(run / "checkpoints/best.safetensors", 1000),
    "checkpoint empty": lambda run: os.truncate(run / "checkpoints/best.safetensors", 0),
    "checkpoint altered": lambda run: _flip(run / "checkpoints/best.safetensors", -50),
}


def _flip(path: Path, position: int) -> None:
    body = bytearray(path.read_bytes())
    body[position] ^= 1
    path.write_bytes(body)


@pytest.mark.parametrize("case", RUNS)
def test_a_damaged_run_is_refused(refused: Refused, run: Path, case: str) -> None:
    RUNS[case](run)
    refused("evaluate", run, "--samples", "2", "--per-example", "p.npz")


def test_a_checkpoint_of_another_model_is_refused(
    refused: Refused, cli: Callable[..., Result], run: Path, tmp_path: Path
) -> None:
    other = [*TINY, "--latent", "3", "--epochs", "1", "--evaluate-samples", "0", "--run", "other"]
    assert cli("train", *other).status == 0
    for name in ("best", "last"):
        shutil.copy(tmp_path / f"other/checkpoints/{name}.safetensors", run / "checkpoints")
    assert "another model" in refused("evaluate", run)
    assert "another model" in refused("train", "--run", run, "--resume", "--epochs", "3")


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"numbers": 3}'])
@pytest.mark.parametrize("name", ["ais", "diagnose", "paths", "probe", "quality", "score"])
def test_a_damaged_result_is_refused_with_a_remedy(refused: Refused, run: Path, name: str, content: str) -> None:
    file = RunFolder(run).analysis_file(name)
    write_atomic(file, content)
    assert "delete it" in refused("report", run, "--quick")


def test_a_damaged_sampler_or_evaluation_is_refused_with_a_remedy(
    cli: Callable[..., Result], refused: Refused, run: Path
) -> None:
    assert cli("fit-sampler", run, "--sampler", "gaussian-mixture(components=2)").status == 0
    write_atomic(run / "checkpoints" / "sampler-gaussian-mixture" / "fitted.safetensors", b"half")
    assert "fit it again with `tightbound fit-sampler`" in refused("sample", run, "--sampler", "gaussian-mixture")
    write_atomic(RunFolder(run).evaluation_file, "{}")
    assert "evaluate.json' is damaged; delete it" in refused("report", run, "--quick")
