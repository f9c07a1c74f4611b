"""Mixtures of any family of independent elements."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from tightbound.core.domain import Domain
from tightbound.core.errors import whole
from tightbound.core.terms import UncheckedDistribution
from tightbound.likelihoods.base import ElementwiseLikelihood, check_part
from tightbound.likelihoods.location_scale import Gaussian
from tightbound.nn.base import Network, Shape, as_sizes


class Mixture(ElementwiseLikelihood):
    """Mixture likelihood sum_k w_k p_k(x) for each element, with weights and component parameters from the network.

    Args:
        shape, features, network: As for `ElementwiseLikelihood`.
        of: Family of the components, as an object constructed without a network, or as text:
            "mixture(of='student-t(df=4.0)')". The components share parameters outside the network, such as a shared
            scale. None: a Gaussian with a shared scale.
        components: Number of components K.

    Raises:
        InputError: If there is no such family.
        CompositionError: If the family has a network, another shape, or coupled elements.

    References:
        Mixture density networks (Bishop 1994), Eqs. 21 and 22, https://publications.aston.ac.uk/id/eprint/373
    """

    nested: ClassVar = {"of": "likelihood"}
    start_examples: ClassVar[int] = 1000  # number of examples that the components are fitted to at the start

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
        of: ElementwiseLikelihood | None = None,
        components: int = 3,
    ) -> None:
        shape = as_sizes("shape", shape)
        of = Gaussian(shape) if of is None else of
        check_part(of, shape, "mixture")
        self.components = whole("components", components, least=1)
        self.outputs = self.components * (1 + of.outputs)
        super().__init__(shape, features, network)
        self.of, self.domains, self.levels, self.includes_endpoints = of, of.domains, of.levels, of.includes_endpoints

    def check_domain(self, target: Domain) -> None:
        """Raise CompositionError if the family is not a density on the targets' domain."""
        self.of.check_domain(target)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the mixture at the logits of the weights, followed by the parameters of each component."""
        axis = -1 - len(self.shape)
        logits, rest = raw.split([self.components, self.outputs - self.components], axis)
        parts = self.of.distribution(rest.unflatten(axis, (self.components, self.of.outputs)))
        return MixtureDistribution(logits, parts, len(self.shape))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return equal weights, and components each fitted to one part of the sorted values of each element."""
        shares = x[: self.start_examples].sort(0).values.tensor_split(self.components)
        if len(x) < self.components:
            shares = [x] * self.components
        return torch.cat(
            [x.new_zeros(self.components, *self.shape), *(self.of.fit_marginals(share) for share in shares)]
        )

    def fit_learned(self, x: Tensor) -> None:
        """Fit the family's parameters outside the network to all targets."""
        self.of.fit_learned(x)


class MixtureDistribution(UncheckedDistribution):
    """Mixture distribution sum_k w_k p_k(x).

    Args:
        logits: Logits of the weights, (..., K, *shape).
        components: The p_k, with batch shape (..., K, *shape).
        dims: Number of dimensions of `shape`.
    """

    def __init__(self, logits: Tensor, components: Distribution, dims: int) -> None:
        self.axis = -1 - dims
        self.log_weight, self.components = torch.log_softmax(logits, self.axis), components
        super().__init__(logits.select(self.axis, 0).shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log sum_k w_k p_k(x)."""
        return torch.logsumexp(self.log_weight + self.components.log_prob(value.unsqueeze(self.axis)), self.axis)

    @property
    def mean(self) -> Tensor:
        """The mean sum_k w_k m_k."""
        return (self.log_weight.exp() * self.components.mean).sum(self.axis)

    @property
    def variance(self) -> Tensor:
        """The variance sum_k w_k (v_k + (m_k - mean)^2)."""
        centers = self.components.mean
        mean = (self.log_weight.exp() * centers).sum(self.axis, keepdim=True)
        return (self.log_weight.exp() * (self.components.variance + (centers - mean).square())).sum(self.axis)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples (*sample_shape, ...)."""
        return choose(self.log_weight, self.components.sample(torch.Size(sample_shape)), self.axis)


def choose(log_weight: Tensor, draws: Tensor, axis: int) -> Tensor:
    """Choose one of K draws (S, ..., K, *shape) for each element at random, with weights (..., K, *shape).

    `axis` is the negative index of K. Along dimensions where the weights have size 1, all elements share the choice.
    """
    samples = draws.shape[: draws.dim() - log_weight.dim()]
    index = Categorical(logits=log_weight.movedim(axis, -1), validate_args=False).sample(samples).unsqueeze(-1)
    last = draws.movedim(axis, -1)
    return last.gather(-1, index.expand(*last.shape[:-1], 1)).squeeze(-1)
