"""The numbers: exact k, no dependence on batching, standard errors, what does not exist."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import tightbound as tb
from laws.linear import linear_gaussian
from tightbound.analysis import estimate as numbers
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.bounds.shown import evaluation_sentences
from tightbound.analysis.estimate import Estimate, mean_error
from tightbound.core.errors import InputError
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.objectives.iwae import logmeanexp
from tightbound.testing.objectives import small_model

X = torch.randn(17, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_k_is_used_exactly() -> None:
    """get_nll of a peer uses 100 samples where 1 is asked and 200 where 250 are."""
    model = linear_gaussian(off=0.5).model
    for k in (1, 7, 100, 250):
        got = torch.from_numpy(evaluate(model, X, samples=k, seed=4).per_example["iwae"])
        weights = []
        with torch.no_grad():
            seen = model.observe(Batch(X, index=torch.arange(17)), Noise())
            for block, start in enumerate(range(0, k, 100)):
                noise = ExampleNoise("evaluate", 4, block, index=torch.arange(17))
                count = min(100, k - start)
                weights.append(model.terms_from(seen, model.encode_state(seen), count, noise, Knobs()).log_weight)
        assert sum(map(len, weights)) == k
        assert torch.allclose(got, logmeanexp(torch.cat(weights)), atol=1e-10)


def test_numbers_do_not_depend_on_the_batch_size() -> None:
    model = linear_gaussian(off=0.5).model
    before = evaluate(model, X, samples=130)
    after = evaluate(model, X, samples=130, max_rows=300)
    for name in ("iwae", "elbo", "distortion", "rate", "mean", "reconstruction_mse"):
        np.testing.assert_allclose(before.per_example[name], after.per_example[name], rtol=1e-10)
    part = evaluate(model, X[:3], samples=130)
    np.testing.assert_allclose(part.per_example["iwae"], before.per_example["iwae"][:3], rtol=1e-10)


def test_the_encoder_runs_once_per_example_whatever_k() -> None:
    model = linear_gaussian().model
    calls = []
    model.latents.posterior.network.register_forward_hook(lambda *_: calls.append(1))
    evaluate(model, X, samples=1000)
    assert len(calls) == 1


def test_means_are_over_data_with_their_standard_error() -> None:
    """Not means of batch means, which weigh a smaller last batch too much."""
    result = evaluate(linear_gaussian(off=0.2).model, X, samples=10)
    for name in ("elbo", "iwae", "rate", "distortion", "reconstruction_mse"):
        values = result.per_example[name]
        assert len(values) == result[name].n == 17
        assert result[name].value == pytest.approx(values.mean(), abs=1e-12)
        assert result[name].stderr == pytest.approx(mean_error(values), abs=1e-12)


def test_latent_statistics_separate_spread_of_means_from_posterior_scale() -> None:
    """latent_std = sqrt(Var mu + E sigma^2); of the exact linear-Gaussian model over its own data it is 1."""
    linear = linear_gaussian()
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(8_000, 3, generator=generator, dtype=torch.float64)
    x = z @ linear.w.T + linear.m + linear.sigma * torch.randn(8_000, 6, generator=generator, dtype=torch.float64)
    result = evaluate(linear.model, x, samples=1)
    for name, exact in (("latent_mean", 0.0), ("latent_std", 1.0)):
        off = np.abs(np.array(result[name].value) - exact) / np.array(result[name].stderr)
        assert off.max() < 4.5
    rng = np.random.default_rng(0)
    mu, variance = rng.normal(size=(400, 200, 2)), rng.gamma(2.0, size=(400, 200, 2))
    several = [numbers.spread(m, v, unit="", target="", estimator="") for m, v in zip(mu, variance, strict=True)]
    spread = np.std([e.value for e in several], axis=0)
    np.testing.assert_allclose(np.mean([e.stderr for e in several], axis=0), spread, rtol=0.15)


def test_active_units_are_counted_with_an_error() -> None:
    rng = np.random.default_rng(0)
    mu = rng.normal(size=(5000, 4)) * [1.0, 0.5, 0.1, 0.001]
    result = numbers.active_units(mu, unit="", target="", estimator="")
    assert result.value in (2, 3)
    assert result.stderr == pytest.approx(0.5, abs=0.1)  # the third dimension sits on the threshold
    assert numbers.active_units(mu[:, [0, 3]], unit="", target="", estimator="").stderr < 1e-6


def test_missing_estimates_have_a_reason() -> None:
    model = small_model(point=True)
    result = evaluate(model, torch.ones(5, 1, 2, 3), samples=4)
    for name in ("elbo", "iwae", "rate", "bits_per_dim", "kl_per_dimension"):
        assert result[name].value is None
        assert "point mass" in str(result[name].reason)
    for name in ("distortion", "reconstruction_mse", "active_units", "latent_mean", "latent_std"):
        assert result[name].value is not None
    one = evaluate(small_model(), torch.ones(1, 1, 2, 3), samples=4)
    assert one["iwae"].stderr is None
    assert "one example" in str(one["iwae"].reason)
    assert one["active_units"].value is None
    json.dumps(result.to_json(), allow_nan=False)
    json.dumps(one.to_json(), allow_nan=False)


def test_no_data_and_no_samples_are_refused() -> None:
    model = small_model()
    with pytest.raises(InputError, match="at least one"):
        evaluate(model, torch.ones(0, 1, 2, 3))
    with pytest.raises(InputError, match="samples"):
        evaluate(model, torch.ones(1, 1, 2, 3), samples=0)
    with pytest.raises(InputError, match=r"needed: \(N, 1, 2, 3\)"):
        evaluate(model, torch.ones(4, 3, 2, 1))


def test_eval_mode_is_used_and_restored() -> None:
    model = small_model()
    model.train()
    evaluate(model, torch.ones(2, 1, 2, 3), samples=1)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_an_empty_list_of_values_can_be_printed() -> None:
    assert str(numbers.Estimate([], None, 5, unit="dimensions", estimator="count", target="data")) == "none"


@pytest.mark.parametrize(("information", "part"), [(0.2, "0.1"), (-0.05, "0.0"), (0.06, "0.1")])
def test_the_sentence_says_no_more_information_than_the_rate(information: float, part: str) -> None:
    """The estimate of the mutual information has an error, by which it can lie above the rate or below 0."""
    found = {
        "rate": Estimate(0.1, 0.01, 50, "nats", "", ""),
        "mutual_information": Estimate(information, 0.1, 50, "nats", "", ""),
    }
    expected = f"The latent code carries 0.1 nats about x, of which {part} tell the examples apart."
    assert evaluation_sentences(found) == [expected]


def test_one_example_beyond_all_limits_leaves_the_numbers_of_the_others() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    trained = tb.Trained(tb.VAE.for_data(x, latent=2, network="mlp(hidden=(4,))"), x)
    odd = x.copy()
    odd[4] = 1e38
    whole, found = trained.evaluate(x, samples=2), trained.evaluate(odd, samples=2)
    kept = np.arange(30) != 4
    for name in ("elbo", "iwae", "rate", "distortion"):
        assert found[name].value == pytest.approx(whole.per_example[name][kept].mean())
        assert (found[name].n, found[name].reason) == (29, "leaves out 1 example whose value is not finite")
    assert "The means leave out 1 example whose values are not finite: 4." in found.sentences
    scores = trained.score(odd, scores=("nll", "regret(steps=2)", "prior"), samples=2)
    assert {tuple(most) for most in scores.unusual(1).values()} == {(4,)}
