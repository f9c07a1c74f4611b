"""`--processes N`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TRAIN = ("train", "digits", "--network", "mlp(hidden=(16,))", "--evaluate-samples", "0", "--processes", "2")


@contextmanager
def started(folder: Path, *words: str) -> Iterator[Any]:
    """Yield the process of the command, which is killed if it has not ended."""
    command, pipe = (sys.executable, "-m", "tightbound", *TRAIN, *words), subprocess.PIPE
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_run_is_trained_by_two_processes(tmp_path: Path) -> None:
    """Its folder has the usual name, and the command ends as in one process."""
    with started(tmp_path, "--epochs", "1") as process:
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert out.count("trained: runs/digits") == 1
    assert json.loads((tmp_path / "runs/digits/run.json").read_text())["hardware"]["processes"] == 2


@pytest.mark.slow
def test_processes_know_of_each_other_and_an_error_is_reported_once_in_one_line(tmp_path: Path) -> None:
    with started(tmp_path, "--run", "run", "--batch-size", "1") as process:
        _, err = process.communicate(timeout=240)
    assert process.returncode == 2
    assert err.splitlines() == ["tightbound: --batch-size 1 for 2 processes; needed: at least 2 for objective 'elbo'"]


@pytest.mark.slow
def test_ctrl_c_stops_both_after_a_checkpoint(tmp_path: Path) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    with started(tmp_path, "--run", "run", "--epochs", "100000", "--checkpoint-seconds", "0.2") as process:
        while not last.is_file():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "stopped by SIGINT after step" in err
    assert "Traceback" not in err
