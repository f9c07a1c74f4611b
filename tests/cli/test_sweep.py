"""`tightbound sweep` from end to end: what it writes, how it goes on, what it refuses."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import Result
from tightbound.search.pool import WorkersDied
from tightbound.training import checkpoint
from tightbound.training.trainer import Trainer

Cli = Callable[..., Result]
SMALL = ("--network", "mlp(hidden=(8,))", "--steps", "12", "--evaluate-samples", "3", "--evaluate-data", "60")
ALONE = ("--jobs", "1")
BETAS = ("sweep", "digits", *ALONE, "--beta", "0.1", "10", "--latent", "2", *SMALL, "--run", "swept")


def numbers(folder: Path) -> Any:
    return json.loads((folder / "sweep.json").read_text())


def test_a_run_for_each_value_a_table_and_a_picture(cli: Cli, tmp_path: Path) -> None:
    result = cli(*BETAS)
    assert result.status == 0, result.err
    found = numbers(tmp_path / "swept")
    assert found["name"] == "beta"
    assert [p["value"] for p in found["points"]] == ["0.1", "10"]
    for name in ("rate", "distortion", "elbo", "mutual_information", "active_units"):
        assert all(p["numbers"][name]["n"] == 60 for p in found["points"])
        assert all(p["numbers"][name]["stderr"] is not None for p in found["points"])
    rates = [p["numbers"]["rate"]["value"] for p in found["points"]]
    assert rates[0] > rates[1]
    for p in found["points"]:
        run = tmp_path / "swept" / p["run"]
        assert (run / "report.html").is_file()
        kept = json.loads((run / "evaluation.json").read_text())
        assert kept["rate"]["value"] == p["numbers"]["rate"]["value"]
    assert (tmp_path / "swept" / "rate-distortion.svg").read_bytes().lstrip().startswith(b"<?xml")
    assert (tmp_path / "swept" / "rate-distortion.png").read_bytes().startswith(b"\x89PNG")
    words = result.out.split()
    assert "best" in words
    assert {"rate", "distortion", "ELBO", "active"} <= set(words)
    table = result.out[result.out.index("\nbeta ") :].splitlines()
    assert all(len(line.rstrip()) <= 80 for line in table[1:4])
    assert [p["values"] for p in found["points"]] == [{"beta": "0.1"}, {"beta": "10"}]
    assert found["best_run"] == next(p["run"] for p in found["points"] if p["value"] == found["best"])
    assert result.out.splitlines()[-1].startswith("next: tightbound compare swept/beta-0.1 swept/beta-10")
    assert cli("evaluate", "swept/beta-10", "--samples", "3").status == 0  # a run like any other
    before = (tmp_path / "swept" / "sweep.json").read_bytes()
    result = cli(*BETAS, "--lr", "0.01")
    assert result.status == 2
    assert "lr was 0.0" in result.err
    assert "--overwrite" in result.err
    other = [word if word != "--beta" else "--lr" for word in BETAS]
    assert "options was --beta and is --lr" in cli(*other).err
    assert (tmp_path / "swept" / "sweep.json").read_bytes() == before


@pytest.mark.usefixtures("plain")
def test_an_interrupted_sweep_goes_on_to_the_same_numbers(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*BETAS).status == 0
    whole = numbers(tmp_path / "swept")
    (tmp_path / "swept").rename(tmp_path / "whole")
    steps, step = [0], Trainer.take_step

    def stopped(self: Trainer, batch: Any) -> None:
        step(self, batch)
        steps[0] += 1
        if steps[0] == 17:  # in the second run
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "take_step", stopped)
    result = cli(*BETAS)
    assert result.status == 130
    assert result.err.splitlines()[-1] == ("tightbound: stopped by SIGINT at beta = 10; the same command goes on there")
    assert not (tmp_path / "swept" / "sweep.json").exists()
    first = tmp_path / "swept" / "beta-0.1" / "evaluation.json"
    written = first.stat().st_mtime_ns
    assert cli(*BETAS).status == 0
    assert steps[0] == 12 * 2  # nothing was trained twice
    assert first.stat().st_mtime_ns == written
    assert numbers(tmp_path / "swept") == whole
    again = cli(*BETAS)
    assert again.out.count("kept") == 2
    assert steps[0] == 12 * 2
    assert cli(*BETAS, "--overwrite").status == 0
    assert steps[0] == 12 * 4


@pytest.mark.usefixtures("plain")
def test_any_one_option_with_recipes_and_parts(cli: Cli, tmp_path: Path) -> None:
    assert cli("sweep", "--latent", "1", "3", *SMALL, *ALONE).status == 0
    folder = tmp_path / "runs" / "digits-latent"
    assert [p["run"] for p in numbers(folder)["points"]] == ["latent-1", "latent-3"]
    assert "recipe: digits" in (folder / "latent-3" / "config.yaml").read_text()
    vamp = "vamp(components=3)"
    assert (
        cli("sweep", "digits", "--recipe", "vae", "--prior", "normal", vamp, *SMALL, *ALONE, "--latent", "2").status
        == 0
    )
    folder = tmp_path / "runs" / "digits-vae-prior"
    assert [p["run"] for p in numbers(folder)["points"]] == ["prior-normal", "prior-vamp_components_3"]
    result = cli("sweep", "digits", "--recipe", "autoencoder", "--latent", "1", "2", *SMALL, *ALONE)
    assert result.status == 0, result.err
    assert "no rate-distortion plane" in result.out


REFUSED = [
    (["--beta", "1"], "several values"),
    ([], "several values"),
    (["--beta", "1", "1"], "twice"),
    (["--beta", "1", "1.0"], "twice"),
    (["--search", "random", "--lr", "log(1e-3, 1e-2"], "cannot read the component"),
    (["--search", "random", "--lr", "log(0, 1)"], "--lr log(0, 1): low = 0"),
    (["--search", "random", "--latent", "int(2.5, 8)"], "low = 2.5; needed: a whole number"),
    (["--beta", "-1", "1"], "beta"),
    (["--beta", "1", "fast"], "fast"),
    (["--betta", "1", "2"], "--beta"),
    (["--levels", "2", "17"], "--levels"),
    (["--evaluate-samples", "3", "4"], "--evaluate-samples"),
    (["--beta", "1", "2", "--latent", "2", "0"], "latent"),
    (["--beta", "1", "2", "--objective", "elbo", "iwae"], "beta"),
    (["--beta", "uniform(0.1, 4)"], "--search random"),
    (["--beta", "uniform(4, 1)", "--search", "random"], "high = 1"),
    (["--lr", "log(0, 1)", "--search", "random"], "low = 0"),
    (["--latent", "uniform(2, 8)", "--search", "random"], "int(low, high)"),
    (["--latent", "int(0, 8)", "--search", "random"], "latent"),
    (["--prior", "vamp(components=int(0, 9))", "--search", "random"], "components"),
    (["--beta", "1", "2", "--trials", "3"], "--trials"),
    (["--beta", "1", "2", "--search", "random", "--validation-size", "0"], "validation"),
    (["--beta", "1", "2", "--prune", "--validation-size", "0"], "validation"),
    (["--seed", "1", "2", "--search", "random"], "seed"),
    (["--beta", "1", "2", "--jobs", "0"], "jobs"),
    (["--start-at-data", "True", "maybe"], "True or False"),
    (["--beta", "1", "2", "--resume"], "same command"),
    (["--beta", "1", "2", "--evaluate-samples", "0"], "evaluate-samples"),
    (["--beta", "1", "2", "--overwrite"], "--run"),
    (["--beta", "1", "2", "--recipe", "lessen"], "lesson"),
    (["--beta", "1", "2", "--objective", "iwae"], "beta"),
    (["--latent", "2", "2.5"], "latent"),
    (["--latent", "2", "0"], "latent"),
    (["--prior", "normal", "norml"], "normal"),
]


@pytest.mark.parametrize(("flags", "named"), REFUSED)
def test_what_cannot_be_swept_is_refused_before_anything_is_trained(
    refused: Callable[..., str], flags: list[str], named: str
) -> None:
    assert named in refused("sweep", "digits", *flags)


def test_two_options_in_two_processes_with_one_run_that_fails(cli: Cli, tmp_path: Path) -> None:
    argv = ("sweep", "digits", "--lr", "0.001", "1e30", "--seed", "0", "1", *SMALL, "--latent", "2", "--run", "swept")
    result = cli(*argv, "--jobs", "2")
    assert result.status == 1
    assert "2 of 4 runs failed" in result.err
    found = numbers(tmp_path / "swept")
    assert [p["run"] for p in found["points"]] == ["lr-0.001_seed-0", "lr-0.001_seed-1"]
    assert [(p["run"], p["state"]) for p in found["others"]] == [
        ("lr-1e30_seed-0", "failed"),
        ("lr-1e30_seed-1", "failed"),
    ]
    assert "became" in found["others"][0]["reason"]
    assert "mean ± standard deviation over seeds" in result.out
    best = max(found["points"], key=lambda p: p["score"])
    assert found["best"] == best["value"]
    rows = [json.loads(line) for line in (tmp_path / "swept" / best["run"] / "metrics.jsonl").read_text().splitlines()]
    assert best["score"] in [row["validation_elbo"] for row in rows]
    alone = cli("train", "digits", *SMALL, "--latent", "2", "--lr", "0.001", "--seed", "1", "--run", "alone")
    assert alone.status == 0  # a worker's run is that of `train`, to the bit
    runs = (tmp_path / "alone", tmp_path / "swept" / "lr-0.001_seed-1")
    one, other = (checkpoint.load(run / "checkpoints" / "last.safetensors")[0] for run in runs)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_workers_that_are_killed_leave_their_runs_to_the_same_command(cli: Cli, tmp_path: Path) -> None:
    argv = ["sweep", "digits", "--latent", "2", "3", "--network", "mlp(hidden=(8,))", "--steps", "40000",
            "--checkpoint-seconds", "0.1", "--evaluate-samples", "3", "--run", "swept"]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "tightbound", *argv, "--jobs", "1"], cwd=tmp_path)
    last = tmp_path / "swept" / "latent-2" / "checkpoints" / "last.safetensors"
    while not last.is_file():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    step = checkpoint.load(last)[1]["step"]
    argv[argv.index("40000")] = str(step + 1)
    records = tmp_path / "swept" / "trials"
    assert json.loads((records / "latent-2.json").read_text())["state"] == "begun"
    plan = records / "plan.json"  # fewer steps, to be quick: what was agreed on is made to agree
    plan.write_text(plan.read_text().replace('"steps": 40000', f'"steps": {step + 1}'))
    steps: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        train_step = Trainer.take_step
        patch.setattr(Trainer, "take_step", lambda self, batch: (steps.append(self.step), train_step(self, batch)))
        assert cli(*argv, "--jobs", "1").status == 0
    assert steps == [step, *range(step + 1)]  # the first goes on, the second begins
    assert {p["run"] for p in numbers(tmp_path / "swept")["points"]} == {"latent-2", "latent-3"}


def test_a_search_evaluates_only_what_it_chose_on_test_data(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    argv = ("sweep", "digits", "--search", "tpe", "--trials", "3", "--lr", "log(1e-4, 1e-2)", "--latent", "int(2, 4)",
            "--prior", "normal", "vamp(components=int(2, 5))", *SMALL, *ALONE, "--run", "found")  # fmt: skip
    result = cli(*argv)
    assert result.status == 0, result.err
    found = numbers(tmp_path / "found")
    (chosen,) = found["points"]
    assert found["best"] == chosen["value"]
    assert len(found["others"]) == 2
    assert all(other["score"] <= chosen["score"] for other in found["others"])
    assert len(list((tmp_path / "found").glob("trial-*/evaluation.json"))) == 1
    assert cli(*argv).out.count("kept") == 3
    assert "another search" in cli(*argv, "--search-seed", "1").err
    argv = tuple("4" if word == "3" else word for word in argv)  # more trials go on
    assert cli(*argv).status == 0
    assert (tmp_path / "found" / "trial-003" / "model.json").is_file()


def test_where_all_fail_nothing_is_said_of_a_best(cli: Cli, tmp_path: Path) -> None:
    result = cli("sweep", "digits", "--lr", "1e30", "1e31", *SMALL, *ALONE, "--latent", "2", "--run", "swept")
    assert result.status == 1
    assert "2 of 2 runs failed" in result.err
    assert "best" not in result.out
    found = numbers(tmp_path / "swept")
    assert (found["best"], found["best_run"], found["points"]) == (None, None, [])
    assert [other["values"] for other in found["others"]] == [{"lr": "1e30"}, {"lr": "1e31"}]


@pytest.mark.usefixtures("plain")
def test_a_metric_that_is_not_finite_is_no_number_and_chooses_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli(*BETAS).status == 0
    for run in ("beta-0.1", "beta-10"):
        (tmp_path / "swept" / run / "checkpoints" / "best.safetensors").unlink()
        file = tmp_path / "swept" / run / "metrics.jsonl"
        rows = [json.loads(line) | {"validation_elbo": math.nan} for line in file.read_text().splitlines()]
        file.write_text("\n".join(map(json.dumps, rows)))
        if run == "beta-0.1":
            result = cli(*BETAS)
            assert result.status == 0, result.err
            assert numbers(tmp_path / "swept")["best_run"] == "beta-10"
    assert "no best: no run has validation data and a finite ELBO" in cli(*BETAS).out


def test_a_search_by_a_number_that_runs_do_not_have_fails_after_an_epoch_and_says_so(cli: Cli, tmp_path: Path) -> None:
    argv = ("sweep", "digits", "--recipe", "autoencoder", "--search", "random", "--trials", "2", "--latent", "2", "3",
            *SMALL, *ALONE, "--run", "swept")  # fmt: skip
    result = cli(*argv)
    assert result.status == 1
    assert "it has no ELBO to be chosen by; search by another --metric" in result.err
    assert not list((tmp_path / "swept").glob("*/evaluation.json"))
    assert cli(*argv, "--overwrite", "--metric", "distortion").status == 0


@pytest.mark.parametrize("complete", [True, False])
def test_a_process_that_died_matters_where_runs_are_left(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, complete: bool
) -> None:
    def pool(jobs: int, threads: int, target: Any, args: Any, tell: Any) -> None:
        if complete:
            assert cli(*BETAS).status == 0
        raise WorkersDied("1 of 2 processes died (SIGKILL)")

    monkeypatch.setattr("tightbound.cli.sweep.pool", pool)
    result = cli(*BETAS, "--jobs", "2")
    assert result.status == (0 if complete else 1)
    assert ("note: 1 of 2 processes died" in result.err) == complete
    assert ("the same command goes on" in result.err) != complete


def test_help(cli: Cli) -> None:
    result = cli("sweep", "--help")
    assert result.status == 0
    assert "--beta 0.1 1 10" in result.out
