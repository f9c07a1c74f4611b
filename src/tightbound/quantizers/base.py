"""The bases of quantizers: from vectors to integer codes, and back to vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent

from tightbound.components import signature
from tightbound.core.component import Component
from tightbound.core.errors import CompositionError, InputError, suggestion, whole
from tightbound.core.noise import Noise
from tightbound.core.numerics import unrounded
from tightbound.core.schedules import Knobs, Schedule
from tightbound.quantizers.gradients import GRADIENTS, with_gradient


@dataclass(frozen=True)
class Quantization:
    """What a quantizer makes of vectors. S samples, B data, P positions."""

    z: Tensor  # (S, B, P, size) the vectors of the codes, with a gradient to the numbers that came in
    indices: Tensor  # (S, B, P, depth) integers
    penalty: Tensor | None = None  # (S, B) to be minimized beside the bound: for what that has no gradient
    posterior: Independent | None = None  # q(codes | x), Independent(Categorical, 2): (B,), (P, depth); None: one code
    vectors: Tensor | None = None  # (B, P, size) what the codes are the nearest to; None: they were drawn

    def unfold(self, samples: int) -> Quantization:
        """What was made of (S B, P, inputs) at once, for each of these samples."""

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
    """Codes of vectors: `depth` integers 0 .. entries - 1 at each position, and a vector of `size` for these.

    In training, a call may move a codebook that is no parameter, after its result was computed: what an example gets
    never depends on the rest of its batch.

    Arguments:
        size: Of a vector that codes stand for.
    """

    codebook_size: int  # K, values that a code can take
    depth: int = 1  # codes at a position
    schedules: Mapping[str, Schedule] = {}
    unbounded: bool = False  # it takes the vectors themselves, anywhere: what it leaves of these can be quantized too
    deterministic: bool = False  # its codes are a function of the vectors: there is no posterior
    greedy: bool = False  # codes are found one after the other: `nearest` may miss the nearest vector of all

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.size = whole("size", size, least=1)

    @property
    def inputs(self) -> int:
        """Numbers at a position that it takes from the encoder."""
        return self.size

    @property
    def shared(self) -> bool:
        """Whether the codes of a position are of one codebook, not one each."""
        return self.depth == 1

    @abstractmethod
    def forward(self, raw: Tensor, samples: int, noise: Noise, knobs: Knobs) -> Quantization:
        """Quantizes raw numbers (B, P, inputs). In training, a codebook that is no parameter follows the data."""

    @abstractmethod
    def embed(self, indices: Tensor) -> Tensor:
        """Codes (..., depth) -> vectors (..., size)."""

    @abstractmethod
    def nearest(self, vectors: Tensor) -> Tensor:
        """Vectors (..., size) -> the codes (..., depth) whose vectors are nearest to them."""

    @abstractmethod
    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, size) mean and variance of the codes' vectors under q(codes | x), of raw numbers (B, P, inputs).
        Moves no codebook."""

    def encode(self, raw: Tensor) -> Tensor:
        """Raw numbers (B, P, inputs) -> the codes (B, P, depth) that stand for them: the nearest to the mean."""
        return self.nearest(self.moments(raw)[0])

    def project(self, vectors: Tensor) -> Tensor:
        """Vectors (..., size) -> those of the nearest codes; of a greedy quantizer, which may not find the codes that
        they are of, as they are."""
        return vectors if self.greedy else self.embed(self.nearest(vectors))

    def start_at(self, raw: Tensor) -> None:
        """Lets a codebook start at raw numbers (N, inputs) that an untrained encoder gives."""

    def with_size(self, size: int) -> Self:
        """A new one of the same arguments, for vectors of this size.

        Raises:
            CompositionError: where it was constructed for another size, or can have no other.
        """
        args, kwargs = self._given
        takes = signature(type(self))
        given = takes.bind(*args, **kwargs).arguments
        own = self.size if "size" in given or "size" not in takes.parameters else size
        if own != size:
            raise CompositionError(
                f"vectors of size {size} are to be quantized, and {type(self).__name__} has size {own}; "
                "give both the same size"
            )
        return type(self)(**given, **({"size": size} if "size" in takes.parameters and "size" not in given else {}))


class Nearest(Quantizer):
    """Quantizers whose code is the nearest one: log q(codes | x) = 0.

    Arguments:
        size: Of a vector.
        gradient: "straight-through" or "rotation": how that of z reaches the raw numbers.

    Raises:
        InputError: no such gradient.
    """

    deterministic = True

    def __init__(self, size: int = 16, gradient: str = "straight-through") -> None:
        super().__init__(size)
        if gradient not in GRADIENTS:
            raise InputError(f"gradient = {gradient!r}; {suggestion(str(gradient), GRADIENTS)}")
        self.gradient = gradient

    def to_vectors(self, raw: Tensor) -> Tensor:
        """Raw numbers (..., inputs) -> where they lie (..., size) among the vectors of codes."""
        return raw

    def assign(self, vectors: Tensor) -> Tensor:
        """The codes (..., depth) that the encoder's vectors (..., size) get."""
        return self.nearest(vectors)

    def candidates(self, vectors: Tensor, most: int) -> Tensor:
        """Vectors (..., size) -> codes (..., n, depth) of n near vectors, the nearest first: up to `most`."""
        return self.nearest(vectors).unsqueeze(-2)

    def penalty(self, vectors: Tensor, indices: Tensor) -> Tensor | None:
        """(B,) of vectors (B, P, size) and their codes (B, P, depth), summed over positions and dimensions."""
        return None

    def update_codebook(self, vectors: Tensor, indices: Tensor, noise: Noise) -> None:
        """Moves what is no parameter after vectors (B, P, size) and their codes (B, P, depth)."""

    def forward(self, raw: Tensor, samples: int, noise: Noise, knobs: Knobs) -> Quantization:
        """All samples are the same. In single precision at least, under autocast too."""
        with unrounded(raw.device.type):
            vectors = self.to_vectors(precise(raw))
            indices = self.assign(vectors)
            z = with_gradient(self.gradient, vectors, self.embed(indices).detach())
            penalty = self.penalty(vectors, indices)
            if self.training:
                self.update_codebook(vectors.detach(), indices, noise.branch())
        repeated = None if penalty is None else penalty.expand(samples, -1)
        indices = indices.expand(samples, *indices.shape)
        return Quantization(z.expand(samples, *z.shape), indices, repeated, vectors=vectors)

    @torch.no_grad()
    def encode(self, raw: Tensor) -> Tensor:
        """The codes themselves."""
        with unrounded(raw.device.type):
            return self.assign(self.to_vectors(precise(raw)))

    @torch.no_grad()
    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of the codes, and 0."""
        z = self.embed(self.encode(raw))
        return z, torch.zeros_like(z)


def precise(x: Tensor) -> Tensor:
    """In single precision, or more where it comes so."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
