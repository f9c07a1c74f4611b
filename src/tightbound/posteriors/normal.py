"""The diagonal Gaussian posterior."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from tightbound.posteriors.base import Posterior


class DiagonalNormal(Posterior):
    """N(mu(x), diag sigma^2(x)), from heads for the mean and the log-variance.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling 2014), Eq. 9, https://arxiv.org/abs/1312.6114
    """

    outputs = 2

    def distribution(self, raw: Tensor) -> Distribution:
        """Means and log-variances (..., 2, latent)."""
        mean, log_variance = raw.unbind(-2)
        normal = Normal(mean, (0.5 * log_variance).exp(), validate_args=False)
        return Independent(normal, 1, validate_args=False)
