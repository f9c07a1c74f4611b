"""Several processes of a search: what they say, how they are ended, and that nothing is left behind."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tightbound.core.errors import InputError
from tightbound.search.pool import WorkersDied, pool

WORK = """
import os, signal
from tightbound.core.errors import InputError

def work(pipe, ends):
    pipe.send(os.environ["OMP_NUM_THREADS"])
    if ends == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if ends == "refuses":
        pipe.send(InputError("no"))
"""


def test_what_processes_send_is_passed_on_and_so_are_their_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pooled.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)  # what is spawned must find it
    work, said = importlib.import_module("pooled").work, list[str]()
    assert pool(2, 3, work, ("well",), said.append) is None
    assert said == ["3", "3"]
    with pytest.raises(WorkersDied, match=r"1 of 1 processes died \(SIGKILL\)"):
        pool(1, 1, work, ("killed",), said.append)
    with pytest.raises(InputError, match="no"):
        pool(1, 1, work, ("refuses",), said.append)


STOPPED = """
import multiprocessing, signal, sys, time
from tightbound.search.pool import pool

def work(pipe, trains):
    lock = multiprocessing.get_context("spawn").RLock()  # as tqdm has
    if not trains:
        pipe.send("ready")
        time.sleep(60)
    from tightbound.training.signals import stop_on_signals
    with stop_on_signals() as flag:
        pipe.send("ready")
        while flag.raised is None:
            time.sleep(0.01)
        time.sleep(0.3)  # a checkpoint is written
    pipe.send("saved")

if __name__ == "__main__":
    print(pool(2, 1, work, (sys.argv[1] == "trains",), lambda said: print(said, flush=True)).name)
"""


@pytest.mark.parametrize(
    ("all_of_them", "by", "trains"),
    [(True, "SIGTERM", "trains"), (False, "SIGTERM", "trains"), (True, "SIGINT", "trains"), (True, "SIGTERM", "waits")],
)
def test_signals_end_them_in_order_whether_one_process_is_told_or_all(
    tmp_path: Path, all_of_them: bool, by: str, trains: str
) -> None:
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    argv = [sys.executable, str(script), trains]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        assert first.stdout is not None
        assert [first.stdout.readline().strip() for _ in range(2)] == ["ready"] * 2
        (os.killpg if all_of_them else os.kill)(first.pid, signal.Signals[by])
        out, err = first.communicate(timeout=60)
    assert out.split() == ["saved"] * (2 if trains == "trains" else 0) + [by]
    assert err == ""
    assert first.returncode == 0
