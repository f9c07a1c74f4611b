"""Annealed importance sampling and bidirectional Monte Carlo, against evidence that is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tightbound as tb
from latents.test_hierarchies import MODELS, data, two_layers
from laws.linear import evidence, linear_gaussian
from priors.test_evidence import DATA, GIVEN, model_of, quadrature
from tightbound.analysis.bounds.annealed import ais, bdmc, simulated
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.estimate import mean_error
from tightbound.analysis.result import Result
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.terms import Batch
from tightbound.inference import infer
from tightbound.likelihoods import Bernoulli, Identity
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal
from tightbound.testing.objectives import small_model

X = torch.randn(25, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def repeated(x: Tensor, times: int) -> Batch:
    """The same data many times over, each time under noise of its own."""
    return Batch(x.repeat(times, *[1] * (x.dim() - 1)), index=torch.arange(times * len(x)))


def close(found: Result, exact: Tensor, atol: float) -> None:
    """The mean over data is within three standard errors of the paired differences, which are small."""
    difference = torch.from_numpy(found.per_example["ais"]) - exact
    error = difference.std() / len(difference) ** 0.5
    assert error < atol
    assert difference.mean().abs() < 3 * error


@pytest.mark.parametrize("temperatures", [1, 4])
def test_weights_have_the_mean_p_of_x(temperatures: int) -> None:
    """At few temperatures, where they are noisy, and chains of a single example each."""
    linear, times = linear_gaussian(3, 2, sigma=1.0, off=0.5), 400
    x = torch.tensor([[0.5, -1.0, 1.0], [0.0, 0.5, 0.0]], dtype=torch.float64)
    found = ais(linear.model, repeated(x, times), temperatures=temperatures, chains=3, leapfrog=4)
    weight = torch.from_numpy(found.per_example["ais"]).reshape(times, 2).sub(linear.evidence(x)).exp()
    error = weight.std(0) / times**0.5
    assert (weight.std(0) > 0.15).all()
    assert ((weight.mean(0) - 1).abs() < 4 * error).all()
    assert (weight.log().mean(0) < -0.01).all()  # so that its log is a lower bound


def test_reverse_weights_have_the_mean_of_one_over_p_of_x() -> None:
    linear, n = linear_gaussian(3, 2, sigma=1.0), 400
    found = bdmc(linear.model, n, temperatures=4, chains=2, leapfrog=4)
    seen, _ = simulated(linear.model, torch.arange(n), Batch(torch.empty(n, 0)), 0)
    ratio = (linear.evidence(seen.x) - torch.from_numpy(found.per_example["upper"])).exp()
    assert ratio.std() > 0.15
    assert (ratio.mean() - 1).abs() < 4 * ratio.std() / n**0.5


@pytest.mark.parametrize("temperatures", [1, 7])
def test_both_directions_cover_the_whole_path(temperatures: int) -> None:
    """Where x does not depend on z, steps along the path add up to log p(x): to all of it, up to rounding."""
    linear = linear_gaussian()
    decoder: Any = linear.model.likelihood.network
    with torch.no_grad():
        decoder.weight.zero_()
    found = bdmc(linear.model, 5, temperatures=temperatures, chains=2, leapfrog=2)
    for name in ("lower", "upper"):
        np.testing.assert_allclose(found.per_example[name], likelihood_of_simulated(linear.model, 5), rtol=1e-12)


def test_with_one_temperature_reverse_ais_is_the_likelihood_at_the_code() -> None:
    linear = linear_gaussian()
    found = bdmc(linear.model, 5, temperatures=1, chains=2)
    np.testing.assert_allclose(found.per_example["upper"], likelihood_of_simulated(linear.model, 5), rtol=1e-12)


def likelihood_of_simulated(model: tb.VAE, n: int) -> np.ndarray:
    """(n,) log p(x | z) of what `bdmc` draws."""
    with torch.no_grad():
        seen, codes = simulated(model, torch.arange(n), Batch(torch.empty(n, 0)), 0)
        return model.log_likelihood(seen, codes.unsqueeze(0))[0].numpy()


def test_the_two_bounds_contain_the_evidence_and_close_in() -> None:
    linear, n = linear_gaussian(), 60
    seen, _ = simulated(linear.model, torch.arange(n), Batch(torch.empty(n, 0)), 0)
    exact, gaps = linear.evidence(seen.x), []
    for temperatures in (3, 9, 27):
        found = bdmc(linear.model, n, temperatures=temperatures, chains=4, leapfrog=4)
        lower, upper = (torch.from_numpy(found.per_example[name]) for name in ("lower", "upper"))
        for slack in (exact - lower, upper - exact):
            assert slack.mean() > -3 * slack.std() / n**0.5
        gaps.append(found["bdmc_gap"].value)
        assert found["bdmc_gap"].value == pytest.approx(found["bdmc_upper"].value - found["bdmc_lower"].value)
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0


def test_the_encoder_plays_no_part() -> None:
    one, other = (ais(linear_gaussian(off=off).model, X[:5], temperatures=5, chains=2) for off in (0.0, 3.0))
    np.testing.assert_array_equal(one.per_example["ais"], other.per_example["ais"])


@pytest.mark.parametrize("made", MODELS)
def test_hierarchies(made: str) -> None:
    true, x = two_layers(), data(6).repeat(4, 1)
    batch = Batch(x, index=torch.arange(len(x)))
    found = ais(MODELS[made](true, off=1.0), batch, temperatures=60, chains=6, leapfrog=3)
    close(found, true.evidence(x), 0.25)


@pytest.mark.parametrize(("prior", "context"), [("mixture", False), ("mixture", True), ("vamp", False), ("flow", True)])
def test_any_prior_with_and_without_a_context(prior: str, context: bool) -> None:
    model, times = model_of(prior, context), 4
    given = GIVEN if context else None
    _, exact = quadrature(model, given)
    batch = repeated(DATA, times)
    batch = Batch(batch.x, index=batch.index, context=None if given is None else given.repeat(times, 1))
    found = ais(model, batch, temperatures=14, chains=8, leapfrog=3)
    close(found, exact.detach().repeat(times), 0.05)


def bernoulli() -> tb.VAE:
    """Two latents, four bits."""
    torch.manual_seed(3)
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 4))
    for p in decoder.parameters():
        nn.init.normal_(p, std=1.5)
    posterior = DiagonalNormal((4,), 2, nn.Linear(4, 3))
    latents = tb.Flat(StandardNormal(2), posterior)
    return tb.VAE(latents, Bernoulli((4,), 2, decoder), Identity("binary")).double()


@pytest.mark.parametrize("missing", [False, True])
def test_a_discrete_likelihood_against_quadrature(missing: bool) -> None:
    model, times = bernoulli(), 3
    x = torch.tensor([[b >> i & 1 for i in range(4)] for b in range(16)], dtype=torch.float64)
    mask = torch.rand(16, 4, generator=torch.Generator().manual_seed(0)) < 0.6 if missing else None
    axis = torch.linspace(-7, 7, 281, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        chance = model.decode(z).mean.unsqueeze(1)  # (points, 1, 4)
        elements = (x * chance + (1 - x) * (1 - chance)).log()
        elements = elements if mask is None else elements.masked_fill(~mask, 0.0)
        log_joint = elements.sum(-1) - 0.5 * z.square().sum(-1, keepdim=True) - math.log(2 * math.pi)
    exact = log_joint.logsumexp(0) + 2 * math.log(axis[1] - axis[0])
    if mask is None:
        assert exact.exp().sum() == pytest.approx(1, abs=1e-6)
    batch = repeated(x, times)
    batch = Batch(batch.x, index=batch.index, mask=None if mask is None else mask.repeat(times, 1))
    close(ais(model, batch, temperatures=15, chains=8, leapfrog=4), exact.repeat(times), 0.05)


def test_missing_elements_are_integrated_out() -> None:
    linear, mask = linear_gaussian(off=0.5), torch.ones(25, 6, dtype=torch.bool)
    mask[:, [1, 4]] = False
    kept = [0, 2, 3, 5]
    exact = evidence(X[:, kept], linear.w[kept], linear.m[kept], linear.sigma)
    close(ais(linear.model, Batch(X, mask=mask), temperatures=20, chains=8, leapfrog=4), exact, 0.15)
    drawn = bdmc(linear.model, 30, temperatures=6, chains=2, leapfrog=3, like=Batch(X, mask=mask))
    whole = bdmc(linear.model, 30, temperatures=6, chains=2, leapfrog=3)
    assert drawn["bdmc_lower"].value > whole["bdmc_lower"].value + 1  # log-densities of fewer elements


def test_numbers_do_not_depend_on_the_batch_size() -> None:
    model = linear_gaussian().model
    how: dict[str, Any] = {"temperatures": 4, "chains": 3, "leapfrog": 2}
    whole, drawn = ais(model, X[:9], **how), bdmc(model, 9, **how)
    parts, drawn_in_parts = ais(model, X[:9], max_rows=12, **how), bdmc(model, 9, max_rows=12, **how)
    for name in ("ais", "acceptance", "ess"):
        np.testing.assert_allclose(parts.per_example[name], whole.per_example[name], rtol=1e-9)
    for name in ("lower", "upper"):
        np.testing.assert_allclose(drawn_in_parts.per_example[name], drawn.per_example[name], rtol=1e-9)
        np.testing.assert_allclose(bdmc(model, 4, **how).per_example[name], drawn.per_example[name][:4], rtol=1e-9)
    other = ais(model, X[:9], seed=1, **how)
    assert np.abs(other.per_example["ais"] - whole.per_example["ais"]).min() > 1e-6


def test_rows_that_move_at_once_are_bounded() -> None:
    model, most = linear_gaussian().model, [0]
    hook = model.likelihood.register_forward_hook(lambda _, given, __: most.append(given[0].shape[:-1].numel()) or None)
    ais(model, X[:9], temperatures=2, chains=3, leapfrog=1, max_rows=12)
    bdmc(model, 9, temperatures=2, chains=3, leapfrog=1, max_rows=12)
    hook.remove()
    assert max(most) <= 16  # in the pilot run


def test_step_sizes_are_tuned_and_effective_chains_grow_with_temperatures() -> None:
    model = linear_gaussian(sigma=0.1).model
    few, many = (ais(model, X[:4], temperatures=t, chains=6, leapfrog=4) for t in (8, 20))
    assert 0.45 < many["acceptance"].value < 0.85  # pyright: ignore[reportOperatorIssue]
    assert 1 <= few["ess"].value < many["ess"].value <= 6  # pyright: ignore[reportOperatorIssue]
    one = ais(model, X[:2], temperatures=1)
    assert one["acceptance"].value is None
    assert "importance sampling" in str(one["acceptance"].reason)


def test_the_paired_difference_is_of_the_same_data() -> None:
    model = linear_gaussian(off=2.0).model
    evaluation = evaluate(model, X, samples=7)
    some = Batch(X[[3, 20, 21]], index=torch.tensor([3, 20, 21]))
    found = ais(model, some, temperatures=20, chains=4, against=evaluation)
    iwae = evaluation.per_example["iwae"][[3, 20, 21]]
    difference = found.per_example["ais"] - iwae
    assert found["iwae"].value == pytest.approx(iwae.mean())
    assert found["ais_minus_iwae"].value == pytest.approx(difference.mean())
    assert found["ais_minus_iwae"].stderr == pytest.approx(mean_error(difference))
    assert difference.mean() > 1  # q is far off
    with pytest.raises(InputError, match="no example 25"):
        ais(model, Batch(X[:1], index=torch.tensor([25])), temperatures=1, against=evaluation)


def test_an_autoencoder_has_a_likelihood_under_its_prior_but_no_bound() -> None:
    gray = tb.data.open(np.random.default_rng(0).integers(0, 17, (40, 8, 8), dtype=np.uint8), levels=17)
    model = tb.VAE.for_data(gray, latent=2, network="mlp(hidden=(4,))", posterior="point")
    found = ais(model, gray.test, temperatures=3, chains=2, against=evaluate(model, gray.test, samples=2))
    assert found["ais"].value is not None
    for name in ("iwae", "ais_minus_iwae"):
        assert found[name].value is None
        assert "point mass" in str(found[name].reason)


def test_a_bound_that_is_not_on_a_likelihood_says_so() -> None:
    gray = tb.data.open(np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8))
    flags = {"latent": 2, "network": "mlp(hidden=(4,))", "likelihood": "bernoulli"}
    expected, drawn = (
        ais(
            tb.VAE.for_data(gray, observation=f"binarized(mode='{mode}')", **flags), gray.test, temperatures=2, chains=2
        )["ais"]
        for mode in ("expected", "dynamic")
    )
    assert expected.target == "expected, binarized"
    assert "not a likelihood" in str(expected.reason)
    assert drawn.reason is None


def test_conditional_models_draw_given_contexts_or_given_data() -> None:
    gray = np.random.default_rng(0).integers(0, 17, (60, 8, 8), dtype=np.uint8)
    how: dict[str, Any] = {"temperatures": 3, "chains": 2, "leapfrog": 2}
    flags = {"latent": 2, "network": "mlp(hidden=(4,))"}
    labeled = tb.data.open(gray, levels=17, labels=np.arange(60) % 3)
    model = tb.VAE.for_data(labeled, context="labels", prior="learned", **flags)
    by_class, by_data = bdmc(model, 6, **how), bdmc(model, 6, like=labeled.test, **how)
    assert by_class["bdmc_gap"].target == "examples drawn from the model, given the class label"
    assert by_data["bdmc_gap"].n == 6
    halves = tb.data.open(gray, levels=17)
    model = tb.VAE.for_data(halves, context="visible", **flags)
    assert bdmc(model, 3, like=halves.test, **how)["bdmc_gap"].value is not None
    with pytest.raises(InputError, match="completes examples"):
        bdmc(model, 3, **how)


def test_tables_with_missing_entries() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=60), rng.integers(0, 2, 60), rng.poisson(3.0, 60)], 1).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    table = tb.data.open(x, kinds=("real", "binary", "counts"))
    model = tb.VAE.for_data(table, latent=2, network="mlp(hidden=(4,))")
    evaluation = evaluate(model, table.test, samples=1000)
    found = ais(model, table.test, temperatures=15, chains=8, leapfrog=4, against=evaluation)
    assert found["ais_minus_iwae"].value == pytest.approx(0, abs=0.1)
    assert bdmc(model, 3, like=table.test, temperatures=4, chains=2, leapfrog=2)["bdmc_gap"].value is not None


def test_refusals() -> None:
    gray = tb.data.open(np.random.default_rng(0).integers(0, 17, (40, 8, 8), dtype=np.uint8), levels=17)
    flags = {"latent": 4, "network": "mlp(hidden=(4,))"}
    sphere = tb.VAE.for_data(gray, prior="sphere", posterior="von-mises-fisher", **flags)
    onehot = tb.VAE.for_data(gray, prior="categorical", posterior="relaxed-categorical", **flags)
    for model, where in ((sphere, "sphere"), (onehot, "one-hot")):
        for call in (lambda m: ais(m, gray.test), bdmc):
            with pytest.raises(CompositionError, match=where):
                call(model)
    model = small_model()
    x = torch.zeros(2, *model.shape)
    for name in ("temperatures", "chains", "leapfrog"):
        with pytest.raises(InputError, match=name):
            ais(model, x, **{name: 0})
    with pytest.raises(InputError, match="no data"):
        ais(model, x[:0])
    with pytest.raises(InputError, match="no examples"):
        bdmc(model, 2, like=x[:0])
    with pytest.raises(InputError, match="n_samples = 0"):
        bdmc(model, 0)


def test_gradients_do_not_reach_the_model_and_its_mode_is_restored() -> None:
    model = linear_gaussian().model.train()
    ais(model, X[:2], temperatures=3, chains=2)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert infer.encode(model, X[:2]).mean.shape == (2, 3)


def test_the_analysis_compares_the_same_examples_with_their_bound() -> None:
    gray = tb.data.open(np.random.default_rng(0).integers(0, 17, (60, 8, 8), dtype=np.uint8), levels=17)
    trained = tb.Trained(tb.VAE.for_data(gray, latent=2, network="mlp(hidden=(4,))"), gray)
    whole = trained.evaluate(samples=3)
    found = trained.ais(temperatures=3, samples=3, max_examples=4, chains=2, leapfrog=2)
    names = {"ais", "iwae", "ais_minus_iwae", "acceptance", "ess", "bdmc_lower", "bdmc_upper", "bdmc_gap"}
    assert set(found.estimates) == names
    some = np.sort(np.random.default_rng(0).permutation(len(gray.require_test()))[:4])
    np.testing.assert_array_equal(found.per_example["index"], some)
    assert found["iwae"].value == pytest.approx(whole.per_example["iwae"][some].mean(), rel=1e-6)
    assert found["ais_minus_iwae"].value == pytest.approx(found["ais"].value - found["iwae"].value)
    assert found["bdmc_gap"].n == 4
    assert len(found.sentences) == 2
    point = tb.Trained(tb.VAE.for_data(gray, latent=2, network="mlp(hidden=(4,))", posterior="point"), gray)
    assert (
        "no IWAE bound to compare it with"
        in point.ais(temperatures=2, samples=2, max_examples=3, chains=2, leapfrog=2).sentences[0]
    )
