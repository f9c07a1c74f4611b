"""Beta likelihood on the open unit interval."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.errors import InputError
from tightbound.core.numerics import bounded
from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.likelihoods.special import log1p_or, stirling


class Beta(ElementwiseLikelihood):
    """Beta(a, b) density, with log a and log b from the network.

    At x = 0 and x = 1 the density is zero or infinite for almost all a and b, so `log_prob` raises an error there. For
    integer levels, use the observation 'levels(dequantize=True)', whose targets lie inside the interval; for other
    data, use 'continuous-bernoulli', which is defined at both ends.
    """

    domains = ("unit",)
    outputs = 2
    includes_endpoints = False

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at log a and log b, (..., 2, *shape)."""
        return BetaDistribution(*raw.unbind(-1 - len(self.shape)))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return log a and log b by the method of moments, with a + b limited to 0.1 .. 1000."""
        mean = x.mean(0).clamp(1e-3, 1 - 1e-3)
        total = (mean * (1 - mean) / x.var(0, correction=0).clamp_min(1e-6) - 1).clamp(0.1, 1000)
        return torch.stack([mean * total, (1 - mean) * total]).log()


class BetaDistribution(torch.distributions.Beta):
    """Beta(exp(log_a), exp(log_b)), with a log-density that stays accurate in float32 for large a and b.

    Args:
        log_a: log a, (...).
        log_b: log b, (...).
    """

    has_rsample = False

    def __init__(self, log_a: Tensor, log_b: Tensor) -> None:
        self.log_a, self.log_b = bounded(log_a), bounded(log_b)
        super().__init__(self.log_a.exp(), self.log_b.exp(), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of x in (0, 1).

        With m = a / (a + b) and s as in `stirling`, it is
        a log(x / m) + b log((1 - x) / (1 - m)) - log x - log(1 - x) + s(a + b) - s(a) - s(b).

        Raises:
            InputError: If a value is not strictly between 0 and 1.
        """
        if not ((value > 0) & (value < 1)).all():
            raise InputError(
                "x contains 0 or 1, where a beta density is zero or infinite; use 'continuous-bernoulli', or for "
                "integer levels the observation 'levels(dequantize=True)'"
            )
        a, b, difference = self.log_a.exp(), self.log_b.exp(), self.log_a - self.log_b
        log_x, log_rest = value.log(), torch.log1p(-value)
        m, n = torch.sigmoid(difference), torch.sigmoid(-difference)
        offset = torch.where(value > 0.5, n - (1 - value), value - m)  # x - m, computed from the end nearer to x
        first = log1p_or(offset / m, log_x - F.logsigmoid(difference))
        second = log1p_or(-offset / n, log_rest - F.logsigmoid(-difference))
        return a * first + b * second - log_x - log_rest + stirling(a + b) - stirling(a) - stirling(b)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples (*sample_shape, ...), clamped to the open interval."""
        draws = super().sample(torch.Size(sample_shape))
        limits = torch.finfo(draws.dtype)
        return draws.clamp(limits.tiny, 1 - limits.eps / 2)
