"""Disks that are full or read-only at any write of any command."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def held_to_permissions() -> Iterator[None]:
    """Hold the user root of Linux to the permissions of files, as other users are, by dropping two capabilities."""
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("root writes to read-only folders here")
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the call, this thread
    known = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: of capabilities 0..31, then of others
    libc.capget(header, known)
    fewer = (ctypes.c_uint32 * 6)(*known)
    fewer[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    if libc.capset(header, fewer):
        pytest.skip("capabilities cannot be dropped here")
    try:
        yield
    finally:
        libc.capset(header, known)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing be written below a folder."""
    below = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in below}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        with held_to_permissions():
            yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


WRITING = {
    **COMMANDS,
    "overwrite": ("train", "x.npy", *SMALL, "--evaluate-samples", 0, "--run", "run", "--overwrite"),
    "interpolate": ("interpolate", "run", "--out", "i.npz"),
    "figures": ("latent-space", "run", "--figures", "figures"),
    "sweep": ("sweep", "x.npy", *SMALL, "--beta", 0.5, 1, "--run", "swept"),
}


@pytest.mark.parametrize("name", WRITING)
def test_a_read_only_folder_is_one_line(
    name: str, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written beside the data and the run, which are in the folder."""
    shutil.copytree(start, folder := tmp_path / "all")
    monkeypatch.chdir(folder)
    before = tree(folder)
    with read_only(folder):
        found = invoke(capsys, *WRITING[name])
    said = [line for line in found.err.splitlines() if "Permission denied" in line]
    assert found.status == 2, found.err
    assert len(said) == 1
    assert said[0].startswith("tightbound: cannot write ")
    assert found.err.splitlines()[-1] == said[0]
    assert tree(folder) == before


def test_training_without_a_run_needs_a_temporary_folder(start: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import tightbound as tb
    from tightbound.core.errors import InputError

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    x = np.load(start / "x.npy")
    model = tb.VAE.for_data(x, latent=2, network="mlp(hidden=(4,))")
    with read_only(tmp_path), pytest.raises(InputError, match=r"temporary files \(Permission denied\); pass run="):
        tb.fit(model, x, epochs=1, quiet=True)


def test_a_read_only_run_answers_and_says_that_it_records_nothing(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands that only read a run work; commands that change it are refused."""
    shutil.copytree(start, folder := tmp_path / "all")
    monkeypatch.chdir(folder)
    before = tree(folder / "run")
    with read_only(folder / "run"):
        for words in (("sample", "run", "--out", "s.csv"), ("embed", "run", "--out", "z.csv")):
            assert invoke(capsys, *words).status == 0
        found = invoke(capsys, "evaluate", "run", "--samples", 2)
        assert found.status == 0
        assert "elbo" in found.out
        assert [line.startswith("note: ") for line in found.err.splitlines() if "cannot write 'run" in line] == [True]
        for words in (COMMANDS["sampler"], COMMANDS["report"], COMMANDS["resume"]):
            refused = invoke(capsys, *words)
            assert refused.status == 2, refused.err
            assert refused.err.splitlines()[-1].startswith("tightbound: cannot write 'run"), refused.err
    assert tree(folder / "run") == before


def test_the_root_of_the_file_system_is_refused_at_once() -> None:
    """It is not searched for data, which would take minutes (found by `benchmarks/mutations.py`)."""
    import tightbound as tb
    from tightbound.core.errors import InputError

    with pytest.raises(InputError, match="'/' holds all files of this machine; give the folder that holds the data"):
        tb.data.open("/")
