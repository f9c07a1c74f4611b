"""The objective `m2`: on a model whose evidence is known, both bounds are exact."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import nn

import tightbound as tb
from tightbound.contexts import InferredLabels
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.latents import Flat
from tightbound.likelihoods import Gaussian, Identity
from tightbound.objectives import M2
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal
from tightbound.testing import check_objective

D, LATENT, SIGMA = 5, 2, 0.6
SHARES = (0.2, 0.5, 0.3)


@pytest.fixture(scope="module")
def linear():
    """x = W z + V y + e with orthogonal columns in W: q(z | x, y) and q(y | x) are set to the exact posteriors."""
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(D, LATENT, generator=generator, dtype=torch.float64))
    w = basis * torch.tensor([0.8, 1.5], dtype=torch.float64)
    v = 1.5 * torch.randn(D, len(SHARES), generator=generator, dtype=torch.float64)
    decoder = nn.Linear(LATENT + len(SHARES), D)
    posterior: Any = DiagonalNormal((D + len(SHARES),), LATENT, nn.Flatten())
    context: Any = InferredLabels(len(SHARES), input_shape=(D,), shares=SHARES)
    likelihood = Gaussian((D,), LATENT + len(SHARES), decoder, scale=SIGMA)
    model = tb.VAE(Flat(StandardNormal(LATENT), posterior), likelihood, Identity(), context).double().eval()
    precision = 1 + (w / SIGMA).square().sum(0)
    covariance = w @ w.T + SIGMA**2 * torch.eye(D, dtype=torch.float64)
    back = torch.linalg.solve(covariance, v)
    head, classifier = posterior.network[-1], context.network[-1]
    with torch.no_grad():
        decoder.weight.copy_(torch.cat([w, v], 1))
        decoder.bias.zero_()
        head.weight.zero_()
        head.weight[:LATENT].copy_(torch.cat([w.T, -w.T @ v], 1) / (SIGMA**2 * precision[:, None]))
        head.bias.copy_(torch.cat([torch.zeros(LATENT), -precision.log()]))
        classifier.weight.copy_(back.T)
        classifier.bias.copy_(torch.tensor(SHARES).double().log() - (v * back).sum(0) / 2)
    return model, v, covariance


def value(model, x, labels, objective) -> torch.Tensor:
    objective.prepare(model, len(x))
    noise = Noise("test")
    with torch.no_grad(), noise.default():
        return objective(model(Batch(x, label=labels), objective.samples, noise), Knobs.final(objective.schedules))


@pytest.fixture(scope="module")
def evidence(linear):
    """Draws x (6, D), labels (6,) and log p(x, y) (6, classes)."""
    _, v, covariance = linear
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    noise = torch.randn(6, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = v.T[labels] + noise @ torch.linalg.cholesky(covariance).T
    densities = [multivariate_normal(mean, covariance.numpy()).logpdf(x.numpy()) for mean in v.T.numpy()]
    return x, labels, torch.from_numpy(np.stack(densities, 1)) + torch.tensor(SHARES).double().log()


def test_the_bound_of_an_unlabeled_example_is_its_evidence(linear, evidence) -> None:
    x, labels, joint = evidence
    found = value(linear[0], x, torch.full_like(labels, -1), M2(samples=2, kl="monte-carlo"))
    assert torch.allclose(found, torch.from_numpy(logsumexp(joint.numpy(), axis=1)), atol=1e-9)


def test_the_bound_of_a_labeled_example_is_its_joint_evidence_and_the_weighted_classification_term(
    linear, evidence
) -> None:
    x, labels, joint = evidence
    rows = torch.arange(6)
    found = value(linear[0], x, labels, M2(alpha=3.0, samples=2, kl="monte-carlo"))
    expected = joint[rows, labels] + 3 * joint.log_softmax(1)[rows, labels]
    assert torch.allclose(found, expected, atol=1e-9)


def test_labeled_and_unlabeled_examples_of_a_batch_do_not_mix(linear, evidence) -> None:
    x, labels, joint = evidence
    some = labels.where(torch.arange(6) % 2 == 0, -1)
    found = value(linear[0], x, some, M2(alpha=0.0, kl="monte-carlo"))
    whole, own = torch.from_numpy(logsumexp(joint.numpy(), axis=1)), joint[torch.arange(6), labels]
    assert torch.allclose(found, own.where(some >= 0, whole), atol=1e-9)


def test_another_classifier_loses_its_divergence_from_the_posterior(linear, evidence) -> None:
    model, x, joint = linear[0], evidence[0], evidence[2]
    classifier = model.context.network[-1]
    saved = classifier.bias.detach().clone()
    with torch.no_grad():
        classifier.bias.add_(torch.tensor([1.0, -1.0, 0.5]))
        log_q = model.context.log_probabilities(model.observe(Batch(x), Noise("x"), context=False))
        found = value(model, x, torch.full((6,), -1), M2(kl="monte-carlo"))
        classifier.bias.copy_(saved)
    lost = (log_q.exp() * (log_q - joint.log_softmax(1))).sum(1)
    assert torch.allclose(found, joint.logsumexp(1) - lost, atol=1e-9)
    assert (lost > 0.01).any()


def test_the_laws_of_objectives_hold(linear) -> None:
    """On a copy of the exact model, whose bounds do not depend on the draws."""
    check_objective(M2(kl="monte-carlo"), model=copy.deepcopy(linear[0]))


def test_labeled_examples_are_repeated_up_to_their_share() -> None:
    labels = torch.full((1000,), -1)
    labels[:10] = torch.arange(10)
    rows = M2(share=0.25).rows(labels)
    assert rows is not None
    assert sorted(set(rows.tolist())) == list(range(1000))
    assert (labels[rows] >= 0).double().mean() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(M2(share=0.25).rows(torch.zeros(9)), torch.arange(9))  # pyright: ignore[reportArgumentType]


def test_training_learns_the_classes_of_unlabeled_examples() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(600) % 2
    x = (
        torch.randn(600, 2, generator=generator) * torch.tensor([4.0, 0.3])
        + torch.tensor([0.0, 3.0]) * classes[:, None]
    )
    labels = torch.full((600,), -1).index_put((torch.arange(6),), classes[:6])
    trained = tb.train(
        (x, labels), context="inferred-labels", objective="m2", latent=1, network="mlp(hidden=(16,))", epochs=30,
        lr=0.01, domain="real", quiet=True,
    )  # fmt: skip
    model: Any = trained.model
    seen = model.observe(Batch(x), Noise("x"), context=False)
    found = model.context.log_probabilities(seen).argmax(1)
    assert (found == classes).double().mean() > 0.98
    drawn = trained.sample(200, context=torch.arange(200) % 2)
    assert (drawn[1::2, 1].mean() - drawn[::2, 1].mean()).item() == pytest.approx(3, abs=0.5)


def test_without_inferred_labels_the_objective_is_refused() -> None:
    model = tb.VAE.for_data(torch.rand(20, 3), latent=1, network="mlp(hidden=(4,))")
    with pytest.raises(CompositionError, match="inferred-labels"):
        model.loss(torch.rand(4, 3), "m2")


def test_shares_have_one_number_per_class() -> None:
    with pytest.raises(InputError, match="3 classes"):
        InferredLabels(3, input_shape=(2,), shares=(0.5, 0.5))
