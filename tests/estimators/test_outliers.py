"""`tightbound.sklearn.VAEOutlierDetector` finds rows that the model explains least."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score

import tightbound as tb
from tightbound.sklearn import VAEOutlierDetector

FACTOR: dict[str, Any] = {"network": "mlp(hidden=(4,), skip=True)", "max_epochs": 20, "random_state": 0}
ONCE: dict[str, Any] = {**FACTOR, "max_epochs": 1, "samples": 2, "fit_options": {"validation_size": 0}}
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


@pytest.mark.parametrize(
    ("criterion", "noise"),
    [("elbo", 0.15), ("typicality", 0.15), ("reconstruction", 0), ("prior", 0), ("mahalanobis", 0)],
)
def test_scores_are_those_of_the_model(criterion: str, noise: float) -> None:
    x = X[::4]
    detector = VAEOutlierDetector(2, criterion=criterion, **{**ONCE, "samples": 200}).fit(x)
    scores = detector.score_samples(x)
    expected = detector.model_.score(x, train=x, scores=(criterion,), samples=200).per_example[criterion]
    assert np.abs(-scores - expected).mean() <= noise * expected.std() + 1e-4
    again = pickle.loads(pickle.dumps(detector))
    assert_array_equal(again.score_samples(x[:5]), detector.score_samples(x[:5]))
    assert_allclose(detector.score_samples(x[:5]), scores[:5], rtol=1e-9)


def test_a_score_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(tb.TightboundError, match=r"'complexity' is not available for this model .* lossless code"):
        VAEOutlierDetector(2, criterion="complexity", **ONCE).fit(X)
    with pytest.raises(tb.TightboundError, match="did you mean 'typicality'"):
        VAEOutlierDetector(2, criterion="typicalty", **ONCE).fit(X)


def test_p_values_are_uniform_for_usual_rows_whatever_the_model_is() -> None:
    """Over splits, a new row's p-value takes each of the n + 1 possible values equally often."""
    rng = np.random.default_rng(1)
    found = []
    for seed in range(8):
        x = rng.normal(size=(59, 2)) @ LOADINGS + 0.3 * rng.normal(size=(59, 6))
        new = rng.normal(size=(60, 2)) @ LOADINGS + 0.3 * rng.normal(size=(60, 6))
        detector = VAEOutlierDetector(2, calibration_fraction=1 / 3, **{**ONCE, "random_state": seed}).fit(x)
        values = detector.p_values(new)
        assert_allclose(values * 21, np.rint(values * 21), atol=1e-9)  # 20 rows were held out
        assert (values >= 1 / 21 - 1e-12).all()
        found.append([values.mean(), (values <= 0.25).mean()])
    mean, low = np.mean(found, 0)
    error = np.std(found, 0, ddof=1) / np.sqrt(8)
    assert abs(mean - 0.5 - 0.5 / 21) < 3.5 * error[0]
    assert abs(low - 5 / 21) < 3.5 * error[1]
    assert detector.p_values(PLANTED).mean() < 0.2
    with pytest.raises(tb.TightboundError, match="calibration_fraction"):
        VAEOutlierDetector(2, **ONCE).fit(X).p_values(X)


def test_p_values_count_rows_that_are_at_least_as_unusual(fitted: VAEOutlierDetector) -> None:
    detector = VAEOutlierDetector(2, calibration_fraction=0.5, **ONCE).fit(X)
    assert len(detector.model_.data.train) + len(detector.model_.data.validation or ()) <= 105
    scores = detector.score_samples(X)
    values = detector.p_values(X)
    order = np.argsort(scores)
    assert (np.diff(values[order]) >= 0).all()
    same = detector.p_values(np.repeat(X[:1], 2, 0))
    assert same[0] == same[1] == values[0]


@pytest.mark.filterwarnings("ignore:.* unknown to the model", "ignore:.* is not a number")
@pytest.mark.parametrize("criterion", ["nll", "mahalanobis"])
def test_values_of_probability_zero_make_a_row_the_most_unusual(criterion: str) -> None:
    """Rows with more such values are more unusual; among rows with equally many, the other columns decide."""
    x = RNG.normal(size=60)
    known = pd.DataFrame({"x": x, "y": x + 0.1 * RNG.normal(size=60), "city": ["Oslo", "Rome"] * 30, "one": 3.0})
    detector = VAEOutlierDetector(1, criterion=criterion, calibration_fraction=0.5, **ONCE).fit(known)
    rows = known.iloc[[0] * 6].reset_index(drop=True)
    rows["x"] = rows["y"] = [0.0, 1e4, 0.0, 1e4, 0.0, 0.0]
    rows.loc[2:, "city"] = ["Bern", "Bern", "Bern", "?"]  # the last one is missing
    rows.loc[4, "one"] = 4.0
    scores = detector.score_samples(rows)
    assert np.isfinite(scores).all()
    assert np.argsort(scores).tolist()[:4] == [4, 3, 2, 1]
    assert (scores[[0, 5]] > scores[1]).all()
    assert_array_equal(detector.decision_function(rows), scores - detector.offset_)
    assert (detector.predict(rows)[2:5] == -1).all()
    assert (detector.p_values(rows)[2:5] == 1 / 31).all()
    with_other = pd.concat([known, rows[2:5]])  # rows that may be held out in fitting
    again = VAEOutlierDetector(1, calibration_fraction=0.3, **ONCE).fit(with_other)
    assert np.isfinite(again.offset_)
