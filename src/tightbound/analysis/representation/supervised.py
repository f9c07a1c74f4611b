"""Predict labels from features with scikit-learn: fitted on training examples, judged by test examples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tightbound.analysis.estimate import Array
from tightbound.analysis.representation.scored import Pair, Scored, accuracy, explained
from tightbound.core.noise import key_seed

STEPS = 2000  # of a logistic regression, at most
LINEAR = "logistic regression (L2, C = 1) on standardized features"
RIDGE = "ridge regression (strength by leave-one-out) on standardized features"
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # labels per class, for the curve


def nearest(k: int) -> str:
    """Return the description of k-NN; features keep their units, so that an unused latent dimension stays small."""
    return f"{k} nearest training examples, in the features' own units"


class Linear:
    """Logistic regression on standardized features, multinomial for more than two classes.

    Args:
        features: Features (N, L) whose mean and scale are used to standardize; they need no labels.
    """

    def __init__(self, features: Array) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        self.scaler = StandardScaler().fit(features)
        self.model: Any = LogisticRegression(max_iter=STEPS)
        self.converged = True

    def fit(self, features: Array, labels: Array) -> Linear:
        """Fit to features (N, L) and labels (N,) of at least two classes."""
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` says so
            self.model.fit(self.scaler.transform(features), labels)
        self.converged = bool((np.asarray(self.model.n_iter_) < STEPS).all())
        return self

    def predict(self, features: Array) -> Array:
        """Return the classes (N,) of features (N, L)."""
        return self.model.predict(self.scaler.transform(features))

    def probabilities(self, features: Array) -> Array:
        """Return the probabilities (N, classes) of features (N, L), in ascending order of the classes."""
        return self.model.predict_proba(self.scaler.transform(features))


class Supervised(NamedTuple):
    """Scores of two methods on one kind of features."""

    scores: dict[str, Scored]  # of "linear" and "knn"
    linear: Linear | None = None  # the linear classifier; None for regression
    reason: str | None = None  # a reservation about the linear method


def classify(features: Pair, labels: Pair, neighbors: int = 5) -> Supervised:
    """Return the accuracy of a linear and of a k-NN classifier."""
    linear = Linear(features.train).fit(features.train, labels.train)
    knn = _knn(neighbors, features.train, labels.train)
    predicted = {"linear": linear.predict(features.test), "knn": knn.predict(features.test)}
    reason = None if linear.converged else f"logistic regression has not converged in {STEPS} steps"
    return Supervised({name: accuracy(p == labels.test) for name, p in predicted.items()}, linear, reason)


def regress(features: Pair, labels: Pair, neighbors: int = 5) -> Supervised:
    """Return R^2 of ridge and of k-NN regression, for each factor of labels (N, factors)."""
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
    """Return the accuracy with few labels per class, for several draws of the training examples that have a label.

    All kinds of features are given the same draws. The scale of the features is learned from all training examples;
    only labels are few. k-NN looks at min(k, labels per class) of them.

    Args:
        features: Kinds of features of the same examples.
        labels: Labels (N,).
        neighbors: k of k-NN.
        draws: Number of draws.
        seed: Random seed.

    Returns:
        The numbers of labels per class, below the size of the smallest class, and the accuracy
        (kinds, 2, sizes, draws) of the linear and the k-NN classifier.
    """
    rows = [np.flatnonzero(labels.train == c) for c in np.unique(labels.train)]
    sizes = [size for size in SIZES if size < min(map(len, rows))]
    found = np.empty((len(features), 2, len(sizes), draws))
    for draw in range(draws):
        generator = np.random.default_rng(key_seed("label curve", seed, draw))
        order = [generator.permutation(own) for own in rows]  # fewer labels are a subset of more
        for j, size in enumerate(sizes):
            few = np.concatenate([own[:size] for own in order])
            for i, pair in enumerate(features):
                own, truth = pair.train[few], labels.train[few]
                linear = Linear(pair.train).fit(own, truth)
                knn = _knn(min(neighbors, size), own, truth)
                found[i, :, j, draw] = [(m.predict(pair.test) == labels.test).mean() for m in (linear, knn)]
    return sizes, found
