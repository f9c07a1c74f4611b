"""Whether clusters of latent codes, found without labels, are the classes."""

from __future__ import annotations

import math
import warnings
from typing import Any, cast

import numpy as np

from tightbound.analysis.estimate import Array, Estimate, estimate
from tightbound.analysis.representation.supervised import Pair
from tightbound.core.noise import key_seed

STARTS = {"kmeans": 10, "mixture": 3}
METHODS = {
    "kmeans": f"k-means, best of {STARTS['kmeans']} starts, in the features' own units",
    "mixture": f"Gaussian mixture with full covariances, best of {STARTS['mixture']} starts",
}
DESCRIPTIONS = {
    "nmi": "normalized mutual information of clusters and classes",
    "ari": "adjusted Rand index of clusters and classes; 0 by chance",
    "chance": "normalized mutual information of the same clusters with the classes in random order",
}


def clusters(features: Pair, n_clusters: int, seed: int = 0) -> dict[str, tuple[Array, str | None]]:
    """Return the clusters (N,) of test examples by k-means and by a Gaussian mixture, fitted to training examples.

    Each comes with a reservation, such as that the fit has not converged, or None.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from sklearn.preprocessing import StandardScaler

    state = key_seed("clusters", seed) % 2**32
    scaler = StandardScaler().fit(features.train)
    train, test = scaler.transform(features.train), scaler.transform(features.test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the reservations below say so
        kmeans = KMeans(n_clusters, n_init=cast(Any, STARTS["kmeans"]), random_state=state).fit(features.train)
        mixture = GaussianMixture(
            n_clusters, n_init=STARTS["mixture"], max_iter=300, reg_covar=1e-4, random_state=state
        ).fit(train)
    distinct = len(np.unique(np.asarray(kmeans.labels_)))
    few = None if distinct == n_clusters else f"only {distinct} clusters: the training features have no more values"
    slow = None if mixture.converged_ else "EM has not converged"
    return {"kmeans": (np.asarray(kmeans.predict(features.test)), few), "mixture": (mixture.predict(test), slow)}


def agreement(truth: Array, found: Array, seed: int = 0, *, resamples: int = 200, **facts: Any) -> dict[str, Estimate]:
    """Return how well clusters (N,) agree with classes (N,).

    Returns:
        "nmi": normalized mutual information, and "ari": adjusted Rand index, both with bootstrap standard errors;
        "chance": normalized mutual information of the same clusters with classes in random order.

    References:
        Information theoretic measures for clusterings comparison (Vinh et al. 2010),
        https://jmlr.org/papers/v11/vinh10a.html
    """
    n = len(truth)
    generator = np.random.default_rng(key_seed("agreement", seed))
    (classes, of), (groups, into) = (np.unique(y, return_inverse=True) for y in (truth, found))

    def counted(of: Array) -> Array:
        cells = np.bincount(of * len(groups) + into, minlength=len(classes) * len(groups))
        return cells.reshape(len(classes), len(groups))

    table = counted(of)[None]
    again = generator.multinomial(n, table.ravel() / n, size=resamples).reshape(-1, *table.shape[1:])
    chance = normalized_information(np.stack([counted(generator.permutation(of)) for _ in range(resamples)]))
    estimates = {}
    for name, score in (("nmi", normalized_information), ("ari", adjusted_rand)):
        stderr = score(again).std(ddof=1)
        estimates[name] = estimate(score(table)[0], stderr, n=n, description=DESCRIPTIONS[name], **facts)
    stderr = chance.std(ddof=1) / math.sqrt(resamples)
    estimates["chance"] = estimate(chance.mean(), stderr, n=n, description=DESCRIPTIONS["chance"], **facts)
    return estimates


def normalized_information(tables: Array) -> Array:
    """Return mutual information over the mean of both entropies (T,) from counts (T, classes, clusters); 0 if both are
    zero."""
    from scipy.stats import entropy

    p = tables / tables.sum((1, 2), keepdims=True)
    of, into, both = entropy(p.sum(2), axis=1), entropy(p.sum(1), axis=1), entropy(p.reshape(len(p), -1), axis=1)
    information = of + into - both
    return information / np.maximum((of + into) / 2, 1e-300)


def adjusted_rand(tables: Array) -> Array:
    """Return the share of pairs on which classes and clusters agree (T,), corrected for chance, from counts
    (T, classes, clusters)."""

    def pairs(counts: Array) -> Array:
        return (counts * (counts - 1.0) / 2).reshape(len(counts), -1).sum(1)

    both, of, into = pairs(tables), pairs(tables.sum(2)), pairs(tables.sum(1))
    n = tables.sum((1, 2))
    expected = of * into / (n * (n - 1) / 2)
    span = (of + into) / 2 - expected
    return np.where(span == 0, 1.0, (both - expected) / np.where(span == 0, 1, span))
