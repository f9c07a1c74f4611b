"""Fixtures that more than one folder uses: the command line in this process, and one tiny trained run."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from tightbound.cli.main import main

# nothing here is large enough for two threads; what this process starts (xdist's workers, too) sees it in time
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
# else every process that a test starts compiles the package anew, and every worker the tests
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile("tests", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("tests")

# a shell that starts the tests in the background has them ignore SIGINT, and their children too
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives as long as the session."""
    gc.collect()
    gc.freeze()


TINY = ("--network", "mlp(hidden=(16,))", "--latent", "2", "--epochs", "2", "--evaluate-samples", "5")


@dataclass(frozen=True)
class Result:
    """Result of a command."""

    status: int
    out: str
    err: str


def invoke(capsys: Any, *argv: object) -> Result:
    """Runs a command in this process."""
    capsys.readouterr()
    status = 0
    try:
        main([str(word) for word in argv])
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    printed = capsys.readouterr()
    return Result(status, printed.out, printed.err)


@pytest.fixture
def cli(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in an empty working folder, `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    return lambda *argv: invoke(capsys, *argv)


@pytest.fixture
def refused(cli: Callable[..., Result], tmp_path: Path) -> Callable[..., str]:
    """Runs a command that must fail: status 2, one line on stderr, no file made or changed. Gives the line."""

    def run(*argv: object) -> str:
        before = tree(tmp_path)
        result = cli(*argv)
        lines = result.err.splitlines()
        assert result.status == 2, f"exit status {result.status}: {result.err}"
        assert len(lines) == 1, f"{len(lines)} lines on stderr:\n{result.err}"
        assert lines[0].startswith("tightbound: ")
        assert tree(tmp_path) == before
        # what a person cannot read: addresses, names of syntax-tree classes, Python's exceptions
        ugly = ("0x", "<ast", "Error(", "Traceback", "NoneType", "[Errno")
        assert not [word for word in ugly if word in lines[0]], lines[0]
        return lines[0]

    return run


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file of a folder with its content; None for folders."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def gray(n: int = 60, shape: tuple[int, ...] = (8, 8), levels: int = 17, seed: int = 0) -> np.ndarray[Any, Any]:
    """Random gray pictures (n, *shape) that use all levels."""
    x = np.random.default_rng(seed).integers(0, levels, (n, *shape), dtype=np.uint8)
    x.flat[:levels] = np.arange(levels)
    return x


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tightbound train` on the digits, two epochs of a tiny network, with evaluation and report."""
    folder = tmp_path_factory.mktemp("digits")
    main(["train", "digits", *TINY, "--run", str(folder / "run")])
    return folder / "run"


@pytest.fixture
def run(_trained_once: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run, to use and to break, at `tmp_path / "run"`."""
    shutil.copytree(_trained_once, tmp_path / "run")
    return tmp_path / "run"
