"""Mixtures of any family, element by element."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution
from torch.distributions.constraints import Constraint

from tightbound.core.domain import Domain
from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.likelihoods.location_scale import Gaussian
from tightbound.nn.base import Architecture, as_sizes

_SORTED = 1000  # data that the components start at


class Mixture(ElementwiseLikelihood):
    """sum_k w_k p_k(x) for each element, with weights and each component's parameters from the network.

    Arguments:
        of: The family of the components, constructed without a network: an object, or as text
            "mixture(of='student-t(df=4.0)')". What it learns beside the network, such as a shared scale, its
            components share; None: a Gaussian with a shared scale.
        components: Their number K.

    Raises:
        InputError: no such family.
        CompositionError: one with a network, of another shape, or whose elements are coupled.

    References:
        Mixture density networks (Bishop 1994), Eqs. 21 and 22,
        https://publications.aston.ac.uk/id/eprint/373
    """

    nested: ClassVar = {"of": "likelihood"}  # arguments that are parts

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        features: int | None = None,
        network: Architecture | nn.Module | None = None,
        of: ElementwiseLikelihood | None = None,
        components: int = 3,
    ) -> None:
        shape = as_sizes("shape", shape)
        of = Gaussian(shape) if of is None else of
        if not isinstance(of, ElementwiseLikelihood):
            raise InputError(f"of = {of!r}; needed: a likelihood of independent elements, such as of='gaussian'")
        if of.network is not None or of.event_dims or of.shape != shape:
            raise CompositionError(
                f"mixture takes a family of independent elements, of shape {shape} and without a network, and "
                f"{type(of).__name__} has shape {of.shape}, {of.event_dims} coupled dimensions and "
                f"{'no' if of.network is None else 'a'} network; construct it with the shape alone"
            )
        self.components = whole("components", components, least=1)
        self.outputs = self.components * (1 + of.outputs)
        super().__init__(shape, features, network)
        self.of, self.domains, self.levels, self.includes_endpoints = of, of.domains, of.levels, of.includes_endpoints

    def check_domain(self, target: Domain) -> None:
        """Refuses what the family refuses."""
        self.of.check_domain(target)

    def distribution(self, raw: Tensor) -> Distribution:
        """Logits of the weights, then the parameters of one component after the other."""
        axis = -1 - len(self.shape)
        logits, rest = raw.split([self.components, self.outputs - self.components], axis)
        parts = self.of.distribution(rest.unflatten(axis, (self.components, self.of.outputs)))
        return MixtureDistribution(logits, parts, len(self.shape))

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Equal weights; each component at its share of the sorted values of each element."""
        shares = x[:_SORTED].sort(0).values.tensor_split(self.components)
        if len(x) < self.components:
            shares = [x] * self.components
        return torch.cat(
            [x.new_zeros(self.components, *self.shape), *(self.of.fit_marginals(share) for share in shares)]
        )

    def fit_learned(self, x: Tensor) -> None:
        """As the family does for all data."""
        self.of.fit_learned(x)


class MixtureDistribution(Distribution):
    """sum_k w_k p_k(x).

    Arguments:
        logits: (..., K, *shape), of the weights.
        components: The p_k, batch shape (..., K, *shape).
        dims: Number of dimensions of `shape`.
    """

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """None are checked here."""
        return {}

    def __init__(self, logits: Tensor, components: Distribution, dims: int) -> None:
        self.axis = -1 - dims
        self.log_weight, self.components = torch.log_softmax(logits, self.axis), components
        super().__init__(logits.select(self.axis, 0).shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """log sum_k w_k p_k(x)."""
        return torch.logsumexp(self.log_weight + self.components.log_prob(value.unsqueeze(self.axis)), self.axis)

    @property
    def mean(self) -> Tensor:
        """sum_k w_k m_k."""
        return (self.log_weight.exp() * self.components.mean).sum(self.axis)

    @property
    def variance(self) -> Tensor:
        """sum_k w_k (v_k + (m_k - mean)^2)."""
        centers = self.components.mean
        mean = (self.log_weight.exp() * centers).sum(self.axis, keepdim=True)
        return (self.log_weight.exp() * (self.components.variance + (centers - mean).square())).sum(self.axis)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """(*sample_shape, ...)."""
        return choose(self.log_weight, self.components.sample(torch.Size(sample_shape)), self.axis)


def choose(log_weight: Tensor, draws: Tensor, axis: int) -> Tensor:
    """Of draws (S, ..., K, *shape), K at the negative axis, one for each element by the weights (..., K, *shape),
    and the same one along dimensions in which the weights have size 1."""
    samples = draws.shape[: draws.dim() - log_weight.dim()]
    index = Categorical(logits=log_weight.movedim(axis, -1), validate_args=False).sample(samples).unsqueeze(-1)
    last = draws.movedim(axis, -1)
    return last.gather(-1, index.expand(*last.shape[:-1], 1)).squeeze(-1)
