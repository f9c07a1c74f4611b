"""Base class of latents that are grids of code indices."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.components import describe, rebuild
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.latents import DiscreteLatents, Draw, Latents, State
from tightbound.core.noise import Noise
from tightbound.core.schedules import Schedule
from tightbound.core.terms import CodeGrid
from tightbound.latents.code_prior import CodePriorStage
from tightbound.latents.level import Level, Maps, one_of, prior_of
from tightbound.nn.base import fold
from tightbound.priors.codes import CodePrior, Sharpening, draw_codes

Take = Callable[[int, Maps | None], Tensor]  # (level i, maps from above) -> vectors (..., P, size)


class CodeLatents(DiscreteLatents):
    """Base class of latents that are grids of code indices, one per level, lowest first.

    A flat latent code holds the vectors of all levels. Use `code_latents` or `needs_codes` to check a model's latents.
    """

    levels: nn.ModuleList
    learned: Tensor  # 0-d, whether the priors are in use
    sizes: list[int]  # number of elements in the vectors of each level
    context: int  # size of the context

    def replace_prior(self, prior: str | Sequence[str] | None) -> None:
        """Replace the code prior by an untrained one.

        Args:
            prior: Code prior as text, for all levels or one per level; None: like the present ones.

        Raises:
            InputError, CompositionError: The prior does not fit.
        """
        number, new = len(self.levels), list[CodePrior]()
        for i, level in enumerate(self.all_levels):
            alike = rebuild(describe(level.prior), trust=True) if prior is None else one_of(prior, i, number, "prior")
            about = (level.quantizer, level.plane, level.above, self.context)
            new.append(prior_of(alike, i, *about)[0].to(self.learned.device))
        for level, own in zip(self.all_levels, new, strict=True):
            level.prior = own
        self.record_again(prior=new)
        self.learned.fill_(True)
        if self.second_stage is not None:
            self.second_stage.disable()

    @property
    def second_stage(self) -> CodePriorStage | None:
        """The priors of all levels, if they have parameters."""
        priors = [level.prior for level in self.all_levels]
        if not any(True for prior in priors for _ in prior.parameters()):
            return None
        return CodePriorStage(priors, self.learned, self.code_grids, self.priors_of)

    @property
    def all_levels(self) -> Sequence[Level]:
        """The levels, lowest first."""
        return cast("Sequence[Level]", self.levels)

    @property
    def has_learned_prior(self) -> bool:
        """Whether the second stage has been trained, if there is one."""
        return bool(self.learned) and not all(level.prior.blind for level in self.all_levels)

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The schedules of the quantizers, by knob name."""
        return {name: s for level in self.all_levels for name, s in level.quantizer.schedules.items()}

    @property
    def deterministic(self) -> bool:
        """Whether all quantizers choose the nearest index."""
        return all(level.quantizer.deterministic for level in self.all_levels)

    @property
    def recoverable(self) -> bool:
        """Whether no quantizer searches for indices greedily."""
        return not any(level.quantizer.greedy for level in self.all_levels)

    def down(self, take: Take) -> Tensor:
        """Return the features (..., features) of the path from the highest level to the lowest.

        Args:
            take: Function that returns the vectors of a level, given the maps decoded from the levels above.
        """
        above: Maps | None = None
        here = torch.empty(0)
        for i in reversed(range(len(self.levels))):
            level = self.all_levels[i]
            vectors = take(i, above)
            here = vectors.transpose(-2, -1).unflatten(-1, level.plane[1:])
            here = here if above is None else torch.cat([here, above], -3)
            above = None if level.rise is None else fold(level.rise, here, 3)
        return here.flatten(-3)

    def prior(self, i: int, above: Maps | None, context: Tensor | None) -> Distribution:
        """Return p(indices of level i | levels above, context)."""
        level = self.all_levels[i]
        if not self.learned:
            return level.uniform()
        return level.prior(above, None if context is None else context.flatten(1))

    def encode_indices(self, state: State) -> list[Tensor]:
        """Return the indices (B, P, depth) of each level that the quantizers choose."""
        maps, _ = state
        indices: list[Tensor] = []

        def take(i: int, above: Maps | None) -> Tensor:
            quantizer = self.all_levels[i].quantizer
            indices.insert(0, quantizer.encode(self.all_levels[i].raw(maps[i], above)))
            return quantizer.embed(indices[0])

        self.down(take)
        return indices

    @property
    def code_grids(self) -> list[CodeGrid]:
        """The grid of each level."""
        return [CodeGrid(*one.plane[1:], one.quantizer.depth, one.quantizer.codebook_size) for one in self.all_levels]

    @property
    def description(self) -> str:
        """The grids in words, highest level first: "8x8 + 16x16 code indices, codebook size 512"."""
        grids = list(reversed(self.code_grids))
        planes = ["x".join(map(str, grid.plane)) for grid in grids]
        if len({grid.codebook_size for grid in grids}) == 1:
            return f"{' + '.join(planes)} code indices, codebook size {grids[0].codebook_size:,}"
        sizes = ", ".join(f"{grid.codebook_size:,}" for grid in grids)
        return f"{' + '.join(planes)} code indices, codebook sizes {sizes}"

    def split(self, z: Tensor) -> list[Tensor]:
        """Return the vectors (B, P, size) of each level of z (B, latent)."""
        parts = zip(self.all_levels, z.split(self.sizes, -1), strict=True)
        return [part.unflatten(-1, (-1, level.quantizer.size)) for level, part in parts]

    def nearest_indices(self, z: Tensor) -> list[Tensor]:
        """Return the indices (B, P, depth) of each level whose vectors are nearest to z (B, latent)."""
        return [one.quantizer.nearest(own) for one, own in zip(self.all_levels, self.split(z), strict=True)]

    def embed(self, indices: Sequence[Tensor]) -> Tensor:
        """Return z (B, latent) for the indices (B, P, depth) of each level."""
        vectors = [one.quantizer.embed(own) for one, own in zip(self.all_levels, indices, strict=True)]
        return flattened(vectors[::-1])

    def priors_of(self, indices: Sequence[Tensor], context: Tensor | None = None) -> list[Distribution]:
        """Return p(indices | levels above, context) of each level, lowest first, at indices (B, P, depth)."""
        shown: dict[int, Maps | None] = {}

        def take(i: int, above: Maps | None) -> Tensor:
            shown[i] = above
            return self.all_levels[i].quantizer.embed(indices[i])

        with torch.no_grad():  # their probability trains only the priors
            self.down(take)
        return [self.prior(i, shown[i], context) for i in range(len(self.all_levels))]

    def log_prior_of(self, indices: Sequence[Tensor], context: Tensor | None = None) -> Tensor:
        """Return log p (B,) of the indices (B, P, depth) of all levels."""
        priors = self.priors_of(indices, context)
        return torch.stack([p.log_prob(own) for p, own in zip(priors, indices, strict=True)]).sum(0)

    def log_prior(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p (B,) of the indices nearest to z (B, latent)."""
        return self.log_prior_of(self.nearest_indices(z), context)

    def draw(self, n: int, noise: Noise, context: Tensor | None = None, sharpening: Sharpening | None = None) -> Tensor:
        """Return the vectors z (n, latent) of n ancestral draws of the indices."""
        return self.complete((), noise, context, n, sharpening)

    def sharpened(self, temperature: float = 1.0, top_k: int | None = None) -> Draw:
        """Return `draw` with a sharper prior than the model's, whose draws are more typical and less varied.

        Args:
            temperature: Divisor of the logits of each index given those before it.
            top_k: Draw only from the k most probable values of each index; None: from all.

        Raises:
            CompositionError: No code prior has been learned.
            InputError: temperature is not above 0, or top_k is less than 1.
        """
        sharpening = Sharpening(temperature, top_k)
        if not self.has_learned_prior:
            raise CompositionError(
                "temperature= and top_k= need a learned code prior, but this model has a uniform one; leave them out, "
                "or train with prior='pixelcnn' or 'transformer'"
            )
        return functools.partial(self.draw, sharpening=sharpening)

    def complete(
        self,
        known: Sequence[Tensor],
        noise: Noise,
        context: Tensor | None = None,
        n: int = 1,
        sharpening: Sharpening | None = None,
    ) -> Tensor:
        """Return z (B, latent) with the given indices at the highest levels and drawn ones at the others.

        Args:
            known: Indices (B, P, depth) of the highest levels, the lowest of these first; it may be empty.
            noise: Source of the draws.
            context: Contexts (B, *context).
            n: Number of examples B if `known` is empty.
            sharpening: Temperature and top-k of the draws; None: no change.
        """
        first = len(self.all_levels) - len(known)
        n = len(known[0]) if known else n
        drawn: list[Tensor] = []

        def take(i: int, above: Maps | None) -> Tensor:
            if i >= first:
                indices = known[i - first]
            else:
                prior = self.prior(i, above, context)
                indices = draw_codes(prior, () if prior.batch_shape else (n,), noise, sharpening or Sharpening())
            drawn.append(self.all_levels[i].quantizer.embed(indices))
            return drawn[-1]

        self.down(take)
        return flattened(drawn)

    def keep_top(self, indices: Sequence[Tensor], levels: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """Keep the highest `levels` of indices (B, P, depth) and fill in the others; return z (B, latent)."""
        first = len(self.all_levels) - levels
        if self.has_learned_prior:
            return self.complete(indices[first:], noise, context)
        vectors = [q.quantizer.embed(own) for q, own in zip(self.all_levels, indices, strict=True)]
        return flattened([v if i >= first else torch.zeros_like(v) for i, v in enumerate(vectors)][::-1])

    @property
    def fill_description(self) -> str:
        """Description of the indices that `keep_top` fills in at the lower levels."""
        if self.has_learned_prior:
            return "drawn from the learned prior, given the levels above"
        return "nearest to the zero vector, because their prior is uniform and independent of the levels above"

    def check_indices(self, indices: Sequence[Tensor]) -> list[Tensor]:
        """Check the indices (N, H, W[, depth]) or (N, P, depth) of each level; return them as (N, P, depth).

        Raises:
            InputError: The number of levels, a shape, a type or a value is wrong.
        """
        grids = self.code_grids
        if len(indices) != len(grids):
            raise InputError(f"code indices of {len(indices)} levels; needed: indices of all {len(grids)} levels")
        found = []
        for i, (own, grid) in enumerate(zip(map(torch.as_tensor, indices), grids, strict=True)):
            same = len(own) == len(indices[0]) if own.dim() else False
            if not same or tuple(own.shape[1:]) not in (grid.plane, grid.shape):
                needed = ", ".join(map(str, grid.plane))
                raise InputError(f"code indices of level {i + 1} have shape {tuple(own.shape)}; needed: (N, {needed})")
            if own.is_floating_point() or own.is_complex() or own.dtype == torch.bool:
                raise InputError(f"code indices of level {i + 1} are {own.dtype}; needed: whole numbers")
            own = own.long()  # not all of torch's integer types have a minimum
            if own.numel() and not 0 <= int(own.min()) <= int(own.max()) < grid.codebook_size:
                span = f"{int(own.min())} to {int(own.max())}"
                raise InputError(f"code indices of level {i + 1} are {span}; needed: 0 to {grid.codebook_size - 1}")
            found.append(own.reshape(-1, *grid.shape))
        return found


def code_latents(latents: Latents) -> CodeLatents | None:
    """Return the latents if they are grids of code indices, else None."""
    return latents if isinstance(latents, CodeLatents) else None


def needs_codes(latents: Latents, what: str = "this") -> CodeLatents:
    """Check that latents are grids of code indices, and return them.

    Args:
        latents: Latents of any type.
        what: Name of the feature that needs code indices, for the error message.

    Raises:
        CompositionError: The latents are not grids of code indices.
    """
    if not isinstance(latents, CodeLatents):
        raise CompositionError(
            f"{what} needs code indices, and latents {type(latents).__name__} have none; "
            "train a model with latents 'quantized'"
        )
    return latents


def flattened(vectors: Sequence[Tensor]) -> Tensor:
    """Return z (B, latent), lowest level first, from the vectors (B, P, size) of the levels, highest first."""
    return torch.cat([part.flatten(1) for part in reversed(vectors)], 1)
