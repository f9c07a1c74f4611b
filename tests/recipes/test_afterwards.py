"""The work that follows training is a share of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.config import Settings
from tightbound.inference.fitting import chosen_sampler
from tightbound.inference.samplers import GaussianMixture
from tightbound.recipes.afterwards import DECODED, PASSES, Afterwards, suit_samples
from tightbound.training import checkpoint


@pytest.mark.parametrize("visits", [1, 1_000, 54_000, 10_000_000])
@pytest.mark.parametrize("dimensions", [2, 784, 3 * 32 * 32, 3 * 64 * 64])
@pytest.mark.parametrize("examples", [2, 297, 1000])
def test_work_after_training_is_a_share_of_it(visits: int, dimensions: int, examples: int) -> None:
    """A visit takes three passes; the shortest training allows a number of decoded elements, whatever their size."""
    afterwards = Afterwards(visits, dimensions)
    evaluated, samples = afterwards.evaluation(examples)
    assert 10 <= samples <= 500
    assert min(50, examples) <= evaluated <= examples
    diagnosed = afterwards.diagnosis.max_examples
    assert 30 <= diagnosed <= 300
    passes = evaluated * samples + PASSES * diagnosed
    least = max(2 * DECODED / dimensions, 50 * 10 + 30 * PASSES)
    assert passes <= max(3 * visits / 10, 2 * least)
    assert afterwards.codes <= max(visits / 12, 5000, 200)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> tb.Trained:
    """A model of two clusters that hardly pays for the distance of its codes from the prior."""
    rng = np.random.default_rng(0)
    x = (rng.choice([-3.0, 3.0], size=(7000, 1)) + 0.3 * rng.normal(size=(7000, 3))).astype("float32")
    run = tmp_path_factory.mktemp("runs") / "shifted"
    return tb.train(
        (x[:6500], x[6500:]), run=run, latent=2, network="mlp(hidden=(8,))", beta=0.01, lr=0.01, steps=150, quiet=True
    )


def test_the_sampler_after_training_looks_at_codes_of_some_examples(shifted: tb.Trained) -> None:
    """It was fitted to all of them, which took longer than a short training."""
    assert shifted.folder is not None
    sampler = chosen_sampler(shifted.folder)
    assert isinstance(sampler, GaussianMixture)
    file = shifted.folder.checkpoint("fitted", "sampler-gaussian-mixture")
    assert checkpoint.load(file)[1]["codes"] == 5000
    assert shifted.data is not None
    codes = shifted.encode(shifted.data.require_test(), draw=True)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(codes).sum(1)
    assert (sampler.log_prob(codes) - prior).mean() > 1


def test_the_sampler_is_the_density_that_the_check_was_made_with(shifted: tb.Trained) -> None:
    assert shifted.data is not None
    assert suit_samples(shifted, shifted.data, Settings(), Afterwards(0, 3))
    sampler = chosen_sampler(shifted.folder)
    assert isinstance(sampler, GaussianMixture)
    assert f"of {sampler.components} Gaussian" in shifted.diagnose(quick=True)["prior-mismatch.saving"].estimator
