"""Run folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import tree
from tightbound.core.files import write_atomic
from tightbound.training.folder import RunFolder


@pytest.mark.parametrize("at", range(3))
def test_several_processes_may_end_what_was_begun(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of torchrun open a run at once: at each rename another one overtakes this one and does all of it."""
    folder, move, moves = RunFolder(tmp_path), Path.replace, 0
    names = ["checkpoints/prior/last.safetensors", "metrics.csv", "run.json"]
    for name in (*names, "checkpoints/other/last.safetensors", "analysis/quality.json"):
        write_atomic(tmp_path / name, "old")
    for name in names:
        write_atomic(tmp_path / "complete" / name, "new")
    write_atomic(tmp_path / "complete" / "files.json", json.dumps(names))

    def overtaken(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += 1
        if moves == at + 1:
            folder.settle()
        return move(self, target)

    monkeypatch.setattr(Path, "replace", overtaken)
    folder.settle()
    assert {name: content for name, content in tree(tmp_path).items() if content} == dict.fromkeys(names, b"new")
