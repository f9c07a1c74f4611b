"""Finite scalar quantization: each number is rounded by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tightbound.core.errors import InputError, whole
from tightbound.quantizers.base import Nearest

_MARGIN = 1e-3  # of the range, beyond the outermost levels


class FiniteScalarQuantizer(Nearest):
    """Each number is bounded by tanh and rounded to one of a few levels: no codebook, no penalty, nothing collapses.

    Its vectors have as many numbers as there are level counts, each in [-1, 1], and it takes as many from the encoder.
    Level counts are odd or even; 0 is a level of both, and raw 0 is at the middle of it. The gradient goes straight
    through the rounding. A code numbers the levels in mixed radix, the first number's level counting ones.

    Arguments:
        levels: Number of levels of each number, 3 or more; their product is the number of entries.

    Raises:
        InputError: level counts that are no whole numbers of at least 3, or none.

    References:
        Finite scalar quantization: VQ-VAE made simple (Mentzer et al. 2023), Eqs. 1 and 2 and Appendix A.1, where the
        shift of even counts is written tan and has to be atanh; their Table 1 lists level counts for numbers of
        entries, https://arxiv.org/abs/2309.15505
    """

    levels: Tensor  # (size,)
    zero: Tensor  # (size,) the number of the level that is 0, in the precision of the model
    basis: Tensor  # (size,) what a level counts for in a code

    def __init__(self, levels: Sequence[int] = (8, 5, 5, 5)) -> None:
        if isinstance(levels, str) or not isinstance(levels, Sequence) or not levels:
            raise InputError(f"levels = {levels!r}; needed: a sequence of level counts, such as levels=(8, 5, 5, 5)")
        # of two levels, the shift that keeps 0 a level puts the other one out of an encoder's reach
        counts = [whole("levels", count, least=3) for count in levels]
        super().__init__(len(counts))
        self.codebook_size = math.prod(counts)
        self.register_buffer("levels", torch.tensor(counts), persistent=False)
        self.register_buffer("zero", (self.levels // 2).float(), persistent=False)
        self.register_buffer("basis", torch.tensor([math.prod(counts[:i]) for i in range(self.size)]), persistent=False)

    def to_vectors(self, raw: Tensor) -> Tensor:
        """tanh, scaled and shifted to the range of the levels and half of the distance to the next beyond."""
        half = (self.levels - 1).to(raw) / 2 * (1 + _MARGIN)
        offset = (1 - self.levels % 2).to(raw) / 2  # of an even count one more level lies below 0
        return (torch.tanh(raw + torch.atanh(offset / half)) * half - offset) / (self.levels // 2)

    def embed(self, indices: Tensor) -> Tensor:
        """(..., 1) -> (..., size)."""
        return (indices // self.basis % self.levels - self.zero) / self.zero

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """(..., size) -> (..., 1)."""
        zero = self.levels // 2
        level = ((vectors * zero).round() + zero).clamp_min(0).minimum(self.levels - 1)
        return (level.long() * self.basis).sum(-1, keepdim=True)
