"""Bernoulli likelihood on bits, and continuous Bernoulli density on the unit interval."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.terms import UncheckedDistribution, summed_log_prob
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
    """Continuous Bernoulli density on [0, 1], proportional to exp(l x) for a logit l from the network.

    References:
        The continuous Bernoulli (Loaiza-Ganem and Cunningham 2019), https://arxiv.org/abs/1907.06845
    """

    domains = ("unit",)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at logits (..., 1, *shape)."""
        return ContinuousBernoulliDistribution(raw.squeeze(-1 - len(self.shape)))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the logits of the means; their sign is right, although the distribution's mean is closer to 1/2."""
        return torch.logit(x.mean(0).clamp(0.01, 0.99)).unsqueeze(0)


class ContinuousBernoulliDistribution(UncheckedDistribution):
    """Continuous Bernoulli with a density, moments and samples that stay accurate in float32 for every logit.

    All are written for a = |l|, in y = a / 2, and mirrored for l > 0. Up to y = 1.5 they use
    s = (sinh y - y) / y^3 from its series, since the closed forms cancel at l = 0.

    Args:
        logits: l (...).
    """

    _near, _large = 1.5, 16.0

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self._size = torch.where(logits > 0, logits, -logits)  # not abs(), whose gradient is 0 at 0
        super().__init__(logits.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of x in [0, 1]: log a - a d - log(1 - e^-a), with d the distance to the mode."""
        a = self._size
        distance = torch.where(self.logits > 0, 1 - value, value)
        y, near = self._split()
        far = a.masked_fill(near, 1.0)
        log_peak = torch.where(near, y - torch.log1p(y.square() * _sinh_rest(y)), far.log() - _log1mexp(far))
        return log_peak - a * distance

    @property
    def mean(self) -> Tensor:
        """The mean 1 / (1 - e^-l) - 1 / l."""
        a = self._size
        y, near = self._split()
        square = y.square()
        langevin = y * _cosh_rest(y) / (1 + square * _sinh_rest(y))  # coth y - 1 / y
        far = a.masked_fill(near, 1.0)
        low = torch.where(near, (1 - langevin) / 2, 1 / far - torch.exp(-far) / -torch.expm1(-far))
        return torch.where(self.logits > 0, 1 - low, low)

    @property
    def variance(self) -> Tensor:
        """The variance 1 / l^2 - 1 / (4 sinh^2(l / 2))."""
        y, near = self._split()
        rest = _sinh_rest(y)
        ratio = 1 + y.square() * rest  # sinh y / y
        far = self._size.masked_fill(near, 1.0)
        outside = far.square().reciprocal() - torch.exp(-far) / torch.expm1(-far).square()
        return torch.where(near, rest * (1 + ratio) / (4 * ratio.square()), outside)

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantiles of probabilities u in [0, 1]: log(1 + u (e^l - 1)) / l."""
        large, zero = self.logits > self._large, self._size < torch.finfo(self.logits.dtype).tiny
        near = self.logits.masked_fill(large | zero, 1.0)
        far = self.logits.masked_fill(~large, self._large)
        change = value * torch.expm1(near)
        log = torch.where(change.abs() < 0.5, torch.log1p(change), torch.log((1 - value) + value * torch.exp(near)))
        low = torch.where(zero, value, log / near)
        high = 1 + torch.log(value + (1 - value) * torch.exp(-far)) / far
        return torch.where(large, high, low).clamp(0, 1)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples (*sample_shape, ...)."""
        return self.icdf(torch.rand_like(self.logits.expand(*sample_shape, *self.batch_shape)))

    def _split(self) -> tuple[Tensor, Tensor]:
        """Return y = |l| / 2, with 0 where it is large, and where it is small."""
        y = self._size / 2
        near = y <= self._near
        return y.masked_fill(~near, 0.0), near


def _series(square: Tensor, divisors: Sequence[float]) -> Tensor:
    """Return 1 + square / d_1 (1 + square / d_2 (1 + ...))."""
    total = torch.ones_like(square)
    for divisor in reversed(divisors):
        total = 1 + square / divisor * total
    return total


def _sinh_rest(y: Tensor) -> Tensor:
    """Return (sinh y - y) / y^3, the sum of y^2k / (2k + 3)!, for y up to 1.5."""
    return _series(y.square(), [(2 * k + 2) * (2 * k + 3) for k in range(1, 10)]) / 6


def _cosh_rest(y: Tensor) -> Tensor:
    """Return (y cosh y - sinh y) / y^3, the sum of (2k + 2) y^2k / (2k + 3)!, for y up to 1.5."""
    return _series(y.square(), [2 * k * (2 * k + 3) for k in range(1, 10)]) / 3


def _log1mexp(a: Tensor) -> Tensor:
    """Return log(1 - e^-a), for a > 0."""
    return torch.log(-torch.expm1(-a))
