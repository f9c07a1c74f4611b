"""Hurdle likelihood, where one number recurs: it has a probability, and all other numbers have a density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.domain import REAL
from tightbound.core.noise import Noise, draw
from tightbound.core.terms import UncheckedDistribution, cycled
from tightbound.likelihoods.base import ElementwiseLikelihood, check_part
from tightbound.likelihoods.location_scale import Gaussian
from tightbound.nn.base import Network, Shape, as_sizes


class Hurdle(ElementwiseLikelihood):
    """Hurdle likelihood (two-part model): P(x = 0) = p, and a density (1 - p) f(x) of all other numbers x.

    The logit of p and the parameters of f come from the network. p(x) is a density with respect to the Lebesgue measure
    plus a point mass of 1 at 0.

    Args:
        shape, features, network: As for `ElementwiseLikelihood`.
        of: Likelihood of real numbers with density f, as an object constructed without a network, or as text. None: a
            Gaussian with a shared scale.

    Raises:
        InputError: If `of` names no likelihood.
        CompositionError: If `of` has a network, another shape or coupled elements, or is not a density of real numbers.

    References:
        Some statistical models for limited dependent variables (Cragg 1971), https://doi.org/10.2307/1909582;
        A two-part random-effects model for semicontinuous longitudinal data (Olsen and Schafer 2001),
        https://doi.org/10.1198/016214501753168389
    """

    domains = ("semicontinuous",)
    nested: ClassVar = {"of": "likelihood"}

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
        of: ElementwiseLikelihood | None = None,
    ) -> None:
        shape = as_sizes("shape", shape)
        of = Gaussian(shape) if of is None else of
        check_part(of, shape, "hurdle")
        of.check_domain(REAL)
        self.outputs = 1 + of.outputs
        super().__init__(shape, features, network)
        self.of = of

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution for raw outputs: the logit of P(x = 0), and then the parameters of the density."""
        axis = -1 - len(self.shape)
        logit, rest = raw.split([1, self.of.outputs], axis)
        return HurdleDistribution(logit.squeeze(axis), self.of.distribution(rest))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the logit of the smoothed share of zeros, and the parameters that fit the density to other numbers."""
        zero = x == 0
        logit = torch.logit((zero.sum(0).to(x) + 1) / (len(x) + 2))  # one zero and one other number are added
        return torch.cat([logit.unsqueeze(0), self.of.fit_marginals(cycled(x, ~zero))])

    def fit_learned(self, x: Tensor) -> None:
        """Fit the parameters of the density that the network does not predict to the numbers that are not 0."""
        self.of.fit_learned(cycled(x, x != 0))


class HurdleDistribution(UncheckedDistribution):
    """Distribution with probability sigmoid(logit) at 0, and a density of other numbers.

    Args:
        logits: Logits of P(x = 0), (...).
        density: Density of the other numbers, batch shape (...).
    """

    def __init__(self, logits: Tensor, density: Distribution) -> None:
        self.logits, self.density = logits, density
        super().__init__(logits.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of 0, and the log-density of other numbers."""
        other = F.logsigmoid(-self.logits) + self.density.log_prob(value)
        return torch.where(value == 0, F.logsigmoid(self.logits), other)

    @property
    def mean(self) -> Tensor:
        """E[x] = (1 - p) m, for the density's mean m."""
        return torch.sigmoid(-self.logits) * self.density.mean

    @property
    def variance(self) -> Tensor:
        """Var[x] = (1 - p) (v + p m^2), for the density's mean m and variance v."""
        spread = self.density.variance + torch.sigmoid(self.logits) * self.density.mean.square()
        return torch.sigmoid(-self.logits) * spread


@draw.register
def _(distribution: HurdleDistribution, samples: Sequence[int], noise: Noise) -> Tensor:
    other = draw(distribution.density, samples, noise)
    zero = noise.uniform((*samples, *distribution.batch_shape), distribution.logits) < distribution.logits.sigmoid()
    return other.masked_fill(zero, 0.0)
