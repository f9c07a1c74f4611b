"""Comparison: paired formulas, Holm's correction, symmetry, the result, refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

import tightbound as tb
from laws.linear import linear_gaussian
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.comparison import engine
from tightbound.analysis.comparison.compare import Comparison, result_of
from tightbound.analysis.comparison.differences import COMPARED, holm, paired
from tightbound.analysis.comparison.engine import difference
from tightbound.analysis.estimate import mean_error
from tightbound.analysis.result import Evaluation
from tightbound.core.errors import InputError


def compare(models: Mapping[str, tb.VAE], data: Any, **options: Any) -> Comparison:
    return result_of(engine.compare(models, data, **options), "x")


X = torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_holm_by_hand() -> None:
    # in rising order 0.01, 0.02, 0.03 of three: 3 * 0.01, max(., 2 * 0.02), max(., 0.03)
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm's running maximum
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_paired_formulas() -> None:
    gap = np.array([1.0, 2.0, 4.0, 5.0])
    value, stderr, z = paired(gap)
    assert value == 3.0
    plain = math.sqrt(10 / 3) / 2  # squares 4 + 1 + 1 + 4 over n - 1, by sqrt n
    assert stderr == pytest.approx(plain * 3.182446 / 1.959964)  # Student's t with 3 degrees; they are symmetric
    assert z == pytest.approx(value / stderr)
    assert paired(np.zeros(3)) == (0.0, 0.0, 0.0)
    assert paired(np.full(3, -2.0)) == (-2.0, 0.0, -math.inf)


def test_a_difference_is_paired_over_examples() -> None:
    """Against the formulae written out on per-example values; z, p and probability by the normal distribution."""
    models = {"a": linear_gaussian(off=0.1).model, "b": linear_gaussian(off=0.3).model}
    found = compare(models, X, samples=20)
    one, two = (evaluate(model, X, samples=20).per_example for model in models.values())
    normal = NormalDist()
    for quantity, sign in COMPARED.items():
        d = found.between("a", "b", quantity)
        gap = one[quantity] - two[quantity]
        error = mean_error(gap)
        assert d.difference.value == pytest.approx(gap.mean())
        assert d.difference.stderr == pytest.approx(error)
        assert d.difference.n == 40
        assert d.z == pytest.approx(gap.mean() / error)
        assert d.p == pytest.approx(2 * normal.cdf(-abs(gap.mean() / error)), abs=1e-12)
        assert d.p_corrected == d.p
        assert d.probability == pytest.approx(normal.cdf((sign or 1) * gap.mean() / error), abs=1e-12)
        assert d.win_rate == pytest.approx(((sign or 1) * gap > 0).mean())
    assert found.best == "a"
    assert found.between("a", "b", "elbo").sentence().startswith("elbo: a is better than b by ")
    json.dumps(found.to_json(), allow_nan=False)
    again = Comparison.from_json(found.to_json())
    assert again.between("b", "a", "iwae") == found.between("b", "a", "iwae")
    assert again.runs == found.runs


def test_pairing_reduces_the_standard_error() -> None:
    """The ELBOs of the exact posterior and a shifted one differ by a KL that hardly varies over data."""
    models = {"a": linear_gaussian().model, "b": linear_gaussian(off=0.1).model}
    d = compare(models, X, samples=5).between("a", "b", "elbo")
    alone = evaluate(models["a"], X, samples=5)["elbo"].stderr
    assert isinstance(alone, float)
    assert isinstance(d.difference.stderr, float)
    assert d.difference.stderr < alone / 3


def test_reversing_the_order_says_the_same() -> None:
    models = {"a": linear_gaussian(off=0.1).model, "b": linear_gaussian(off=0.5).model}
    one, two = compare(models, X, samples=9), compare(dict(reversed(models.items())), X, samples=9)
    for quantity in COMPARED:
        d, e = one.between("a", "b", quantity), two.between("b", "a", quantity)
        assert e.difference.value == pytest.approx(-d.difference.value)  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]
        assert e.probability == pytest.approx(1 - (d.probability or 0), abs=1e-12)
        assert one.between("b", "a", quantity).win_rate == pytest.approx(e.win_rate)
        assert e.p == pytest.approx(d.p)
        assert d.sentence() == e.sentence()
    assert one.best == two.best == "a"


def test_two_identical_models_do_not_differ() -> None:
    found = compare({"a": linear_gaussian().model, "b": linear_gaussian().model}, X, samples=9)
    for d in found.differences:
        assert (d.difference.value, d.difference.stderr, d.z, d.p, d.probability, d.win_rate) == (0, 0, 0, 1, 0.5, 0.5)
        assert "no significant difference" in d.sentence()
    json.dumps(found.to_json(), allow_nan=False)


def test_a_constant_difference_is_certain_and_finite() -> None:
    one = evaluate(linear_gaussian().model, X, samples=2)
    two, three = (
        Evaluation(one.estimates, per_example={**one.per_example, "iwae": np.full(len(X), value)})
        for value in (0.0, -2.0)
    )
    d = difference("a", "b", "iwae", two, three)
    assert (d.difference.value, d.z, d.p, d.probability, d.win_rate) == (2.0, None, 0.0, 1.0, 1.0)


def test_three_models_are_corrected_for_three_pairs() -> None:
    models = {name: linear_gaussian(off=off).model for name, off in (("a", 0.0), ("b", 0.02), ("c", 0.021))}
    found = compare(models, X, samples=5)
    pairs = [d for d in found.differences if d.quantity == "iwae"]
    assert [(d.a, d.b) for d in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [d.p_corrected for d in pairs] == pytest.approx(holm([d.p or 0.0 for d in pairs]))
    assert any((d.p_corrected or 0) > (d.p or 0) for d in pairs)


def test_without_a_bound_only_reconstruction_errors_are_compared() -> None:
    data = tb.data.open("digits")
    models = {
        str(seed): tb.VAE.for_data(data, latent=2, posterior="point", network="mlp(hidden=(4,))", seed=seed)
        for seed in (0, 1)
    }
    found = compare(models, data.test, samples=2, max_examples=30)
    iwae, error = found.between("0", "1", "iwae"), found.between("0", "1", "reconstruction_mse")
    assert iwae.difference.value is None
    assert "point mass" in iwae.sentence()
    assert error.difference.value is not None
    assert error.difference.n == found.details["n"] == 30
    json.dumps(found.to_json(), allow_nan=False)


def test_other_targets_and_too_few_models_or_examples_are_refused() -> None:
    data = tb.data.open("digits")
    gray = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))", likelihood="categorical")
    bits = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))", likelihood="bernoulli")
    with pytest.raises(InputError, match=r"'g' bounds '17 levels' and 'b' bounds 'binarized"):
        compare({"g": gray, "b": bits}, data.test)
    with pytest.raises(InputError, match="two or more"):
        compare({"g": gray}, data.test)
    with pytest.raises(InputError, match="one example was given"):
        compare({"g": gray, "h": gray}, data.test, max_examples=1, samples=2)


@pytest.fixture(scope="module")
def two() -> list[tb.Trained]:
    data = tb.data.open("digits")
    models = [tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))", seed=seed) for seed in (0, 1, 2)]
    return [tb.Trained(model, data) for model in models]


def test_trained_models_are_compared_with_the_first(two: list[tb.Trained]) -> None:
    found = tb.compare(two, samples=3, max_examples=30)
    assert list(found.runs) == ["model 1", "model 2", "model 3"]
    assert found.details["n"] == 30
    (table,), (figure,) = found.tables, found.figures
    assert len(table.rows) == 5 * 4
    assert "3 pairs" in table.caption
    assert [panel.title for panel in figure.panels] == list(COMPARED)
    first, *others = two
    data = tb.data.open("digits")
    again = first.compare(data.test, others=others, samples=3, max_examples=30)
    assert again.estimates == found.estimates
    with pytest.raises(InputError, match="two or more"):
        tb.compare(two[:1])


def test_models_of_different_data_need_common_data(two: list[tb.Trained]) -> None:
    data = tb.data.open("digits")
    part = tb.data.given.training_data((data.train, data.test.subset(range(40))))  # pyright: ignore
    other = tb.Trained(two[0].model, part)
    with pytest.raises(InputError, match="different data"):
        two[0].compare(others=(other,), samples=2)
    found = two[0].compare(data.test, others=(other,), samples=2, max_examples=20)
    assert found.between("model 1", "model 2", "elbo").difference.value == 0
    with pytest.raises(InputError, match="not known"):
        two[0].compare(others=(tb.Trained(two[1].model),), samples=2)
