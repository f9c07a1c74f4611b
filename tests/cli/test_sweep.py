"""`tightbound sweep`: what it reads, prints and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Result
from tightbound.cli.sweep_arguments import varying

Cli = Callable[..., Result]
SMALL = ("--network", "mlp(hidden=(8,))", "--steps", "12", "--evaluate-samples", "3", "--evaluate-data", "60",
         "--jobs", "1")  # fmt: skip


def test_options_that_vary_are_told_from_schedules_and_components() -> None:
    words = ["sweep", "digits", "--lr", "log(1e-4, 1e-2)", "--beta", "linear(steps=100)", "--latent=int(2, 8)",
             "--network", "mlp(hidden=(512, 256))", "conv", "--prior", "vamp(components=int(1, 9))",
             "--epochs", "3"]  # fmt: skip
    values, rest = varying(words)
    assert values == {
        "lr": ("log(1e-4, 1e-2)",),
        "latent": ("int(2, 8)",),
        "network": ("mlp(hidden=(512, 256))", "conv"),
        "prior": ("vamp(components=int(1, 9))",),
    }
    assert rest == ["sweep", "digits", "--beta", "linear(steps=100)", "--epochs", "3"]


def test_a_grid_ends_with_a_table_a_picture_and_the_next_command(cli: Cli, tmp_path: Path) -> None:
    argv = ("sweep", "digits", "--beta", "0.1", "10", "--latent", "2", *SMALL, "--run", "swept")
    result = cli(*argv)
    assert result.status == 0, result.err
    folder = tmp_path / "swept"
    found = json.loads((folder / "sweep.json").read_text())["details"]
    assert [(run["run"], run["values"]) for run in found["runs"]] == [
        ("beta-0.1", {"beta": "0.1"}), ("beta-10", {"beta": "10"}),
    ]  # fmt: skip
    assert {run["test"]["elbo"]["n"] for run in found["runs"]} == {60}
    assert (folder / "rate-distortion.svg").read_bytes().lstrip().startswith(b"<?xml")
    table = result.out[result.out.index("\nbeta ") :].splitlines()
    assert table[1].split() == ["beta", "validation", "rate", "distortion", "ELBO", "active"]
    assert all(len(line.rstrip()) <= 80 for line in table[1:4])
    assert "Best: beta-" in result.out
    assert result.out.splitlines()[-1] == "next: tightbound compare swept/beta-0.1 swept/beta-10"
    assert "recipe: digits" in (folder / "beta-10" / "config.yaml").read_text()
    assert cli("evaluate", "swept/beta-10", "--samples", "3").status == 0  # a run like any other
    assert cli(*argv).err.count("done before") == 2


def test_a_search_lists_validation_numbers_and_the_best_on_test_data(cli: Cli, tmp_path: Path) -> None:
    result = cli("sweep", "digits", "--search", "random", "--trials", "2", "--latent", "int(2, 4)", *SMALL)
    assert result.status == 0, result.err
    assert "The best on test data: rate " in result.out
    best = json.loads((tmp_path / "runs" / "digits-latent" / "sweep.json").read_text())["details"]["best"]
    assert result.out.splitlines()[-1] == f"next: tightbound report runs/digits-latent/{best}"


def test_a_sweep_whose_runs_fail_says_why_and_fails(cli: Cli, tmp_path: Path) -> None:
    result = cli("sweep", "digits", "--lr", "1e30", "1e31", *SMALL, "--latent", "2", "--run", "swept")
    assert result.status == 1
    assert "2 of 2 runs failed, lr-1e30 with: " in result.err
    assert "--retry" in result.err
    assert "Best" not in result.out
    found = json.loads((tmp_path / "swept" / "sweep.json").read_text())["details"]
    assert found["best"] is None
    assert [run["state"] for run in found["runs"]] == ["failed", "failed"]


def test_models_without_a_rate_have_no_picture(cli: Cli, tmp_path: Path) -> None:
    result = cli("sweep", "digits", "--recipe", "autoencoder", "--latent", "1", "2", *SMALL, "--run", "swept")
    assert result.status == 0, result.err
    assert not (tmp_path / "swept" / "rate-distortion.svg").exists()


REFUSED = [
    (["--beta", "1"], "several values"),
    ([], "several values"),
    (["--beta", "1", "1.0"], "twice"),
    (["--search", "random", "--lr", "log(1e-3, 1e-2"], "cannot read"),
    (["--search", "random", "--lr", "log(0, 1)"], "--lr log(0, 1): low = 0"),
    (["--search", "random", "--latent", "int(2.5, 8)"], "low = 2.5; needed: a whole number"),
    (["--betta", "1", "2"], "--beta"),
    (["--levels", "2", "17"], "--levels"),
    (["--evaluate-samples", "3", "4"], "--evaluate-samples"),
    (["--beta", "1", "2", "--trials", "3"], "--trials"),
    (["--beta", "1", "2", "--jobs", "0"], "jobs"),
    (["--start-at-data", "True", "maybe"], "True or False"),
    (["--beta", "1", "2", "--resume"], "same command"),
    (["--beta", "1", "2", "--overwrite"], "--run"),
    (["--latent", "2", "2.5"], "latent"),
]


@pytest.mark.parametrize(("flags", "named"), REFUSED)
def test_a_command_that_cannot_be_read_is_refused(refused: Callable[..., str], flags: list[str], named: str) -> None:
    assert named in refused("sweep", "digits", *flags)


def test_help_shows_how_to_give_values_and_ranges(cli: Cli) -> None:
    result = cli("sweep", "--help")
    assert result.status == 0
    assert "--beta 0.5 1 4" in result.out
    assert "int(2, 64)" in result.out
