"""Statistics of moments and of classes: of features, of the elements of x, of labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tightbound.analysis.samples.two_sample.resampling import (
    BLOCKS,
    Array,
    Measured,
    block_of,
    bootstrap,
    jackknife,
    leave_out,
)


def frechet_distance(mean_a: Array, covariance_a: Array, mean_b: Array, covariance_b: Array) -> float:
    """Return the squared 2-Wasserstein distance between two Gaussians N(m, A) and N(n, B), in F dimensions.

    It is |m - n|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2); the covariances may be singular.

    References:
        The Fréchet distance between multivariate normal distributions (Dowson and Landau 1982),
        https://doi.org/10.1016/0047-259X(82)90077-X
        GANs trained by a two time-scale update rule (Heusel et al. 2017), Section 2, for its use on features,
        https://arxiv.org/abs/1706.08500
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # this symmetric product has the eigenvalues of A B, which are real and not negative
    product = np.linalg.eigvalsh(root @ covariance_b @ root)
    cross = np.sqrt(np.maximum(product, 0)).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    return max(float(distance), 0.0)


def frechet(x: Array, y: Array, seed: int = 0) -> tuple[Measured, Measured]:
    """Return the Fréchet distance between features x (n, F) and y (m, F), and the same minus its bias.

    The distance between two small samples of one distribution is positive, by about a constant over n, because their
    moments are noisy. A jackknife over blocks of rows estimates that bias. It does so better than a bootstrap: for two
    samples of 300 rows with 40 features from one distribution, whose distance is 3.04, the jackknife leaves 0.02 and a
    bootstrap 0.22. If the distributions are equal, the standard error is too large rather than too small.
    """

    def moments(x: Array) -> tuple[Array, Array]:
        centered = x - x.mean(0)
        return x.mean(0), centered.T @ centered / (len(x) - 1)

    values = leave_out(x, y, seed, lambda a, b: frechet_distance(*moments(a), *moments(b)))
    bias = (BLOCKS - 1) * float(values[:-1].mean() - values[-1])
    return jackknife(values).within(0.0, np.inf), jackknife(values).plus(-bias)


def elements(x: Array, y: Array, seed: int = 0) -> dict[str, Measured]:
    """Compare the elements (pixels or columns) of x (n, D) and y (m, D).

    Returns:
        "mean_gap": root mean square, over elements, of the difference between the means; "spread": variance of x over
        that of y, each summed over elements; "covariance_gap": |C - C'| / |C'| for the covariances C of x and C' of y,
        in the Frobenius norm.
    """

    def moments(x: Array, name: str) -> Iterator[tuple[Array, Array]]:
        """Yield mean and covariance, without each block in turn and with all rows, from sums over blocks."""
        x, blocks = x - center, block_of(len(x), seed, name)
        total, gram = x.sum(0), x.T @ x
        for case in range(BLOCKS + 1):
            part = x[blocks == case]
            n, rest = len(x) - len(part), total - part.sum(0)
            yield rest / n, (gram - part.T @ part - np.outer(rest, rest / n)) / (n - 1)

    center = y.mean(0)  # sums of squares about a distant point would lose precision
    found = [
        (
            np.sqrt(np.mean((mean_x - mean_y) ** 2)),
            _over(np.trace(own), np.trace(other)),
            _over(np.linalg.norm(own - other), np.linalg.norm(other)),
        )
        for (mean_x, own), (mean_y, other) in zip(moments(x, "x"), moments(y, "y"), strict=True)
    ]
    names = ("mean_gap", "spread", "covariance_gap")
    return {name: jackknife(v).within(0.0, np.inf) for name, v in zip(names, np.array(found).T, strict=True)}


def mean_ratio(x: Array, y: Array, seed: int = 0) -> Measured:
    """Return the mean of x (n,) over the mean of y (m,)."""
    return jackknife(leave_out(x, y, seed, lambda a, b: _over(a.mean(), b.mean()))).within(0.0, np.inf)


def _over(a: Any, b: Any) -> float:
    return float(a / b) if b > 0 else np.nan


def class_entropy(labels: Array, classes: int, seed: int = 0) -> Measured:
    """Return the entropy in nats of the shares of classes among labels (n,): log of their number if all are equally
    frequent, 0 if there is only one."""
    from scipy.stats import entropy

    n = len(labels)
    return bootstrap(n, 1, lambda a, _: float(entropy(np.bincount(labels, a, classes) / n)), seed).within(
        0.0, np.log(classes)
    )


def class_distance(x: Array, y: Array, classes: int, seed: int = 0) -> Measured:
    """Return the total variation distance between the class shares of labels x (n,) and y (m,): the share of samples
    that would have to change class."""

    def distance(a: Array, b: Array) -> float:
        shares = np.bincount(x, a, classes) / len(x) - np.bincount(y, b, classes) / len(y)
        return float(np.abs(shares).sum() / 2)

    return bootstrap(len(x), len(y), distance, seed).within(0.0, 1.0)
