"""Labels from features, by scikit-learn: what is fitted on training data and judged on test data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightbound.analysis.estimate import Array
from tightbound.analysis.representation.scored import Pair, Scored, accuracy, explained
from tightbound.core.noise import key_seed

STEPS = 2000  # of a logistic regression, at most
LINEAR = "logistic regression (L2, C = 1) on standardized features"
RIDGE = "ridge regression (strength by leave-one-out) on standardized features"
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # labels a class, of the curve


def nearest(k: int) -> str:
    """What k-NN is done on: a dimension that the model does not use stays small in the features' own units."""
    return f"{k} nearest training data, in the features' own units"


class Linear:
    """Logistic regression on standardized features, multinomial where there are more than two classes.

    Arguments:
        features: (N, L), whose mean and scale are taken; no labels are needed for that.
    """

    def __init__(self, features: Array) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        self.scaler = StandardScaler().fit(features)
        self.model: Any = LogisticRegression(max_iter=STEPS)
        self.converged = True

    def fit(self, features: Array, labels: Array) -> Linear:
        """On features (N, L) and labels (N,) of at least two classes."""
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said by `converged`
            self.model.fit(self.scaler.transform(features), labels)
        self.converged = bool((np.asarray(self.model.n_iter_) < STEPS).all())
        return self

    def predict(self, features: Array) -> Array:
        """(N,) classes."""
        return self.model.predict(self.scaler.transform(features))

    def probabilities(self, features: Array) -> Array:
        """(N, classes) in the order of `classes`."""
        return self.model.predict_proba(self.scaler.transform(features))

    @property
    def classes(self) -> Array:
        """That were fitted on, in order."""
        return self.model.classes_

    @property
    def normal(self) -> Array:
        """(classes, L), or (1, L) for two: weights on standardized features."""
        return self.model.coef_


@dataclass(frozen=True)
class Supervised:
    """What two methods do with one kind of features."""

    scores: dict[str, Scored]  # "linear" and "knn"
    linear: Linear | None = None  # of classes
    reason: str | None = None  # what is to be said against the scores


def classify(features: Pair, labels: Pair, neighbors: int = 5) -> Supervised:
    """Accuracy of a linear and of a k-NN classifier."""
    linear = Linear(features.train).fit(features.train, labels.train)
    knn = _knn(neighbors, features.train, labels.train)
    predicted = {"linear": linear.predict(features.test), "knn": knn.predict(features.test)}
    reason = None if linear.converged else f"logistic regression has not converged in {STEPS} steps"
    return Supervised({name: accuracy(p == labels.test) for name, p in predicted.items()}, linear, reason)


def regress(features: Pair, labels: Pair, neighbors: int = 5) -> Supervised:
    """R^2 of ridge and of k-NN regression, for each factor of labels (N, factors)."""
    from sklearn.linear_model import RidgeCV
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 7)))
    knn = KNeighborsRegressor(min(neighbors, len(features.train)))
    scores = {}
    for name, model in (("linear", linear), ("knn", knn)):
        predicted = np.asarray(model.fit(features.train, labels.train).predict(features.test))
        scores[name] = explained(labels.test, predicted.reshape(labels.test.shape))
    return Supervised(scores)


def _knn(neighbors: int, features: Array, labels: Array) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(neighbors, len(features))).fit(features, labels)


def label_curve(
    features: Sequence[Pair], labels: Pair, neighbors: int = 5, draws: int = 5, seed: int = 0
) -> tuple[list[int], Array]:
    """Accuracies from few labels a class, each fitted on several draws of which training data have one.

    All features are given the same draws. A scale is learned from all training data, of which the labels alone are
    few; k-NN looks at min(k, labels a class) of them.

    Arguments:
        features: Kinds of features of the same data.

    Returns:
        The labels a class, fewer than the smallest class has; (kinds, 2, sizes, draws) accuracy, linear and k-NN.
    """
    rows = [np.flatnonzero(labels.train == c) for c in np.unique(labels.train)]
    sizes = [size for size in SIZES if size < min(map(len, rows))]
    found = np.empty((len(features), 2, len(sizes), draws))
    for draw in range(draws):
        generator = np.random.default_rng(key_seed("label curve", seed, draw))
        order = [generator.permutation(own) for own in rows]  # fewer labels are some of the more
        for j, size in enumerate(sizes):
            few = np.concatenate([own[:size] for own in order])
            for i, pair in enumerate(features):
                own, truth = pair.train[few], labels.train[few]
                linear = Linear(pair.train).fit(own, truth)
                knn = _knn(min(neighbors, size), own, truth)
                found[i, :, j, draw] = [(m.predict(pair.test) == labels.test).mean() for m in (linear, knn)]
    return sizes, found
