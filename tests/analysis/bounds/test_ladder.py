"""The bound for several k from the same samples, and what is said of its convergence."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import tightbound as tb
from laws.linear import linear_gaussian
from tightbound.analysis.bounds import ladder
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.bounds.shown import evaluation_figures
from tightbound.analysis.bounds.weights import BLOCK, Weights, rungs
from tightbound.analysis.estimate import mean_error
from tightbound.core.errors import InputError
from tightbound.objectives.iwae import logmeanexp
from tightbound.testing.objectives import small_model

X = torch.randn(300, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1.5


def streamed(log_weight: torch.Tensor) -> Weights:
    weights = Weights(len(log_weight))
    for block in log_weight.split(BLOCK):
        weights.add(block)
    return weights


@pytest.mark.parametrize("samples", [1, 7, 55, 100, 250, 1000, 2350])
def test_each_rung_is_the_mean_over_disjoint_sets(samples: int) -> None:
    log_weight = 3 * torch.randn(samples, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(samples))
    weights = streamed(log_weight)
    assert rungs(samples)[-1] == samples
    for k, got in zip(rungs(samples), weights.ladder().unbind(1), strict=True):
        sets = [logmeanexp(part) for part in log_weight.split(k) if len(part) == k]
        assert len(sets) == samples // k
        assert torch.allclose(got, torch.stack(sets).mean(0), atol=1e-12)
    w = (log_weight - log_weight.amax(0)).exp()
    assert torch.allclose(weights.effective(), w.sum(0) ** 2 / w.square().sum(0), atol=1e-9)


def test_the_tail_is_that_of_all_samples() -> None:
    """However it is gathered: the largest weights come first, last or in between."""
    log_weight = torch.randn(3000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).sort(0).values
    shuffled = log_weight[torch.randperm(3000, generator=torch.Generator().manual_seed(1))]
    k = streamed(log_weight).pareto_k()
    np.testing.assert_allclose(streamed(log_weight.flip(0)).pareto_k(), k, rtol=1e-10)
    np.testing.assert_allclose(streamed(shuffled).pareto_k(), k, rtol=1e-10)


def test_rungs() -> None:
    assert rungs(1) == [1]
    assert rungs(5000) == [1, 10, 100, 1000, 5000]
    assert rungs(60_000) == [1, 10, 100, 1000, 5000, 10_000, 50_000, 60_000]


def test_an_exact_posterior_has_every_rung_at_the_evidence() -> None:
    linear = linear_gaussian()
    result = evaluate(linear.model, X[:20], samples=1000)
    exact = linear.evidence(X[:20]).numpy()
    np.testing.assert_allclose(result.per_example["iwae_ladder"], np.stack([exact] * 4, 1), atol=1e-9)
    np.testing.assert_allclose(result.per_example["effective_samples"], 1000, rtol=1e-6)
    assert np.abs(result.per_example["pareto_k"]).max() == 0
    assert result["convergence"].value == pytest.approx(0, abs=1e-9)
    assert result.sentences[0].startswith("The IWAE bound has converged")


def test_a_mildly_wrong_posterior_climbs_and_is_extrapolated_to_the_evidence() -> None:
    linear = linear_gaussian(off=0.25)
    result = evaluate(linear.model, X, samples=1000)
    ladder, gains = result["iwae_ladder"], result["iwae_gain"]
    assert ladder.at == [1, 10, 100, 1000]
    assert ladder.value[-1] == pytest.approx(result["iwae"].value, abs=1e-10)
    assert all(b > a for a, b in pairwise(ladder.value))
    assert gains.value == pytest.approx(np.diff(ladder.value).tolist())
    paired = np.diff(result.per_example["iwae_ladder"], axis=1)
    assert gains.stderr == pytest.approx(mean_error(paired).tolist())
    few = evaluate(linear.model, X.repeat(20, 1), samples=20)
    exact = linear.evidence(X).mean().item()
    bound, left = few["iwae"].value, few["convergence"]
    assert abs(bound + left.value - exact) < 0.5 * (exact - bound)
    assert left.stderr < 0.5 * left.value
    assert result["pareto_k"].value < 0.5
    assert result["effective_samples"].value > 300


def test_the_verdict_follows_the_weights() -> None:
    assert (
        evaluate(linear_gaussian(off=0.1).model, X, samples=1000)
        .sentences[0]
        .startswith("The IWAE bound has converged")
    )
    few = evaluate(linear_gaussian(off=0.5).model, X, samples=10)
    assert few.sentences[0].startswith("The IWAE bound still rises")
    bad = evaluate(linear_gaussian(off=-3.0).model, X, samples=1000)
    assert bad["pareto_k_high"].value > 0.9
    assert "too heavy a tail" in bad.sentences[0]


def test_a_step_down_by_chance_is_no_sign_of_convergence() -> None:
    last = np.where(np.arange(8) % 2, -2.0, -1.25)
    bounds = np.stack([np.full(8, -3.0), np.full(8, -2.0), np.full(8, -1.4), last], 1)
    facts = {"unit": "nats", "target": "density", "samples": 250, "reason": None}
    weights = ladder.PerExample(bounds, np.ones(8), np.full(8, 0.2))
    found = ladder.estimates(weights, facts)["convergence"]
    assert found.value < 0
    assert found.value + 2 * found.stderr < 0.1 < 2 * found.stderr
    sentence = ladder.verdict(weights, 250)
    assert sentence is not None
    assert sentence.startswith("The IWAE bound still rises")
    assert "may be left" in sentence


def test_missing_estimates_have_a_reason() -> None:
    one = evaluate(linear_gaussian().model, X, samples=1)
    assert one["convergence"].value is None
    assert "one sample" in str(one["convergence"].reason)
    assert one["pareto_k"].value is None
    assert "needed" in str(one["pareto_k"].reason)
    point = evaluate(small_model(point=True), torch.ones(3, 1, 2, 3), samples=30)
    assert "point mass" in str(point["iwae_ladder"].reason)


def test_the_effect_of_bfloat16_is_reported() -> None:
    x = (torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    model = tb.VAE.for_data(tb.data.open(x), latent=3, network="mlp(hidden=(32,))")
    exact, rough = (evaluate(model, x, samples=150, precision=p) for p in ("fp32", "bf16"))
    assert "bf16_difference" not in exact.estimates
    changed = rough["bf16_difference"]
    assert changed.n == 6  # a tenth of the examples: the float32 bounds of more would take longer than bfloat16 saves
    assert rough.per_example["iwae"] == pytest.approx(exact.per_example["iwae"], abs=0.1)
    first = (rough.per_example["iwae"] - exact.per_example["iwae"])[:6]
    assert changed.value == pytest.approx(first.mean(), abs=1e-6)
    assert changed.value != 0
    np.testing.assert_array_equal(rough.per_example["mean"], exact.per_example["mean"])  # the encoder is in float32
    double = evaluate(linear_gaussian(off=0.2).model, X[:5], samples=10, precision="bf16")
    assert double["bf16_difference"].value == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="precision"):
        evaluate(model, x, precision="fp64")


def test_the_figure_shows_bounds_and_gains() -> None:
    found = {
        each.name: each
        for each in evaluation_figures(evaluate(linear_gaussian(off=0.25).model, X, samples=20).estimates)
    }
    bounds, gains = found["bound-by-samples"].panels
    assert bounds.to_json()["x"] == [1, 10, 20]
    assert gains.to_json()["labels"] == ["10", "20"]
    for alone in (
        evaluate(linear_gaussian().model, X, samples=1),
        evaluate(small_model(point=True), torch.ones(3, 1, 2, 3)),
    ):
        assert "bound-by-samples" not in {each.name for each in evaluation_figures(alone.estimates)}
