"""The check of the variety of samples, and what a latent sampler changes in a diagnosis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.analysis.diagnosis.checks.prior import PriorMismatch
from tightbound.analysis.diagnosis.checks.samples import LowRecall, PriorHoles
from tightbound.analysis.diagnosis.engine import Case, diagnose
from tightbound.analysis.estimate import scalar
from tightbound.data.splits.indexed import ArraySplit
from tightbound.inference.samplers import GaussianMixture
from tightbound.trained import Trained


@pytest.fixture(scope="module")
def bright() -> tuple[Trained, Case]:
    """Images of one color each, in one of 8 x 8 corners of a cube, and a model whose codes lie far from the prior."""
    rng = np.random.default_rng(0)
    levels = rng.choice([20.0, 230.0], size=(500, 2)) + rng.integers(-15, 15, (500, 2))
    x = np.repeat(np.repeat(levels, 32, 1).reshape(500, 2, 1, 32), 1, 2).reshape(500, 1, 8, 8).astype("uint8")
    options = {"latent": 2, "network": "mlp(hidden=(32,))", "lr": 0.01, "beta": 0.05, "batch_size": 50, "epochs": 30}
    trained = tb.train(x, validation_size=0, quiet=True, **options)
    return trained, Case(trained.model, ArraySplit(x[:400]), ArraySplit(x[400:]), max_examples=400)


def fitted(trained: Trained, case: Case) -> GaussianMixture:
    codes = trained.encode(case.train, draw=True)
    sampler = GaussianMixture(codes.shape[1], components=4)
    sampler.start_at(codes, seed=0)
    return sampler.eval()


def test_samples_where_the_codes_are_show_the_variety_of_the_data(bright: tuple[Trained, Case]) -> None:
    trained, case = bright
    good = replace(case, sampler=fitted(trained, case))
    evidence = LowRecall().measure(good)
    assert scalar(evidence["recall_data"]) > 0.8
    assert scalar(evidence["recall"]) > 0.5
    assert LowRecall().judge(evidence, good) is None


def test_samples_of_one_kind_lack_the_variety_of_the_data(bright: tuple[Trained, Case]) -> None:
    trained, case = bright
    narrow = fitted(trained, case)
    narrow.loc.copy_(narrow.loc[:1].expand_as(narrow.loc))  # one of four corners
    narrow.scale_tril.mul_(0.1)
    poor = replace(case, sampler=narrow)
    found = LowRecall().judge(LowRecall().measure(poor), poor)
    assert found is not None
    assert found.severity == "severe"
    assert "lack the variety" in found.description


def test_noise_that_no_sample_can_show_is_not_held_against_them() -> None:
    """Means of p(x | z) are no nearer to the images than reconstructions are."""
    rng = np.random.default_rng(0)
    shade = rng.uniform(60, 190, (600, 1, 1, 1))
    x = (shade + rng.normal(0, 20, (600, 1, 8, 8))).clip(0, 255).astype("uint8")
    trained = tb.train(x, latent=1, network="mlp(hidden=(16,))", lr=0.01, epochs=15, validation_size=0, quiet=True)
    case = Case(trained.model, ArraySplit(x), ArraySplit(x[:100]))
    evidence = LowRecall().measure(case)
    assert scalar(evidence["recall"]) > 0.7
    assert LowRecall().judge(evidence, case) is None


def test_a_latent_sampler_turns_the_prior_into_a_note(bright: tuple[Trained, Case]) -> None:
    trained, case = bright
    checks = (PriorMismatch(), PriorHoles())
    alone = diagnose(case, checks)
    assert PriorMismatch.name in [finding.name for finding in alone.findings]
    mended = diagnose(replace(case, sampler=fitted(trained, case)), checks)
    assert mended.findings == ()
    assert any("samples come from a latent sampler" in sentence for sentence in mended.sentences)
    saving = mended["prior-mismatch.saving"]
    assert "log-density of 4 Gaussians" in saving.estimator  # those of the sampler
    assert scalar(saving) == pytest.approx(scalar(alone["prior-mismatch.saving"]), rel=0.2)


def test_few_images_and_tables_are_not_judged(bright: tuple[Trained, Case]) -> None:
    _, case = bright
    few = diagnose(replace(case, train=ArraySplit(case.train.batch(torch.arange(199)).x.numpy())), (LowRecall(),))  # type: ignore[union-attr]
    assert "too few to tell" in few.skipped["low-recall"]
    x = np.random.default_rng(0).normal(size=(300, 3)).astype("float32")
    table = tb.VAE.for_data(x, latent=2, network="mlp(hidden=(4,))")
    found = diagnose(Case(table, ArraySplit(x), ArraySplit(x)), (LowRecall(),))
    assert found.skipped["low-recall"] == "the data are not images"
