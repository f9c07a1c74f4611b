"""Bernoulli likelihood on bits, and continuous Bernoulli density on the unit interval."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.terms import summed_log_prob
from tightbound.likelihoods.base import ElementwiseLikelihood


class Bernoulli(ElementwiseLikelihood):
    """Bernoulli likelihood of independent bits, with logits from the network.

    For numbers in [0, 1] instead of bits, `log_prob` is the expectation of log p(b | z) over b ~ Bernoulli(x), which is
    not a likelihood of x. Only the observation `binarized(mode='expected')` uses this, and its bounds are named so.
    """

    domains = ("binary",)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at logits (..., 1, *shape)."""
        logits = raw.squeeze(-1 - len(self.shape))
        return torch.distributions.Bernoulli(logits=logits, validate_args=False)

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the logits of the means after adding one observation of each value."""
        return torch.logit((x.sum(0) + 1) / (len(x) + 2)).unsqueeze(0)


@summed_log_prob.register
def _(bits: torch.distributions.Bernoulli, x: Tensor, observed: Tensor | None, dims: int) -> Tensor:
    """Return x l - log(1 + exp l) for logits l, summed.

    The difference is taken per element, because a difference of two sums loses precision where x is large. Without
    gradients, intermediate results are not needed, and working in place takes half the time.
    """
    if dims == 0:
        return summed_log_prob.default(bits, x, observed, dims)
    logits, x = torch.broadcast_tensors(bits.logits.flatten(-dims), x.to(bits.logits).flatten(-dims))
    seen = None if observed is None else observed.flatten(-dims)
    if torch.is_grad_enabled():
        elements = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
        return -(elements if seen is None else elements.masked_fill(~seen, 0.0)).sum(-1)
    total = _sum(logits.exp().add_(1).log_(), logits, x, seen)
    if total.isfinite().all():
        return total
    return _sum(F.softplus(logits, threshold=40), logits, x, seen)  # slower, needed where exp overflows


def _sum(softplus: Tensor, logits: Tensor, x: Tensor, observed: Tensor | None) -> Tensor:
    """Return -sum(softplus - x l) over the observed elements; overwrites `softplus`."""
    elements = softplus.addcmul_(logits, x, value=-1)
    return -(elements if observed is None else elements.masked_fill_(~observed, 0.0)).sum(-1)


class ContinuousBernoulli(ElementwiseLikelihood):
    """Continuous Bernoulli density on [0, 1], proportional to l^x (1 - l)^(1 - x) and normalized.

    References:
        The continuous Bernoulli (Loaiza-Ganem and Cunningham 2019), https://arxiv.org/abs/1907.06845
    """

    domains = ("unit",)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at logits (..., 1, *shape)."""
        logits = raw.squeeze(-1 - len(self.shape))
        return torch.distributions.ContinuousBernoulli(logits=logits, validate_args=False)

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the logits of the means; their sign is right, although the distribution's mean is closer to 1/2."""
        return torch.logit(x.mean(0).clamp(0.01, 0.99)).unsqueeze(0)
