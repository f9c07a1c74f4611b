"""One process of a search, with training stubbed: who trains what, what is learnt from it, and how trials end."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tightbound.core.errors import InputError, NonFinite
from tightbound.search.ledger import Ledger, Search, Trial
from tightbound.search.metric import METRICS
from tightbound.search.plans import Advised, Drawn, Grid
from tightbound.search.space import Dimension
from tightbound.search.study import Study
from tightbound.search.work import Event, OnEpoch, work

BETAS = (Dimension("beta", ("1", "2", "3")),)


def row(epoch: int, value: float) -> dict[str, Any]:
    return {"stage": "", "epoch": epoch, "validation_elbo": value}


def run(folder: Path, search: Search, train: Callable[..., Any], study: Study | None = None) -> list[Trial]:
    work(Ledger(folder), search, METRICS["elbo"], train, lambda event: None, study)
    return Ledger(folder).trials(search.names)


def test_each_trial_is_trained_once_and_an_error_ends_one_alone(tmp_path: Path) -> None:
    seen: list[str] = []
    events: list[Event] = []

    def train(trial: Trial, on_epoch: OnEpoch) -> float:
        seen.append(trial.values["beta"])
        if trial.values["beta"] == "2":
            raise NonFinite("the loss became\nnan")
        on_epoch(row(1, 0.0))
        return 1.0

    search = Grid(BETAS, dict)
    for _ in range(2):
        work(Ledger(tmp_path), search, METRICS["elbo"], train, events.append)
    assert seen == ["1", "2", "3"]
    trials = Ledger(tmp_path).trials(search.names)
    assert [t.state for t in trials] == ["done", "failed", "done"]
    assert trials[1].reason == "the loss became nan"
    assert [(e.trial.name, e.epoch, e.trial.state) for e in events[:3]] == [
        ("beta-1", None, "begun"), ("beta-1", 1, "begun"), ("beta-1", None, "done"),
    ]  # fmt: skip
    Ledger(tmp_path).forget(["beta-2"])
    run(tmp_path, search, train)
    assert seen == ["1", "2", "3", "2"]


def test_a_trial_that_another_holds_is_left_to_it(tmp_path: Path) -> None:
    search, ledger, seen = Grid(BETAS, dict), Ledger(tmp_path), list[str]()

    def train(trial: Trial, on_epoch: OnEpoch) -> float:
        seen.append(trial.name)
        return 0.0

    with ledger.claimed(search) as mine:
        assert mine is not None
        assert mine.name == "beta-1"
        assert Ledger(tmp_path).busy(search.names) == ["beta-1"]
        run(tmp_path, search, train)
        assert seen == ["beta-2", "beta-3"]
        with pytest.raises(InputError, match="another process"):
            Ledger(tmp_path).forget(search.names)
    assert Ledger(tmp_path).busy(search.names) == []  # stopped before its end: whoever comes takes it up
    assert [t.state for t in run(tmp_path, search, train)] == ["done"] * 3
    assert seen == ["beta-2", "beta-3", "beta-1"]


def test_what_stops_the_process_leaves_the_trial_to_the_next(tmp_path: Path) -> None:
    def stopped(trial: Trial, on_epoch: OnEpoch) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Grid(BETAS, dict), stopped)
    assert [t.state for t in Ledger(tmp_path).trials(["beta-1", "beta-2"])] == ["begun"]


HOLD = """
import sys, time
from pathlib import Path
from tightbound.search.ledger import Ledger
from tightbound.search.plans import Grid
from tightbound.search.space import Dimension
with Ledger(Path(sys.argv[1])).claimed(Grid((Dimension("beta", ("1", "2", "3")),), dict)) as trial:
    print(trial.name, flush=True)
    time.sleep(60)
"""


def test_a_process_that_is_killed_holds_nothing_any_more(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other:
        assert other.stdout.readline().strip() == "beta-1"
        with Ledger(tmp_path).claimed(Grid(BETAS, dict)) as trial:
            assert trial is not None
            assert trial.name == "beta-2"
        other.send_signal(signal.SIGKILL)
        other.wait()
    with Ledger(tmp_path).claimed(Grid(BETAS, dict)) as trial:
        assert trial is not None
        assert trial.name == "beta-1"


def test_processes_must_agree_on_the_search(tmp_path: Path) -> None:
    space = (Dimension("lr", ("log(1e-4, 1e-2)",)),)
    ledger = Ledger(tmp_path)
    ledger.agree(Drawn(space, dict, None, 3, 0))
    ledger.agree(Drawn(space, dict, None, 9, 0))
    with pytest.raises(InputError, match="--lr was"):
        ledger.agree(Drawn((Dimension("lr", ("log(1e-4, 1)",)),), dict, None, 3, 0))
    with pytest.raises(InputError, match="search was random"):
        ledger.agree(Grid(BETAS, dict))


def quadratic(trial: Trial, on_epoch: OnEpoch) -> float:
    lr, latent = math.log10(float(trial.values["lr"])), int(trial.values["latent"])
    return -((lr + 2.5) ** 2) - ((latent - 20) / 16) ** 2 - (trial.values["network"] == "conv")


SPACE = (
    Dimension("lr", ("log(1e-4, 1e-1)",)), Dimension("latent", ("int(2, 64)",)), Dimension("network", ("mlp", "conv")),
)  # fmt: skip


def test_tpe_finds_the_optimum_of_a_quadratic_and_better_than_chance(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    study = Study(tmp_path / "tpe")
    found = run(tmp_path / "tpe", Advised(SPACE, dict, study, 30, 0), quadratic, study)
    values = [quadratic(trial, lambda row: None) for trial in found]
    assert len(values) == 30
    assert max(values) > -0.1
    chance = [
        quadratic(t, lambda row: None) for t in run(tmp_path / "random", Drawn(SPACE, dict, None, 30, 0), quadratic)
    ]
    assert sum(values[15:]) > sum(chance[15:])
    assert (tmp_path / "tpe" / "study.db").is_file()
    again = Study(tmp_path / "tpe")  # another process: the same trials, and more of them
    more = run(tmp_path / "tpe", Advised(SPACE, dict, again, 32, 0), quadratic, again)
    assert more[:30] == found
    assert len(more) == 32
    Ledger(tmp_path / "tpe").forget_all([])
    again.forget()
    anew = Study(tmp_path / "tpe")
    assert run(tmp_path / "tpe", Advised(SPACE, dict, anew, 3, 1), quadratic, anew)[0].advised == 0


@pytest.mark.parametrize("how", ["grid", "tpe"])
def test_hopeless_trials_are_pruned(tmp_path: Path, how: str) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    study = Study(tmp_path, prune=True)
    space = (Dimension("beta", tuple("87654321")),)
    search = Grid(space, dict, study) if how == "grid" else Advised(space, dict, study, 14, 0)

    def train(trial: Trial, on_epoch: OnEpoch) -> float:
        beta = float(trial.values["beta"])
        for epoch in range(1, 7):
            on_epoch(row(epoch, beta * epoch))
        return 6 * beta

    trials = run(tmp_path, search, train, study)
    assert [t.state for t in trials[:5]] == ["done"] * 5
    pruned = [t for t in trials if t.state == "pruned"]
    assert pruned
    assert {t.reason for t in pruned} == {"pruned after epoch 5"}
    if how == "grid":
        assert [t.values["beta"] for t in pruned] == ["3", "2", "1"]
    assert all(float(t.values["beta"]) < 8 for t in pruned)


SHARE = """
import sys, time
from pathlib import Path
from tightbound.search.ledger import Ledger
from tightbound.search.metric import METRICS
from tightbound.search.plans import Advised
from tightbound.search.space import Dimension
from tightbound.search.study import Study
from tightbound.search.work import work
folder = Path(sys.argv[1])
study = Study(folder)
def train(trial, on_epoch):
    time.sleep(0.02)
    print(trial.name, flush=True)
    return -(float(trial.values["lr"]) - 0.5) ** 2
work(Ledger(folder), Advised((Dimension("lr", ("uniform(0, 1)",)),), dict, study, 12, 0), METRICS["elbo"], train,
     lambda event: None, study)
"""


def test_processes_share_a_study_and_train_each_trial_once(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="needs the extra 'search'")
    Study(tmp_path).ready()
    argv = [sys.executable, "-c", SHARE, str(tmp_path)]
    workers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [worker.communicate()[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(said[0] + said[1]) == [f"trial-{i:03}" for i in range(12)]
    (found,) = optuna.get_all_study_summaries(f"sqlite:///{tmp_path / 'study.db'}")
    assert found.n_trials == 12
