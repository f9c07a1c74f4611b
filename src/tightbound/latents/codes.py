"""Codes as data: what latents that are grids of integers offer, however an encoder finds them."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.errors import CompositionError, InputError
from tightbound.core.interfaces import Draw, Latents, State
from tightbound.core.noise import Noise
from tightbound.core.terms import CodeGrid
from tightbound.priors.codes import Sharpening, draw_codes
from tightbound.quantizers import Quantizer

Maps = Tensor  # (..., C, H, W)
Take = Callable[[int, Maps | None], Tensor]  # (i, maps from above) -> vectors (..., P, size) of level i


class HasCodes(Protocol):
    """One level."""

    plane: tuple[int, int, int]
    quantizer: Quantizer


class CodeLatents(Latents):
    """Latents that are grids of codes, one a level, the lowest first. A flat code is their vectors."""

    sizes: list[int]  # numbers in the vectors of each level

    @property
    @abstractmethod
    def all_levels(self) -> Sequence[HasCodes]:
        """The lowest first."""

    @property
    @abstractmethod
    def informed(self) -> bool:
        """Whether a prior over codes has been learned and is in use; until then all are equally probable."""

    @abstractmethod
    def down(self, take: Take) -> Tensor:
        """Features (..., features) of the walk from the highest level to the lowest."""

    @abstractmethod
    def prior(self, i: int, above: Maps | None, context: Tensor | None) -> Distribution:
        """p(codes of level i | those above, context)."""

    @abstractmethod
    def chosen(self, state: State) -> list[Tensor]:
        """The codes (B, P, depth) of each level that stand for an example: of certain codes, those; else those of the
        mean, level by level."""

    @property
    def code_grids(self) -> list[CodeGrid]:
        """Of each level."""
        return [CodeGrid(*one.plane[1:], one.quantizer.depth, one.quantizer.codebook_size) for one in self.all_levels]

    @property
    def described(self) -> str:
        """ "8x8 + 16x16 codes of 512 entries": the highest level first."""
        grids = list(reversed(self.code_grids))
        planes = ["x".join(map(str, grid.plane)) for grid in grids]
        if len({grid.entries for grid in grids}) == 1:
            return f"{' + '.join(planes)} codes of {grids[0].entries:,} entries"
        each = (f"{plane} codes of {grid.entries:,}" for plane, grid in zip(planes, grids, strict=True))
        return f"{' + '.join(each)} entries"

    def split(self, code: Tensor) -> list[Tensor]:
        """(B, P, size) of each level, of flat codes (B, latent)."""
        parts = zip(self.all_levels, code.split(self.sizes, -1), strict=True)
        return [part.unflatten(-1, (-1, level.quantizer.size)) for level, part in parts]

    def codes(self, code: Tensor) -> list[Tensor]:
        """The integers (B, P, depth) of each level nearest to flat codes (B, latent)."""
        return [one.quantizer.nearest(own) for one, own in zip(self.all_levels, self.split(code), strict=True)]

    def vectors(self, codes: Sequence[Tensor]) -> Tensor:
        """Flat codes (B, latent) of the integers (B, P, depth) of each level."""
        return torch.cat([q.quantizer.embed(c).flatten(1) for q, c in zip(self.all_levels, codes, strict=True)], 1)

    def draw(self, n: int, noise: Noise, context: Tensor | None = None, sharpening: Sharpening | None = None) -> Tensor:
        """(n, latent) ancestral draws, as vectors."""
        return self.completed((), noise, context, n, sharpening)

    def sharpened(self, temperature: float = 1.0, top_k: int | None = None) -> Draw:
        """Of each code given those before it.

        Raises:
            CompositionError: where all codes are equally probable.
        """
        sharpening = Sharpening(temperature, top_k)
        if not self.informed:
            raise CompositionError(
                "temperature and top_k are of a learned prior over codes, and under this one, uniform, all codes are "
                "equally probable; leave them out, or train with prior='pixelcnn' or 'transformer'"
            )
        return functools.partial(self.draw, sharpening=sharpening)

    def completed(
        self,
        known: Sequence[Tensor],
        noise: Noise,
        context: Tensor | None = None,
        n: int = 1,
        sharpening: Sharpening | None = None,
    ) -> Tensor:
        """Flat codes (B, latent) of the integers (B, P, depth) of the highest levels, those of the others being drawn
        given these.

        Arguments:
            known: The lowest of them first; none: B is n.
        """
        first = len(self.all_levels) - len(known)
        n = len(known[0]) if known else n
        drawn: list[Tensor] = []

        def take(i: int, above: Maps | None) -> Tensor:
            if i >= first:
                codes = known[i - first]
            else:
                prior = self.prior(i, above, context)
                codes = draw_codes(prior, () if prior.batch_shape else (n,), noise, sharpening or Sharpening())
            drawn.append(self.all_levels[i].quantizer.embed(codes))
            return drawn[-1]

        self.down(take)
        return flattened(drawn)

    def alone(self, codes: Sequence[Tensor], levels: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """Flat codes (B, latent) that hold the highest `levels` of codes (B, P, depth) alone: see `filled`."""
        first = len(self.all_levels) - levels
        if self.informed:
            return self.completed(codes[first:], noise, context)
        vectors = [q.quantizer.embed(c) for q, c in zip(self.all_levels, codes, strict=True)]
        return flattened([v if i >= first else torch.zeros_like(v) for i, v in enumerate(vectors)][::-1])

    @property
    def filled(self) -> str:
        """What `alone` puts in place of the codes of lower levels, in words."""
        if self.informed:
            return "drawn from the learned prior, given those above"
        return "those nearest to the zero vector, as their prior is uniform and knows nothing of those above"

    def checked(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """Integers (N, H, W[, depth]), or (N, P, depth), of each level -> (N, P, depth).

        Raises:
            InputError: another number of levels, shape or type, or values that are no codes.
        """
        grids = self.code_grids
        if len(codes) != len(grids):
            raise InputError(f"codes of {len(codes)} levels were given and the model has {len(grids)}; give all")
        found = []
        for i, (own, grid) in enumerate(zip(map(torch.as_tensor, codes), grids, strict=True)):
            same = len(own) == len(codes[0]) if own.dim() else False
            if not same or tuple(own.shape[1:]) not in (grid.plane, grid.shape):
                needed = ", ".join(map(str, grid.plane))
                raise InputError(f"codes of level {i + 1} have shape {tuple(own.shape)}; needed: (N, {needed})")
            if own.is_floating_point() or own.is_complex() or own.dtype == torch.bool:
                raise InputError(f"codes of level {i + 1} are {own.dtype}; needed: whole numbers")
            own = own.long()  # not all of torch's integers know a minimum
            if own.numel() and not 0 <= int(own.min()) <= int(own.max()) < grid.entries:
                span = f"{int(own.min())} to {int(own.max())}"
                raise InputError(f"codes of level {i + 1} go from {span}; needed: 0 to {grid.entries - 1}")
            found.append(own.reshape(-1, *grid.shape))
        return found


def coded(latents: Latents) -> CodeLatents:
    """The latents as grids of codes.

    Raises:
        CompositionError: latents of another kind.
    """
    if not isinstance(latents, CodeLatents):
        raise CompositionError(
            f"latents {type(latents).__name__} have no integer codes; train a model with latents 'quantized'"
        )
    return latents


def flattened(vectors: Sequence[Tensor]) -> Tensor:
    """(B, P, size) of levels from the highest on -> (B, latent), the lowest first."""
    return torch.cat([part.flatten(1) for part in reversed(vectors)], 1)
