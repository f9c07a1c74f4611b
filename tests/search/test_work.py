"""One process of a search, with training stubbed: who trains what, what is learnt from it, and how trials end."""

from __future__ import annotations

import functools
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
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

    search = Grid(BETAS)
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
    search, ledger, seen = Grid(BETAS), Ledger(tmp_path), list[str]()

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
        run(tmp_path, Grid(BETAS), stopped)
    assert [t.state for t in Ledger(tmp_path).trials(["beta-1", "beta-2"])] == ["begun"]


HOLD = """
import sys, time
from pathlib import Path
from tightbound.search.ledger import Ledger
from tightbound.search.plans import Grid
from tightbound.search.space import Dimension
with Ledger(Path(sys.argv[1])).claimed(Grid((Dimension("beta", ("1", "2", "3")),))) as trial:
    print(trial.name, flush=True)
    time.sleep(60)
"""


def test_a_process_that_is_killed_holds_nothing_any_more(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other:
        assert other.stdout.readline().strip() == "beta-1"
        with Ledger(tmp_path).claimed(Grid(BETAS)) as trial:
            assert trial is not None
            assert trial.name == "beta-2"
        other.send_signal(signal.SIGKILL)
        other.wait()
    with Ledger(tmp_path).claimed(Grid(BETAS)) as trial:
        assert trial is not None
        assert trial.name == "beta-1"


def settings(values: Mapping[str, str], lr: float = 0.1) -> dict[str, Any]:
    return {"lr": lr, **values}


def test_processes_must_agree_on_the_search(tmp_path: Path) -> None:
    space, at = (Dimension("latent", ("int(1, 9)",)),), {"latent": "1"}
    ledger = Ledger(tmp_path)
    ledger.agree(Drawn(space, None, 3, 0), at, settings)
    ledger.agree(Drawn(space, None, 9, 0), at, settings)
    with pytest.raises(InputError, match="--latent was"):
        ledger.agree(Drawn((Dimension("latent", ("int(1, 8)",)),), None, 3, 0), at, settings)
    with pytest.raises(InputError, match="search was random"):
        ledger.agree(Grid(BETAS), {"beta": "1"}, settings)
    with pytest.raises(InputError, match=r"lr was 0.1 and is 0.2"):
        ledger.agree(Drawn(space, None, 3, 0), at, functools.partial(settings, lr=0.2))


def test_a_grid_takes_more_values_but_neither_other_options_nor_other_settings(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.agree(Grid(BETAS), {"beta": "1"}, settings)  # before any run is recorded
    more = Grid((Dimension("beta", ("7", "8")),))
    ledger.agree(more, {"beta": "7"}, settings)
    with pytest.raises(InputError, match=r"lr was 0.1 and is 0.2"):
        ledger.agree(more, {"beta": "7"}, functools.partial(settings, lr=0.2))
    with pytest.raises(InputError, match="options was --beta and is --latent"):
        ledger.agree(Grid((Dimension("latent", ("1", "2")),)), {"latent": "1"}, settings)
    ledger.forget_all([])
    ledger.agree(more, {"beta": "7"}, functools.partial(settings, lr=0.2))


@pytest.mark.parametrize("text", ["", '{"name": "beta', "[]", '{"name": "beta-2"}'])
def test_a_damaged_record_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    search, ledger = Grid(BETAS), Ledger(tmp_path)
    ledger.agree(search, {"beta": "1"}, settings)
    run(tmp_path, search, lambda trial, on_epoch: 0.0)
    for name in ("plan", "beta-2"):
        (tmp_path / "trials" / f"{name}.json").write_text(text)
    with pytest.raises(InputError, match=r"plan.json' \(.*delete it"):
        ledger.agree(search, {"beta": "1"}, settings)
    with pytest.raises(InputError, match=r"beta-2.json' \(.*delete it and the folder '.*beta-2'"):
        ledger.trials(search.names)
    ledger.forget_all(search.names)  # --overwrite needs to read none
    ledger.agree(search, {"beta": "1"}, settings)
    assert ledger.trials(search.names) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot lock runs in"), Ledger(tmp_path / "file").claims():
        pass


def quadratic(trial: Trial, on_epoch: OnEpoch) -> float:
    lr, latent = math.log10(float(trial.values["lr"])), int(trial.values["latent"])
    return -((lr + 2.5) ** 2) - ((latent - 20) / 16) ** 2 - (trial.values["network"] == "conv")


SPACE = (
    Dimension("lr", ("log(1e-4, 1e-1)",)), Dimension("latent", ("int(2, 64)",)), Dimension("network", ("mlp", "conv")),
)  # fmt: skip


def test_tpe_finds_the_optimum_of_a_quadratic_and_better_than_chance(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    study = Study(tmp_path / "tpe")
    found = run(tmp_path / "tpe", Advised(SPACE, study, 30, 0), quadratic, study)
    values = [quadratic(trial, lambda row: None) for trial in found]
    assert len(values) == 30
    assert max(values) > -0.1
    chance = [quadratic(t, lambda row: None) for t in run(tmp_path / "random", Drawn(SPACE, None, 30, 0), quadratic)]
    assert sum(values[15:]) > sum(chance[15:])
    assert (tmp_path / "tpe" / "study.db").is_file()
    again = Study(tmp_path / "tpe")  # another process: the same trials, and more of them
    more = run(tmp_path / "tpe", Advised(SPACE, again, 32, 0), quadratic, again)
    assert more[:30] == found
    assert len(more) == 32
    Ledger(tmp_path / "tpe").forget_all([])
    again.forget()
    anew = Study(tmp_path / "tpe")
    assert run(tmp_path / "tpe", Advised(SPACE, anew, 3, 1), quadratic, anew)[0].advised == 0


@pytest.mark.parametrize("how", ["grid", "tpe"])
def test_hopeless_trials_are_pruned(tmp_path: Path, how: str) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    study = Study(tmp_path, prune=True)
    space = (Dimension("beta", tuple("87654321")),)
    search = Grid(space, study) if how == "grid" else Advised(space, study, 14, 0)

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
work(Ledger(folder), Advised((Dimension("lr", ("uniform(0, 1)",)),), study, 12, 0), METRICS["elbo"], train,
     lambda event: None, study)
"""


def test_processes_share_a_study_and_train_each_trial_once(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="needs the extra 'search'")
    Study(tmp_path).agree({})
    argv = [sys.executable, "-c", SHARE, str(tmp_path)]
    workers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [worker.communicate()[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sorted(said[0] + said[1]) == [f"trial-{i:03}" for i in range(12)]
    (found,) = optuna.get_all_study_summaries(f"sqlite:///{tmp_path / 'study.db'}")
    assert found.n_trials == 12


def test_a_study_of_another_search_is_not_joined(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    storage = f"sqlite:///{tmp_path / 'all.db'}"
    (tmp_path / "a").mkdir()
    Study(tmp_path / "a", storage).agree({"--lr": "log(1e-4, 1e-2)"})
    Study(tmp_path / "a", storage).agree({"--lr": "log(1e-4, 1e-2)"})
    other = Study(tmp_path / "b" / "a", storage)
    with pytest.raises(InputError, match="holds a study 'a' of another search"):
        other.agree({"--lr": "log(1e-4, 1)"})
    other.forget()
    Study(tmp_path / "b" / "a", storage).agree({"--lr": "log(1e-4, 1)"})
