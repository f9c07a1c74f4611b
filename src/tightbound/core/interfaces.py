"""Base classes of likelihoods, contexts and observations."""

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
from tightbound.core.schema import Schema
from tightbound.core.terms import Batch


class Likelihood(Component, nn.Module, ABC):
    """p(x | features): a module whose call returns a distribution with event shape `shape`."""

    shape: tuple[int, ...]
    features: int | None  # size of the input features; None: the features are the distribution's parameters
    outputs: int = 1  # number of network outputs per element of x
    autoregressive: bool = False  # whether it can model all dependence between elements of x and so ignore the features
    given: str = ""  # such as "given the total count", if p(x | z) is given a number that is a function of x

    @property
    def elementwise(self) -> bool:
        """Whether the elements of x are independent given the features."""
        return False

    @property
    def narrower(self) -> Mapping[str, Any]:
        """Constructor arguments that make an autoregressive likelihood model less of that dependence; may be empty."""
        return {}

    @abstractmethod
    def forward(self, features: Tensor, context: Tensor | None = None) -> Distribution:
        """Map features (..., features) to a distribution with batch shape (...) and event shape `shape`."""

    def offset(self, seen: Batch) -> Tensor | None:
        """Return the number (B,) that p(x | z) is conditioned on for each observed example; None if there is none."""
        return None

    def at(self, p: Distribution, offset: Tensor) -> Distribution:
        """Return the distribution at these offsets (B,), given p, the distribution at a typical offset."""
        raise NotImplementedError

    def learn_offsets(self, offset: Tensor) -> None:
        """Fit the distribution of offsets to those (N,) of training examples, for decoding and sampling."""

    def draw_offset(self, n: int, noise: Noise) -> Tensor | None:
        """Draw offsets (n,) from the distribution of the training examples; None if there are none."""
        return None

    def start_at(self, x: Tensor) -> None:
        """Initialize p(x | z) to approximately the marginals of targets x (N, *shape), for an untrained network."""

    @abstractmethod
    def check_domain(self, target: Domain) -> None:
        """Raise CompositionError, with the reason and the fix, if this is not a density on such targets."""


class Context(Component, nn.Module, ABC):
    """Variable c that x is conditioned on: p(x | c) = E_p(z | c) p(x | z, c)."""

    shape: tuple[int, ...]  # shape of one example's context
    description: ClassVar[str]  # such as "given the class label"; appended to the name of the bounded quantity
    completes: ClassVar[bool] = False  # whether c is a part of x, so that the model completes the rest
    partial: ClassVar[bool] = False  # whether c may be unknown for some examples (label -1)
    classes: int = 0  # number of class labels if c is one (0 .. classes - 1), else 0
    modeled: int | None = None  # number of elements of x that the model explains; None: all

    @property
    def size(self) -> int:
        """Number of values in the context of an example."""
        return math.prod(self.shape)

    @abstractmethod
    def forward(self, seen: Batch) -> Batch:
        """Set `context` (B, *shape) of an observed batch, and `mask` if the context is a part of x.

        Raises:
            InputError: The data lack what the context is computed from.
        """

    @abstractmethod
    def encode(self, values: Tensor) -> Tensor:
        """Return the contexts (n, *shape) of values that a user passes, such as class labels (n,).

        Raises:
            InputError: The values are of the wrong kind.
        """

    def start_at(self, raw: Batch) -> None:
        """Initialize the context from raw training examples, if it needs them."""

    def numbers(self, values: Any, schema: Schema) -> Any:
        """Convert values that a user passes to numbers for `encode`, such as names of classes to class numbers."""
        words = [values] if isinstance(values, str) else values
        if not self.classes and isinstance(words, Sequence) and any(isinstance(value, str) for value in words):
            raise InputError(f"context= {values!r} holds words, and the model is not conditioned on classes")
        return schema.class_numbers(values)

    def examples(self, n: int) -> Tensor:
        """Return up to n values for `encode`, with which a report can show the model.

        Raises:
            InputError: No value is valid for all data.
        """
        raise InputError("this model is conditional; pass context=")


class Observation(Component, nn.Module, ABC):
    """Map from raw data to the encoder's input and the likelihood's target, with its change of measure."""

    source: Domain  # domain of the raw data
    target: Domain  # domain of the likelihood's target
    target_name: str  # the quantity that is bounded, in words
    counts_bits: bool = False  # whether bits/dim are defined, because the bound is on the probability of discrete data
    not_a_likelihood: str | None = None  # why the objective is not a bound on a likelihood of the data
    needs_index: bool = False  # whether each example's position in the data fixes its randomness, even in training
    error_unit: str = "squared units"
    no_bits: str = "bits of a density depend on the unit of x"  # the reason why bits/dim are undefined, if they are
    words: Sequence[Sequence[str]] = ()  # for each column, the words that its numbers 0, 1, ... stand for

    def check_source(self, domain: Domain) -> None:
        """Raise InputError if the model was built for raw data of another domain."""
        same = self.source in (domain, domain.plain) or (
            domain.levels is not None and domain.levels == self.source.levels
        )
        contained = (domain.plain or domain).kind in CONTAINED.get(self.source.kind, ()) and domain.given != "shares"
        if not same and not contained:
            raise InputError(
                f"the model was built for {self.source} and the data are {domain};  "
                "convert the data, or pass domain=, levels= or kinds= when opening them"
            )

    def normalize(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Replace the `mean` and `std` that the constructor took, for an observation that has them."""

    def start_at(self, seen: Batch) -> None:
        """Initialize from an observed batch, for an observation that fits more than `normalize` sets."""

    def numbers(self, seen: Batch) -> tuple[Tensor, Tensor]:
        """Return what the encoder sees of x as numbers (B, F), and which of them are known (B, F)."""
        assert seen.input is not None
        x = seen.input.flatten(1)
        return x, torch.ones_like(x, dtype=torch.bool)

    @property
    def log_slope(self) -> float | Tensor:
        """log |d target / d raw| of each element, in nats: one number for all elements, or (*shape)."""
        return 0.0

    @property
    def error_scale(self) -> float | Tensor:
        """The unit of reconstruction errors, in raw units: one number for all elements, or (*shape)."""
        return 1.0

    @property
    def metric(self) -> bool:
        """Whether distances between examples are meaningful; between categories they are not."""
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
        """Set `input` and the target `x` of a raw batch, in floating point.

        Unless `training`, a random observation is fixed by its own seed and each example's `Batch.origins`.
        """

    @abstractmethod
    def restore(self, target: Tensor) -> Tensor:
        """Convert targets, or means of targets, to the units of the raw data."""

    def deviations(self, x: Tensor) -> Tensor:
        """Return how many standard deviations raw data (..., *shape) lie above the mean of the training data.

        It is 0 where the model does not standardize the data.
        """
        return torch.zeros_like(x)

    def possible(self, x: Tensor) -> Tensor:
        """Return restored means (N, *shape) as users see them, moved to numbers that the data can hold."""
        return x

    def reference(self, raw: Tensor, seen: Batch) -> Tensor:
        """Return the values to compare a reconstruction with, in the units of the raw data."""
        return raw

    def realized(self, raw: Tensor, seen: Batch, noise: Noise) -> Tensor:
        """Return the values to compare draws from p(x | z) with, in the units of the raw data.

        These are the likelihood's targets, with NaN for missing elements.
        """
        return self.restore(seen.x).where(~torch.isnan(raw), torch.nan)

    def error(self, restored: Tensor, raw: Tensor, seen: Batch) -> Tensor:
        """Return the mean squared error (B,) of observed elements in units of `error_scale`; NaN without any."""
        squared = precise((restored - self.reference(raw, seen)) / self.error_scale).square()
        if seen.mask is not None:
            squared = squared.masked_fill(~seen.mask.to(squared.device), torch.nan)
        return squared.flatten(1).nanmean(1)
