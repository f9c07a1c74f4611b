"""Several processes train as one does: curves, weights, checkpoints, refusals, restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tightbound.training.checkpoint import load
from training import cases
from training.processes import Pair, pair

Train = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def two() -> Iterator[Pair]:
    """Two processes that wait for work."""
    with pair() as workers:
        yield workers


@pytest.fixture
def both(two: Pair) -> Train:
    """Train a case in two processes; return the result of the first, and check that the other agrees."""

    def train(*args: Any, **kwargs: Any) -> dict[str, Any]:
        first, second = two.call(cases.train, *args, kwargs)
        assert equal(first["weights"], second["weights"], 0)
        return first

    return train


def equal(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> bool:
    """Whether two metrics rows or states have the same names and, to this relative error, the same values."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, float | np.ndarray):
            np.testing.assert_allclose(other[name], value, tolerance, tolerance, err_msg=name)
        else:
            assert value == other[name], name
    return True


def same_curve(one: dict[str, Any], other: dict[str, Any], tolerance: float = 1e-5) -> None:
    """Whether each epoch's metrics are equal, and the last state to 1e-4."""
    assert len(one["rows"]) == len(other["rows"])
    assert all(equal(a, b, tolerance) for a, b in zip(one["rows"], other["rows"], strict=True))
    assert equal(one["weights"], other["weights"], 1e-4)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in cases.VARIANTS)) for n in cases.EQUAL]
)
def test_two_processes_train_as_one_does(name: str, both: Train, tmp_path: Path) -> None:
    same_curve(cases.train(name, tmp_path / "one", {}), both(name, tmp_path / "two"))


@pytest.mark.parametrize(
    "name", [pytest.param("vq", marks=pytest.mark.slow), "lagging", "last batch of one", "uneven shares"]
)
def test_each_process_can_divide_its_share(name: str, both: Train, tmp_path: Path) -> None:
    same_curve(cases.train(name, tmp_path / "one", {}), both(name, tmp_path / "two", accumulate=2))


@pytest.mark.parametrize("name", cases.ALIKE)
def test_components_that_draw_by_themselves_train_to_the_same_weights_in_each(
    name: str, both: Train, tmp_path: Path
) -> None:
    """Their numbers are not those of one process."""
    assert np.isfinite(both(name, tmp_path / "two")["rows"][-1]["train_loss"])


def test_processes_draw_different_numbers_for_their_shares(two: Pair) -> None:
    """From torch's generator: the dropout of two shares differs. Keyed noise is one global draw."""
    (own, keyed), (other, rest) = two.call(cases.draws)
    assert not np.allclose(own, other)
    np.testing.assert_array_equal(np.concatenate([keyed, rest], 1), cases.global_draw())


def test_a_run_is_resumed_with_another_number_of_processes(two: Pair, both: Train, tmp_path: Path) -> None:
    """2 -> 1 -> 2 processes, stopped within epochs."""
    name = "ema, clip, decay"
    whole = cases.train(name, tmp_path / "whole", {"epochs": 3})
    run = tmp_path / "run"
    assert two.call(cases.stopped, name, run, 4, {"epochs": 3}) == [4, 4]
    assert cases.stopped(name, run, 11, {"epochs": 3, "resume": True}) == 11
    same_curve(whole, both(name, run, epochs=3, resume=True))


def test_a_signal_to_one_stops_both_after_a_checkpoint(two: Pair, tmp_path: Path) -> None:
    assert two.call(cases.stopped, "mlp", tmp_path / "run", 5, {}, 1) == [5, 5]
    assert load(tmp_path / "run" / "checkpoints" / "last.safetensors")[1]["step"] == 5


@pytest.mark.parametrize(
    ("name", "changed", "description"),
    [
        ("mlp", {"objective": "beta-tc"}, "compares the examples of a batch"),
        ("mlp", {"batch_size": 1}, "needed: at least 2 for objective 'elbo'"),
        ("mlp", {"objective": "factor", "batch_size": 3}, "needed: at least 4 for objective 'factor'"),
        ("mlp", {"run": None}, "pass run= with a folder"),
    ],
)
def test_all_processes_refuse_settings_that_need_one_process(
    name: str, changed: dict[str, Any], description: str, two: Pair, tmp_path: Path
) -> None:
    for refusal in two.call(cases.refusal, name, {"run": tmp_path / "run", **changed}):
        assert description in refusal
    assert not (tmp_path / "run").exists()


def test_an_error_of_the_first_process_is_raised_in_both(two: Pair, tmp_path: Path) -> None:
    cases.train("mlp", tmp_path / "run", {"epochs": 1})
    for refusal in two.call(cases.refusal, "mlp", {"run": tmp_path / "run"}):
        assert "pass resume= to continue it" in refusal


@pytest.mark.parametrize("what", ["data", "settings"])
def test_processes_with_different_settings_are_refused_by_all(what: str, two: Pair, tmp_path: Path) -> None:
    for refusal in two.call(cases.different, what, tmp_path / "run"):
        assert refusal == f"2 processes were started with different {what}; start all of them alike"
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_gives_the_same_error_in_both(two: Pair, tmp_path: Path) -> None:
    """Though only one of them may have seen the example."""
    one, other = two.call(cases.refusal, "mlp", {"run": tmp_path / "run", "lr": 1e20})
    assert one == other
    assert "became" in one


def test_if_one_host_cannot_compile_none_does(two: Pair, tmp_path: Path) -> None:
    """The others would wait for the gradients of a host without a compiler."""
    for refusal, changed in two.call(cases.compiled_in_one, tmp_path / "run"):
        assert "nothing of this model can be compiled here" in refusal
        assert not any(changed)


@pytest.mark.parametrize("late", [False, True])
def test_both_know_at_once_of_signals_and_due_checkpoints(late: bool, two: Pair) -> None:
    assert two.call(cases.agreed, late) == [(signal.SIGTERM, late, late)] * 2


def test_a_finished_process_waits_for_slower_ones(two: Pair) -> None:
    """With its share of an evaluation, which may take hours longer on another host."""
    assert min(two.call(cases.timeout)) >= 24


def test_a_process_knows_that_another_reported_its_error(two: Pair) -> None:
    assert two.call(cases.reports) == [[False, True]] * 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # torch's own compiler
def test_a_compiled_step(both: Train, tmp_path: Path) -> None:
    same_curve(cases.train("compiled", tmp_path / "one", {}), both("compiled", tmp_path / "two"))


def torchrun(tmp_path: Path, *words: object) -> subprocess.Popen[str]:
    """Two processes of a command or a script."""
    agent = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # else torchrun chooses it, and says so
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*agent, *map(str, words)], cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, env=environment
    )


@pytest.mark.slow
def test_the_example_trains_in_two_processes(tmp_path: Path) -> None:
    """And evaluates there: both have the same numbers, and the first one prints them."""
    script = Path(__file__).parents[2] / "examples" / "distributed.py"
    agent = torchrun(tmp_path, script)
    out, err = agent.communicate(timeout=600)
    assert agent.returncode == 0, err
    assert out.count("bound on log p(x): -107.") == 1
    provenance = json.loads((tmp_path / "runs" / "distributed" / "run.json").read_text())
    assert provenance["hardware"]["processes"] == 2


RESTARTS = ("--max-restarts", "3")
TRAIN = ("-m", "--", "tightbound", "train", "digits", "--network", "mlp(hidden=(16,))", "--evaluate-samples", "0")


@pytest.mark.slow
def test_a_killed_worker_is_restarted_and_the_run_continues(tmp_path: Path) -> None:
    """Without --resume; from the last checkpoint, to the curve of one process."""
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    agent = torchrun(tmp_path, *RESTARTS, *TRAIN, "--run", "run", "--epochs", "40", "--checkpoint-seconds", "0.2")
    try:
        while not last.is_file():
            assert agent.poll() is None
            time.sleep(0.1)
        time.sleep(1)
        step = load(last)[1]["step"]
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        out, err = agent.communicate(timeout=600)
    finally:
        agent.kill()
    assert agent.returncode == 0, err
    assert 0 < step < load(last)[1]["step"]
    assert "Traceback" not in err
    assert out.count("trained: run") == 1
    run = (tmp_path / "run" / "run.json").read_text()
    assert run.count('"job"') == 2
    subprocess.run(
        [sys.executable, "-m", "tightbound", *TRAIN[3:], "--run", "one", "--epochs", "40"], cwd=tmp_path, check=True
    )
    one, two = (cases.rows(tmp_path / name) for name in ("one", "run"))
    assert all(equal(a, b, 1e-4) for a, b in zip(one, two, strict=True))


@pytest.mark.slow
def test_an_error_in_one_process_is_the_only_one_reported(tmp_path: Path) -> None:
    """During training, while the other process waits."""
    (tmp_path / "mine.py").write_text("""
import os
from tightbound.core.errors import InputError
from tightbound.objectives import ELBO

class Faulty(ELBO):
    calls = 0

    def __call__(self, terms, knobs):
        self.calls += 1
        if self.calls == 5 and os.environ["RANK"] == "1":
            raise InputError("example 7 cannot be read")
        return super().__call__(terms, knobs)
""")
    own = ("--objective", "mine:Faulty()", "--trust", "--run", "run", "--epochs", "9")
    agent = torchrun(tmp_path, *TRAIN, *own)
    _, err = agent.communicate(timeout=600)
    assert [line for line in err.splitlines() if line.startswith("tightbound:")] == [
        "tightbound: example 7 cannot be read"
    ]


@pytest.mark.slow
def test_an_error_is_reported_once_and_a_run_needs_a_name(tmp_path: Path) -> None:
    agent = torchrun(tmp_path, *RESTARTS, *TRAIN, "--epochs", "1")
    _, err = agent.communicate(timeout=600)
    assert agent.returncode != 0
    assert err.count("tightbound: a launcher's processes share a run") == 4  # the first start, and three more
    assert not list(tmp_path.iterdir())
