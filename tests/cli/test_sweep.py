"""`tightbound sweep` from end to end: what it writes, how it goes on, what it refuses."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Result
from tightbound.training.loop import Loop

Cli = Callable[..., Result]
SMALL = ("--network", "mlp(hidden=(8,))", "--steps", "12", "--evaluate-samples", "3", "--evaluate-data", "60")
BETAS = ("sweep", "digits", "--beta", "0.1", "10", "--latent", "2", *SMALL, "--run", "swept")


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
    assert {"I(x;", "distortion", "ELBO"} <= set(words)
    assert result.out.splitlines()[-1].startswith("next: tightbound compare swept/beta-0.1 swept/beta-10")
    assert cli("evaluate", "swept/beta-10", "--samples", "3").status == 0  # a run like any other
    before = (tmp_path / "swept" / "sweep.json").read_bytes()
    result = cli(*BETAS, "--lr", "0.01")
    assert result.status == 2
    assert "lr was 0.0" in result.err
    assert "--overwrite" in result.err
    assert (tmp_path / "swept" / "sweep.json").read_bytes() == before


@pytest.mark.usefixtures("plain")
def test_an_interrupted_sweep_goes_on_to_the_same_numbers(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*BETAS).status == 0
    whole = numbers(tmp_path / "swept")
    (tmp_path / "swept").rename(tmp_path / "whole")
    steps, step = [0], Loop._train_step

    def stopped(self: Loop, batch: Any) -> None:
        step(self, batch)
        steps[0] += 1
        if steps[0] == 17:  # in the second run
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Loop, "_train_step", stopped)
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
    assert cli("sweep", "--latent", "1", "3", *SMALL).status == 0
    folder = tmp_path / "runs" / "digits-latent"
    assert [p["run"] for p in numbers(folder)["points"]] == ["latent-1", "latent-3"]
    assert "recipe: digits" in (folder / "latent-3" / "config.yaml").read_text()
    vamp = "vamp(components=3)"
    assert cli("sweep", "digits", "--recipe", "vae", "--prior", "normal", vamp, *SMALL, "--latent", "2").status == 0
    folder = tmp_path / "runs" / "digits-vae-prior"
    assert [p["run"] for p in numbers(folder)["points"]] == ["prior-normal", "prior-vamp_components_3"]
    result = cli("sweep", "digits", "--recipe", "autoencoder", "--latent", "1", "2", *SMALL)
    assert result.status == 0, result.err
    assert "no rate-distortion plane" in result.out


REFUSED = [
    (["--beta", "1"], "several values"),
    ([], "several values"),
    (["--beta", "1", "1"], "twice"),
    (["--beta", "-1", "1"], "beta"),
    (["--beta", "1", "fast"], "fast"),
    (["--betta", "1", "2"], "--beta"),
    (["--levels", "2", "17"], "--levels"),
    (["--evaluate-samples", "3", "4"], "--evaluate-samples"),
    (["--beta", "1", "2", "--latent", "2", "3"], "--beta and --latent"),
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


def test_help(cli: Cli) -> None:
    result = cli("sweep", "--help")
    assert result.status == 0
    assert "--beta 0.1 1 10" in result.out
