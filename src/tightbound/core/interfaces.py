"""Bases of likelihoods, contexts and observations."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.component import Component
from tightbound.core.domain import CONTAINED, Domain
from tightbound.core.errors import InputError
from tightbound.core.noise import Noise
from tightbound.core.numerics import precise
from tightbound.core.terms import Batch


class Likelihood(Component, nn.Module, ABC):
    """p(x | features): a module whose call returns a distribution with event shape `shape`."""

    shape: tuple[int, ...]
    features: int | None  # size of the features it takes; None: they are the distribution's parameters
    outputs: int = 1  # numbers that the network gives for each element of x
    autoregressive: bool = False  # whether it can model all dependence of elements by itself, and leave features unused

    @property
    def elementwise(self) -> bool:
        """Whether the elements of x are independent given the features."""
        return False

    @property
    def narrower(self) -> Mapping[str, Any]:
        """Constructor arguments with which it would model less of that dependence by itself, or empty."""
        return {}

    @abstractmethod
    def forward(self, features: Tensor, context: Tensor | None = None) -> Distribution:
        """Map features (..., features) to a distribution with batch shape (...) and event shape `shape`."""

    def start_at(self, x: Tensor) -> None:
        """Initialize p(x | z) so that an untrained network gives about the marginals of targets x (N, *shape)."""

    @abstractmethod
    def check_domain(self, target: Domain) -> None:
        """Raise CompositionError, with the reason and the fix, if this is not a density on such targets."""


class Context(Component, nn.Module, ABC):
    """The variable c that x is conditioned on: p(x | c) = E_p(z | c) p(x | z, c)."""

    shape: tuple[int, ...]  # of one example's context
    description: ClassVar[str]  # such as "given the class label"; follows the name of what is bounded
    completes: ClassVar[bool] = False  # whether c is a part of x, so that the model completes the rest
    classes: int = 0  # number of class labels if c is one (0 .. classes - 1), else 0
    modeled: int | None = None  # number of elements of x that are left to the model; None: all

    @property
    def size(self) -> int:
        """Numbers in the context of an example."""
        return math.prod(self.shape)

    @abstractmethod
    def forward(self, seen: Batch) -> Batch:
        """Set `context` (B, *shape) of an observed batch, and `mask` if the context gives a part of x.

        Raises:
            InputError: The data lack what the context is made of.
        """

    @abstractmethod
    def encode(self, values: Tensor) -> Tensor:
        """Return the contexts (n, *shape) for values that a user names, such as class labels (n,).

        Raises:
            InputError: The values are of another kind.
        """

    def examples(self, n: int) -> Tensor:
        """Return up to n values for `encode`, to show the model with.

        Raises:
            InputError: No values are valid for all data.
        """
        raise InputError("this model is conditional; pass context=")


class Observation(Component, nn.Module, ABC):
    """The map from raw data to the encoder's input and the likelihood's target, and the measure."""

    source: Domain  # of the raw data
    target: Domain  # of what the likelihood sees
    target_name: str  # what the bound is a bound on
    counts_bits: bool = False  # whether bits/dim exist: the bound is one on the probability of discrete data
    not_a_likelihood: str | None = None  # the reason if the bound is not one on a likelihood of the data
    needs_index: bool = False  # whether its randomness is fixed by each example's index, in training as well
    error_unit: str = "squared units"
    no_bits: str = "bits of a density depend on the unit of x"  # the reason if there are no bits/dim
    header: Sequence[str] = ()  # names of the columns of a table
    words: Sequence[Sequence[str]] = ()  # the words that the numbers 0, 1, ... of each column stand for

    def check_source(self, domain: Domain) -> None:
        """Raise InputError if the model was made for raw data of another domain."""
        same = domain == self.source or (domain.levels is not None and domain.levels == self.source.levels)
        if not same and domain.kind not in CONTAINED.get(self.source.kind, ()):
            raise InputError(
                f"the model was made for {self.source} and the data are {domain}; "
                "convert the data, or pass domain=, levels= or kinds= when opening them"
            )

    @property
    def log_slope(self) -> float | Tensor:
        """log |d target / d raw| of each element, in nats: one number for all, or (*shape)."""
        return 0.0

    @property
    def error_scale(self) -> float | Tensor:
        """The unit of reconstruction errors, in raw units: one for all elements, or (*shape)."""
        return 1.0

    @property
    def metric(self) -> bool:
        """Whether distances between examples are meaningful; they are not between categories."""
        return True

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the encoder's input for data of this shape."""
        return shape

    def log_det(self, seen: Batch) -> Tensor | float:
        """Return log |det J| over the observed elements, (B,) or one number for all examples.

        log p(raw | z) = log p(target | z) + log |det J|.
        """
        if seen.mask is None and isinstance(self.log_slope, float):
            return self.log_slope * seen.x[0].numel()
        each = torch.as_tensor(self.log_slope).to(seen.x).expand_as(seen.x)
        return (each if seen.mask is None else each.masked_fill(~seen.mask, 0.0)).flatten(1).sum(1)

    @abstractmethod
    def forward(self, batch: Batch, noise: Noise, training: bool) -> Batch:
        """Set `input` and the target `x` of a raw batch in floating point.

        Random observations are fixed, by their own seed and each example's index, unless `training`.
        """

    @abstractmethod
    def restore(self, target: Tensor) -> Tensor:
        """Convert targets, or their means, to the units of the raw data."""

    def reference(self, raw: Tensor, seen: Batch) -> Tensor:
        """Return what a reconstruction is compared with, in the units of the raw data."""
        return raw

    def realized(self, raw: Tensor, seen: Batch, noise: Noise) -> Tensor:
        """Return what draws of p(x | z) are compared with, in the units of the raw data.

        These are the data as the likelihood sees them, with NaN for missing elements.
        """
        return self.restore(seen.x).where(~torch.isnan(raw), torch.nan)

    def error(self, restored: Tensor, raw: Tensor, seen: Batch) -> Tensor:
        """Return (B,) the mean squared error of observed elements in units of `error_scale`; NaN if none is."""
        squared = precise((restored - self.reference(raw, seen)) / self.error_scale).square()
        if seen.mask is not None:
            squared = squared.masked_fill(~seen.mask.to(squared.device), torch.nan)
        return squared.flatten(1).nanmean(1)
