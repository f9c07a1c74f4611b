"""Likelihoods of counts: Poisson, negative binomial and zero-inflated negative binomial."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Gamma

from tightbound.core.numerics import bounded
from tightbound.core.terms import UncheckedDistribution
from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.likelihoods.location_scale import LocationScaleLikelihood, Scale
from tightbound.likelihoods.special import log1p_weighted, stirling
from tightbound.nn.base import Network, Shape


class Poisson(ElementwiseLikelihood):
    """Poisson likelihood with log rates from the network."""

    domains = ("counts",)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at log rates (..., 1, *shape)."""
        return PoissonDistribution(raw.squeeze(-1 - len(self.shape)))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the logarithms of the means after adding half an event."""
        return ((x.sum(0) + 0.5) / len(x)).log().unsqueeze(0)


class NegativeBinomial(LocationScaleLikelihood):
    """Negative binomial likelihood with mean m and variance m + d m^2, where d is the `dispersion`.

    The network gives log m; d is fixed, learned or predicted, like the scale of a Gaussian. As d goes to 0, the
    distribution becomes Poisson; 1 / d is the "inverse dispersion" of scvi-tools.

    Args:
        shape, features, network: As for `ElementwiseLikelihood`.
        dispersion: A number, "shared", "per-dimension" or "predicted", see `LocationScaleLikelihood`.

    References:
        Deep generative modeling for single-cell transcriptomics (Lopez et al. 2018), Methods,
        https://doi.org/10.1038/s41592-018-0229-2
    """

    domains = ("counts",)
    scale_name = "dispersion"

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
        dispersion: Scale = "per-dimension",
    ) -> None:
        super().__init__(shape, features, network, scale=dispersion)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at log means and, if predicted, log dispersions."""
        log_mean, dispersion = self.location_scale(raw)
        return NegativeBinomialDistribution(log_mean, -dispersion.log())

    def fit_location_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log mean after adding half an event, and the dispersion by moments, at least 0.01."""
        return _moments(x, torch.zeros_like(x[0]))


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """Zero-inflated negative binomial likelihood: zero with probability w, which the network predicts.

    References:
        Deep generative modeling for single-cell transcriptomics (Lopez et al. 2018), Methods,
        https://doi.org/10.1038/s41592-018-0229-2
    """

    extra_outputs = 1

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at log means, log dispersions if predicted, and logits of w."""
        return ZeroInflated(super().distribution(raw), raw.select(-1 - len(self.shape), -1))

    def fit_location_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log mean and dispersion of the negative binomial, to which half of the zeros are attributed."""
        return _moments(x, _half_zeros(x))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the parameters of the negative binomial, and the logits of half the share of zeros."""
        return torch.cat([super().fit_marginals(x), torch.logit(_half_zeros(x)).unsqueeze(0)])


def _half_zeros(x: Tensor) -> Tensor:
    return ((x == 0).sum(0) / 2 + 0.5).to(x.dtype) / (len(x) + 1)


def _moments(x: Tensor, inflation: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log mean and dispersion of a negative binomial that a fraction 1 - inflation of the data follows."""
    mean = (x.sum(0) + 0.5) / len(x) / (1 - inflation)
    second = (x.square().sum(0) + 0.5) / len(x) / (1 - inflation)
    return mean.log(), ((second - mean - mean.square()) / mean.square()).clamp_min(1e-2)


class PoissonDistribution(UncheckedDistribution):
    """Poisson(exp(log_rate)), with log-probabilities that stay accurate in float32 for large counts.

    Args:
        log_rate: Logarithm of the rate, (...).
    """

    def __init__(self, log_rate: Tensor) -> None:
        self.log_rate = bounded(log_rate, 30)
        super().__init__(log_rate.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return -x (e^u - 1 - u) - log x - s(x), the saddle-point form, with u = log(rate / x) and s as in `stirling`.

        References:
            Fast and accurate computation of binomial probabilities (Loader 2000), Section 4
        """
        zero = value == 0
        x = value.masked_fill(zero, 1.0)
        u = self.log_rate - x.log()
        return torch.where(zero, -self.mean, -x * (torch.expm1(u) - u) - x.log() - stirling(x))

    @property
    def mean(self) -> Tensor:
        """The rate."""
        return self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        """The rate."""
        return self.mean

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples (*sample_shape, ...)."""
        return torch.poisson(self.mean.expand(*sample_shape, *self.batch_shape))


class NegativeBinomialDistribution(UncheckedDistribution):
    """Negative binomial: a Poisson whose rate has a Gamma(r, r / mean) distribution; variance mean + mean^2 / r.

    Args:
        log_mean: Logarithm of the mean, (...).
        log_shape: log r, the negative logarithm of the dispersion, (...).
    """

    def __init__(self, log_mean: Tensor, log_shape: Tensor) -> None:
        self.log_mean, self.log_shape = bounded(log_mean, 30), log_shape
        super().__init__(log_mean.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of counts x.

        With s as in `stirling`, it is
        x log(m (x + r) / (x (m + r))) - r log((m + r) / (x + r)) + s(x + r) - s(r) - s(x) - log x.
        The first two terms vanish at m = x, so no term is much larger than the result.
        """
        zero = value == 0
        x = value.masked_fill(zero, 1.0)
        log_x, r = x.log(), self.log_shape.exp()
        u = self.log_mean - log_x
        mean_to_shape, x_to_shape = self.log_mean - self.log_shape, log_x - self.log_shape
        ratio = log1p_weighted(torch.sigmoid(-mean_to_shape), u, F.logsigmoid(mean_to_shape) - F.logsigmoid(x_to_shape))
        excess = log1p_weighted(torch.sigmoid(x_to_shape), u, F.logsigmoid(-x_to_shape) - F.logsigmoid(-mean_to_shape))
        rest = stirling(x + r) - stirling(r) - stirling(x) - log_x
        return torch.where(zero, r * F.logsigmoid(-mean_to_shape), x * ratio - r * excess + rest)

    @property
    def mean(self) -> Tensor:
        """The mean m."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """The variance m + m^2 / r."""
        return self.mean + torch.exp(2 * self.log_mean - self.log_shape)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples (*sample_shape, ...)."""
        r = self.log_shape.exp()
        draws = Gamma(r, torch.ones_like(r), validate_args=False).sample(torch.Size(sample_shape))
        return torch.poisson(draws * (self.log_mean - self.log_shape).exp())


class ZeroInflated(UncheckedDistribution):
    """Zero with probability w, else a draw from another distribution of counts.

    Args:
        counts: The other distribution, with batch shape (...).
        logits: Logits of w, (...).
    """

    def __init__(self, counts: Distribution, logits: Tensor) -> None:
        self.counts, self.logits = counts, logits
        super().__init__(logits.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log(w + (1 - w) P(0)) at 0, else log(1 - w) + log P(x)."""
        other = F.logsigmoid(-self.logits) + self.counts.log_prob(value)
        return torch.where(value == 0, torch.logaddexp(F.logsigmoid(self.logits), other), other)

    @property
    def mean(self) -> Tensor:
        """The mean (1 - w) m."""
        return torch.sigmoid(-self.logits) * self.counts.mean

    @property
    def variance(self) -> Tensor:
        """The variance (1 - w) (v + w m^2)."""
        w = torch.sigmoid(self.logits)
        return torch.sigmoid(-self.logits) * (self.counts.variance + w * self.counts.mean.square())

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples (*sample_shape, ...)."""
        w = torch.sigmoid(self.logits).expand(*sample_shape, *self.batch_shape)
        return self.counts.sample(torch.Size(sample_shape)).masked_fill(torch.rand_like(w) < w, 0.0)
