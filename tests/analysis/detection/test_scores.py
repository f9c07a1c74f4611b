"""Scores: known answers on linear-Gaussian models, code lengths, invariances, what a model lacks."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.covariance import LedoitWolf
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import tightbound as tb
from laws.linear import linear_gaussian
from tightbound.analysis.bounds.gap import elbo_at, fit_local
from tightbound.analysis.detection.engine import detect, score
from tightbound.analysis.detection.score import Scores
from tightbound.analysis.detection.scores import Complexity, Regret, View
from tightbound.analysis.detection.scores.codes import mahalanobis
from tightbound.analysis.detection.scores.complexity import png_bits, zlib_bits
from tightbound.analysis.estimate import mean_error
from tightbound.components import TABLE
from tightbound.core.errors import InputError
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.terms import Batch
from tightbound.data.feed import evaluating, pick


def normal(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kl(off: float) -> torch.Tensor:
    """KL(q || exact posterior) of the family that `linear_gaussian(off=off)` has: the same for all data."""
    exact, given = linear_gaussian().model, linear_gaussian(off=off).model
    p, q = (model.latents.posterior(normal(1)) for model in (exact, given))
    return torch.distributions.kl_divergence(q, p)[0].detach()


def test_likelihood_scores_of_the_exact_posterior_are_exact() -> None:
    linear, x, train = linear_gaussian(), normal(12), normal(50, 1)
    found = score(linear.model, x, train, scores=["nll", "elbo", "typicality"], samples=3)
    nll, mean = -linear.evidence(x).numpy(), -linear.evidence(train).mean().item()
    np.testing.assert_allclose(found.per_example["nll"], nll, atol=1e-9)
    np.testing.assert_allclose(found.per_example["elbo"], nll, atol=3.0)  # of three samples, by Monte Carlo
    np.testing.assert_allclose(found.per_example["typicality"], abs(nll - mean), atol=1e-9)
    assert found.estimates["nll"].value == pytest.approx(nll.mean())
    assert found.estimates["nll"].stderr == pytest.approx(mean_error(nll))
    assert found.per_example["index"].tolist() == list(range(12))


def test_regret_is_the_kl_to_the_exact_posterior() -> None:
    """The family holds the exact posterior, so that fitting recovers all that the encoder lost."""
    for off in (0.0, 0.4):
        linear = linear_gaussian(off=off)
        found = score(linear.model, normal(6), normal(5, 1), scores=[Regret(steps=150, measured=200)], samples=1)
        exact = kl(off).item()
        np.testing.assert_allclose(found.per_example["regret"], exact, atol=0.04 + 0.15 * exact)
        assert found.estimates["regret"].value == pytest.approx(exact, abs=0.02 + 0.05 * exact)
    assert exact > 0.5


def test_fitting_moves_only_the_variational_parameters() -> None:
    linear = linear_gaussian(off=0.4)
    before = {name: value.clone() for name, value in linear.model.state_dict().items()}
    batch = Batch(normal(4), index=torch.arange(4))
    with evaluating(linear.model):
        seen = linear.model.observe(batch, Noise())
        start, fitted = fit_local(linear.model, seen, steps=200)
        assert torch.equal(start, linear.model.latents.local(seen.input))
        one, two = (elbo_at(linear.model, seen, v, ExampleNoise(index=batch.index), 50) for v in (start, fitted))  # pyright: ignore[reportArgumentType]
    assert (two > one).all()
    assert all(torch.equal(value, before[name]) for name, value in linear.model.state_dict().items())
    assert all(p.grad is None for p in linear.model.parameters())
    mean, log_variance = fitted.unbind(1)
    exact = linear_gaussian().model.latents.posterior(normal(4)).base_dist
    assert torch.allclose(mean, exact.loc, atol=0.1)
    assert torch.allclose(log_variance.exp().sqrt(), exact.scale, rtol=0.15)


def test_scores_do_not_depend_on_other_examples() -> None:
    model, x, train = linear_gaussian(off=0.3).model, normal(15), normal(30, 1)
    names = [name for name in TABLE["score"] if name != "complexity"]
    chosen = ["regret(steps=4, measured=5)" if name == "regret" else name for name in names]
    whole = score(model, x, train, scores=chosen, samples=7)
    part = score(model, x[:4], train, scores=chosen, samples=7)
    for name in names:
        np.testing.assert_allclose(part.per_example[name], whole.per_example[name][:4], rtol=1e-8, atol=1e-10)


def test_mahalanobis_against_the_formula() -> None:
    rng = np.random.default_rng(0)
    codes, classes, z = (
        rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3)),
        np.repeat([3, 5], 40),
        rng.normal(size=(6, 3)),
    )
    codes[40:] += 4
    means = [codes[:40].mean(0), codes[40:].mean(0)]
    centerd = codes - np.repeat(means, 40, axis=0)
    inverse = np.linalg.inv(LedoitWolf(assume_centered=True).fit(centerd).covariance_)
    expected = [min((v - m) @ inverse @ (v - m) for m in means) for v in z]
    np.testing.assert_allclose(mahalanobis(z, codes, classes), expected)
    # one Gaussian: of many data, the closed form with their covariance, and of mean L over them
    many = rng.normal(size=(50_000, 3)) @ np.diag([1.0, 2.0, 0.5])
    np.testing.assert_allclose(
        mahalanobis(z, many, np.zeros(50_000)), (z**2 / [1, 4, 0.25]).sum(1), rtol=0.05, atol=0.05
    )
    assert mahalanobis(many, many, np.zeros(50_000)).mean() == pytest.approx(3, rel=0.01)


def test_integer_labels_with_several_examples_each_are_classes() -> None:
    model, x = linear_gaussian().model, normal(40)
    labels = {
        "classes": torch.arange(40) % 4,
        "numbers": torch.linspace(0, 1, 40),
        "factors": torch.zeros(40, 2, dtype=torch.int64),
        "one each": torch.arange(40),
    }
    found = {k: View(model, Batch(x, label=label), 1).classes is not None for k, label in labels.items()}
    assert found == {"classes": True, "numbers": False, "factors": False, "one each": False}


def test_the_prior_at_the_mean_of_the_posterior() -> None:
    model, x = linear_gaussian().model, normal(5)
    z = model.latents.posterior(x).mean
    exact = -torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1).detach()
    np.testing.assert_allclose(score(model, x, x, scores=["prior"], samples=1).per_example["prior"], exact)


def test_code_lengths_are_those_of_the_files() -> None:
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        x = rng.integers(0, 256, (channels, 8, 9))
        buffer = io.BytesIO()
        pixels = x.astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(buffer, format="PNG", optimize=True)
        assert png_bits(x) == 8 * len(buffer.getvalue())
        buffer.seek(0)
        assert np.array_equal(np.asarray(Image.open(buffer)).reshape(pixels.shape), pixels)
    bits = rng.integers(0, 2, (1, 28, 28))
    assert 784 < png_bits(bits, True) < 784 + 8 * 120  # random bits do not shrink, and the head is short
    assert png_bits(np.zeros((1, 28, 28)), True) < png_bits(bits, True)
    table = rng.integers(0, 300, 20)
    assert zlib_bits(table) == 8 * len(zlib.compress(table.astype(np.uint16).tobytes(), 9))
    assert zlib_bits(bits, True) == 8 * len(zlib.compress(np.packbits(bits).tobytes(), 9))


def test_complexity_is_the_bound_in_bits_minus_the_code_length() -> None:
    data = tb.data.open("digits")
    for likelihood in ("categorical", "bernoulli"):
        model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))", likelihood=likelihood)
        view = View(model, pick(model, data.test, 6), samples=3)
        seen = model.observe(view.batch, Noise())
        lengths = [png_bits(x.numpy(), likelihood == "bernoulli") for x in seen.x]
        expected = -view.evaluation.per_example["iwae"] / np.log(2) - lengths
        np.testing.assert_allclose(Complexity()(view, view), expected)
    reason = Complexity().reason_missing(View(linear_gaussian().model, Batch(normal(2)), 1))
    assert reason is not None
    assert "real numbers have no lossless code" in reason


def test_missing_scores_have_a_reason() -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, posterior="point", network="mlp(hidden=(4,))")
    found = detect(model, data.test, data.train, data.train, samples=2, max_examples=20)
    for name in ("nll", "elbo", "typicality", "complexity", "regret"):
        for number in (found.own.estimates[name], found.estimates[f"{name}_auroc"], found.estimates[f"{name}_aupr"]):
            assert number.value is None
            assert number.reason is not None
            assert "point mass" in number.reason
    for name in ("mahalanobis", "prior", "reconstruction"):
        assert found.estimates[f"{name}_auroc"].value is not None
        low, high = found.intervals[f"{name}_auroc"]
        assert 0 <= low < high <= 1
    sphere = tb.VAE.for_data(data, latent=3, prior="sphere", posterior="von-mises-fisher", network="mlp(hidden=(4,))")
    found = score(sphere, data.test, data.train, scores=["prior"], samples=1, max_examples=5)
    assert "sphere" in str(found.estimates["prior"].reason)


def test_scores_of_an_expectation_have_a_caveat() -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(
        data, latent=2, network="mlp(hidden=(4,))", likelihood="bernoulli", observation="binarized(mode='expected')"
    )
    found = score(model, data.test, data.train, scores=["nll", "complexity"], samples=2, max_examples=9)
    number = found.estimates["nll"]
    assert number.value is not None
    assert "not a likelihood of the gray levels" in (number.reason or "")


@pytest.mark.parametrize(
    "how",
    [
        {"latents": "ladder(groups=2)"},
        {"latents": "bottom-up"},
        {"posterior": "flow(kind='iaf')"},
        {"posterior": "hamiltonian"},
        {"prior": "vamp(components=5)"},
        {"prior": "categorical", "posterior": "relaxed-categorical"},
        {"context": "labels"},
    ],
    ids=str,
)
def test_every_composition_is_scored(how: dict[str, str]) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=4, network="mlp(hidden=(8,))", **how)  # pyright: ignore[reportArgumentType]
    chosen = [*(name for name in TABLE["score"] if name != "regret"), "regret(steps=3, measured=4)"]
    found = score(model, data.test, data.train, scores=chosen, samples=3, max_examples=12)
    for name, values in found.per_example.items():
        assert np.isfinite(values).all(), name
    there = set(TABLE["score"]) - ({"prior"} if model.latents.support != "real" else set())
    assert set(found.per_example) == there | {"index"}


def test_tables_with_holes_are_scored() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[::4, 1] = np.nan
    data = tb.data.open(x)
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))")
    found = score(
        model, data.train, data.train, scores=["nll", "regret(steps=3)", "complexity", "mahalanobis"], samples=3
    )
    assert found.estimates["complexity"].value is None
    assert np.isfinite(found.per_example["nll"]).all()
    assert np.isfinite(found.per_example["regret"]).all()


def test_data_shifted_away_are_detected_by_the_likelihood() -> None:
    linear = linear_gaussian()
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    x = z @ linear.w.T + linear.m + linear.sigma * torch.randn(200, 6, generator=generator, dtype=torch.float64)
    found = detect(linear.model, x[:100], x[100:] + 1.0, x, scores=["nll"], samples=2)
    value = found.estimates["nll_auroc"].value
    assert isinstance(value, float)
    assert value > 0.8
    same = detect(linear.model, x[:100], x[100:], x, scores=["nll"], samples=2)
    low, high = same.intervals["nll_auroc"]
    assert low < 0.5 < high


def test_the_most_unusual_have_the_highest_scores() -> None:
    found = score(linear_gaussian().model, normal(9), normal(9, 1), scores=["nll"], samples=2)
    unusual = Scores(found.estimates, per_example=found.per_example).unusual(3)
    assert unusual["nll"] == np.argsort(-found.per_example["nll"])[:3].tolist()


def test_a_pick_keeps_the_position_of_each_example() -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))")
    some = pick(model, data.test, 30, seed=1)
    assert len(some) == 30
    whole = pick(model, data.test, 10_000)
    assert whole.positions().tolist() == list(range(297))
    index = some.positions()
    assert index.tolist() == sorted(set(index.tolist()))
    assert torch.equal(some.x, whole.x[index])
    assert some.label is not None
    assert whole.label is not None
    assert torch.equal(some.label, whole.label[index])
    assert torch.equal(pick(model, whole.x, 30, seed=1).x, whole.x[pick(model, whole.x, 30, seed=1).positions()])


class Streamed(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(normal(297))


@pytest.mark.parametrize("dataset", [TensorDataset(normal(297)), Streamed()], ids=["loader", "stream"])
def test_picks_without_random_access_keep_positions_in_natural_order(dataset: Any) -> None:
    model = linear_gaussian().model
    shuffle = None if isinstance(dataset, Streamed) else True
    split = tb.data.open(DataLoader(dataset, 32, shuffle=shuffle), domain="real").train
    some = pick(model, split, 30, seed=1)
    index = some.positions()
    assert len(index.unique()) == 30
    assert int(index.max()) > 60  # not the first alone
    assert torch.equal(some.x, normal(297)[index].to(some.x))
    scored = score(model, split, split, scores=["nll"], samples=2).per_example
    again = score(model, normal(297).to(some.x), split, scores=["nll"], samples=2).per_example
    assert np.array_equal(scored["nll"], again["nll"])


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_regret_of_a_row_whose_variances_are_beyond_all_limits_is_the_largest(seed: int) -> None:
    """There the gradient of the encoder's log-variances vanishes, and a fit from them would gain nothing."""
    generator = np.random.default_rng(0)
    train, rows = (generator.normal(size=(n, 3)).astype(np.float32) for n in (400, 100))
    rows[17] = (2019, 2020, 2021)
    model = tb.VAE.for_data(train, latent=2, network="mlp(hidden=(16,))", seed=seed)
    trained = tb.fit(model, train, epochs=3, seed=seed, quiet=True)
    regret = trained.score(rows, scores=["regret(steps=30)"]).per_example["regret"]
    assert regret.argmax() == 17
    assert regret[17] > 100


def test_bad_settings_are_refused() -> None:
    model, x = linear_gaussian().model, normal(4)
    with pytest.raises(InputError, match="no score 'nl'"):
        score(model, x, x, scores=["nl"])
    with pytest.raises(InputError, match="twice"):
        score(model, x, x, scores=["nll", "nll"])
    with pytest.raises(InputError, match="steps = 0"):
        score(model, x, x, scores=["regret(steps=0)"])
    with pytest.raises(InputError, match="shape"):
        score(model, x[:, :3], x)


def test_a_row_far_from_the_data_is_the_most_unusual_by_every_score() -> None:
    """Three columns around 0, and a row of years: the encoder's outputs there are far beyond those in training."""
    generator = np.random.default_rng(0)
    train, rows = (generator.normal(size=(n, 3)).astype(np.float32) for n in (400, 100))
    rows[17] = (2019, 2020, 2021)
    trained = tb.fit(tb.VAE.for_data(train, latent=2, network="mlp(hidden=(16,))"), train, epochs=3, quiet=True)
    found = trained.score(rows)
    scores = {name: values for name, values in found.per_example.items() if name != "index"}
    assert {"nll", "elbo", "typicality", "regret", "mahalanobis"} <= scores.keys()
    for name, values in scores.items():
        assert np.isfinite(values).all(), name
        assert values.argmax() == 17, name
    assert trained.evaluate(rows, samples=5)["elbo"].value is not None
