"""The Frechet distance of two samples, each taken as Gaussian."""

from __future__ import annotations

import numpy as np

from tightbound.evaluation.two_sample.resampling import RESAMPLES, Array, Measured, bootstrap, resampled

MANY = 256  # features, from which eigenvalues are dear and resamples few
FEW_RESAMPLES = 25


def frechet_distance(mean_a: Array, covariance_a: Array, mean_b: Array, covariance_b: Array) -> float:
    """|m - n|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) of N(m, A) and N(n, B): their squared 2-Wasserstein distance.

    Arguments:
        mean_a, mean_b: (F,).
        covariance_a, covariance_b: (F, F), symmetric; may be singular.

    References:
        The Frechet distance between multivariate normal distributions (Dowson and Landau 1982),
        https://doi.org/10.1016/0047-259X(82)90077-X; GANs trained by a two time-scale update rule (Heusel et al.
        2017), Section 2, for its use on features, https://arxiv.org/abs/1706.08500
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # the eigenvalues of a symmetric product are those of A B, real and at least 0
    product = np.linalg.eigvalsh(root @ covariance_b @ root)
    cross = np.sqrt(np.maximum(product, 0)).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    return max(float(distance), 0.0)


def frechet(x: Array, y: Array, seed: int = 0) -> tuple[Measured, Measured]:
    """The Frechet distance of features x (n, F) and y (m, F), and the same less its bias.

    The moments of few rows are off, so that the distance of two samples of one distribution is positive. The bootstrap
    estimates by how much: resampled rows are to the sample as the sample is to the distribution.
    """
    resamples = RESAMPLES if x.shape[1] <= MANY else FEW_RESAMPLES
    value = frechet_distance(*_moments(x), *_moments(y))

    def of(a: Array, b: Array) -> float:
        return frechet_distance(*_moments(x, a), *_moments(y, b))

    again = resampled(len(x), len(y), of, seed, resamples)
    measured = bootstrap(value, again)
    return measured.within(0.0, np.inf), measured.plus(value - float(again.mean()))


def _moments(x: Array, counts: Array | None = None) -> tuple[Array, Array]:
    """Mean and covariance of rows (n, F), each taken as often as `counts` (n,) says."""
    if counts is None:
        counts = np.ones(len(x))
    n = counts.sum()
    mean = counts @ x / n
    centred = (x - mean) * np.sqrt(counts)[:, None]
    return mean, centred.T @ centred / (n - 1)
