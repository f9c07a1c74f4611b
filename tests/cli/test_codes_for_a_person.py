"""Discrete latents as a person meets them: recipes on other data, and what is said."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conftest import gray
from tightbound.components import find
from tightbound.core.errors import InputError

Cli = Any
SMALL = (
    "--network",
    "resnet(halvings=(1,), hidden=8)",
    "--steps",
    "2",
    "--evaluate-samples",
    "0",
    "--batch-size",
    "16",
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    file = tmp_path / "images.npy"
    np.save(file, gray(40, (8, 8), levels=17).astype(np.uint8))
    return file


def config_of(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "config.yaml").read_text())


def test_a_recipe_asks_for_no_second_stage_of_a_model_that_has_none(cli: Cli, images: Path, tmp_path: Path) -> None:
    """The recipe says prior_epochs=10 for its own prior; only what a person says is refused."""
    run = tmp_path / "run"
    options = ("train", images, "--recipe", "vq-vae", "--prior", "uniform", *SMALL, "--run")
    assert cli(*options, run).status == 0
    assert config_of(run)["prior_epochs"] is None
    assert cli("train", "--run", run, "--resume", "--steps", "4").status == 0
    refused = cli(*options, tmp_path / "other", "--prior-epochs", "3")
    assert refused.status == 2
    assert "prior_epochs = 3" in refused.err


def test_a_recipe_keeps_no_more_validation_data_than_a_tenth(cli: Cli, images: Path, tmp_path: Path) -> None:
    """vq-vae-2 sets 1,000 aside, of scenes."""
    options = ("train", images, "--recipe", "vq-vae-2", "--prior", "uniform", *SMALL, "--run")
    assert cli(*options, tmp_path / "run").status == 0
    assert config_of(tmp_path / "run")["validation_size"] is None
    refused = cli(*options, tmp_path / "other", "--validation-size", "200")
    assert refused.status == 2
    assert "200 validation examples" in refused.err


def test_the_network_of_a_recipe_is_not_that_of_latents_on_planes(cli: Cli, tmp_path: Path) -> None:
    """`train digits` has a recipe with an mlp, of which a grid of codes would not be one."""
    options = ("train", "digits", "--latents", "quantized(quantizer='vq(codebook_size=8)')", *SMALL[2:])
    done = cli(*options, "--run", tmp_path / "run")
    assert "network: auto" in done.out
    assert "4x4 code indices" in done.out
    assert config_of(tmp_path / "run")["network"] == "auto"
    assert cli("train", "--run", tmp_path / "run", "--resume", "--steps", "3").status == 0
    assert "1x3 code indices" in cli(
        *options[:2], "--latents", "quantized(positions=3)", "--network", "mlp", *SMALL[2:], "--run", tmp_path / "own"
    ).out  # fmt: skip


@pytest.mark.usefixtures("plain")
def test_a_sweep_of_what_a_recipe_adapts_can_go_on(cli: Cli, images: Path, tmp_path: Path) -> None:
    """What the runs record is what the sweep compares with."""
    options = ("sweep", images, "--recipe", "vq-vae", "--prior", "uniform", *SMALL[:4], "--evaluate-samples", "1")
    assert cli(*options, "--batch-size", "16", "--seed", "0", "1", "--run", tmp_path / "runs").status == 0
    again = cli(*options, "--batch-size", "16", "--seed", "0", "1", "--run", tmp_path / "runs")
    assert again.status == 0
    assert again.err.count("done before") == 2


def test_a_beta_of_certain_codes_is_said_to_change_nothing(cli: Cli, images: Path, tmp_path: Path) -> None:
    """Their rate is a constant until the prior is learned."""
    options = ("train", images, *SMALL, "--run")
    codes = ("--latents", "quantized(quantizer='vq(codebook_size=8)')")
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # the command line shows warnings as notes
        assert "beta = 4 changes only the reported loss" in cli(*options, tmp_path / "a", *codes, "--beta", "4").err
    for more in ((*codes, "--beta", "linear(share=0.5)"), ("--beta", "4")):
        result = cli("train", images, *SMALL[2:], "--run", tmp_path / more[-1][:3], *more)
        assert result.status == 0
        assert "changes only" not in result.err


def test_a_sample_without_a_learned_prior_says_so(cli: Cli, images: Path, tmp_path: Path) -> None:
    """It looks like nothing, and a person should know why."""
    run = tmp_path / "run"
    cli("train", images, "--latents", "quantized(quantizer='vq(codebook_size=8)')", *SMALL, "--run", run)
    assert "no code prior was trained" in cli("sample", run, "-n", "4").err
    cli("fit-code-prior", run, "--prior", "pixelcnn(hidden=8, layers=1)", "--epochs", "1")
    assert "no code prior" not in cli("sample", run, "-n", "4").err


@pytest.mark.parametrize(
    ("kind", "name", "description"), [("prior", "pixelcnn", "a code-prior"), ("code-prior", "normal", "a prior")]
)
def test_a_part_of_another_kind_is_called_that(kind: str, name: str, description: str) -> None:
    """Not a typing error."""
    with pytest.raises(InputError, match=f"no {kind} '{name}', which names .*{description}.*known"):
        find(kind, name)
