"""Finite scalar quantization, which rounds each element separately."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tightbound.core.errors import InputError, whole
from tightbound.quantizers.base import Nearest

_MARGIN = 1e-3  # relative extension of the range beyond the outermost levels


class FiniteScalarQuantizer(Nearest):
    """Finite scalar quantizer, which bounds each element by tanh and rounds it to one of a few levels.

    It has no codebook and no penalty, and cannot collapse. A vector has one element in [-1, 1] per level count, and the
    encoder gives as many outputs. Level counts can be odd or even; 0 is always a level, and an output of 0 lies at its
    center. The gradient of the rounding is straight-through. The code index counts the levels in mixed radix, with the
    level of the first element as units.

    Args:
        levels: Number of levels of each element, at least 3; their product is the codebook size.

    Raises:
        InputError: If the level counts are not a sequence of integers of at least 3.

    References:
        Finite scalar quantization: VQ-VAE made simple (Mentzer et al. 2023), Eqs. 1 and 2 and Appendix A.1, where the
            shift of even counts is printed as tan and should be atanh; Table 1 lists level counts for codebook sizes,
            https://arxiv.org/abs/2309.15505
    """

    levels: Tensor  # (size,)
    zero: Tensor  # (size,) index of the level that is 0, in the precision of the model
    basis: Tensor  # (size,) weight of a level in the code index

    def __init__(self, levels: Sequence[int] = (8, 5, 5, 5)) -> None:
        if isinstance(levels, str) or not isinstance(levels, Sequence) or not levels:
            raise InputError(f"levels = {levels!r}; needed: a sequence of level counts, such as levels=(8, 5, 5, 5)")
        # with two levels, the shift that makes 0 a level would put the other level out of reach
        counts = [whole("levels", count, least=3) for count in levels]
        super().__init__(len(counts))
        self.codebook_size = math.prod(counts)
        self.register_buffer("levels", torch.tensor(counts), persistent=False)
        self.register_buffer("zero", (self.levels // 2).float(), persistent=False)
        self.register_buffer("basis", torch.tensor([math.prod(counts[:i]) for i in range(self.size)]), persistent=False)

    def to_vectors(self, raw: Tensor) -> Tensor:
        """Apply tanh, and scale and shift to the range of the levels, extended by half the distance between levels."""
        half = (self.levels - 1).to(raw) / 2 * (1 + _MARGIN)
        offset = (1 - self.levels % 2).to(raw) / 2  # an even count has one more level below 0
        return (torch.tanh(raw + torch.atanh(offset / half)) * half - offset) / (self.levels // 2)

    def embed(self, indices: Tensor) -> Tensor:
        """Return the vectors (..., size) of code indices (..., 1)."""
        return (indices // self.basis % self.levels - self.zero) / self.zero

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the code indices (..., 1) nearest to vectors (..., size)."""
        zero = self.levels // 2
        level = ((vectors * zero).round() + zero).clamp_min(0).minimum(self.levels - 1)
        return (level.long() * self.basis).sum(-1, keepdim=True)
