"""Code indices of examples, as methods of `tightbound.Trained`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.data.given import Source
from tightbound.inference import infer
from tightbound.inference.infer import Values
from tightbound.latents.codes import needs_codes

if TYPE_CHECKING:
    from tightbound.core.model import VAE
    from tightbound.data import Split


class UniqueIndices(NamedTuple):
    """Code indices of N examples, and a number that distinguishes examples with equal code indices."""

    ids: Tensor  # (N, D + 1) code indices of all levels, lowest level first, and the number 0, 1, ... of the copy
    repeated: int  # number of examples whose code indices are those of an earlier example

    @classmethod
    def of(cls, levels: Sequence[Tensor]) -> UniqueIndices:
        """Number the examples with equal code indices, in their order, for code indices (N, ...) of each level."""
        indices = torch.cat([own.flatten(1) for own in levels], 1)
        _, group, sizes = torch.unique(indices, dim=0, return_inverse=True, return_counts=True)
        order = group.argsort(stable=True)
        within = torch.arange(len(group)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        copy = torch.empty_like(within).scatter_(0, order, within)
        return cls(torch.cat([indices, copy.unsqueeze(1).to(indices)], 1), int((copy > 0).sum()))


class IndexMethods:
    """Methods of `tightbound.Trained` that encode examples to code indices, and decode these."""

    model: VAE

    if TYPE_CHECKING:

        def _examples(self, data: Source) -> Split: ...
        def _in_form(self, x: Tensor, given: Source | None = None) -> Tensor: ...

    def code_indices(self, data: Source, *, draw: bool = False, seed: int = 0) -> list[Tensor]:
        """Return the code indices of each level of quantized latents, lowest level first.

        Args:
            data: Examples, in any form.
            draw: Draw from q(indices | x) if it is not deterministic.
            seed: Random seed.

        Returns:
            Code indices (N, H, W) for each level, or (N, H, W, depth) if a position has several.

        Raises:
            CompositionError: If the latents are not quantized.
        """
        levels = infer.code_indices(self.model, self._examples(data), draw=draw, seed=seed).levels
        tables = needs_codes(self.model.latents).code_grids
        return [own.view(-1, *table.plane) for own, table in zip(levels, tables, strict=True)]

    def unique_indices(self, data: Source, *, draw: bool = False, seed: int = 0) -> UniqueIndices:
        """Return different code indices for all examples: examples with equal ones are numbered 0, 1, ...

        The number of an example depends on the examples before it, so the ids of a catalog are made in one call.

        Args:
            data: Examples, in any form.
            draw: Draw from q(indices | x) if it is not deterministic.
            seed: Random seed.

        Raises:
            CompositionError: If the latents are not quantized.

        References:
            Semantic ids: TIGER (Rajput et al. 2023), Section 3.1, https://arxiv.org/abs/2305.05065
        """
        return UniqueIndices.of(infer.code_indices(self.model, self._examples(data), draw=draw, seed=seed).levels)

    def decode_indices(
        self,
        indices: Sequence[Tensor | np.ndarray[Any, Any]],
        *,
        context: Values | None = None,
        draw: bool = False,
        seed: int = 0,
    ) -> Tensor:
        """Return E[x | indices] (N, *shape) for code indices, or with `draw` one draw from p(x | indices) each.

        Args:
            indices: Code indices of each level, as `code_indices` returns them.
            context: As for `decode`.
            draw: Draw x instead of using its mean.
            seed: Random seed.

        Raises:
            InputError: If the indices have the wrong shape or are out of range.
            CompositionError: If the latents are not quantized.
        """
        contexts = infer.contexts(self.model, len(indices[0]) if len(indices) else 0, context, in_turn=False)
        return self._in_form(infer.decode_indices(self.model, indices, context=contexts, draw=draw, seed=seed))
