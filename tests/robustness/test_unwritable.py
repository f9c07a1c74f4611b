"""Disks that are full or read-only at any write of any command."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import invoke, tree

SMALL = ("--latent", 2, "--network", "mlp(hidden=(4,))", "--epochs", 1, "--seed", 0)
COMMANDS = {
    "train": ("train", "x.npy", *SMALL, "--evaluate-samples", 2, "--run", "new"),
    "train alone": ("train", "x.npy", *SMALL, "--evaluate-samples", 0, "--run", "new"),
    "resume": ("train", "--run", "run", "--resume", "--epochs", 2, "--evaluate-samples", 0),
    "report": ("report", "run", "--quick"),
    "embed": ("embed", "run", "--out", "codes.npz"),
    "embed csv": ("embed", "run", "--out", "codes.csv"),
    "sample": ("sample", "run", "--out", "samples.csv"),
    "reconstruct": ("reconstruct", "run", "--out", "pairs.npz"),
    "per example": ("evaluate", "run", "--samples", 2, "--per-example", "bounds.csv"),
    "sampler": ("fit-sampler", "run", "--sampler", "gaussian-mixture(components=2)"),
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a run."""
    from tightbound.cli.main import main

    folder = tmp_path_factory.mktemp("start")
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(60, 3)).astype("float32"))
    before = Path.cwd()
    os.chdir(folder)
    try:
        main([str(word) for word in ("train", "x.npy", *SMALL, "--evaluate-samples", 0, "--run", "run")])
    finally:
        os.chdir(before)
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("train", "report"))) for name in COMMANDS]
)
def test_each_write_may_find_the_disk_full(
    name: str, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first, second, ... write fails: one line, no part of a file; with space again, the command works."""
    fsync = os.fsync
    for write in range(40):
        shutil.copytree(start, folder := tmp_path / f"{write}")
        monkeypatch.chdir(folder)
        before, left = tree(folder), [write]

        def full(handle: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(handle)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            found = invoke(capsys, *COMMANDS[name])
        if left[0] >= 0:  # all writes were met
            assert found.status == 0
            assert write > 0
            return
        said = [line for line in found.err.splitlines() if "No space left on device" in line]
        assert len(said) == 1
        assert "cannot write '" in said[0]
        assert found.status == 2 or said[0].startswith("note: ")  # an answer is shown if only its record fails
        after = tree(folder)
        assert not [
            path for path in after if ".tmp" in path or path.split("/")[-1].startswith((".c", ".m", ".r", ".s"))
        ]
        if name != "resume":  # which may have saved its progress
            assert {path: after[path] for path in before} == before
        words = COMMANDS[name]
        if name.startswith("train") and (folder / "new/model.json").exists():
            words = ("train", "x.npy", *SMALL, "--run", "new", "--overwrite", "--evaluate-samples", 0)
        again = invoke(capsys, *words)
        assert again.status == 0, again.err
    pytest.fail("more than 40 writes")


def test_the_root_of_the_file_system_is_refused_at_once() -> None:
    """It is not searched for data, which would take minutes (found by `benchmarks/mutations.py`)."""
    import tightbound as tb
    from tightbound.core.errors import InputError

    with pytest.raises(InputError, match="'/' holds all files of this machine; give the folder that holds the data"):
        tb.data.open("/")
