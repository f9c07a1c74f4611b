"""Remedies: they parse, fit what the run has, and cure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.diagnosis.test_diagnosis import case_of, drawn, of_linear
from conftest import Result
from laws.linear import linear_gaussian
from tightbound.analysis.diagnosis.checks import remedies
from tightbound.cli.main import parse
from tightbound.cli.remedy import remedied
from tightbound.components import make

CONFIGS = [
    {},
    {"objective": "elbo", "beta": "50"},
    {"objective": "elbo(beta=linear(share=0.1))"},
    {"objective": "elbo(8.0)"},
    {"objective": "free-bits(0.5, over='group')"},
    {"objective": "free-bits(free_bits=linear(stop=2.0), beta=0.5)"},
    {"objective": "my.module:Own(beta=3)"},
    {"steps": 100},
    {"validation_size": 0, "weight_decay": 0.3},
]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_remedy_is_a_command_that_parses(config: dict[str, Any]) -> None:
    linear = linear_gaussian()
    case = case_of(linear.model, drawn(linear, 60), drawn(linear, 60, seed=1), config=config)
    proposals = [remedies.use_of_z(case), remedies.free_bits(case), {**remedies.longer(config), "latent": 3}]
    proposals += [{**(remedies.full_rate(config) or {}), "lr": 0.0001, "clip": 10.0}]
    for options in proposals:
        own = ["--objective", config["objective"]] if "objective" in config else []
        own += ["--beta", config["beta"]] if "beta" in config else []
        command: Any = parse(["train", *remedied(["digits", "--latent", "4", *own], options, Path("new"))])
        command.check()
        assert command.run == Path("new")
        if ":" not in command.objective:
            make("objective", command.objective_spec())


def test_a_code_prior_that_learned_nothing_is_trained_longer_and_one_that_memorized_shorter() -> None:
    assert remedies.other_prior_training({"prior_epochs": 2}, by_heart=False) == {"prior_epochs": 4}
    assert remedies.other_prior_training({"prior_epochs": 2}, by_heart=True) == {"prior_epochs": 1}


def test_remedies_fit_what_the_run_has() -> None:
    case = of_linear(linear_gaussian(), config={"objective": "free-bits(0.5, over='group')"})
    assert remedies.free_bits(case) == {"objective": "free-bits(1.0, over='group')"}
    case = of_linear(linear_gaussian(), config={"objective": "elbo", "beta": "50"})
    assert remedies.use_of_z(case) == {"beta": "linear(share=0.25)"}
    case = of_linear(linear_gaussian(), config={"objective": "m2(alpha=5)", "context": "inferred-labels"})
    assert remedies.free_bits(case) == {"objective": "m2(alpha=5, beta=linear(share=0.25))"}


def test_the_command_that_remedies_replaces_what_it_says_otherwise() -> None:
    words = shlex.split("digits --beta 50 --run=old --likelihood bernoulli --overwrite --epochs 3")
    again = remedied(words, {"beta": 1, "likelihood": "pixelcnn(layers=1)"}, Path("new"))
    assert again == shlex.split("digits --epochs 3 --beta 1 --likelihood 'pixelcnn(layers=1)' --run new")


@pytest.mark.slow  # trains twice: about a minute
def test_a_collapsed_model_is_cured_by_its_remedy(cli: Callable[..., Result]) -> None:
    words = ["train", "digits", "--beta", "50", "--epochs", "30", "--evaluate-samples", "0"]
    cli(*words, "--run", "sick")
    found = json.loads(cli("diagnose", "sick", "--json").out)
    assert "posterior-collapse" in [finding["name"] for finding in found["details"]["findings"]]
    cli("train", *remedied(words[1:], found["remedy"], Path("cured")))
    assert json.loads(cli("diagnose", "cured", "--json").out)["details"]["findings"] == []
