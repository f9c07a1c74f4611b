"""The command that each command offers last works, whatever kind of model and data it is about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from conftest import TINY, Result
from tightbound.cli.commands import COMMANDS

Cli = Callable[..., Result]


def offered(result: Result) -> list[str]:
    """The command that the last line offers."""
    assert result.status == 0, result.err
    return result.out.splitlines()[-1].removeprefix("next: tightbound ").split()


COMMAND_LINES = [
    ["evaluate", "run", "--samples", "2"],
    ["sample", "run", "-n", "2", "--out", "s.npy"],
    ["reconstruct", "run", "--out", "r.npy"],
    ["interpolate", "run", "--out", "i.npz"],
    ["embed", "run", "--out", "c.npz"],
    ["report", "run", "--quick"],
]


def test_each_command_ends_by_naming_one_that_works(cli: Cli, run: Path) -> None:
    every: dict[str, list[str]] = {}
    for argv in COMMAND_LINES:
        following = offered(cli(*argv))
        assert following[0] in COMMANDS
        assert following != argv[: len(following)]
        every[" ".join(following)] = following
    quick = {"evaluate": ["--samples", "2"], "report": ["--quick"]}
    for following in every.values():
        again = cli(*following, *quick.get(following[0], []))
        assert again.status == 0, again.err


def test_training_on_five_rows_succeeds_without_a_diagnosis(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    result = cli("train", "x.npy", *TINY, "--run", "few")
    assert result.status == 0, result.err
    assert "note: no diagnosis of the model: a diagnosis needs at least two" in result.err
    assert (tmp_path / "few" / "report.html").is_file()
    assert "1 test and 4 training rows are too few" in cli("quality", "few").err
    assert offered(cli("interpolate", "few", "--out", "i.npz"))[0] == "report"


def test_a_model_conditioned_on_labels_is_diagnosed(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", "digits", *TINY, "--context", "labels", "--run", "c")
    assert result.status == 0, result.err
    found = json.loads((tmp_path / "c" / "analysis" / "diagnose.json").read_text())["details"]
    assert "memorization" in found["checked"]
    assert "quick" in found["skipped"]["amortization-gap"]
    assert "no label was used" not in (tmp_path / "c" / "report.html").read_text()


def test_the_command_offered_applies_to_latent_codes_on_a_sphere(cli: Cli) -> None:
    parts = ["--prior", "sphere", "--posterior", "von-mises-fisher", "--latent", "3", "--evaluate-samples", "0"]
    assert cli("train", "digits", *TINY, *parts, "--run", "s").status == 0
    command = offered(cli("attribute", "s", "--label", "1", "--max-examples", "20"))
    assert command == ["report", "s"]
    assert cli(*command, "--quick").status == 0


def test_paths_are_not_offered_for_a_model_that_completes_examples(cli: Cli, tmp_path: Path) -> None:
    parts = ["--context", "visible(columns=(0, 0.5))", "--evaluate-samples", "0"]
    assert cli("train", "digits", *TINY, *parts, "--run", "half").status == 0
    assert offered(cli("interpolate", "half", "--out", "i.npz"))[0] == "report"
    refused = cli("paths", "half", "--pairs", "4")
    assert refused.status == 2
    assert "hidden part" in refused.err
