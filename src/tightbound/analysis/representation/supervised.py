"""Predict labels from features with scikit-learn, and score the predictions so that scores can be compared in pairs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tightbound.analysis.estimate import Array, Estimate, estimate, mean_error, share_error
from tightbound.core.noise import key_seed


@dataclass(frozen=True)
class Pair:
    """Training examples to fit on and test examples to judge by: features (N, L), or labels (N,) or (N, factors)."""

    train: Array
    test: Array


@dataclass(frozen=True)
class Scored:
    """A score with its influence function: the contribution of each test example, of mean zero.

    Attributes:
        value: Score () or (factors,).
        influence: Contributions (N,) or (N, factors).
    """

    value: Array
    influence: Array

    def estimate(self, **facts: Any) -> Estimate:
        """Return the score with its standard error sd(influence) / sqrt(N)."""
        return _estimate(self.value, self.influence, facts)

    def minus(self, other: Scored, **facts: Any) -> Estimate:
        """Return the difference to a score on the same examples, with the standard error of paired values."""
        return _estimate(self.value - other.value, self.influence - other.influence, facts)


class Accuracy(Scored):
    """Share of examples that are right."""

    def estimate(self, **facts: Any) -> Estimate:
        """Return the share with its standard error; see `share_error`."""
        n = len(self.influence)
        return estimate(self.value, share_error(self.value, n), n=n, **facts)


def accuracy(right: Array) -> Accuracy:
    """Return the accuracy from booleans (N,)."""
    return Accuracy(np.asarray(right.mean()), right - right.mean())


def explained(truth: Array, predicted: Array) -> Scored:
    """Return R^2 of each factor (N, factors): 1 - mean squared error / variance; NaN if the variance is zero."""
    squared, deviation = (truth - predicted) ** 2, (truth - truth.mean(0)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = squared.mean(0) / deviation.mean(0)
        influence = -(squared - share * deviation) / deviation.mean(0)  # influence function of a ratio of means
    return Scored(1 - share, influence)


def _estimate(value: Array, influence: Array, facts: dict[str, Any]) -> Estimate:
    n = len(influence)
    stderr = mean_error(influence) if n > 1 else None
    if value.ndim and len(value) == 1:
        value, stderr = value[0], None if stderr is None else stderr[0]
    return estimate(value, stderr, n=n, **facts)


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
    linears = [Linear(pair.train) for pair in features]
    for draw in range(draws):
        generator = np.random.default_rng(key_seed("label curve", seed, draw))
        order = [generator.permutation(own) for own in rows]  # fewer labels are a subset of more
        for j, size in enumerate(sizes):
            few = np.concatenate([own[:size] for own in order])
            for i, pair in enumerate(features):
                own, truth = pair.train[few], labels.train[few]
                linear = linears[i].fit(own, truth)
                knn = _knn(min(neighbors, size), own, truth)
                found[i, :, j, draw] = [(m.predict(pair.test) == labels.test).mean() for m in (linear, knn)]
    return sizes, found
