"""Residual quantization, which quantizes what each code vector leaves over again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from tightbound.core.errors import CompositionError, whole
from tightbound.core.noise import Noise
from tightbound.quantizers.base import Nearest, Quantizer, as_quantizer
from tightbound.quantizers.codebook import BLOCK


class Residual(Nearest):
    """Residual quantizer: a sequence of quantizers, each applied to the residual of the previous ones.

    z is the sum of their vectors, and the penalty is the sum of their penalties. The gradient estimator of `of` is
    applied once, to the sum.

    The code indices of the encoder's vectors are found one after another, as in the paper, or with a beam search, which
    leaves a smaller residual and costs proportionally more. Neither is guaranteed to find the nearest sum. The beam of
    `nearest` has a width of at least 16, so that almost every sum gets its own indices.

    Args:
        size: Size of the quantized vector.
        depth: Number of quantizers.
        of: Quantizer to construct for each depth: an object, or text such as "vq(codebook_size=256)"; None: "vq".
        shared: Use one quantizer for all depths.
        beam: Number of candidates (with the smallest residuals) that each depth passes to the next.

    Raises:
        CompositionError: If the quantizer's code vectors cannot lie anywhere in space (cosine, finite scalar, Gumbel),
            if it has another size, or if it is shared and has several indices per position.

    References:
        Autoregressive image generation using residual quantization (Lee et al. 2022), Eqs. 3 to 6,
        https://arxiv.org/abs/2203.01941
    """

    nested: ClassVar = {"of": "quantizer"}
    unbounded = True
    greedy = True

    def __init__(
        self, size: int = 16, depth: int = 4, of: Quantizer | str | None = None, shared: bool = False, beam: int = 1
    ) -> None:
        chosen = as_quantizer("vq" if of is None else of)
        if not chosen.unbounded:
            raise CompositionError(
                f"residual needs a quantizer whose code vectors can lie anywhere, which is not so for this "
                f"{type(chosen).__name__}; use of='vq'"
            )
        depth = whole("depth", depth, least=1, most=1000)
        if shared and chosen.depth > 1:
            raise CompositionError(
                f"shared=True needs a quantizer with one codebook, and {type(chosen).__name__} has {chosen.depth}; use "
                "of='vq', or shared=False"
            )
        chosen = cast(Nearest, chosen)
        super().__init__(size, chosen.gradient)
        made = [chosen.with_size(self.size) for _ in range(1 if shared else depth)]
        self.each, self.codebook_size, self.schedules = nn.ModuleList(made), chosen.codebook_size, chosen.schedules
        self.steps, self.depth, self.one = depth, depth * chosen.depth, bool(shared)
        self.beam = whole("beam", beam, least=1, most=2**16)

    @property
    def shared(self) -> bool:
        """Whether one quantizer serves all depths, or there is one depth."""
        return self.one or self.depth == 1

    @property
    def sequence(self) -> list[Nearest]:
        """The quantizer of each depth."""
        return cast(list[Nearest], list(self.each) * (self.steps if self.one else 1))

    def embed(self, indices: Tensor) -> Tensor:
        """Return the sum (..., size) of the vectors of code indices (..., depth)."""
        parts = indices.chunk(self.steps, -1)
        return torch.stack([q.embed(part) for q, part in zip(self.sequence, parts, strict=True)]).sum(0)

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the code indices (..., depth) near vectors (..., size), by a beam search of width at least 16."""
        return self.candidates(vectors, max(self.beam, 16))[..., 0, :]

    def assign(self, vectors: Tensor) -> Tensor:
        """Return the code indices (..., depth) near vectors (..., size), by a beam search of width `beam`."""
        return self.candidates(vectors, self.beam)[..., 0, :]

    @torch.no_grad()
    def candidates(self, vectors: Tensor, n: int) -> Tensor:
        """Return code indices (..., n, depth) near vectors (..., size), by a beam search of width `n`."""
        rows = max(1, BLOCK // (n**2 * self.size))
        found = [self._searched(part, n) for part in vectors.reshape(-1, self.size).split(rows)]
        return torch.cat(found).view(*vectors.shape[:-1], -1, self.depth)

    def _searched(self, vectors: Tensor, n: int) -> Tensor:
        """Search for vectors (N, size); return indices (N, n, depth)."""
        left, indices = vectors.unsqueeze(1), torch.empty(len(vectors), 1, 0, dtype=torch.long, device=vectors.device)
        for q in self.sequence:
            found = q.candidates(left, n)  # (N, beam, n, depth)
            rest = (left.unsqueeze(2) - q.embed(found)).flatten(1, 2)
            best = rest.square().sum(-1).topk(min(n, rest.shape[1]), largest=False).indices
            before = indices.repeat_interleave(found.shape[2], 1)
            left, indices = (
                x.gather(1, best.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
                for x in (rest, torch.cat([before, found.flatten(1, 2)], -1))
            )
        return indices

    def penalty(self, vectors: Tensor, indices: Tensor) -> Tensor | None:
        """Return the sum (B,) of the penalties, each of which pulls the vector to the sum of code vectors so far."""
        each = [q.penalty(rest, part) for q, rest, part in self.left(vectors, indices)]
        return None if any(p is None for p in each) else torch.stack(cast(list[Tensor], each)).sum(0)

    def left(self, vectors: Tensor, indices: Tensor) -> Iterator[tuple[Nearest, Tensor, Tensor]]:
        """Yield each quantizer with its input, the residual of vectors (..., size), and its indices."""
        for q, part in zip(self.sequence, indices.chunk(self.steps, -1), strict=True):
            yield q, vectors, part
            vectors = vectors - q.embed(part).detach()

    @torch.no_grad()
    def update_codebook(self, vectors: Tensor, indices: Tensor, noise: Noise) -> None:
        """Update the codebooks; a shared one is updated once with the residuals at all depths."""
        each = list(self.left(vectors, indices))  # before any codebook changes
        if self.one:
            _, rests, parts = zip(*each, strict=True)
            self.sequence[0].update_codebook(torch.cat(rests, 1), torch.cat(parts, 1), noise)
            return
        for q, rest, part in each:
            q.update_codebook(rest, part, noise)

    @torch.no_grad()
    def start_at(self, raw: Tensor) -> None:
        """Initialize each codebook from its residuals.

        A shared codebook is initialized twice: from the vectors, and then from the residuals at all depths that result.
        """
        rest, left = raw, []
        for q in self.sequence:
            if not (self.one and left):
                q.start_at(rest)
            left.append(rest)
            rest = rest - q.embed(q.assign(rest))
        if self.one:
            self.sequence[0].start_at(torch.cat(left))
