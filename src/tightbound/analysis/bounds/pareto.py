"""Pareto k-hat: the weight of the tail of importance weights, which tells whether their mean can be trusted."""

from __future__ import annotations

import math

import numpy as np

from tightbound.analysis.estimate import Array

MIN_TAIL = 5  # weights in the tail; with fewer no shape is fitted
RELIABLE = 0.7  # largest k-hat of a reliable estimate
_FLAT = 1e-4  # nats; equal weights computed in float32 may differ by this much


def tail_size(samples: int) -> int:
    """Return min(S / 5, 3 sqrt S), the number of largest weights that form the tail."""
    return math.ceil(min(samples / 5, 3 * math.sqrt(samples)))


def pareto_shape(largest: Array) -> Array:
    """Return the shape k of the generalized Pareto density of the tail of importance weights.

    If k < 0.5, the weights have a variance, and the bias of an IWAE bound falls as 1/samples. If k < 0.7, the estimate
    is still reliable.

    Args:
        largest: Largest log-weights of each example (N, M + 1), in any order; the smallest one is the threshold.

    Returns:
        Shapes (N,): NaN if the tail is too short, 0 if it is flat up to rounding, as with an exact posterior.

    References:
        Pareto smoothed importance sampling (Vehtari et al. 2024), Sections 3 and 5, with its prior on k,
        https://arxiv.org/abs/1507.02646
    """
    ordered = np.sort(largest, axis=1)
    scaled = np.exp(ordered - ordered[:, -1:])
    shape, _ = fit_generalized_pareto(scaled[:, 1:] - scaled[:, :1])
    return np.where(ordered[:, -1] - ordered[:, 0] < _FLAT, 0.0, shape)


def fit_generalized_pareto(excess: Array) -> tuple[Array, Array]:
    """Fit a generalized Pareto density to each row of (N, M) numbers, all at least 0.

    The fit is the mean of the quasi-posterior of the profile likelihood; the shape is then shrunk to 0.5 with the
    weight of 10 observations. Zeros (ties with a threshold) are left out.

    Returns:
        Shapes and scales, (N,) each; NaN if fewer than 5 numbers are left.

    References:
        A new and efficient estimation method for the generalized Pareto distribution (Zhang and Stephens 2009),
        https://doi.org/10.1198/tech.2009.08017; the prior: Vehtari et al. 2024, Appendix G
    """
    x = np.sort(excess, axis=1)
    n = (x > 0).sum(1)
    enough = n >= MIN_TAIL
    shape, scale = np.full(len(x), np.nan), np.full(len(x), np.nan)
    if not enough.any():
        return shape, scale
    x, n = x[enough], n[enough]
    grid = 30 + math.isqrt(x.shape[1])
    zeros = x.shape[1] - n
    quartile = np.take_along_axis(x, (zeros + (n / 4 + 0.5).astype(int) - 1)[:, None], 1)
    steps = 1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    theta = 1 / x[:, -1:] + steps / (3 * quartile)  # (N, grid)

    def profile(value: Array) -> Array:  # zeros add log 1
        return sum(np.log1p(-value * column) for column in x.T[:, :, None]) / n[:, None]

    with np.errstate(divide="ignore", invalid="ignore"):
        k = profile(theta)
        log_likelihood = n[:, None] * (np.log(-theta / k) - k - 1)
    log_likelihood = np.nan_to_num(log_likelihood, nan=-np.inf, posinf=-np.inf)  # theta at 0: no density
    weight = np.exp(log_likelihood - log_likelihood.max(1, keepdims=True))
    mean = (theta * weight).sum(1, keepdims=True) / weight.sum(1, keepdims=True)
    k = profile(mean)[:, 0]
    shape[enough] = (n * k + 10 * 0.5) / (n + 10)
    scale[enough] = -k / mean[:, 0]
    return shape, scale
