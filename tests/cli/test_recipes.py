"""Recipes: which one a command implies, and how they adapt to other data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import tightbound as tb
from conftest import Result, gray
from tightbound.cli.main import parse
from tightbound.components import make
from tightbound.core.schedules import Knobs
from tightbound.recipes import all_recipes

Cli = Callable[..., Result]
STEPS = ("--steps", "2", "--evaluate-samples", "0", "--batch-size", "16")
SMALL = ("--network", "resnet(halvings=(1,), hidden=8)", *STEPS)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    file = tmp_path / "images.npy"
    np.save(file, gray(40, (8, 8), levels=17).astype(np.uint8))
    return file


def config_of(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "config.yaml").read_text())


RECIPES = all_recipes()
SHAPES = {"sprites": (1, 64, 64), "photos": (3, 33, 47)}


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("like", ["digits", pytest.param("sprites", marks=pytest.mark.slow), "photos"])
def test_a_recipe_adapts_to_other_data(name: str, like: str) -> None:
    """It composes, and its objective has a finite gradient for every parameter; the oddest data initialize it."""
    if like == "digits":
        data = tb.data.open("digits")
    else:
        x = gray(12, SHAPES[like], levels=2 if like == "sprites" else 256)
        data = tb.data.open(x, levels=None if like == "sprites" else 256, labels=np.arange(12) % 3)
    config = RECIPES[name]()
    parts = ("network", "likelihood", "observation", "prior", "posterior", "latents", "context")
    how = {"latent": config.latent, "start_at_data": like == "photos"}
    model = tb.VAE.for_data(data, **how, **{part: getattr(config, part) for part in parts})
    objective = make("objective", config.objective_spec())
    objective.prepare(model, len(data.train))
    knobs = Knobs.final({**model.schedules, **objective.schedules})
    terms = model(next(data.train.epoch(2)), objective.samples, None, knobs)
    objective.check(terms)
    assert objective(terms, knobs).shape == (2,)
    for group in objective.parameter_groups(model):
        trained = [p for p in group.params if p.requires_grad]
        group.loss(terms, knobs).backward(inputs=trained, retain_graph=True)
    later = set() if model.latents.second_stage is None else {id(p) for p in model.latents.second_stage.parameters()}
    for parameter in (p for p in model.parameters() if id(p) not in later):
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_a_recipe_is_implied_by_nothing_but_the_default_data() -> None:
    assert parse(["train", "autoencoder"]).recipe is None  # pyright: ignore
    assert parse(["train"]).recipe == "digits"  # pyright: ignore


def test_the_recipe_of_digits_is_not_implied_if_another_domain_is_declared(cli: Cli) -> None:
    result = cli("train", "digits", "--domain", "counts", "--steps", 1, "--evaluate-samples", 0, "--run", "counts")
    assert result.status == 0, result.err
    assert "NegativeBinomial" in result.out


@pytest.mark.filterwarnings("default:the schedule of lr")
def test_a_recipe_leaves_out_its_second_stage_for_a_prior_without_parameters(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    """The recipe sets prior_epochs=10 for its own prior; an option of the command line is refused instead."""
    run = tmp_path / "run"
    options = ("train", images, "--recipe", "vq-vae", "--prior", "uniform", *SMALL, "--run")
    assert cli(*options, run).status == 0
    assert config_of(run)["prior_epochs"] is None
    longer = cli("train", "--run", run, "--resume", "--steps", "4")
    assert longer.status == 0
    assert "note: the schedule of lr depends on the length of the run, which was 2 steps" in longer.err
    refused = cli(*options, tmp_path / "other", "--prior-epochs", "3")
    assert refused.status == 2
    assert "--prior-epochs 3" in refused.err


def test_a_recipe_sets_aside_at_most_a_tenth_for_validation(cli: Cli, images: Path, tmp_path: Path) -> None:
    """The recipe vq-vae-2 sets 1,000 scenes aside."""
    options = ("train", images, "--recipe", "vq-vae-2", "--prior", "uniform", *SMALL, "--run")
    assert cli(*options, tmp_path / "run").status == 0
    assert config_of(tmp_path / "run")["validation_size"] is None
    refused = cli(*options, tmp_path / "other", "--validation-size", "200")
    assert refused.status == 2
    assert "200 validation examples" in refused.err


def test_a_recipes_network_gives_way_to_one_for_grids_of_codes(cli: Cli, tmp_path: Path) -> None:
    """The recipe of the digits has an mlp, which cannot encode to a grid."""
    options = ("train", "digits", "--latents", "quantized(quantizer='vq(codebook_size=8)')", *STEPS)
    done = cli(*options, "--run", tmp_path / "run")
    assert "network: auto" in done.out
    assert "4x4 code indices" in done.out
    assert config_of(tmp_path / "run")["network"] == "auto"
    assert cli("train", "--run", tmp_path / "run", "--resume", "--steps", "3").status == 0
    assert "1x3 code indices" in cli(
        *options[:2], "--latents", "quantized(positions=3)", "--network", "mlp", *STEPS, "--run", tmp_path / "own"
    ).out  # fmt: skip


def test_a_sweep_of_an_adapted_recipe_can_be_continued(cli: Cli, images: Path, tmp_path: Path) -> None:
    options = ("sweep", images, "--recipe", "vq-vae", "--prior", "uniform", *SMALL[:4], "--evaluate-samples", "1")
    options += ("--batch-size", "16", "--seed", "0", "1", "--jobs", "1", "--run", tmp_path / "runs")
    assert cli(*options).status == 0
    again = cli(*options)
    assert again.status == 0
    assert again.err.count("done before") == 2
