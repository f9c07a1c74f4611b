"""The study that the processes of a sweep share: who trains what, what is drawn, and how runs end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import optuna
import pytest

from tightbound.core.errors import InputError
from tightbound.search.space import space_of
from tightbound.search.study import Kind, Record, Search, Study, delete_sweep

FORK = get_context("fork")
GRID = Search("grid", space_of({"beta": ["1", "2", "3"]}), 0, 0)


def search(kind: Kind, trials: int, seed: int = 0, **values: object) -> Search:
    return Search(kind, space_of(values), trials, seed)


def train_all(study: Study, plan: Search, train: Callable[[Record], float | None]) -> list[Record]:
    """Claim and finish runs until none are left."""
    while True:
        with study.claimed(plan) as claimed:
            if claimed is None:
                return [study.records()[name] for name in plan.names]
            study.finish(claimed[0], "done", train(claimed[0]), None)


def test_a_grid_is_trained_in_order_once(tmp_path: Path) -> None:
    study, seen = Study(tmp_path), list[str]()
    found = train_all(study, GRID, lambda record: seen.append(record.values["beta"]) or float(record.values["beta"]))
    assert seen == ["1", "2", "3"]
    assert [(r.name, r.state, r.score) for r in found] == [(f"beta-{i}", "done", i) for i in (1, 2, 3)]
    assert train_all(Study(tmp_path), GRID, lambda record: pytest.fail(record.name)) == found
    more = Search("grid", space_of({"beta": ["0", "1", "2", "3"]}), 0, 0)
    train_all(Study(tmp_path), more, lambda record: seen.append(record.name))
    assert seen[3:] == ["beta-0"]


def test_a_run_that_one_process_holds_is_left_to_it(tmp_path: Path) -> None:
    mine, other = Study(tmp_path), Study(tmp_path)
    with mine.claimed(GRID) as claimed:
        assert claimed is not None
        assert claimed[0].name == "beta-1"
        assert not claimed[1]
        with other.claimed(GRID) as second:
            assert second is not None
            assert second[0].name == "beta-2"
        with pytest.raises(InputError, match="another process is training 'beta-1'"):
            delete_sweep(tmp_path, GRID.names)
    with other.claimed(GRID) as again:  # not finished: whoever comes continues it
        assert again is not None
        assert again[0].name == "beta-1"
        assert again[1]


def hold(folder: Path, said: Connection) -> None:
    """Claim a run, say its name, and keep it."""
    with Study(folder).claimed(GRID) as claimed:
        assert claimed is not None
        said.send(claimed[0].name)
        time.sleep(60)


def test_a_process_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    heard, said = FORK.Pipe()
    other = FORK.Process(target=hold, args=(tmp_path, said))
    other.start()
    assert heard.recv() == "beta-1"
    other.kill()
    other.join()
    with Study(tmp_path).claimed(GRID) as claimed:
        assert claimed is not None
        assert (claimed[0].name, claimed[1]) == ("beta-1", True)


def test_failed_runs_are_trained_again_when_they_are_forgotten(tmp_path: Path) -> None:
    study = Study(tmp_path)
    with study.claimed(GRID) as claimed:
        assert claimed is not None
        study.finish(claimed[0], "failed", None, "the loss became nan")
    assert (study.records()["beta-1"].state, study.records()["beta-1"].reason) == ("failed", "the loss became nan")
    train_all(study, GRID, lambda record: 1.0)
    study.forget_failed()
    assert train_all(study, GRID, lambda record: 2.0)[0].score == 2
    assert [r.score for r in study.records().values()] == [1, 1, 2]
    assert study.records()["beta-1"].number == 3


def test_a_run_without_a_score_is_done_but_cannot_be_chosen(tmp_path: Path) -> None:
    (first, *_) = train_all(Study(tmp_path), GRID, lambda record: None)
    assert (first.state, first.score) == ("done", None)


def test_processes_must_agree_on_the_sweep(tmp_path: Path) -> None:
    Study(tmp_path).agree({"search": "grid", "lr": 0.1})
    Study(tmp_path).agree({"search": "grid", "lr": 0.1})
    with pytest.raises(InputError, match=r"holds another sweep \(lr was 0.1 and is now 0.2\)"):
        Study(tmp_path).agree({"search": "grid", "lr": 0.2})
    delete_sweep(tmp_path, GRID.names)
    Study(tmp_path).agree({"search": "grid", "lr": 0.2})


def test_a_damaged_journal_is_named_with_what_to_do(tmp_path: Path) -> None:
    train_all(Study(tmp_path), GRID, lambda record: 0.0)
    (tmp_path / "study.log").write_text("not a journal\n" * 2)
    with pytest.raises(InputError, match=r"cannot read .*study.log.*overwrite="):
        Study(tmp_path)
    delete_sweep(tmp_path, GRID.names)
    assert Study(tmp_path).records() == {}


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write or lock"):
        Study(tmp_path / "file")


def drawn(field: str, word: str, n: int, seed: int = 0) -> list[str]:
    plan = search("random", n, seed, **{field: word})
    trials = [optuna.create_study(sampler=plan.sampler(i)).ask() for i in range(n)]
    return [plan.values(name, trial)[field] for name, trial in zip(plan.names, trials, strict=True)]


def test_random_draws_have_their_distribution_and_depend_on_seed_and_index_alone(tmp_path: Path) -> None:
    n = 400
    logs = np.log([float(v) for v in drawn("lr", "log(1e-4, 1e-2)", n)])
    spread = math.log(100) / math.sqrt(12)
    assert abs(logs.mean() - math.log(1e-3)) < 4 * spread / math.sqrt(n)
    assert abs(logs.std() - spread) < 0.1 * spread
    counts = np.bincount([int(v) for v in drawn("latent", "int(2, 5)", n)])
    assert counts[:2].sum() == 0
    assert abs(counts[2:] - n / 4).max() < 4 * math.sqrt(n * 3 / 16)
    few = drawn("latent", "int(2, 64)", 5)
    assert few == drawn("latent", "int(2, 64)", 9)[:5]
    assert few != drawn("latent", "int(2, 64)", 5, seed=1)
    assert max(len(v.strip("0").replace(".", "").lstrip("0")) for v in drawn("beta", "uniform(0.1, 4)", 20)) <= 4
    recorded = train_all(Study(tmp_path), search("random", 5, latent="int(2, 64)"), lambda record: 0.0)
    assert [record.values["latent"] for record in recorded] == few


def quadratic(record: Record) -> float:
    lr, latent = math.log10(float(record.values["lr"])), int(record.values["latent"])
    return -((lr + 2.5) ** 2) - ((latent - 20) / 16) ** 2 - (record.values["network"] == "conv")


def test_tpe_finds_the_optimum_of_a_quadratic_and_better_than_chance(tmp_path: Path) -> None:
    values = {"lr": "log(1e-4, 1e-1)", "latent": "int(2, 64)", "network": ["mlp", "conv"]}
    guided = [r.score or 0.0 for r in train_all(Study(tmp_path / "tpe"), search("tpe", 30, **values), quadratic)]
    chance = [r.score or 0.0 for r in train_all(Study(tmp_path / "random"), search("random", 30, **values), quadratic)]
    assert max(guided) > -0.1
    assert sum(guided[15:]) > sum(chance[15:])


@pytest.mark.parametrize("kind", ["grid", "tpe"])
def test_hopeless_runs_are_pruned(tmp_path: Path, kind: Kind) -> None:
    study, plan = Study(tmp_path, prune=True), search(kind, 14, beta=list("87654321"))
    while True:
        with study.claimed(plan) as claimed:
            if claimed is None:
                break
            record, beta = claimed[0], float(claimed[0].values["beta"])
            pruned = next((epoch for epoch in range(1, 7) if study.reached(record, epoch, beta * epoch)), None)
            state = "done" if pruned is None else "pruned"
            study.finish(record, state, 6 * beta, None if pruned is None else f"pruned after epoch {pruned}")
    found = list(study.records().values())
    assert [r.state for r in found[:5]] == ["done"] * 5
    stopped = [r for r in found if r.state == "pruned"]
    assert stopped
    assert {r.reason for r in stopped} == {"pruned after epoch 5"}
    assert all(float(r.values["beta"]) < 8 and r.score is None for r in stopped)
    if kind == "grid":
        assert [r.values["beta"] for r in stopped] == ["3", "2", "1"]


def share(folder: Path, said: Connection) -> None:
    """Train what nobody else does, and say what that was."""
    study, plan, mine = Study(folder), search("tpe", 12, lr="uniform(0.1, 1)"), list[str]()
    while True:
        with study.claimed(plan) as claimed:
            if claimed is None:
                break
            time.sleep(0.02)
            mine.append(claimed[0].name)
            study.finish(claimed[0], "done", -((float(claimed[0].values["lr"]) - 0.5) ** 2), None)
    said.send(mine)


def test_processes_share_a_study_and_train_each_run_once(tmp_path: Path) -> None:
    pipes = [FORK.Pipe() for _ in range(2)]
    workers = [FORK.Process(target=share, args=(tmp_path, said)) for _, said in pipes]
    for worker in workers:
        worker.start()
    names = [heard.recv() for heard, _ in pipes]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(names[0] + names[1]) == [f"trial-{i:03}" for i in range(12)]
    assert len(Study(tmp_path).records()) == 12
