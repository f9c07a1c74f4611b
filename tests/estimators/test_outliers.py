"""`tightbound.sklearn.VAEOutlierDetector` finds rows that the model explains least."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import roc_auc_score

import tightbound as tb
from tightbound.sklearn import VAEOutlierDetector

FACTOR: dict[str, Any] = {"network": "mlp(hidden=(4,), skip=True)", "max_epochs": 20, "random_state": 0}
RNG = np.random.default_rng(0)
LOADINGS = RNG.normal(size=(2, 6))
USUAL = RNG.normal(size=(200, 2)) @ LOADINGS + 0.3 * RNG.normal(size=(200, 6))
PLANTED = RNG.permuted(2 * USUAL[:10], axis=1)  # each entry is usual, but they do not go together
X = np.concatenate([USUAL, PLANTED])


@pytest.fixture(scope="module")
def fitted() -> VAEOutlierDetector:
    return VAEOutlierDetector(2, contamination=0.05, **FACTOR).fit(X)


def test_planted_outliers_have_the_lowest_bounds(fitted: VAEOutlierDetector) -> None:
    scores = fitted.score_samples(X)
    planted = np.arange(len(X)) >= len(USUAL)
    assert roc_auc_score(planted, -scores) > 0.97
    assert planted[np.argsort(scores)[:5]].all()
    assert np.abs(scores - fitted.model_.log_likelihood(X, samples=100).numpy()).mean() < 0.1


def test_the_threshold_flags_the_share_of_the_training_rows(fitted: VAEOutlierDetector) -> None:
    found = fitted.predict(X)
    assert (found == -1).sum() == 11  # of 210
    assert_array_equal(found, fitted.fit_predict(X))
    assert_array_equal(found == -1, fitted.decision_function(X) < 0)
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.decision_function(X), fitted.decision_function(X))
    with pytest.raises(tb.TightboundError, match="contamination"):
        VAEOutlierDetector(contamination=0.7).fit(X)
