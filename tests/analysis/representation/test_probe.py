"""Probes: known answers, and scikit-learn as the oracle."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor

import tightbound as tb
from laws.linear import linear_gaussian
from tightbound.analysis.estimate import mean_error
from tightbound.analysis.representation.clustering import adjusted_rand, agreement, normalized_information
from tightbound.analysis.representation.engine import probe, probe_codes
from tightbound.analysis.representation.shown import Probed, figures, sentences, tables
from tightbound.analysis.representation.supervised import accuracy, explained
from tightbound.analysis.representation.uncertainty import (
    Uncertainty,
    about_errors,
    about_reconstructions,
    area_under_risk,
    entropy,
    risk_coverage,
    uncertainty,
)
from tightbound.analysis.result import Result
from tightbound.core.errors import InputError
from tightbound.core.terms import Batch, LatentTerms

CENTERS = 6 * np.eye(3)


def clouds(n: int, seed: int, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Codes of three classes, far from each other."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(3, size=n)
    return CENTERS[labels] + spread * generator.standard_normal((n, 3)), labels


def near(number: Any, value: float, errors: float = 4.0) -> bool:
    return abs(number.value - value) <= errors * number.stderr


def test_separable_codes_are_classified_and_clustered_without_error() -> None:
    found = probe_codes(*clouds(400, 0), *clouds(300, 1))
    for name in ("linear", "knn", "kmeans_nmi", "kmeans_ari", "mixture_nmi", "mixture_ari"):
        assert found[name].value == pytest.approx(1), name
    assert found["linear"].stderr > 0  # pyright: ignore
    assert found.details["curve"]["linear"]["mean"][-1] == pytest.approx(1)
    assert found["kmeans_chance"].value < 0.03  # pyright: ignore


def test_random_labels_give_chance() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2, 2000, 4)), generator.integers(4, size=(2, 2000))
    found = probe_codes(x[0], y[0], x[1], y[1])
    for name in ("linear", "knn", "majority"):
        assert near(found[name], 0.25), name
    for method in ("kmeans", "mixture"):
        assert near(found[f"{method}_ari"], 0)
        assert found[f"{method}_nmi"].value < 3 * found[f"{method}_chance"].value  # pyright: ignore


def test_the_majority_class_comes_from_the_training_data() -> None:
    x = np.random.default_rng(0).standard_normal((100, 2))
    train, test = np.repeat([0, 1], [70, 30]), np.repeat([0, 1], [20, 80])
    assert probe_codes(x, train, x, test)["majority"].value == 0.2


def test_accuracy_has_the_binomial_error_and_paired_differences_a_smaller_one() -> None:
    right = np.random.default_rng(0).random(4000) < 0.9
    also = right.copy()
    also[:20] = ~also[:20]
    facts = {"unit": "", "estimator": "", "target": ""}
    number, pair = accuracy(right).estimate(**facts), accuracy(right).minus(accuracy(also), **facts)
    p = right.mean()
    assert number.stderr == pytest.approx(math.sqrt(p * (1 - p) / 4000), rel=0.05)
    assert pair.value == pytest.approx(right.mean() - also.mean())
    assert pair.stderr == pytest.approx(mean_error(right.astype(float) - also))
    sure = accuracy(np.ones(50, dtype=bool)).estimate(**facts)
    assert sure.value == 1
    assert sure.stderr is not None
    assert sure.stderr > 0


def test_r2_equals_scikit_learn_and_its_standard_error_matches_repetitions() -> None:
    generator = np.random.default_rng(0)
    facts = {"unit": "", "estimator": "", "target": ""}
    values, errors = [], []
    for _ in range(300):
        y = generator.standard_normal((200, 2))
        guess = y + np.array([0.5, 2.0]) * generator.standard_normal((200, 2))
        number = explained(y, guess).estimate(**facts)
        values.append(number.value)
        errors.append(number.stderr)
        assert number.value == pytest.approx([metrics.r2_score(a, b) for a, b in zip(y.T, guess.T, strict=True)])
    assert np.mean(errors, 0) == pytest.approx(np.std(values, 0), rel=0.15)


def test_ridge_finds_a_linear_factor_and_not_a_random_one() -> None:
    generator = np.random.default_rng(0)
    z = generator.standard_normal((2, 1000, 5))
    y = np.stack([z[..., 0] - 2 * z[..., 3] + 1, generator.standard_normal((2, 1000))], -1)
    found = probe_codes(z[0], y[0], z[1], y[1])
    assert found.details["about"]["task"] == "numbers"
    linear, by_chance = found["linear"].value  # pyright: ignore
    assert linear > 0.9999
    assert abs(by_chance) < 0.05
    assert "clusters are compared with classes" in str(found["kmeans_nmi"].reason)
    assert isinstance(probe_codes(z[0], y[0][:, 0], z[1], y[1][:, 0])["linear"].value, float)


def test_clustering_scores_equal_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    for groups in (1, 2, 7):
        truth, found = generator.integers(4, size=500), generator.integers(groups, size=500)
        found[:200] = truth[:200]
        table = metrics.cluster.contingency_matrix(truth, found)[None]
        expected = metrics.normalized_mutual_info_score(truth, found), metrics.adjusted_rand_score(truth, found)
        assert normalized_information(table)[0] == pytest.approx(expected[0])
        assert adjusted_rand(table)[0] == pytest.approx(expected[1])
        numbers = agreement(truth, found, unit="", target="", estimator="")
        assert (numbers["nmi"].value, numbers["ari"].value) == pytest.approx(expected)
    nothing = agreement(truth, np.zeros(500, dtype=int), unit="", target="", estimator="")
    assert nothing["nmi"].value == nothing["ari"].value == 0


def test_bootstrap_error_of_a_clustering_matches_its_spread() -> None:
    generator = np.random.default_rng(0)
    values, errors = [], []
    for repeat in range(30):
        truth = generator.integers(3, size=400)
        found = np.where(generator.random(400) < 0.7, truth, generator.integers(3, size=400))
        number = agreement(truth, found, repeat, unit="", target="", estimator="")["ari"]
        values.append(number.value)
        errors.append(number.stderr)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.3)


def test_uncertainty_that_knows_the_errors_finds_them() -> None:
    generator = np.random.default_rng(0)
    wrong = generator.random(2000) < 0.2
    knows, blind = wrong + 0.1 * generator.random(2000), generator.random(2000)
    numbers, curve = about_errors(Uncertainty(knows, blind, None), blind, wrong, 0)
    assert numbers["entropy_wrong"].value == 1
    assert near(numbers["variance_wrong"], 0.5)
    assert near(numbers["variance_risk"], wrong.mean())
    assert "deterministic" in str(numbers["probe_wrong"].reason)
    assert curve is not None
    assert curve["entropy"][:15] == [0.0] * 15  # three quarters are kept without an error
    assert curve["entropy"][-1] == pytest.approx(wrong.mean())


def test_risk_coverage_by_hand() -> None:
    wrong, doubt = np.array([True, False, False, True]), np.array([4.0, 1.0, 2.0, 3.0])
    assert risk_coverage(wrong, doubt)[[4, 9, 14, 19]] == pytest.approx([0, 0, 1 / 3, 1 / 2])
    number = area_under_risk(wrong, doubt, unit="", target="", estimator="")
    assert number.value == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


def test_entropy_is_in_closed_form_or_the_mean_over_draws() -> None:
    q = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2, 3), torch.tensor([[1.0], [2.0]])), 1)
    z = q.sample(torch.Size((20_000,)))
    expected = 3 * (0.5 * math.log(2 * math.pi * math.e) + torch.tensor([0.0, math.log(2)]))
    torch.testing.assert_close(entropy(LatentTerms(z, posterior=q)), expected)
    by_draws = entropy(LatentTerms(z, log_q=q.log_prob(z)))
    torch.testing.assert_close(by_draws, expected, atol=0.05, rtol=0)


def test_predictive_variance_is_that_of_the_linear_gaussian_model() -> None:
    known = linear_gaussian()
    x = torch.randn(50, 6, dtype=torch.float64)
    found = uncertainty(known.model, x, samples=2000)
    posterior = 1 / (known.w.square().sum(0) / known.sigma**2 + 1)  # variance of each latent
    expected = float((known.w.square() * posterior).sum() / 6)
    assert found.variance is not None
    assert found.variance == pytest.approx(expected, rel=0.25)
    assert found.variance.mean() == pytest.approx(expected, rel=0.02)
    again = uncertainty(known.model, x[7:9], samples=2000).variance
    assert again is not None
    assert again.shape == (2,)


class Informed(torch.nn.Module):
    """An encoder whose sigma is as large as the example's first element, by which its second is noisy."""

    def forward(self, x: Tensor) -> Tensor:
        scale = x[:, :1].log()
        return torch.cat([x[:, 1:2], torch.zeros_like(scale), 2 * scale, 2 * scale], 1)


def informed() -> tuple[tb.VAE, Batch, Batch]:
    """A model that knows where it errs: the class is the sign of a code that is read with noise of the size sigma."""
    posterior = tb.posteriors.DiagonalNormal((2,), 2, torch.nn.Identity())
    posterior.network = Informed()
    likelihood = tb.likelihoods.Gaussian((2,), 2, torch.nn.Identity(), scale=1.0)
    model = tb.VAE(tb.Flat(tb.priors.StandardNormal(2), posterior), likelihood, tb.likelihoods.Identity())
    batches = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        label = torch.randint(2, (800,), generator=generator)
        sigma = torch.where(torch.rand(800, generator=generator) < 0.5, 0.05, 2.0)
        read = (2.0 * label - 1) + sigma * torch.randn(800, generator=generator)
        batches.append(Batch(torch.stack([sigma, read], 1), label=label))
    return model, *batches


@pytest.fixture(scope="module")
def of_informed() -> Probed:
    return probe(*informed())


def test_a_posterior_scale_that_predicts_errors_is_detected(of_informed: Probed) -> None:
    found = of_informed
    wrong = 1 - found["linear"].value  # pyright: ignore
    assert wrong == pytest.approx(0.5 * 0.5 * math.erfc(0.5 / math.sqrt(2)), abs=0.03)  # P(N(1, 2^2) < 0), of half
    for name in ("entropy", "variance"):
        assert found[f"{name}_wrong"].value > 0.75  # pyright: ignore
        assert found[f"{name}_risk"].value < 0.6 * wrong  # pyright: ignore
    assert found["linear_noise_cost"].value > 0  # pyright: ignore


def test_the_same_seed_gives_the_same_numbers() -> None:
    model, train, test = informed()
    found = [probe(model, train, test, max_examples=30, seed=seed) for seed in (3, 3, 4)]
    assert found[0].estimates == found[1].estimates != found[2].estimates
    assert (found[0].curve, found[0].risk) == (found[1].curve, found[1].risk)


def test_plain_arrays_give_the_numbers_of_the_model(of_informed: Probed) -> None:
    _, train, test = informed()
    plain = probe_codes(train.x[:, 1:], train.label, test.x[:, 1:], test.label)  # the codes' only number that varies
    for name in ("linear", "knn", "kmeans_ari"):
        assert plain[name].value == of_informed[name].value, name


def test_data_without_labels_are_probed_for_uncertainty() -> None:
    model, train, test = informed()
    found = probe(model, train.x[:200], test.x[:200])
    assert found["linear"].value is None
    assert "no labels" in str(found["linear"].reason)
    assert found["variance_poor"].value is not None
    assert found.curve is None
    assert "no labels" in sentences(found)[0]
    assert len(tables(found)) == 1
    assert figures(found) == []


def test_a_deterministic_posterior_has_no_uncertainty() -> None:
    error = np.random.default_rng(0).random(100)
    numbers = about_reconstructions(Uncertainty(None, None, None), error)
    assert all(number.value is None and "deterministic" in str(number.reason) for number in numbers.values())


def test_poor_reconstructions_are_the_worst_tenth() -> None:
    error = np.arange(100.0)
    numbers = about_reconstructions(Uncertainty(error, -error, None), error)
    assert (numbers["entropy_poor"].value, numbers["variance_poor"].value) == (1, 0)


@pytest.mark.parametrize(
    ("change", "description"),
    [
        ({"labels_train": [0] * 20}, "one class"),
        ({"codes_test": np.zeros((7, 3))}, "test codes have shape"),
        ({"task": "words"}, "task = 'words'"),
        ({"neighbors": 0}, "neighbors = 0"),
        ({"labels_train": [0.5, math.nan] * 10}, "not all finite"),
    ],
)
def test_unusable_codes_and_labels_are_refused(change: dict[str, Any], description: str) -> None:
    x, y = clouds(20, 0)
    given: dict[str, Any] = {"codes_train": x, "labels_train": y, "codes_test": x, "labels_test": y}
    with pytest.raises(InputError, match=description):
        probe_codes(**(given | change))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tb.Trained:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=8, network="mlp(hidden=(64,))", likelihood="bernoulli")
    return tb.fit(model, data, epochs=8, quiet=True, run=tmp_path_factory.mktemp("probe") / "run")


def test_a_trained_model_is_probed(trained: tb.Trained) -> None:
    found = trained.probe(max_examples=300)
    about = found.details["about"]
    assert (about["train"], about["test"], about["classes"]) == (300, 297, 10)
    assert found["linear"].value > 0.6  # pyright: ignore
    value = [found[f"linear{kind}"].value for kind in ("", "_draws", "_noise_cost", "_pca", "_gain")]
    assert value[2] == pytest.approx(value[0] - value[1])  # pyright: ignore
    assert value[4] == pytest.approx(value[0] - value[3])  # pyright: ignore
    assert all(number.estimator and number.unit and number.target for number in found.estimates.values())
    assert all(number.stderr is not None or number.reason for number in found.estimates.values())
    assert [table.title for table in found.tables][:3] == ["Predicting the labels", "Clustering", "Few labels"]
    assert [figure.name for figure in found.figures] == ["few-labels", "errors-by-coverage"]
    assert Result.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))).estimates == found.estimates


def test_an_autoencoder_is_probed_without_uncertainty(tmp_path: Path) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=3, network="mlp(hidden=(16,))", posterior="point")
    trained = tb.fit(model, data, "autoencoder", epochs=1, quiet=True, run=tmp_path / "run")
    found = trained.probe(max_examples=200)
    assert found["linear_noise_cost"].value == 0
    assert "deterministic" in str(found["entropy_wrong"].reason)
    assert found["confidence_wrong"].value is not None
    assert not any("AUROC" in sentence for sentence in found.sentences)


def test_integer_labels_are_classes_whatever_their_type() -> None:
    rng = np.random.default_rng(0)
    codes, labels = rng.normal(size=(15, 2)), rng.integers(-1, 2, 15)
    for own in (labels, labels.astype(float), labels.astype(str), torch.as_tensor(labels), labels > 0):
        assert probe_codes(codes, own, codes, own).details["about"]["task"] == "classes"
    assert probe_codes(codes, labels + 0.5, codes, labels + 0.5).details["about"]["task"] == "numbers"
