"""Beta density on the open unit interval."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.errors import InputError
from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.likelihoods.special import stirling


class Beta(ElementwiseLikelihood):
    """Beta(a, b), with log a and log b from the network.

    At x = 0 and x = 1 the density is zero or infinite for almost all a and b, so data that hold them are refused
    when their density is asked for: nothing is moved off the ends. Integer levels are observed with
    'levels(dequantize=True)', whose targets lie inside; for other data 'continuous-bernoulli' has a density there.
    """

    domains = ("unit",)
    outputs = 2
    includes_endpoints = False

    def distribution(self, raw: Tensor) -> Distribution:
        """log a and log b, (..., 2, *shape)."""
        return BetaDistribution(*raw.unbind(-1 - len(self.shape)))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """a and b by moments, with a + b from 0.1 to 1000."""
        mean = x.mean(0).clamp(1e-3, 1 - 1e-3)
        total = (mean * (1 - mean) / x.var(0, correction=0).clamp_min(1e-6) - 1).clamp(0.1, 1000)
        return torch.stack([mean * total, (1 - mean) * total]).log()


class BetaDistribution(torch.distributions.Beta):
    """Beta(exp(log_a), exp(log_b)), whose log-density keeps its digits in float32 for large a and b.

    Arguments:
        log_a, log_b: (...).
    """

    has_rsample = False

    def __init__(self, log_a: Tensor, log_b: Tensor) -> None:
        self.log_a, self.log_b = log_a, log_b
        super().__init__(log_a.exp(), log_b.exp(), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """With m = a / (a + b) and s of `stirling`,

        a log(x / m) + b log((1 - x) / (1 - m)) - log x - log(1 - x) + s(a + b) - s(a) - s(b).

        Raises:
            InputError: at or outside of 0 and 1.
        """
        if not ((value > 0) & (value < 1)).all():
            raise InputError(
                "x reaches 0 or 1, where a beta density is zero or infinite; use 'continuous-bernoulli', or observe "
                "levels with 'levels(dequantize=True)'"
            )
        a, b, difference = self.log_a.exp(), self.log_b.exp(), self.log_a - self.log_b
        log_x, log_rest = value.log(), torch.log1p(-value)
        m, n = torch.sigmoid(difference), torch.sigmoid(-difference)
        offset = torch.where(value > 0.5, n - (1 - value), value - m)  # x - m, from the end at which x has digits
        first = _log_ratio(offset / m, log_x - F.logsigmoid(difference))
        second = _log_ratio(-offset / n, log_rest - F.logsigmoid(-difference))
        return a * first + b * second - log_x - log_rest + stirling(a + b) - stirling(a) - stirling(b)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """(*sample_shape, ...); draws that rounding takes onto 0 or 1 are the nearest numbers inside."""
        draws = super().sample(torch.Size(sample_shape))
        limits = torch.finfo(draws.dtype)
        return draws.clamp(limits.tiny, 1 - limits.eps / 2)


def _log_ratio(excess: Tensor, otherwise: Tensor) -> Tensor:
    """log(1 + excess), near 0; elsewhere as a difference of logarithms."""
    near = excess.abs() < 0.5
    return torch.where(near, torch.log1p(excess.masked_fill(~near, 0.0)), otherwise)
