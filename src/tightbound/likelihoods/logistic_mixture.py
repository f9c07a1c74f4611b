"""Mixtures of discretized logistics, which couple the channels of a color image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.errors import whole
from tightbound.core.numerics import bounded
from tightbound.core.terms import UncheckedDistribution
from tightbound.likelihoods.discretized_logistic import DiscretizedLogisticDistribution
from tightbound.likelihoods.levels import LevelLikelihood
from tightbound.likelihoods.mixture import MixtureDistribution, choose
from tightbound.nn.base import Network, Shape, as_sizes

WIDER = (1.0, 1.5, 2.0, 3.0)
ELEMENTS = 100_000  # of the data that choose among them, about


class MixtureOfLogistics(LevelLikelihood):
    """Mixture of discretized logistics with predicted weights, locations and scales.

    For images (3, H, W), the three channels of a pixel share one component; within it, the location of green is linear
    in the pixel's red, and the location of blue is linear in its red and green. For other shapes, elements are
    independent. Locations and scales refer to levels mapped to [-1, 1].

    The network gives the same number of outputs for each element. In a coupled pixel, each channel holds one of the
    component's three coefficients (before tanh), and one of three summands of the logit of its weight.

    Args:
        shape, features, network: As for `ElementwiseLikelihood`.
        components: Number of components K.
        levels: Number of levels.

    References:
        PixelCNN++ (Salimans et al. 2017), Eqs. 2 and 3, https://arxiv.org/abs/1701.05517
    """

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
        components: int = 5,
        levels: int = 256,
    ) -> None:
        self.components = whole("components", components, least=1)
        self.coupled = len(as_sizes("shape", shape)) == 3 and shape[0] == 3
        self.per_component = 4 if self.coupled else 3  # network outputs per component and element
        self.outputs = self.per_component * self.components
        super().__init__(shape, features, network, levels)
        self.event_dims = 3 if self.coupled else 0

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the mixture at logits, locations, log scales and (if coupled) coefficients, each (..., K, *shape)."""
        axis = -1 - len(self.shape)
        shape = (self.per_component, self.components)
        logits, location, log_scale, *rest = raw.unflatten(axis, shape).unbind(axis - 1)
        log_scale = bounded(log_scale)
        if rest:
            return ColorDistribution(logits.sum(-3), location, log_scale.exp(), rest[0].tanh(), self.levels)
        half = (self.levels - 1) / 2
        parts = DiscretizedLogisticDistribution((location + 1) * half, log_scale.exp() * half, self.levels)
        return MixtureDistribution(logits, parts, len(self.shape))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return equal weights, no coupling, and components that fit the data's means and variances.

        With independent elements, the locations are K quantiles of the logistic with the data's mean and variance, and
        the scale is divided by K. Coupled elements share their component, so all components are this logistic. The
        scale is multiplied by the one of `WIDER` that makes the data most probable: means and variances of few levels
        tell little about a logistic, which reaches beyond them.
        """
        y = x / ((self.levels - 1) / 2) - 1
        scale = y.std(0, correction=0).clamp_min(2 / self.levels) * math.sqrt(3) / math.pi
        share = (torch.arange(self.components, dtype=y.dtype, device=y.device) + 0.5) / self.components
        spread = torch.zeros_like(share) if self.coupled else torch.logit(share)
        location = y.mean(0) + scale * spread.reshape(-1, *[1] * len(self.shape))
        divisor = 1 if self.coupled else self.components
        log_scale = (scale / divisor).clamp_min(1 / self.levels).log().expand_as(location)
        none = torch.zeros_like(location)
        few = x[: max(10, ELEMENTS // max(1, y[0].numel()))]

        def widened(factor: float) -> Tensor:
            parts = [none, location.clamp(-1, 1), log_scale + math.log(factor), none]
            return torch.cat(parts[: self.per_component])

        return max(map(widened, WIDER), key=lambda raw: self.distribution(raw).log_prob(few).mean().item())


class ColorDistribution(UncheckedDistribution):
    """Mixture of discretized logistics on color images, with event shape (3, H, W).

    With at most `exact_levels` levels, mean and variance are sums over all colors. With more, they are quadratures over
    each component, with points of a Sobol sequence scrambled with seed 0, the same for every pixel and example. With
    128 points, at a standard deviation of at least one level, the mean is off by up to 0.05 standard deviations and the
    variance by up to 15%; at a smaller one, the variance is off by up to 0.2 squared levels.

    Args:
        logits: Logits of the weights, (..., K, H, W).
        location: Locations (..., K, 3, H, W), for levels mapped to [-1, 1].
        scale: Scales (..., K, 3, H, W), for levels mapped to [-1, 1].
        coefficients: Coefficients (..., K, 3, H, W) of red in green, red in blue, and green in blue.
        levels: Number of levels.
        exact_levels: Maximum number of levels for exact moments.
        points: Number of quadrature points.
    """

    def __init__(
        self,
        logits: Tensor,
        location: Tensor,
        scale: Tensor,
        coefficients: Tensor,
        levels: int,
        exact_levels: int = 8,
        points: int = 128,
    ) -> None:
        self.exact_levels, self.points = exact_levels, points
        self.log_weight, self.levels, self.half = torch.log_softmax(logits, -3), levels, (levels - 1) / 2
        self.location, self.scale = location.unbind(-3), scale.unbind(-3)
        red_in_green, red_in_blue, green_in_blue = coefficients.unbind(-3)
        self.coefficients = ((), (red_in_green,), (red_in_blue, green_in_blue))
        super().__init__(location.shape[:-4], location.shape[-3:], validate_args=False)

    def channel(self, number: int, before: Sequence[Tensor]) -> DiscretizedLogisticDistribution:
        """Return p_k of a channel given the levels of the channels before it, with batch shape (..., K, H, W)."""
        location = self.location[number]
        for coefficient, level in zip(self.coefficients[number], before, strict=True):
            location = location + coefficient * (level / self.half - 1)
        scale = self.scale[number] * self.half
        return DiscretizedLogisticDistribution((location + 1) * self.half, scale.expand_as(location), self.levels)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of levels (..., 3, H, W)."""
        return self._log_pixels(value.unsqueeze(-4).unbind(-3)).logsumexp(-3).sum((-2, -1))

    def _log_pixels(self, color: Sequence[Tensor]) -> Tensor:
        """Return log w_k p_k (..., K, H, W) of the three channels together."""
        parts = (self.channel(i, color[:i]).log_prob(level) for i, level in enumerate(color))
        return sum(parts, self.log_weight)

    def _colors(self, uniform: Sequence[Tensor]) -> Tensor:
        """Map one uniform number per channel to each component's colors (..., K, 3, H, W)."""
        levels: list[Tensor] = []
        for number, u in enumerate(uniform):
            levels.append(self.channel(number, levels).icdf(u))
        return torch.stack(torch.broadcast_tensors(*levels), -3)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples (*sample_shape, ..., 3, H, W)."""
        like = self.log_weight.expand(*sample_shape, *self.log_weight.shape)
        colors = self._colors([torch.rand_like(like) for _ in range(3)])
        return choose(self.log_weight.unsqueeze(-3), colors, -4)

    @property
    def mean(self) -> Tensor:
        """The mean, (..., 3, H, W)."""
        return self._expectation(lambda colors: colors)

    @property
    def variance(self) -> Tensor:
        """The variance, (..., 3, H, W)."""
        mean = self.mean.unsqueeze(-4)
        return self._expectation(lambda colors: (colors - mean).square())

    def _expectation(self, of: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the expectation per channel of a function of colors, which broadcast with (..., K, 3, H, W)."""
        total = torch.zeros((), dtype=self.log_weight.dtype, device=self.log_weight.device)
        if self.levels <= self.exact_levels:
            for color in itertools.product(range(self.levels), repeat=3):
                levels = total.new_tensor(color)
                chance = self._log_pixels(levels.unbind()).exp().sum(-3)
                total = total + of(levels.reshape(1, 3, 1, 1)).squeeze(-4) * chance.unsqueeze(-3)
            return total
        weight = self.log_weight.exp().unsqueeze(-3)
        for point in torch.quasirandom.SobolEngine(3, scramble=True, seed=0).draw(self.points).to(total):
            total = total + (weight * of(self._colors(point.unbind()))).sum(-4) / self.points
        return total
