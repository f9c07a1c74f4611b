"""`VAEClassifier`: few labels, many rows."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tightbound.core.errors import InputError
from tightbound.sklearn import VAE, VAEClassifier

OPTIONS: dict[str, Any] = {"network": "mlp(hidden=(16,))", "max_epochs": 15, "lr": 0.03, "random_state": 0}


@pytest.fixture(scope="module")
def strips():
    """Rows in two long parallel strips, and 6 labels that lie where a straight line between them misleads."""
    random = np.random.default_rng(0)
    y = np.arange(300) % 2
    x = np.stack([4 * random.normal(size=300), 3 * y + 0.3 * random.normal(size=300)], 1)
    few = np.full(300, -1)
    few[np.flatnonzero((y == 0) & (x[:, 0] < -4))[:3]] = 0
    few[np.flatnonzero((y == 1) & (x[:, 0] > 4))[:3]] = 1
    return x, y, few


@pytest.fixture(scope="module")
def fitted(strips):
    x, _, few = strips
    return VAEClassifier(1, **OPTIONS).fit(x, few)


def test_unlabeled_rows_teach_what_the_labeled_ones_do_not(strips, fitted) -> None:
    x, y, few = strips
    labeled = few >= 0
    assert LogisticRegression().fit(x[labeled], few[labeled]).score(x, y) < 0.9
    assert fitted.score(x, y) > 0.98
    assert fitted.classes_.tolist() == [0, 1]


def test_probabilities_are_normalized_and_survive_pickling(strips, fitted) -> None:
    x = strips[0][:50]
    found = fitted.predict_proba(x)
    assert np.allclose(found.sum(1), 1)
    assert np.array_equal(found.argmax(1), fitted.predict(x))
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(x), found)


@pytest.mark.parametrize("unknown", [-1, "-1", -1.0])
def test_classes_may_be_words(strips, fitted, unknown) -> None:
    x, _, few = strips
    words = np.array([{0: "low", 1: "high", -1: unknown}[label] for label in few.tolist()], object)
    found = VAEClassifier(1, **OPTIONS).fit(pd.DataFrame(x, columns=["a", "b"]), words)
    assert found.classes_.tolist() == ["high", "low"]
    expected = np.array(["low", "high"])[fitted.predict(x)]
    assert (found.predict(pd.DataFrame(x, columns=["a", "b"])) == expected).mean() > 0.97


def test_labels_other_than_minus_one_may_be_any_numbers(strips) -> None:
    x, y, few = strips
    found = VAEClassifier(1, **OPTIONS).fit(x, np.where(few >= 0, 10 * few - 7, -1))
    assert found.classes_.tolist() == [-7, 3]
    assert found.score(x, 10 * y - 7) > 0.97


def test_a_pipeline_learns_from_latent_codes(strips) -> None:
    x, y, few = strips
    wide = np.hstack([x, x[:, 1:] + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
    pipeline = make_pipeline(VAE(2, **OPTIONS), VAEClassifier(1, **OPTIONS)).fit(wide, few)
    assert pipeline.score(wide, y) > 0.9


@pytest.mark.parametrize("y", [[-1] * 6, [1, -1, 1, -1, 1, -1]])
def test_at_least_two_classes_are_needed(y) -> None:
    with pytest.raises(InputError, match="besides -1; needed: at least 2"):
        VAEClassifier().fit(np.random.default_rng(0).normal(size=(6, 2)), y)
