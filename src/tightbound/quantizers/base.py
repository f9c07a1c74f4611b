"""Base classes of quantizers, which map vectors to code indices and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent

from tightbound.components import make, signature
from tightbound.core.component import Component
from tightbound.core.errors import CompositionError, InputError, suggestion, whole
from tightbound.core.noise import Noise
from tightbound.core.numerics import unrounded
from tightbound.core.schedules import Knobs, Schedule
from tightbound.quantizers.gradients import GRADIENTS, with_gradient


@dataclass(frozen=True)
class Quantization:
    """Result of a quantizer for S samples, B examples and P positions."""

    z: Tensor  # (S, B, P, size) vectors of the code indices, with a gradient to the encoder's outputs
    indices: Tensor  # (S, B, P, depth) code indices
    penalty: Tensor | None = None  # (S, B) minimized too, for parameters that get no gradient from the bound
    posterior: Independent | None = None  # q(indices | x), Independent(Categorical, 2); None: deterministic
    vectors: Tensor | None = None  # (B, P, size) vectors whose nearest indices these are; None: indices were drawn

    def unfold(self, samples: int) -> Quantization:
        """Split the result for inputs (S B, P, inputs) into S samples."""

        def each(value: Tensor) -> Tensor:
            return value.squeeze(0).unflatten(0, (samples, -1))

        q = self.posterior
        if q is not None:
            logits = q.base_dist.logits.unflatten(0, (samples, -1))
            q = Independent(Categorical(logits=logits, validate_args=False), 2, validate_args=False)
        penalty = None if self.penalty is None else each(self.penalty)
        vectors = None if self.vectors is None else self.vectors.unflatten(0, (samples, -1))
        return Quantization(each(self.z), each(self.indices), penalty, q, vectors)


class Quantizer(Component, nn.Module, ABC):
    """Base class of maps from vectors to code indices and back.

    Each position has `depth` indices 0 .. codebook_size - 1, which select a vector of `size` elements. In training, a
    call may update a codebook that is not a parameter, but only after computing the result, so an example's result
    never depends on the rest of its batch.

    Args:
        size: Size of the quantized vector.
    """

    codebook_size: int  # number of values K of an index
    depth: int = 1  # number of indices per position
    schedules: Mapping[str, Schedule] = {}
    unbounded: bool = False  # whether code vectors can lie anywhere, so that a residual can be quantized again
    deterministic: bool = False  # whether the indices are a function of the vectors, without a posterior
    greedy: bool = False  # whether indices are found one after another, so that `nearest` may miss the nearest

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.size = whole("size", size, least=1)

    @property
    def inputs(self) -> int:
        """Number of encoder outputs per position that the quantizer takes."""
        return self.size

    @property
    def shared(self) -> bool:
        """Whether all indices of a position share one codebook."""
        return self.depth == 1

    @abstractmethod
    def forward(self, raw: Tensor, samples: int, noise: Noise, knobs: Knobs) -> Quantization:
        """Quantize the encoder's outputs, and in training update a codebook that is not a parameter.

        Args:
            raw: Outputs of the encoder, (B, P, inputs).
            samples: Number of samples S.
            noise: Source of random numbers.
            knobs: Current values of the schedules.
        """

    @abstractmethod
    def embed(self, indices: Tensor) -> Tensor:
        """Return the vectors (..., size) of code indices (..., depth)."""

    @abstractmethod
    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the code indices (..., depth) whose vectors are nearest to vectors (..., size)."""

    @abstractmethod
    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance (B, P, size) of the vectors under q(indices | x), without changing a codebook.

        Args:
            raw: Outputs of the encoder, (B, P, inputs).
        """

    def encode(self, raw: Tensor) -> Tensor:
        """Return the code indices (B, P, depth) nearest to the mean, for the encoder's outputs (B, P, inputs)."""
        return self.nearest(self.moments(raw)[0])

    def project(self, vectors: Tensor) -> Tensor:
        """Return the code vectors nearest to vectors (..., size); a greedy quantizer returns them unchanged.

        A greedy quantizer may fail to find the indices of a vector that can be represented exactly.
        """
        return vectors if self.greedy else self.embed(self.nearest(vectors))

    def start_at(self, raw: Tensor) -> None:
        """Initialize the codebook from outputs (N, inputs) of an untrained encoder."""

    def with_size(self, size: int) -> Self:
        """Return a new quantizer with the same arguments, for vectors of this size.

        Raises:
            CompositionError: If it was constructed for another size, or its size is fixed.
        """
        args, kwargs = self._given
        takes = signature(type(self))
        given = takes.bind(*args, **kwargs).arguments
        own = self.size if "size" in given or "size" not in takes.parameters else size
        if own != size:
            raise CompositionError(
                f"the vectors have size {size} and {type(self).__name__} has size = {own}; make the sizes equal"
            )
        return type(self)(**given, **({"size": size} if "size" in takes.parameters and "size" not in given else {}))


class Nearest(Quantizer):
    """Base class of quantizers that choose the nearest vector, so that log q(indices | x) = 0.

    Args:
        size: Size of the quantized vector.
        gradient: "straight-through" or "rotation": how the gradient of z reaches the encoder's outputs.

    Raises:
        InputError: If the gradient is unknown.
    """

    deterministic = True

    def __init__(self, size: int = 16, gradient: str = "straight-through") -> None:
        super().__init__(size)
        if gradient not in GRADIENTS:
            raise InputError(f"gradient = {gradient!r} is unknown; {suggestion(str(gradient), GRADIENTS)}")
        self.gradient = gradient

    def to_vectors(self, raw: Tensor) -> Tensor:
        """Map the encoder's outputs (..., inputs) to vectors (..., size) in the space of the codebook."""
        return raw

    def assign(self, vectors: Tensor) -> Tensor:
        """Return the code indices (..., depth) for the encoder's vectors (..., size)."""
        return self.nearest(vectors)

    def candidates(self, vectors: Tensor, n: int) -> Tensor:
        """Return up to `n` code indices (..., n, depth) near vectors (..., size), nearest first."""
        return self.nearest(vectors).unsqueeze(-2)

    def penalty(self, vectors: Tensor, indices: Tensor) -> Tensor | None:
        """Return the penalty (B,), summed over positions, for vectors (B, P, size) and their indices (B, P, depth)."""
        return None

    def update_codebook(self, vectors: Tensor, indices: Tensor, noise: Noise) -> None:
        """Update a codebook that is not a parameter, with vectors (B, P, size) and their indices (B, P, depth)."""

    def forward(self, raw: Tensor, samples: int, noise: Noise, knobs: Knobs) -> Quantization:
        """Quantize in at least float32, even under autocast; all samples are equal. See `Quantizer.forward`."""
        with unrounded(raw.device.type):
            vectors = self.to_vectors(precise(raw))
            indices = self.assign(vectors)
            z = with_gradient(self.gradient, vectors, self.embed(indices).detach())
            penalty = self.penalty(vectors, indices)
            if self.training:
                noise.once(self.update_codebook, vectors.detach(), indices)
        repeated = None if penalty is None else penalty.expand(samples, -1)
        indices = indices.expand(samples, *indices.shape)
        return Quantization(z.expand(samples, *z.shape), indices, repeated, vectors=vectors)

    @torch.no_grad()
    def encode(self, raw: Tensor) -> Tensor:
        """Return the code indices (B, P, depth) for the encoder's outputs (B, P, inputs)."""
        with unrounded(raw.device.type):
            return self.assign(self.to_vectors(precise(raw)))

    @torch.no_grad()
    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of the indices, and zero variance."""
        z = self.embed(self.encode(raw))
        return z, torch.zeros_like(z)


def precise(x: Tensor) -> Tensor:
    """Return x in at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def as_quantizer(given: Quantizer | str) -> Quantizer:
    """Return a quantizer, given as an object or as text.

    Raises:
        InputError: If the value is neither.
    """
    found = make("quantizer", given) if isinstance(given, str) else given
    if not isinstance(found, Quantizer):
        raise InputError(f"of = {given!r}; needed: a quantizer, such as of='vq(codebook_size=256)'")
    return found
