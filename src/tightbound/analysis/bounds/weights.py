"""Importance weights of a batch: their bounds, effective sample size and Pareto k-hat, added in blocks."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array
from tightbound.core.numerics import precise

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


BLOCK = 100  # samples that share a noise key: part of the definition of the numbers, not a batch size
FIRST = (1, 10, 100, 1000, 5000)


def rungs(samples: int) -> list[int]:
    """Return 1, 10, 100, 1000, 5000, 10,000, 50,000, ... below `samples`, and `samples` itself."""
    further = (k * 10**power for power in range(4, 1 + math.ceil(math.log10(samples))) for k in (1, 5))
    return [k for k in (*FIRST, *further) if k < samples] + [samples]


class PerExample(NamedTuple):
    """Summaries of the importance weights of each example.

    Attributes:
        bounds: IWAE bound by k, (N, rungs).
        effective: Effective sample size, (N,).
        pareto_k: Shape of the tail, (N,); NaN if no tail could be fitted.
    """

    bounds: Array
    effective: Array
    pareto_k: Array


class Weights:
    """IWAE bounds for several k, effective sample size and tail of weights log w (S, B), added in blocks.

    Each block but the last holds `BLOCK` samples. The bound for k is the mean over all disjoint sets of k consecutive
    samples; samples left over do not count.

    Args:
        samples: Number of samples S in all.
    """

    def __init__(self, samples: int) -> None:
        self.samples, self.rungs = samples, rungs(samples)
        self._bounds: list[Tensor | float] = [0.0 for _ in self.rungs]  # (B,) sums over sets
        self._open: list[Tensor | None] = [None for _ in self.rungs]  # (B,) log-sum of a set that is not full yet
        self._added = 0
        self._squares: Tensor | None = None
        self._largest: list[Tensor] = []
        self._tail = tail_size(samples) + 1

    def add(self, log_weight: Tensor) -> None:
        """Add the next samples, (S, B)."""
        log_weight = precise(log_weight)
        count = len(log_weight)
        self._added += count
        whole = log_weight.logsumexp(0)
        for i, k in enumerate(self.rungs):
            if k > count:
                self._fill(i, k, whole)
            elif k == 1:
                self._bounds[i] = self._bounds[i] + log_weight.sum(0)
            else:
                sets = log_weight[: count // k * k].unflatten(0, (-1, k))
                self._bounds[i] = self._bounds[i] + sets.logsumexp(1).sum(0)
        squares = (2 * log_weight).logsumexp(0)
        self._squares = squares if self._squares is None else torch.logaddexp(self._squares, squares)
        self._largest.append(log_weight)
        if len(self._largest) * BLOCK > 4 * self._tail or self._added == self.samples:
            some = torch.cat(self._largest)
            self._largest = [some.topk(min(self._tail, len(some)), 0, sorted=False).values]

    def _fill(self, rung: int, k: int, block: Tensor) -> None:
        """Add a block to a set that spans several blocks."""
        before = self._open[rung]
        total = block if before is None else torch.logaddexp(before, block)
        full = self._added % k == 0
        self._open[rung] = None if full else total
        if full:
            self._bounds[rung] = self._bounds[rung] + total

    def ladder(self) -> Tensor:
        """Return the IWAE bound for each k, (B, rungs) nats."""
        bounds = zip(self._bounds, self.rungs, strict=True)
        return torch.stack([torch.as_tensor(sums) / (self.samples // k) - math.log(k) for sums, k in bounds], dim=1)

    def effective(self) -> Tensor:
        """Return the effective sample size (sum w)^2 / sum w^2, (B,)."""
        assert self._squares is not None
        log_sum = self.ladder()[:, -1] + math.log(self.samples)
        return (2 * log_sum - self._squares).exp()

    def pareto_k(self) -> Array:
        """Return the shape of the tail k-hat, (B,); NaN if there are too few samples."""
        (largest,) = self._largest
        if len(largest) <= MIN_TAIL:
            return np.full(largest.shape[1], np.nan)
        return pareto_shape(largest.T.cpu().numpy())

    def summary(self) -> PerExample:
        """Return what is kept of the weights."""
        return PerExample(self.ladder().cpu().numpy(), self.effective().cpu().numpy(), self.pareto_k())
