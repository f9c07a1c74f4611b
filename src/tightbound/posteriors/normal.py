"""Diagonal Gaussian posteriors."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from tightbound.core.errors import number
from tightbound.core.numerics import bounded
from tightbound.nn.base import Network, Shape
from tightbound.posteriors.base import Posterior


class DiagonalNormal(Posterior):
    """Diagonal Gaussian posterior N(mu(x), diag sigma^2(x)), with a head for mean and log-variance.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling 2014), Eq. 9, https://arxiv.org/abs/1312.6114
    """

    outputs = 2
    accepts_pair = True

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at means and log-variances (..., 2, latent)."""
        mean, log_variance = raw.unbind(-2)
        return _diagonal(mean, bounded(log_variance, 50))


class DeltaNormal(Posterior):
    """Diagonal Gaussian posterior whose KL from N(0, I) is above `delta` for every example (a committed rate).

    Each variance stays below v < 1, where (v - 1 - log v) / 2 = delta / L, by log sigma^2 = log v - softplus(raw).

    Args:
        shape, latent, network: As for `Posterior`.
        delta: Minimum rate in nats per example.

    References:
        Preventing posterior collapse with delta-VAEs (Razavi et al. 2019), Section 2, the bound on variances of
        independent dimensions, https://arxiv.org/abs/1901.03416
    """

    outputs = 2
    needs_standard_prior = True  # the minimum rate holds only for N(0, I)

    def __init__(self, shape: Shape = (), latent: int = 1, network: Network | None = None, delta: float = 1.0) -> None:
        super().__init__(shape, latent, network)
        self.delta = number("delta", delta, above=0)
        self.log_most = _log_variance_at(self.delta / self.latent)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at means and at distances of log-variances from their limit (before softplus)."""
        mean, below = raw.unbind(-2)
        return _diagonal(mean, self.log_most - F.softplus(bounded(below)))


def _diagonal(mean: Tensor, log_variance: Tensor) -> Distribution:
    return Independent(Normal(mean, (0.5 * log_variance).exp(), validate_args=False), 1, validate_args=False)


def _log_variance_at(kl: float) -> float:
    """Return the negative u with (exp(u) - 1 - u) / 2 = kl, by bisection."""
    low, high = -2 * kl - 1, 0.0
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if 0.5 * (math.expm1(middle) - middle) > kl else (low, middle)
    return low
