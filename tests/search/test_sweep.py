"""`tb.sweep`: what it trains, how it continues, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tightbound as tb
from conftest import gray
from tightbound.analysis.estimate import scalar
from tightbound.core.errors import InputError
from tightbound.search import SweepResult
from tightbound.search.space import space_of
from tightbound.search.study import Search, Study
from tightbound.training import checkpoint
from tightbound.training.signals import Interrupted

SMALL: dict[str, Any] = {
    "latent": 2, "network": "mlp(hidden=(8,))", "steps": 12, "evaluate_samples": 3, "max_examples": 60, "quiet": True,
    "jobs": 1,
}  # fmt: skip


def sweep(folder: Path, values: Any, **changes: Any) -> SweepResult:
    options = {k: v for k, v in SMALL.items() if k not in values}
    return tb.sweep("digits", values, run=folder, **{**options, **changes})


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(run / "checkpoints" / "last.safetensors")[0]


def test_every_run_of_a_grid_is_evaluated_on_the_same_test_data(tmp_path: Path) -> None:
    found = sweep(tmp_path, {"beta": (0.01, 100.0)}, steps=60, lr=1e-2)
    small, large = found.runs
    assert (small.values, small.state, small.path) == ({"beta": "0.01"}, "done", tmp_path / "beta-0.01")
    rates = [found[f"{run.path.name}/rate"] for run in (small, large)]
    assert scalar(rates[0]) > scalar(rates[1])
    assert [rate.n for rate in rates] == [60, 60]
    assert found.best is not None
    assert found.best is max(found.runs, key=lambda run: run.score or 0.0)
    rows = [json.loads(line) for line in (found.best.path / "metrics.jsonl").read_text().splitlines()]
    assert found.best.score in [row["validation_elbo"] for row in rows]
    assert json.loads((tmp_path / "sweep.json").read_text()) == found.to_json(figures=False)
    assert tb.load(found.best.path).encode(tb.data.open("digits").train).shape == (1500, 2)
    again = sweep(tmp_path, {"beta": (0.01, 1.0, 100.0)}, steps=60, lr=1e-2)  # a value is added
    assert [run.values["beta"] for run in again.runs] == ["0.01", "1.0", "100.0"]
    assert again.runs[0] == small


def interrupt_when_there_is(file: Path) -> None:
    def wait() -> None:
        while not file.is_file():
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def test_an_interrupted_sweep_continues_to_the_same_weights(tmp_path: Path) -> None:
    options: dict[str, Any] = {"values": {"beta": (0.1, 10)}, "steps": 90}
    whole = sweep(tmp_path / "whole", **options)
    interrupt_when_there_is(tmp_path / "swept" / "beta-10" / "metrics.jsonl")  # after the first epoch
    with pytest.raises(Interrupted, match="stopped by SIGINT at beta = 10; repeat the same command to continue"):
        sweep(tmp_path / "swept", **options)
    assert not (tmp_path / "swept" / "sweep.json").exists()
    written = (tmp_path / "swept" / "beta-0.1" / "analysis" / "evaluate.json").stat().st_mtime_ns
    found = sweep(tmp_path / "swept", **options)
    assert (tmp_path / "swept" / "beta-0.1" / "analysis" / "evaluate.json").stat().st_mtime_ns == written
    assert found.to_json() == whole.to_json()
    for run, other in zip(found.runs, whole.runs, strict=True):
        one, two = weights(run.path), weights(other.path)
        assert all(torch.equal(one[key], two[key]) for key in two)


def test_a_run_whose_process_was_killed_before_it_was_written_begins_again(tmp_path: Path) -> None:
    with Study(tmp_path).claimed(Search("grid", space_of({"beta": [0.1, 10]}), 20, 0)):
        (tmp_path / "beta-0.1").mkdir()
        (tmp_path / "beta-0.1" / "config.yaml").touch()
    assert [run.state for run in sweep(tmp_path, {"beta": (0.1, 10)}).runs] == ["done", "done"]


@pytest.mark.slow
def test_runs_in_processes_are_the_same_to_the_bit_and_one_that_fails_ends_alone(tmp_path: Path) -> None:
    several = sweep(tmp_path / "several", {"lr": (0.001, 0.002, 1e30)}, jobs=2)
    assert [run.state for run in several.runs] == ["done", "done", "failed"]
    assert "became" in (several.runs[2].reason or "")
    alone = sweep(tmp_path / "alone", {"lr": (0.001, 0.002)})
    for run, other in zip(several.runs, alone.runs, strict=False):
        one, two = weights(run.path), weights(other.path)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in two)
    again = sweep(tmp_path / "several", {"lr": (0.001, 0.002, 1e30)}, retry=True)
    assert [run.state for run in again.runs] == ["done", "done", "failed"]


def test_a_search_evaluates_only_the_best_on_test_data(tmp_path: Path) -> None:
    values = {"lr": "log(1e-4, 1e-2)", "latent": "int(2, 4)", "prior": ["normal", "vamp(components=int(2, 5))"]}
    found = sweep(tmp_path, values, search="tpe", trials=3)
    assert len(found.runs) == 3
    assert found.best is not None
    assert [run for run in found.runs if run.tested] == [found.best]
    assert all((run.score or 0.0) <= (found.best.score or 0.0) for run in found.runs)
    with pytest.raises(InputError, match=r"holds another sweep .search_seed was 0 and is now 1"):
        sweep(tmp_path, values, search="tpe", trials=3, search_seed=1)
    more = sweep(tmp_path, values, search="tpe", trials=4)
    assert [run.values for run in more.runs[:3]] == [run.values for run in found.runs]
    assert sum(run.tested is not None for run in more.runs) in (1, 2)


def test_arrays_are_swept_too(tmp_path: Path) -> None:
    x = gray(120)
    found = tb.sweep(x[:90], {"latent": (1, 2)}, run=tmp_path, test=x[90:], **{**SMALL, "latent": 3})
    assert [estimate.n for name, estimate in found.estimates.items() if name.endswith("/elbo")] == [30, 30]
    untested = tb.sweep(x, {"latent": (1, 2)}, run=tmp_path / "untested", **SMALL)
    assert [run.tested for run in untested.runs] == [None, None]
    assert untested.best is not None
    assert list(untested.tables[0].columns) == ["latent", "validation", ""]


def test_the_folder_of_another_sweep_is_refused_or_replaced(tmp_path: Path) -> None:
    sweep(tmp_path, {"beta": (0.1, 10)})
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(InputError, match=r"lr was auto and is now 0.01"):
        sweep(tmp_path, {"beta": (0.1, 10)}, lr=0.01)
    with pytest.raises(InputError, match=r"options was beta and is now latent"):
        sweep(tmp_path, {"latent": (1, 2)}, beta=1)
    assert (tmp_path / "sweep.json").read_bytes() == before
    found = sweep(tmp_path, {"latent": (1, 2)}, overwrite=True)
    assert [run.path.name for run in found.runs] == ["latent-1", "latent-2"]
    assert not (tmp_path / "beta-10").exists()


def test_a_model_without_an_elbo_is_searched_by_another_metric(tmp_path: Path) -> None:
    options: dict[str, Any] = {"values": {"latent": (2, 3)}, "posterior": "point", "objective": "autoencoder",
                               "search": "random", "trials": 2}  # fmt: skip
    found = sweep(tmp_path / "elbo", **options)
    assert {run.reason for run in found.runs} == {
        "this model has no validation ELBO; pass another metric= to choose by"
    }
    assert not list((tmp_path / "elbo").glob("*/analysis/evaluate.json"))
    assert sweep(tmp_path / "distortion", **options, metric="distortion").best is not None


REFUSED = [
    ({"beta": "uniform(0.1, 4)"}, {}, "a range, which a grid cannot list"),
    ({"seed": (1, 2)}, {"search": "random"}, "seed= cannot be searched"),
    ({"beta": (1, 2)}, {"search": "random", "validation_size": 0}, "validation data"),
    ({"beta": (1, 2)}, {"prune": True, "validation_size": 0}, "validation data"),
    ({"beta": (1, 2)}, {"jobs": 0}, "jobs = 0"),
    ({"beta": (1, 2)}, {"evaluate_samples": 0}, "evaluate_samples = 0"),
    ({"beta": (-1, 1)}, {}, "beta"),
    ({"beta": (1, "fast")}, {}, "fast"),
    ({"beta": (1, 2), "latent": (2, 0)}, {}, "latent"),
    ({"beta": (1, 2), "objective": ("elbo", "iwae")}, {}, "beta"),
    ({"latent": "int(0, 8)"}, {"search": "random"}, "latent"),
    ({"prior": "vamp(components=int(0, 9))"}, {"search": "random"}, "components"),
    ({"prior": ("normal", "norml")}, {}, "normal"),
    ({"beta": (1, 2)}, {"recipe": "lessen"}, "lesson"),
    ({"beta": (1, 2)}, {"latnt": 3}, "latent"),
]


@pytest.mark.parametrize(("values", "options", "message"), REFUSED)
def test_what_cannot_be_swept_is_refused_before_anything_is_written(
    tmp_path: Path, values: Any, options: Any, message: str
) -> None:
    with pytest.raises(tb.TightboundError, match=message):
        sweep(tmp_path / "swept", values, **options)
    assert not (tmp_path / "swept").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list the children of a process")
def test_the_processes_of_a_killed_sweep_end(tmp_path: Path) -> None:
    program = f"""
import tightbound as tb
if __name__ == "__main__":
    tb.sweep("digits", {{"lr": (0.001, 0.002)}}, run={str(tmp_path / "swept")!r}, latent=2, network="mlp(hidden=(8,))",
             epochs=10_000, jobs=2, quiet=True)
"""
    (tmp_path / "program.py").write_text(program)
    sweep = subprocess.Popen([sys.executable, tmp_path / "program.py"])
    runs = [tmp_path / "swept" / f"lr-{lr}" / "metrics.jsonl" for lr in (0.001, 0.002)]
    assert _within(120, lambda: all(run.is_file() for run in runs))
    children = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children").read_text().split()
    assert len(children) >= 2
    sweep.kill()
    sweep.wait()
    assert _within(60, lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def _within(seconds: float, happened: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not happened():
        time.sleep(0.2)
    return happened()
