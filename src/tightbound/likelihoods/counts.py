"""Likelihoods of counts: Poisson, negative binomial and zero-inflated negative binomial."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Gamma, Independent

from tightbound.core.errors import CompositionError
from tightbound.core.noise import Noise
from tightbound.core.numerics import bounded
from tightbound.core.terms import Batch, UncheckedDistribution
from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.likelihoods.location_scale import LocationScaleLikelihood, Scale
from tightbound.likelihoods.special import log1p_weighted, stirling
from tightbound.nn.base import Network, Shape

QUANTILES = 101  # number of quantiles of the totals


class CountLikelihood(ElementwiseLikelihood):
    """Base class of likelihoods of counts whose means can be shares of the total count of an example.

    With `library`, the mean of an element is the total count of the example (its library size) times a share, and the
    softmax of the network's outputs gives the shares. p(x | z) is then given the total: bounds are on log p(x | total).
    Means without an example have the median total of the training data, and samples have totals drawn from it.

    References:
        Deep generative modeling for single-cell transcriptomics (Lopez et al. 2018), Methods,
        https://doi.org/10.1038/s41592-018-0229-2
    """

    domains = ("counts",)
    library: bool = False
    log_totals: Tensor  # (QUANTILES,) quantiles of the training examples, in increasing order

    def share_totals(self, library: bool) -> None:
        """Make means shares of the total if `library`; constructors call this last."""
        self.library = bool(library)
        if self.library:
            self.given = "given the total count"
            self.register_buffer("log_totals", torch.zeros(QUANTILES))

    def log_means(self, raw: Tensor) -> Tensor:
        """Return log means (..., *shape), at the median total, for outputs (..., *shape) of the network."""
        if not self.library:
            return raw
        dims = len(self.shape)
        shares = raw.flatten(-dims).log_softmax(-1).view_as(raw) if dims else raw - raw
        return shares + self._typical

    @property
    def _typical(self) -> Tensor:
        return self.log_totals[QUANTILES // 2]

    def offset(self, seen: Batch) -> Tensor | None:
        """Return the logarithms of the totals (B,), at least 0; None without `library`."""
        if not self.library:
            return None
        if seen.mask is not None:
            raise CompositionError(
                f"{type(self).__name__} divides the total of an example, and the data or the context mask some of "
                "its elements; use library=False"
            )
        return self._log_totals(seen.x)

    def _log_totals(self, x: Tensor) -> Tensor:
        return x.flatten(1).sum(1).clamp_min(1).log()

    def at(self, p: Distribution, offset: Tensor) -> Distribution:
        """Return the distribution with means for these log totals (B,)."""
        assert isinstance(p, Independent)
        base, dims = p.base_dist, p.reinterpreted_batch_ndims
        assert isinstance(base, CountDistribution)
        return Independent(base.scaled((offset - self._typical).view(-1, *[1] * dims)), dims, validate_args=False)

    @torch.no_grad()
    def learn_offsets(self, offset: Tensor) -> None:
        """Store the quantiles of the log totals (N,) of training examples."""
        if self.library:
            self.log_totals.copy_(offset.quantile(torch.linspace(0, 1, QUANTILES).to(offset)))

    def draw_offset(self, n: int, noise: Noise) -> Tensor | None:
        """Draw log totals (n,) from the quantiles of the training examples; None without `library`."""
        if not self.library:
            return None
        place = noise.uniform((n,), self.log_totals) * (QUANTILES - 1)
        below = place.long().clamp_max(QUANTILES - 2)
        return torch.lerp(self.log_totals[below], self.log_totals[below + 1], place - below)

    def fit_moments(self, x: Tensor, inflation: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log mean and dispersion that fit counts x (N, *shape).

        With `library`, the mean is a share of each example's total. The share of extra zeros is `inflation` (*shape).
        """
        totals = self._log_totals(x).exp() if self.library else x.new_ones(len(x))
        share = (x.sum(0) + 0.5) / totals.sum() / (1 - inflation)
        mean, square = share * totals.sum(), share.square() * totals.square().sum()
        second = (x.square().sum(0) + 0.5) / (1 - inflation)
        return share.log(), ((second - mean - square) / square).clamp_min(1e-2)


class Poisson(CountLikelihood):
    """Poisson likelihood with log rates from the network.

    Args:
        shape, features, network: As for `ElementwiseLikelihood`.
        library: Take rates as shares of the total count of an example, see `CountLikelihood`.
    """

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
        library: bool = False,
    ) -> None:
        super().__init__(shape, features, network)
        self.share_totals(library)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at log rates (..., 1, *shape)."""
        return PoissonDistribution(self.log_means(raw.squeeze(-1 - len(self.shape))))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the logarithms of the means after adding half an event."""
        return self.fit_moments(x, torch.zeros_like(x[0]))[0].unsqueeze(0)


class NegativeBinomial(CountLikelihood, LocationScaleLikelihood):
    """Negative binomial likelihood with mean m and variance m + d m^2, where d is the `dispersion`.

    The network gives log m; d is fixed, learned or predicted, like the scale of a Gaussian. As d goes to 0, the
    distribution becomes Poisson; 1 / d is the "inverse dispersion" of scvi-tools.

    Args:
        shape, features, network: As for `ElementwiseLikelihood`.
        dispersion: A number, "shared", "per-dimension" or "predicted", see `LocationScaleLikelihood`.
        library: Take means as shares of the total count of an example, see `CountLikelihood`.

    References:
        Deep generative modeling for single-cell transcriptomics (Lopez et al. 2018), Methods,
        https://doi.org/10.1038/s41592-018-0229-2
    """

    scale_name = "dispersion"

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
        dispersion: Scale = "per-dimension",
        library: bool = False,
    ) -> None:
        super().__init__(shape, features, network, scale=dispersion)
        self.share_totals(library)

    def distribution(self, raw: Tensor) -> CountDistribution:
        """Return the distribution at log means and, if predicted, log dispersions."""
        log_mean, dispersion = self.location_scale(raw)
        return NegativeBinomialDistribution(self.log_means(log_mean), -dispersion.log())

    def fit_location_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log mean after adding half an event, and the dispersion by moments, at least 0.01."""
        return self.fit_moments(x, torch.zeros_like(x[0]))


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """Zero-inflated negative binomial likelihood: zero with probability w, which the network predicts.

    References:
        Deep generative modeling for single-cell transcriptomics (Lopez et al. 2018), Methods,
        https://doi.org/10.1038/s41592-018-0229-2
    """

    extra_outputs = 1

    def distribution(self, raw: Tensor) -> CountDistribution:
        """Return the distribution at log means, log dispersions if predicted, and logits of w."""
        return ZeroInflated(super().distribution(raw), raw.select(-1 - len(self.shape), -1))

    def fit_location_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log mean and dispersion of the negative binomial, to which half of the zeros are attributed."""
        return self.fit_moments(x, _half_zeros(x))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the parameters of the negative binomial, and the logits of half the share of zeros."""
        return torch.cat([super().fit_marginals(x), torch.logit(_half_zeros(x)).unsqueeze(0)])


def _half_zeros(x: Tensor) -> Tensor:
    return ((x == 0).sum(0) / 2 + 0.5).to(x.dtype) / (len(x) + 1)


class CountDistribution(UncheckedDistribution):
    """Base class of distributions of counts."""

    @abstractmethod
    def scaled(self, log_factor: Tensor) -> CountDistribution:
        """Return the distribution with its mean multiplied by a factor, and the same dispersion."""


class PoissonDistribution(CountDistribution):
    """Poisson(exp(log_rate)), with log-probabilities that stay accurate in float32 for large counts.

    Args:
        log_rate: Logarithm of the rate, (...).
    """

    def __init__(self, log_rate: Tensor) -> None:
        self.log_rate = bounded(log_rate, 30)
        super().__init__(log_rate.shape, validate_args=False)

    def scaled(self, log_factor: Tensor) -> CountDistribution:
        """See `CountDistribution.scaled`."""
        return PoissonDistribution(self.log_rate + log_factor)

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


class NegativeBinomialDistribution(CountDistribution):
    """Negative binomial: a Poisson whose rate has a Gamma(r, r / mean) distribution; variance mean + mean^2 / r.

    Args:
        log_mean: Logarithm of the mean, (...).
        log_shape: log r, the negative logarithm of the dispersion, (...).
    """

    def __init__(self, log_mean: Tensor, log_shape: Tensor) -> None:
        self.log_mean, self.log_shape = bounded(log_mean, 30), log_shape
        super().__init__(log_mean.shape, validate_args=False)

    def scaled(self, log_factor: Tensor) -> CountDistribution:
        """See `CountDistribution.scaled`."""
        return NegativeBinomialDistribution(self.log_mean + log_factor, self.log_shape)

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


class ZeroInflated(CountDistribution):
    """Zero with probability w, else a draw from another distribution of counts.

    Args:
        counts: The other distribution, with batch shape (...).
        logits: Logits of w, (...).
    """

    def __init__(self, counts: CountDistribution, logits: Tensor) -> None:
        self.counts, self.logits = counts, logits
        super().__init__(logits.shape, validate_args=False)

    def scaled(self, log_factor: Tensor) -> CountDistribution:
        """See `CountDistribution.scaled`; w does not change."""
        return ZeroInflated(self.counts.scaled(log_factor), self.logits)

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
