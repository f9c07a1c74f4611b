"""Classifier that tells two tables apart, and predictor of one column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tightbound.analysis.estimate import mean_error
from tightbound.analysis.samples.two_sample.resampling import Array, Measured
from tightbound.core.noise import key_seed

FOLDS = 5
COLUMNS = 100  # maximum number of columns for the classifier, chosen at random
ROWS = 5000  # maximum number of rows of each table for the classifier
CODES = 255  # maximum number of categories for scikit-learn's trees; columns with more are treated as numbers


def predictor(levels: Sequence[int], classes: bool, seed: int) -> Any:
    """Return scikit-learn's gradient-boosted trees, which accept missing entries (NaN) and categories.

    Args:
        levels: Number of categories of each column (D,); 0 for a column of numbers.
        classes: Whether to predict classes rather than numbers.
        seed: Random seed.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind: Any = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return kind(categorical_features=[0 < own <= CODES for own in levels], random_state=seed % 2**32)


def classifier_auroc(x: Array, y: Array, levels: Sequence[int], seed: int = 0) -> Measured:
    """Return the cross-validated area under the ROC curve of a classifier that tells rows x (n, D) from rows y (m, D).

    It is 0.5 if the classifier cannot tell them apart, and 1 if it always can. The value is the mean, over rows, of the
    share of the other table's rows in the same fold that get the lower score. The standard error is that of DeLong et
    al., times sqrt(1 + K / (K - 1)) for K folds, since the classifiers of different folds are trained on almost the
    same rows.

    References:
        Inference for the generalization error (Nadeau and Bengio 2003), Section 3
        Revisiting classifier two-sample tests (Lopez-Paz and Oquab 2017), https://arxiv.org/abs/1610.06545
        Comparing the areas under two or more correlated receiver operating characteristic curves (DeLong et al. 1988)
    """
    from sklearn.model_selection import StratifiedKFold

    picked = np.sort(np.random.default_rng(key_seed("classifier", seed)).permutation(x.shape[1])[:COLUMNS])
    x, y, levels = x[:ROWS, picked], y[:ROWS, picked], [levels[i] for i in picked]
    rows, own = np.concatenate([x, y]), np.arange(len(x) + len(y)) < len(x)
    place = np.zeros(len(rows))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32).split(rows, own):
        found = predictor(levels, True, seed).fit(rows[train], own[train])
        score = found.predict_proba(rows[test])[:, 1]
        ours, theirs = score[own[test]], score[~own[test]]
        place[test[own[test]]] = _below(ours, theirs)
        place[test[~own[test]]] = 1 - _below(theirs, ours)
    value = place[own].mean()
    error = math.hypot(mean_error(place[own]), mean_error(place[~own])) * math.sqrt(1 + FOLDS / (FOLDS - 1))
    return Measured(float(value), error, value - 1.96 * error, value + 1.96 * error).within(0.0, 1.0)


def _below(x: Array, y: Array) -> Array:
    """Return the share of y (m,) that lies below each x (n,); equal values count as half."""
    order = np.sort(y)
    return (np.searchsorted(order, x, "left") + np.searchsorted(order, x, "right")) / (2 * len(y))
