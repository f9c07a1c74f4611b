"""Several processes that use one run, and runs that are moved or copied."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tightbound as tb
from conftest import invoke, tree
from tightbound.core.errors import InputError
from tightbound.training import TrainingState

DATA = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")


def fit(run: Path, *callbacks: Callable[[TrainingState], object], epochs: int = 2, **options: Any) -> tb.Trained:
    model = tb.VAE.for_data(DATA, latent=2, network="mlp(hidden=(4,))")
    return tb.fit(
        model, DATA, run=run, epochs=epochs, batch_size=20, seed=0, quiet=True, callbacks=callbacks, **options
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The tensors of all checkpoints; their headers hold times."""
    files = sorted(run.glob("checkpoints/**/*.safetensors"))
    return {f"{file.name} {name}": tensor for file in files for name, tensor in load_file(file).items()}


def same(run: Path, other: Path) -> bool:
    """Whether two runs have the same bits."""
    ours, theirs = weights(run), weights(other)
    return bool(ours) and ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@contextlib.contextmanager
def elsewhere(run: Path, **options: bool) -> Iterator[BaseProcess]:
    """Another process that trains in a folder, and goes on after the second of its epochs when this one has done."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_elsewhere, args=(run, theirs, options))
    process.start()
    assert ours.poll(30)
    ours.recv()
    try:
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            ours.send("go on")
        process.join(600)


def _elsewhere(run: Path, pipe: Connection, options: dict[str, bool]) -> None:
    torch.set_num_threads(1)  # a fork has none of the threads that OpenMP believes it has

    def wait(state: TrainingState) -> None:
        if state.epoch == 2:
            pipe.send("epoch 2")
            pipe.recv()

    fit(run, wait, epochs=3, **options)


@pytest.mark.parametrize("second", [{}, {"overwrite": True}, {"resume": True}])
def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path, second: dict[str, bool]) -> None:
    fit(tmp_path / "alone", epochs=3)
    with elsewhere(tmp_path / "run") as other:
        before = tree(tmp_path / "run")
        with pytest.raises(InputError, match=r"another process is training in .*run'|the run .* exists; pass resume"):
            fit(tmp_path / "run", epochs=3, **second)
        assert tree(tmp_path / "run") == before
    assert other.exitcode == 0
    assert same(tmp_path / "run", tmp_path / "alone")


def test_two_processes_that_begin_one_run_at_once_do_not_mix(tmp_path: Path) -> None:
    """Both have found the folder free when the first of them begins to write."""
    context = multiprocessing.get_context("fork")
    together = context.Barrier(2)
    processes = [context.Process(target=_together, args=(tmp_path / "run", together)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert sorted(process.exitcode or 0 for process in processes) == [0, 2]
    fit(tmp_path / "alone", epochs=3)
    assert same(tmp_path / "run", tmp_path / "alone")


def _together(run: Path, together: object) -> None:
    torch.set_num_threads(1)
    together.wait()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        fit(run, lambda state: time.sleep(0.5), epochs=3)
    except InputError as error:
        raise SystemExit(2) from error


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    with elsewhere(tmp_path / "run") as other:
        os.kill(other.pid or 0, signal.SIGKILL)
        other.join(600)
    fit(tmp_path / "run", epochs=3, resume=True)
    fit(tmp_path / "alone", epochs=3)
    assert same(tmp_path / "run", tmp_path / "alone")


def test_answers_about_other_weights_are_not_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that was loaded before the run was trained further does not answer for the run."""
    run = tmp_path / "run"
    np.save(tmp_path / "x.npy", DATA)
    train = ("train", tmp_path / "x.npy", "--run", run, "--latent", 2, "--network", "mlp(hidden=(4,))", "--seed", 0)
    assert invoke(capsys, *train, "--epochs", 1, "--evaluate-samples", 0).status == 0
    old = tb.load(run)
    fit_more = ("train", "--run", run, "--resume", "--epochs", 3, "--evaluate-samples", 0)
    assert invoke(capsys, *fit_more).status == 0
    with pytest.raises(InputError, match=r"the weights of the run .* have changed since they were loaded"):
        tb.report(old, quick=True)
    with pytest.raises(InputError, match="have changed since they were loaded"):
        old.fit_sampler("gaussian-mixture(components=2)")
    assert not (run / "analysis").exists() or not list((run / "analysis").iterdir())
    tb.report(tb.load(run), quick=True)
    assert json.loads((run / "analysis/gallery.json").read_text())


def test_no_answer_is_recorded_while_a_run_is_trained(tmp_path: Path) -> None:
    fit(tmp_path / "run", epochs=1)
    old = tb.load(tmp_path / "run")
    with elsewhere(tmp_path / "run", resume=True):
        before = tree(tmp_path / "run")
        with pytest.raises(InputError, match="another process is training in"):
            old.fit_sampler("gaussian-mixture(components=2)", DATA)
        assert tree(tmp_path / "run") == before


def test_a_run_moves_with_its_relative_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Renamed, moved and copied to another working directory, a run resumes and answers to the same bits."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    np.save("x.npy", DATA)
    words = ("--latent", 2, "--network", "mlp(hidden=(4,))", "--seed", 0, "--evaluate-samples", 0)
    assert invoke(capsys, "train", "x.npy", *words, "--epochs", 1, "--run", "run").status == 0
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    (tmp_path / "there/run").rename(tmp_path / "there/renamed")
    shutil.rmtree(tmp_path / "here")
    resumed = invoke(capsys, "train", "x.npy", "--run", "renamed", "--resume", "--epochs", 2, "--evaluate-samples", 0)
    assert resumed.status == 0, resumed.err
    assert invoke(capsys, "train", "x.npy", *words, "--epochs", 2, "--run", "whole").status == 0
    assert same(Path("renamed"), Path("whole"))
    found = invoke(capsys, "evaluate", "renamed", "--samples", 3, "--json")
    expected = invoke(capsys, "evaluate", "whole", "--samples", 3, "--json")
    assert json.loads(found.out)["estimates"] == json.loads(expected.out)["estimates"]
    shutil.move("x.npy", tmp_path / "y.npy")
    gone = invoke(capsys, "evaluate", "renamed", "--samples", 3)
    assert gone.status == 2
    assert gone.err.startswith("tightbound: the data of the run are no longer at ")
    assert gone.err.endswith("/x.npy'; pass their new path with DATA\n")
    moved = str(tmp_path / "y.npy")
    given = invoke(capsys, "evaluate", "renamed", moved, "--split", "test", "--samples", 3, "--json")
    assert json.loads(given.out)["estimates"] == json.loads(found.out)["estimates"]
    longer = invoke(capsys, "train", moved, "--run", "renamed", "--resume", "--epochs", 3, "--evaluate-samples", 0)
    assert longer.status == 0, longer.err
    np.save(moved, DATA + 1)
    other = invoke(capsys, "train", moved, "--run", "renamed", "--resume", "--epochs", 4, "--evaluate-samples", 0)
    assert other.status == 2
    assert "have the fingerprint" in other.err


def test_other_threads_compute_the_same_numbers(tmp_path: Path) -> None:
    """A run of one thread is loaded by two: to 1e-5, since sums may be taken in another order."""
    trained = fit(tmp_path / "run")
    expected = trained.evaluate(DATA, samples=5)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        found = tb.load(tmp_path / "run").evaluate(DATA, samples=5)
    finally:
        torch.set_num_threads(threads)
    for name in ("elbo", "iwae"):
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-5)


def test_a_clock_that_is_set_back_changes_nothing(tmp_path: Path) -> None:
    """Files from the future or the past are the run all the same."""
    fit(tmp_path / "alone", epochs=3)
    for number, moment in enumerate((0, 4_000_000_000)):
        run = tmp_path / f"run{number}"
        fit(run, epochs=2)
        for file in run.rglob("*"):
            os.utime(file, (moment, moment))
        fit(run, epochs=3, resume=True)
        assert same(run, tmp_path / "alone")
