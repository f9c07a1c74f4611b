"""Code indices as data: what latents that are grids of code indices offer."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.errors import CompositionError, InputError
from tightbound.core.latents import DiscreteLatents, Draw, Latents, State
from tightbound.core.noise import Noise
from tightbound.core.terms import CodeGrid
from tightbound.latents.code_prior import CodePriorStage
from tightbound.priors.codes import Sharpening, draw_codes
from tightbound.quantizers import Quantizer

Maps = Tensor  # (..., C, H, W)
Take = Callable[[int, Maps | None], Tensor]  # (i, maps from above) -> vectors (..., P, size) of level i


class HasCodes(Protocol):
    """One level."""

    plane: tuple[int, int, int]
    quantizer: Quantizer


class CodeLatents(DiscreteLatents):
    """Latents that are grids of code indices, one per level, lowest first. A flat latent code is their vectors.

    `code_latents` and `needs_codes` find out whether the latents of a model are of this type.
    """

    sizes: list[int]  # numbers in the vectors of each level

    @property
    @abstractmethod
    def all_levels(self) -> Sequence[HasCodes]:
        """The levels, lowest first."""

    @property
    @abstractmethod
    def has_learned_prior(self) -> bool:
        """Whether a code prior has been learned and is in use; until then all indices are equally probable."""

    @property
    @abstractmethod
    def code_prior(self) -> CodePriorStage | None:
        """The code prior as a model to train; None if no level has one with parameters."""

    @abstractmethod
    def replace_code_prior(self, prior: str | Sequence[str] | None) -> None:
        """Replace the code prior by an untrained one.

        Args:
            prior: As text, for all levels or for each; None: untrained priors like the present ones.

        Raises:
            InputError, CompositionError: The prior does not fit.
        """

    @abstractmethod
    def down(self, take: Take) -> Tensor:
        """Return the features (..., features) of the path from the highest level to the lowest.

        Args:
            take: Gives the vectors of a level when it is shown what was decoded from those above.
        """

    @abstractmethod
    def prior(self, i: int, above: Maps | None, context: Tensor | None) -> Distribution:
        """Return p(indices of level i | levels above, context)."""

    @abstractmethod
    def encode_indices(self, state: State) -> list[Tensor]:
        """Return the indices (B, P, depth) of each level that stand for an example.

        If q is a distribution, these are the indices nearest to its mean, level by level.
        """

    @property
    def code_grids(self) -> list[CodeGrid]:
        """The grid of each level."""
        return [CodeGrid(*one.plane[1:], one.quantizer.depth, one.quantizer.codebook_size) for one in self.all_levels]

    @property
    def recoverable(self) -> bool:
        """Whether the indices can be told from z exactly."""
        return True

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
        """Return the indices (B, P, depth) of each level that are nearest to z (B, latent)."""
        return [one.quantizer.nearest(own) for one, own in zip(self.all_levels, self.split(z), strict=True)]

    def embed(self, indices: Sequence[Tensor]) -> Tensor:
        """Return z (B, latent) of the indices (B, P, depth) of each level."""
        vectors = [one.quantizer.embed(own) for one, own in zip(self.all_levels, indices, strict=True)]
        return flattened(vectors[::-1])

    def priors_of(self, indices: Sequence[Tensor], context: Tensor | None = None) -> list[Distribution]:
        """Return p(indices of each level | levels above, context) at indices (B, P, depth), lowest level first."""
        shown: dict[int, Maps | None] = {}

        def take(i: int, above: Maps | None) -> Tensor:
            shown[i] = above
            return self.all_levels[i].quantizer.embed(indices[i])

        with torch.no_grad():  # the indices are given: their probability trains the priors alone
            self.down(take)
        return [self.prior(i, shown[i], context) for i in range(len(self.all_levels))]

    def log_prior_of(self, indices: Sequence[Tensor], context: Tensor | None = None) -> Tensor:
        """Return log p (B,) of the indices (B, P, depth) of each level."""
        priors = self.priors_of(indices, context)
        return torch.stack([p.log_prob(own) for p, own in zip(priors, indices, strict=True)]).sum(0)

    def log_prior(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p (B,) of the indices nearest to z (B, latent)."""
        return self.log_prior_of(self.nearest_indices(z), context)

    def draw(self, n: int, noise: Noise, context: Tensor | None = None, sharpening: Sharpening | None = None) -> Tensor:
        """Return z (n, latent): the vectors of n ancestral draws."""
        return self.complete((), noise, context, n, sharpening)

    def sharpened(self, temperature: float = 1.0, top_k: int | None = None) -> Draw:
        """Return `draw` with a sharper prior than the model's; such draws are typical rather than fair.

        Args:
            temperature: Divides the logits of each index given those before it.
            top_k: Draw from the k most probable values of each index alone; None: from all.

        Raises:
            CompositionError: No code prior has been learned.
            InputError: temperature is not above 0, or top_k is less than 1.
        """
        sharpening = Sharpening(temperature, top_k)
        if not self.has_learned_prior:
            raise CompositionError(
                "temperature= and top_k= need a learned code prior, and under the uniform one all code indices are "
                "equally probable; leave them out, or train with prior='pixelcnn' or 'transformer'"
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
        """Return z (B, latent) with the indices of the highest levels given and those of the others drawn.

        Args:
            known: Indices (B, P, depth) of the highest levels, the lowest of these first; empty: B = n.
            noise: Source of the draws.
            context: (B, *context).
            n: B if `known` is empty.
            sharpening: Of the logits; None: none.
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
        """Return z (B, latent) of the highest `levels` of indices (B, P, depth) alone: see `fill_description`."""
        first = len(self.all_levels) - levels
        if self.has_learned_prior:
            return self.complete(indices[first:], noise, context)
        vectors = [q.quantizer.embed(own) for q, own in zip(self.all_levels, indices, strict=True)]
        return flattened([v if i >= first else torch.zeros_like(v) for i, v in enumerate(vectors)][::-1])

    @property
    def fill_description(self) -> str:
        """Description of the indices that `keep_top` puts in place of the lower levels."""
        if self.has_learned_prior:
            return "drawn from the learned prior, given the levels above"
        return "nearest to the zero vector, because their prior is uniform and independent of the levels above"

    def check_indices(self, indices: Sequence[Tensor]) -> list[Tensor]:
        """Return indices (N, H, W[, depth]) or (N, P, depth) of each level as (N, P, depth).

        Raises:
            InputError: The number of levels, a shape, a type or a value is wrong.
        """
        grids = self.code_grids
        if len(indices) != len(grids):
            raise InputError(f"code indices of {len(indices)} levels; needed: those of all {len(grids)} levels")
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
                raise InputError(f"code indices of level {i + 1} go from {span}; needed: 0 to {grid.codebook_size - 1}")
            found.append(own.reshape(-1, *grid.shape))
        return found


def code_latents(latents: Latents) -> CodeLatents | None:
    """Return latents that are grids of code indices; None if they are others."""
    return latents if isinstance(latents, CodeLatents) else None


def needs_codes(latents: Latents, what: str = "this") -> CodeLatents:
    """Return latents that are grids of code indices.

    Args:
        latents: Of any type.
        what: What needs them, for the error message.

    Raises:
        CompositionError: The latents are of another type.
    """
    if not isinstance(latents, CodeLatents):
        raise CompositionError(
            f"{what} needs code indices, and latents {type(latents).__name__} have none; "
            "train a model with latents 'quantized'"
        )
    return latents


def code_prior_of(latents: Latents) -> CodePriorStage | None:
    """Return the code prior as a model to train; None if the latents have none."""
    return latents.code_prior if isinstance(latents, CodeLatents) else None


def flattened(vectors: Sequence[Tensor]) -> Tensor:
    """Return z (B, latent), lowest level first, from vectors (B, P, size) of the levels from the highest on."""
    return torch.cat([part.flatten(1) for part in reversed(vectors)], 1)
