"""Residual quantization: what a code leaves of the vector is quantized again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from tightbound.core.errors import CompositionError, whole
from tightbound.core.noise import Noise
from tightbound.quantizers.base import Nearest, Quantizer
from tightbound.quantizers.parts import as_quantizer


class Residual(Nearest):
    """Quantizers in sequence, each of what the ones before it leave of the vector; z is the sum of their vectors.

    The penalty is the sum of theirs. The gradient of z to the vector, that of `of`, is taken once, for the sum.

    The nearest codes are found one after the other, which need not give the nearest sum of all, nor give back the codes
    of a sum: keep codes where they must survive.

    Arguments:
        size: Of a vector.
        depth: Number of quantizers.
        of: What is constructed for each depth: a quantizer, or text such as "vq(entries=256)"; None: "vq".
        shared: One quantizer serves all depths.

    Raises:
        CompositionError: of a quantizer whose codes stand for a part of the space only (cosine, finite scalar, Gumbel),
            of another size, or with several codes where it is shared.

    References:
        Autoregressive image generation using residual quantization (Lee et al. 2022), Eqs. 3 to 6,
        https://arxiv.org/abs/2203.01941
    """

    nested: ClassVar = {"of": "quantizer"}
    whole_space = True
    greedy = True

    def __init__(self, size: int = 16, depth: int = 4, of: Quantizer | str | None = None, shared: bool = False) -> None:
        chosen = as_quantizer("vq" if of is None else of)
        if not chosen.whole_space:
            raise CompositionError(
                f"residual takes a quantizer whose vectors can lie anywhere, and those of this {type(chosen).__name__} "
                "cannot; use of='vq'"
            )
        depth = whole("depth", depth, least=1)
        if shared and chosen.depth > 1:
            raise CompositionError(f"residual shares one codebook, and {type(chosen).__name__} has {chosen.depth}")
        chosen = cast(Nearest, chosen)
        super().__init__(size, chosen.gradient)
        made = [chosen.again(self.size) for _ in range(1 if shared else depth)]
        self.each, self.entries, self.schedules = nn.ModuleList(made), chosen.entries, chosen.schedules
        self.steps, self.depth, self.one = depth, depth * chosen.depth, bool(shared)

    @property
    def shared(self) -> bool:
        """Where one quantizer serves all depths, or there is one depth."""
        return self.one or self.depth == 1

    @property
    def sequence(self) -> list[Nearest]:
        """The quantizer of each depth."""
        return cast(list[Nearest], list(self.each) * (self.steps if self.one else 1))

    def embed(self, codes: Tensor) -> Tensor:
        """(..., depth) -> (..., size), the sum."""
        parts = codes.chunk(self.steps, -1)
        return torch.stack([q.embed(part) for q, part in zip(self.sequence, parts, strict=True)]).sum(0)

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """(..., size) -> (..., depth), one after the other."""
        found = []
        for q in self.sequence:
            found.append(q.nearest(vectors))
            vectors = vectors - q.embed(found[-1])
        return torch.cat(found, -1)

    def penalty(self, vectors: Tensor, codes: Tensor) -> Tensor | None:
        """(B,) the sum over depths: each draws the vector near to the sum of the codes so far."""
        each = [q.penalty(rest, part) for q, rest, part in self.left(vectors, codes)]
        return None if any(p is None for p in each) else torch.stack(cast(list[Tensor], each)).sum(0)

    def left(self, vectors: Tensor, codes: Tensor) -> Iterator[tuple[Nearest, Tensor, Tensor]]:
        """Each quantizer with what it was given of vectors (..., size), and its codes of these."""
        for q, part in zip(self.sequence, codes.chunk(self.steps, -1), strict=True):
            yield q, vectors, part
            vectors = vectors - q.embed(part).detach()

    @torch.no_grad()
    def follow(self, vectors: Tensor, codes: Tensor, noise: Noise) -> None:
        """A shared quantizer follows what is left at all depths at once."""
        each = list(self.left(vectors, codes))  # before any of them moves
        if self.one:
            _, rests, parts = zip(*each, strict=True)
            self.sequence[0].follow(torch.cat(rests, 1), torch.cat(parts, 1), noise)
            return
        for q, rest, part in each:
            q.follow(rest, part, noise)

    @torch.no_grad()
    def start_at(self, raw: Tensor) -> None:
        """Each starts at what is left; a shared one at that of all depths, as it leaves it after a first start."""
        rest, left = raw, []
        for q in self.sequence:
            if not (self.one and left):
                q.start_at(rest)
            left.append(rest)
            rest = rest - q.embed(q.nearest(rest))
        if self.one:
            self.sequence[0].start_at(torch.cat(left))
