"""Discrete latents from the command line: `fit-prior`, and samples of a model without a trained code prior."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import Result, gray

Cli = Callable[..., Result]
STEPS = ("--steps", "2", "--evaluate-samples", "0", "--batch-size", "16")
CODES = ("--latents", "quantized(quantizer='vq(codebook_size=8)')", "--network", "resnet(halvings=(1,), hidden=8)")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    file = tmp_path / "images.npy"
    np.save(file, gray(40, (8, 8), levels=17).astype(np.uint8))
    return file


@pytest.fixture(scope="module")
def _trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("codes") / "run"


@pytest.fixture
def run(_trained_once: Path, cli: Cli, images: Path, tmp_path: Path) -> Path:
    """A copy of a run of vector-quantized latents whose prior is uniform, at `tmp_path / "run"`."""
    if not _trained_once.exists():
        assert cli("train", images, *CODES, *STEPS, "--run", _trained_once).status == 0
    shutil.copytree(_trained_once, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.filterwarnings("default")  # the command line shows warnings as notes
def test_beta_has_no_effect_on_deterministic_codes_with_a_uniform_prior(cli: Cli, images: Path, tmp_path: Path) -> None:
    """Their rate is a constant until the prior is learned."""
    assert "beta = 4 changes only the reported loss" in cli("train", images, *CODES, *STEPS, "--beta", "4").err
    for words in ((*CODES, "--beta", "linear(share=0.5)"), ("--beta", "4", "--network", "mlp(hidden=(8,))")):
        result = cli("train", images, *STEPS, *words)
        assert result.status == 0
        assert "changes only" not in result.err


def test_samples_without_a_trained_code_prior_come_with_a_note(cli: Cli, run: Path) -> None:
    assert "no code prior was trained" in cli("sample", run, "-n", "4").err
    assert cli("fit-prior", run, "--prior", "pixelcnn(hidden=8, layers=1)", "--epochs", "1").status == 0
    assert "no code prior" not in cli("sample", run, "-n", "4").err


def test_fit_prior_refuses_bad_options_and_shows_the_code_length(
    run: Path, cli: Cli, refused: Callable[..., str], images: Path
) -> None:
    line = refused("train", images, "--levels", 17, "--prior-epochs", 3, "--run", "new")
    assert "this model has no prior that is trained after the rest" in line
    assert "did you mean 'pixelcnn'" in refused("fit-prior", run, "--prior", "pixelcn")
    assert "lr" in refused("fit-prior", run, "--lr", -1)
    done = cli("fit-prior", run, "--epochs", 1, "--prior", "transformer(hidden=4, layers=1, heads=1)")
    assert done.status == 0, done.err
    assert "uniform: " in done.out
    assert "prior: epoch 1/1" in done.err
