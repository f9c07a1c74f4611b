"""The base of quantizers: from vectors to integer codes, and back to vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.errors import whole
from tightbound.core.noise import Noise
from tightbound.core.parts import Part
from tightbound.core.schedules import Knobs, Schedule


@dataclass(frozen=True)
class Quantized:
    """What a quantizer makes of vectors. S samples, B data, P positions."""

    z: Tensor  # (S, B, P, size) the vectors of the codes, with a gradient to the vectors that came in
    codes: Tensor  # (S, B, P, depth) integers
    penalty: Tensor | None = None  # (S, B) to be minimised beside the bound: for what that has no gradient
    posterior: Distribution | None = None  # q(codes | x), batch shape (B,), event shape (P, depth); None: one code


class Quantizer(Part, nn.Module, ABC):
    """Codes of vectors: `depth` integers 0 .. entries - 1 at each position, and a vector of `size` for these.

    Arguments:
        size: Of a vector that codes stand for.
    """

    entries: int  # K, values that a code can take
    depth: int = 1  # codes at a position
    schedules: Mapping[str, Schedule] = {}

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
    def forward(self, raw: Tensor, samples: int, noise: Noise, knobs: Knobs) -> Quantized:
        """Quantizes raw numbers (B, P, inputs). In training, a codebook that is no parameter follows the data."""

    @abstractmethod
    def embed(self, codes: Tensor) -> Tensor:
        """Codes (..., depth) -> vectors (..., size)."""

    @abstractmethod
    def nearest(self, vectors: Tensor) -> Tensor:
        """Vectors (..., size) -> the codes (..., depth) whose vectors are nearest to them."""

    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, size) mean and variance of the codes' vectors under q(codes | x), of raw numbers (B, P, inputs)."""
        z = self(raw, 1, Noise("moments"), Knobs.final(self.schedules)).z[0]
        return z, torch.zeros_like(z)

    def start_at(self, raw: Tensor) -> None:
        """Lets a codebook start at raw numbers (N, inputs) that an untrained encoder gives."""
