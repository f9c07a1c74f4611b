"""Illnesses that are built into linear models whose optimum is known, and optimal models that look ill."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from analysis.diagnosis.test_diagnosis import case_of, drawn, names, of_linear
from laws.linear import Linear, linear_gaussian
from tightbound.analysis.diagnosis.checks.codebook import CodePrior
from tightbound.analysis.diagnosis.checks.width import TooNarrow, TooWide
from tightbound.analysis.diagnosis.engine import Case, diagnose
from tightbound.analysis.diagnosis.findings import Finding
from tightbound.analysis.diagnosis.independence import dependence, marginal_costs
from tightbound.analysis.estimate import Estimate, scalar, scalar_error
from tightbound.core.terms import Batch
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Gaussian, Identity
from tightbound.likelihoods.counts import Poisson
from tightbound.likelihoods.observation import Counts
from tightbound.model import VAE
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal

CHECKS = "tightbound.analysis.diagnosis.checks"


def head(linear: Linear) -> nn.Linear:
    """The last layer of the encoder: means, then log variances."""
    return linear.model.latents.posterior.network[-1]  # pyright: ignore


def found_by(case: Case, *checks: str) -> list[Finding]:
    return list(diagnose(case, [f"{CHECKS}.{check}" for check in checks]).findings)


@pytest.mark.parametrize("factor", [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.5, 5.0])
def test_the_width_of_a_posterior_is_judged_by_its_factor(factor: float) -> None:
    """Past the width of the prior, wider noise costs more rate, so that the exchange rate changes its sign."""
    linear = linear_gaussian(d=8, latent=3)
    with torch.no_grad():
        head(linear).bias[3:] += 2 * math.log(factor)
    case = of_linear(linear)
    found = diagnose(case, [TooWide(), TooNarrow()]).findings
    expected = {True: "posterior-too-narrow", False: "posterior-too-wide"}
    assert [f.name for f in found] == ([] if factor == 1 else [expected[factor < 1]])
    width = scalar(case.exchange.width)
    assert width == pytest.approx(1 / factor, rel=0.3)


def test_a_posterior_that_is_far_too_wide_is_named_and_what_follows_from_it_is_not() -> None:
    linear = linear_gaussian(d=8, latent=3, sigma=0.2)
    with torch.no_grad():
        head(linear).bias[3:] += 3.0
    assert names(diagnose(of_linear(linear), quick=True)) == {"posterior-too-wide"}
    with torch.no_grad():
        linear.model.likelihood.network.weight[:, 1] = 0  # pyright: ignore  # the width of a dimension that costs rate
    found = diagnose(of_linear(linear), quick=True).findings
    assert found[0].name == "posterior-too-wide"


def columns(n: int, seed: int) -> np.ndarray:
    """(n, 6) independent values of which none is Gaussian."""
    rng = np.random.default_rng(seed)
    two = np.where(rng.random((n, 3)) < 0.5, -1, 1) + 0.3 * rng.normal(size=(n, 3))
    return np.concatenate([two, rng.exponential(size=(n, 3))], axis=1)


def without_code(x: np.ndarray) -> VAE:
    """The optimum if columns are independent: z carries nothing, and the decoder holds the marginals."""
    d = x.shape[1]
    posterior = DiagonalNormal((d,), 2, nn.Flatten())
    likelihood = Gaussian((d,), 2, nn.Linear(2, d), scale="per-dimension")
    model = VAE(Flat(StandardNormal(2), posterior), likelihood, Identity()).double()
    with torch.no_grad():
        for tensor in (*likelihood.network.parameters(), *posterior.network[-1].parameters()):
            tensor.zero_()
        likelihood.start_at(torch.tensor(x))
    return model


def test_independent_columns_leave_nothing_to_encode() -> None:
    train, test = columns(800, 0), columns(300, 1)
    found = diagnose(case_of(without_code(train), train, test), quick=True)
    assert found.findings == ()
    assert found.sentences[0].startswith("Healthy")
    assert any("nothing to encode" in sentence for sentence in found.sentences)


def test_the_same_model_of_columns_that_depend_on_each_other_has_collapsed() -> None:
    """Uncorrelated columns that depend on each other are no excuse."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 1100)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * rng.normal(size=(1100, 2))
    found = diagnose(case_of(without_code(circle), circle[:800], circle[800:]), quick=True)
    assert "posterior-collapse" in names(found)


def faint(linear: Linear, factor: float = 0.2) -> VAE:
    """A model of the same data whose factors are too small, with its exact posterior and the scale that is left."""
    d, latent = linear.w.shape
    w = factor * linear.w
    sigma = math.sqrt(float((linear.w.square() - w.square()).sum()) / d + linear.sigma**2)
    weak = linear_gaussian(d=d, latent=latent, sigma=sigma)
    precision = w.square().sum(0) + sigma**2
    with torch.no_grad():
        weak.model.likelihood.network.weight.copy_(w)  # pyright: ignore
        layer = head(weak)
        layer.weight[:latent] = w.T / precision[:, None]
        layer.bias[:latent] = -(w.T @ weak.m) / precision
        layer.bias[latent:] = 2 * math.log(sigma) - precision.log()
    return weak.model


def test_a_code_that_saves_much_less_than_latent_classes_do_has_collapsed() -> None:
    """It carries something, and helps: only what it could carry tells that it has collapsed."""
    linear = linear_gaussian(d=8, latent=3, sigma=0.3)
    case = case_of(faint(linear), drawn(linear, 1000), drawn(linear, 1000, seed=1))
    (found,) = found_by(case, "collapse:PosteriorCollapse")
    assert found.severity == "severe"
    assert "z carries less than it could" in found.description
    assert scalar(found.evidence["rate"]) > 0.1
    assert scalar(found.evidence["gain"]) > 2 * scalar_error(found.evidence["gain"])
    assert not found_by(of_linear(linear), "collapse:PosteriorCollapse")


def test_latent_classes_find_dependence_and_no_more() -> None:
    """Two bits that are equal in nine of ten cases share, in closed form, log 2 - H(0.1) nats."""
    rng = np.random.default_rng(0)
    bit = rng.integers(0, 2, 4000)
    x = torch.tensor(np.stack([bit, np.where(rng.random(4000) < 0.1, 1 - bit, bit)], 1).astype(float))
    gain = dependence(Batch(x[:2000]), Batch(x[2000:]))
    truth = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    assert gain.mean() == pytest.approx(truth, abs=3 * gain.std() / math.sqrt(2000) + 0.01)
    alone = torch.tensor(rng.integers(0, 4, (4000, 5)).astype(float))
    assert abs(dependence(Batch(alone[:2000]), Batch(alone[2000:])).mean()) < 0.01


def test_one_distribution_of_a_family_is_its_best() -> None:
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(3, 2, (400, 2)))
    model = Gaussian((2,), 3, nn.Linear(3, 2), scale="per-dimension")
    with torch.no_grad():
        got = marginal_costs(model, Batch(x), Batch(x))
    assert got is not None
    best = 0.5 * (1 + math.log(2 * math.pi)) * 2 + np.log(x.numpy().std(0)).sum()
    assert got.mean() == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize(("scale", "word"), [(10.0, "wide"), (0.05, "narrow")])
def test_a_fixed_scale_of_another_unit_is_named_and_its_consequences_are_not(scale: float, word: str) -> None:
    linear = linear_gaussian(d=8, latent=3)
    linear.model.likelihood.fixed = scale  # pyright: ignore
    found = diagnose(of_linear(linear, config={"likelihood": f"gaussian(scale={scale})"}), quick=True)
    wrong = next(f for f in found.findings if f.name == "wrong-scale")
    assert wrong.severity == "severe"
    assert f"too {word}" in wrong.description
    assert wrong.remedy == {"likelihood": "gaussian(scale='shared')"}
    assert not names(found) & {"posterior-collapse", "posterior-too-wide", "posterior-too-narrow"}
    at_means = "_at_means" if scale < 1 else ""
    assert scalar(wrong.evidence[f"squared_errors{at_means}"]) == pytest.approx((0.7 / scale) ** 2, rel=0.7)


def counts_model(x: np.ndarray) -> VAE:
    d = x.shape[1]
    posterior = DiagonalNormal((d,), 2, nn.Flatten())
    model = VAE(Flat(StandardNormal(2), posterior), Poisson((d,), 2, nn.Linear(2, d)), Counts())
    with torch.no_grad():
        for tensor in (*model.likelihood.network.parameters(), *posterior.network[-1].parameters()):  # pyright: ignore
            tensor.zero_()
        model.likelihood.start_at(torch.tensor(x, dtype=torch.float32))
    return model


def test_counts_that_vary_more_than_poisson_allows_need_another_family() -> None:
    rng = np.random.default_rng(0)
    x = rng.negative_binomial(0.5, 0.05, (700, 5)).astype(np.float32)
    found = diagnose(case_of(counts_model(x), x[:500], x[500:], config={"likelihood": "poisson"}), quick=True)
    wrong = found.findings[0]
    assert (wrong.name, wrong.remedy) == ("wrong-family", {"likelihood": "negative-binomial"})
    assert "nothing-learned" not in names(found)
    true = rng.poisson(4.0, (700, 5)).astype(np.float32)
    assert "wrong-family" not in names(diagnose(case_of(counts_model(true), true[:500], true[500:]), quick=True))


def test_latents_that_the_decoder_does_not_use_are_found_with_their_price() -> None:
    linear = linear_gaussian(d=8, latent=4)
    case = of_linear(linear)
    assert not found_by(case, "units:UnusedLatents")
    with torch.no_grad():
        linear.model.likelihood.network.weight[:, 2:] = 0  # pyright: ignore
    (found,) = found_by(case_of(linear.model, drawn(linear), drawn(linear, seed=1)), "units:UnusedLatents")
    assert found.evidence["which"].value == [2, 3]
    assert scalar(found.evidence["unused_rate"]) > 1
    assert scalar(found.evidence["exchange_cost"]) == pytest.approx(0, abs=1e-9)
    assert "2 of 4 dimensions" in found.description


def test_codes_that_lie_apart_from_the_prior_cost_what_a_fitted_prior_saves() -> None:
    """Codes with mean 3 in each of three dimensions are, in closed form, 13.5 nats from N(0, I)."""
    linear = linear_gaussian(d=8, latent=3, sigma=0.1)
    generator = torch.Generator().manual_seed(0)
    z, e = (torch.randn(1600, k, generator=generator, dtype=torch.float64) for k in (3, 8))
    x = ((z + 3) @ linear.w.T + linear.m + linear.sigma * e).numpy()
    (found,) = found_by(case_of(linear.model, x[:800], x[800:]), "prior:PriorMismatch")
    saving = found.evidence["saving"]
    assert scalar(saving) == pytest.approx(13.5, abs=4 * scalar_error(saving) + 0.7)
    assert not found_by(of_linear(linear_gaussian(d=8, latent=3)), "prior:PriorMismatch")
    both = found_by(case_of(linear.model, x[:800], x[800:]), "prior:PriorMismatch", "fit:NothingLearned")
    assert [f.name for f in both] == ["prior-mismatch"]


def test_test_examples_that_were_trained_on_are_found_unless_chance_explains_them() -> None:
    linear = linear_gaussian(d=8, latent=3)
    train, new = drawn(linear), drawn(linear, seed=1)
    case = case_of(linear.model, train, np.concatenate([train[:90], new[:110]]))
    (found,) = found_by(case, "overfitting:TestedOnTraining")
    assert scalar(found.evidence["verbatim"]) == pytest.approx(0.45)
    assert found.severity == "severe"
    assert not found_by(of_linear(linear), "overfitting:TestedOnTraining")
    whole = diagnose(case, quick=True)
    assert {"overfitting", "memorization"} <= set(whole.skipped)
    bits = np.random.default_rng(0).integers(0, 2, (400, 6)).astype(np.float32)
    posterior = DiagonalNormal((6,), 2, nn.Flatten())
    coins = VAE(Flat(StandardNormal(2), posterior), Bernoulli((6,), 2, nn.Linear(2, 6)), Identity("binary"))
    assert not found_by(case_of(coins, bits[:200], bits[200:]), "overfitting:TestedOnTraining")


def test_too_few_examples_are_no_evidence_of_copies() -> None:
    linear = linear_gaussian()
    few = case_of(linear.model, drawn(linear, 18), drawn(linear, 18, seed=1))
    found = diagnose(few, [f"{CHECKS}.samples:CopiedSamples"])
    assert "too few" in found.skipped["memorization"]


def test_a_quick_diagnosis_does_not_search_data_that_take_long() -> None:
    """10 million rows are one row that is repeated in place: reading them in a quick diagnosis would take minutes."""
    linear = linear_gaussian()
    many = np.broadcast_to(drawn(linear, 1), (10_000_000, linear.w.shape[0]))
    case = case_of(linear.model, many, drawn(linear, 600, seed=1))
    found = diagnose(case, [f"{CHECKS}.samples:CopiedSamples"], quick=True)
    assert "quick" in found.skipped["memorization"]
    small = diagnose(of_linear(linear), [f"{CHECKS}.samples:CopiedSamples"], quick=True)
    assert "memorization" in small.checked


def test_a_short_run_says_how_short_it_was() -> None:
    steps = np.arange(20)
    losses = 17 + 8 * np.exp(-steps / 12)  # far from settled, though it slows down

    def rows(values: np.ndarray) -> list[dict[str, Any]]:
        return [{"stage": "", "step": 3 * (i + 1), "validation_loss": float(v)} for i, v in enumerate(values)]

    linear = linear_gaussian(d=8, latent=3)
    (found,) = found_by(of_linear(linear, metrics=rows(losses)), "training:Undertrained")
    assert "after 60 steps: by " in found.description
    slow = of_linear(linear, metrics=rows(25 - 0.01 * steps), config={"lr": 1e-5})
    (found,) = found_by(slow, "training:Undertrained")
    assert (found.severity, found.remedy) == ("severe", {"lr": "auto"})
    (found,) = found_by(of_linear(linear, metrics=rows(losses[:2])), "training:Undertrained")
    assert "after 6 steps" in found.description
    slowing = rows(17 + 8 * np.exp(-steps / 8))
    promise = 20 * math.log(2) * 8 * (math.exp(-14 / 8) - math.exp(-19 / 8)) / 5  # at the mean slope of the last five
    (found,) = found_by(of_linear(linear, metrics=slowing), "training:Undertrained")
    assert (found.severity, scalar(found.evidence["per_doubling"])) == ("mild", pytest.approx(promise, rel=0.02))
    weak = case_of(faint(linear), drawn(linear), drawn(linear, seed=1), metrics=slowing)  # its code carries less
    (found,) = found_by(weak, "training:Undertrained")
    assert found.severity == "severe"
    settled = rows(17 + 8 * np.exp(-steps / 3))
    assert not found_by(of_linear(linear, metrics=settled), "training:Undertrained")


def test_a_training_loss_that_falls_by_memory_is_not_too_short_a_run() -> None:
    linear = linear_gaussian(d=8, latent=3)
    losses = [{"stage": "", "step": 3 * i + 3, "train_loss": 17 + 8 * math.exp(-i / 12)} for i in range(20)]
    train, test = drawn(linear), drawn(linear, seed=1)
    assert found_by(case_of(linear.model, train, test, metrics=losses), "training:Undertrained")
    elsewhere = case_of(linear.model, train, test + 10, metrics=losses)  # what was learned does not hold there
    assert not found_by(elsewhere, "training:Undertrained")
    assert scalar(elsewhere.gap) > 10


def test_rows_that_are_not_finite_are_named_and_training_is_not_blamed() -> None:
    linear = linear_gaussian()
    test = drawn(linear, 40, seed=1)
    test[17, 2] = 1e200
    (found,) = found_by(case_of(linear.model, drawn(linear), test), "fit:NotFinite")
    assert found.remedy == {}
    assert "rows 17 of the test data" in found.description


def test_no_remedy_is_what_the_run_has_already() -> None:
    linear = linear_gaussian(d=8, latent=3)
    with torch.no_grad():
        head(linear).bias[3:] -= 6
    config = {"objective": "elbo", "lr": 1e-3, "epochs": 20}
    (found,) = diagnose(of_linear(linear, config=config), [TooNarrow()]).findings
    assert found.remedy == {"epochs": 40}


@pytest.mark.parametrize(
    ("trained", "held", "word"), [(20.0, 5.0, "alone is overfitted"), (20.0, -3.0, "memorized"), (20.0, 15.0, None)]
)
def test_a_code_prior_that_saves_on_training_data_alone_is_overfitted(
    trained: float, held: float, word: str | None
) -> None:
    """The rest of the model is not blamed, and the remedy trains the code prior alone."""
    one = of_linear(linear_gaussian(), config={"prior_epochs": 20})

    def saved(value: float) -> Estimate:
        return Estimate(value, 0.5, n=100, unit="nats", estimator="", target="")

    evidence = {"prior_gain": saved(held), "train_prior_gain": saved(trained)}
    found = CodePrior().judge(evidence, one)
    if word is None:
        assert found is None
        return
    assert found is not None
    assert word in found.description
    assert found.remedy == {"prior_epochs": 10}


def test_a_prior_far_from_codes_is_found_though_test_examples_are_few() -> None:
    """Codes that are correlated need a density of 230 numbers, and there are enough training examples to fit it."""
    linear = linear_gaussian(d=24, latent=20, sigma=0.05)
    mixed = (1 - 0.9) ** 0.5 * torch.eye(20, dtype=torch.float64)
    mixed[:, 0] += 0.9**0.5
    with torch.no_grad():
        head(linear).weight[:20] = mixed @ head(linear).weight[:20]
        head(linear).bias[:20] = mixed @ head(linear).bias[:20]
    few = case_of(linear.model, drawn(linear, 1500), drawn(linear, 25, seed=1))
    (found,) = found_by(few, "prior:PriorMismatch")
    assert scalar(found.evidence["saving"]) > 10
