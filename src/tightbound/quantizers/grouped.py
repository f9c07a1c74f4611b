"""Grouped quantization, which quantizes the parts of a vector separately."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent

from tightbound.core.errors import CompositionError, whole
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.quantizers.base import Quantization, Quantizer, as_quantizer


class Grouped(Quantizer):
    """Grouped quantizer: each of several equal parts of a vector has its own quantizer, and penalties are added.

    Args:
        size: Size of the whole vector.
        groups: Number of parts.
        of: Quantizer to construct for each part: an object, or text such as "vq(codebook_size=64)"; None: "vq".

    Raises:
        CompositionError: If `groups` does not divide the size, or the size of `of` is not that of a part.

    References:
        Product quantization for nearest neighbor search (Jegou et al. 2011), Section 2.2,
        https://doi.org/10.1109/TPAMI.2010.57; decomposed vector quantization (Kaiser et al. 2018), Section 3.2,
        https://arxiv.org/abs/1803.03382
    """

    nested: ClassVar = {"of": "quantizer"}

    def __init__(self, size: int = 16, groups: int = 2, of: Quantizer | str | None = None) -> None:
        super().__init__(size)
        groups = whole("groups", groups, least=1)
        if self.size % groups:
            near = groups * max(1, round(self.size / groups))
            raise CompositionError(f"size = {self.size} is not divisible into groups = {groups}; pass size={near}")
        chosen = as_quantizer("vq" if of is None else of)
        made = [chosen.with_size(self.size // groups) for _ in range(groups)]
        self.each, self.depth = nn.ModuleList(made), groups * chosen.depth
        self.codebook_size, self.schedules = chosen.codebook_size, chosen.schedules
        self.greedy, self.deterministic = chosen.greedy, chosen.deterministic

    @property
    def parts(self) -> list[Quantizer]:
        """The quantizer of each part."""
        return cast(list[Quantizer], list(self.each))

    @property
    def inputs(self) -> int:
        """Number of encoder outputs per position that all parts take."""
        return sum(q.inputs for q in self.parts)

    def split(self, numbers: Tensor) -> list[tuple[Quantizer, Tensor]]:
        """Return each quantizer with its part of the last axis."""
        return list(zip(self.parts, numbers.chunk(len(self.each), -1), strict=True))

    def forward(self, raw: Tensor, samples: int, noise: Noise, knobs: Knobs) -> Quantization:
        """Quantize all parts; the posterior is the product of theirs. See `Quantizer.forward`."""
        each = [q(part, samples, noise, knobs) for q, part in self.split(raw)]
        penalties = [one.penalty for one in each if one.penalty is not None]
        logits = [one.posterior.base_dist.logits for one in each if one.posterior is not None]
        vectors = [one.vectors for one in each if one.vectors is not None]
        product = Categorical(logits=torch.cat(logits, -2), validate_args=False) if logits else None
        return Quantization(
            torch.cat([one.z for one in each], -1),
            torch.cat([one.indices for one in each], -1),
            torch.stack(penalties).sum(0) if penalties else None,
            None if product is None else Independent(product, 2, validate_args=False),
            torch.cat(vectors, -1) if vectors else None,
        )

    def embed(self, indices: Tensor) -> Tensor:
        """Return the vectors (..., size) of code indices (..., depth)."""
        return torch.cat([q.embed(part) for q, part in self.split(indices)], -1)

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the code indices (..., depth) nearest to vectors (..., size)."""
        return torch.cat([q.nearest(part) for q, part in self.split(vectors)], -1)

    def encode(self, raw: Tensor) -> Tensor:
        """Return the code indices (B, P, depth) of all parts."""
        return torch.cat([q.encode(part) for q, part in self.split(raw)], -1)

    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance (B, P, size) of all parts."""
        means, variances = zip(*(q.moments(part) for q, part in self.split(raw)), strict=True)
        return torch.cat(means, -1), torch.cat(variances, -1)

    def start_at(self, raw: Tensor) -> None:
        """Initialize the codebook of each part."""
        for q, part in self.split(raw):
            q.start_at(part)
