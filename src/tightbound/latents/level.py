"""One level of discrete latents, and how its parts are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from tightbound.components import Spec, make
from tightbound.core.errors import CompositionError
from tightbound.latents.codes import Maps
from tightbound.nn.base import Architecture, fold, output_size
from tightbound.priors.codes import CodePrior, Uniform
from tightbound.quantizers import Quantizer

Kind = TypeVar("Kind")


class Level(nn.Module):
    """One grid of codes.

    Arguments:
        up: Maps of the level below, or x, -> maps (B, *plane).
        plane: (C, H, W).
        above: Channels of the maps that levels above give to this one; 0: there is none.
        quantizer, prior, uniform: Of this level's codes.
        rise: Their vectors, beside the maps from above, -> maps on the plane below; None: this is the lowest.
    """

    def __init__(
        self,
        up: nn.Module,
        plane: tuple[int, int, int],
        above: int,
        quantizer: Quantizer,
        prior: CodePrior,
        uniform: Uniform,
        rise: nn.Module | None,
    ) -> None:
        super().__init__()
        self.plane, self.above = plane, above
        self.up, self.head = up, nn.Conv2d(plane[0] + above, quantizer.inputs, 1)
        self.quantizer, self.prior, self.uniform, self.rise = quantizer, prior, uniform, rise

    def raw(self, maps: Maps, above: Maps | None) -> Tensor:
        """What the quantizer takes, (..., P, inputs), of maps (B, *plane) and of those from above (..., B, C, H, W)."""
        if above is not None:
            maps = torch.cat([maps.expand(*above.shape[:-3], *maps.shape[-3:]), above], -3)
        return fold(self.head, maps, 3).flatten(-2).transpose(-2, -1)

    def standardize(self, raw: Tensor) -> None:
        """Rescales the head, which gave these numbers, so that each has mean 0 and variance 1: an untrained encoder
        gives nearly the same vector everywhere, and then moves faster than a codebook can follow. A number that varies
        by its rounding alone keeps its scale."""
        std, mean = torch.std_mean(raw.flatten(0, -2), 0, correction=0)
        scale = torch.where(std > 1e-5 * (1 + mean.abs()), 1 / std, 1.0)
        self.head.weight.mul_(scale[:, None, None, None])
        if self.head.bias is not None:
            self.head.bias.copy_((self.head.bias - mean) * scale)


def stages_of(
    network: Architecture | nn.Module, shape: tuple[int, ...], latent: int, positions: int
) -> tuple[list[nn.Module], list[tuple[int, int, int]]]:
    """The stages of the encoder, and the plane of the maps that each gives."""
    planes = network.map_shapes(shape) if isinstance(network, Architecture) else []
    if isinstance(network, Architecture) and planes:
        return [*network.stages(shape)], [(c, h, w) for c, h, w in planes]
    body = network.encoder(shape) if isinstance(network, Architecture) else network
    width, plane = output_size(body, shape, "encoder"), (latent, 1, positions)
    spread = nn.Sequential(body, nn.Flatten(), nn.Linear(width, latent * positions), nn.Unflatten(1, plane))
    return [spread], [plane]


def prior_of(
    part: str | Spec | CodePrior, i: int, quantizer: Quantizer, plane: tuple[int, int, int], above: int, context: int
) -> tuple[CodePrior, Uniform]:
    """The prior of level i, and the uniform one; refuses one that is made for other codes."""
    depth, entries = quantizer.depth, quantizer.codebook_size
    about = {"grid": plane[1:], "depth": depth, "entries": entries, "maps": above, "context": context}
    prior = made(CodePrior, "code-prior", part, **about)
    for name, value in about.items():
        if prior.needs[name] != value:
            raise CompositionError(
                f"{type(prior).__name__} of level {i} has {name} = {prior.needs[name]} and the level needs {value}; "
                f"construct it with {name}={value}"
            )
    return prior, Uniform(plane[1:], depth, entries, above, context)


def one_of(
    parts: str | Spec | Kind | Sequence[str | Spec | Kind], level: int, levels: int, what: str
) -> str | Spec | Kind:
    """The part of one level, where they are given one by one."""
    if isinstance(parts, str) or not isinstance(parts, Sequence):
        if levels > 1 and isinstance(parts, nn.Module):
            raise CompositionError(f"there are {levels} levels and one {what}; give a list of {levels}, or its text")
        return cast("str | Spec | Kind", parts)
    if len(parts) != levels:
        raise CompositionError(f"there are {levels} levels, and {what}s given for {len(parts)}; give one for each")
    return parts[level]


def made(kind: type[Kind], name: str, part: str | Spec | Kind, **about: Any) -> Kind:
    """A part of this kind, where it is one or its text."""
    found = make(name, part, **about) if isinstance(part, str | Spec) else part
    if not isinstance(found, kind):
        raise CompositionError(f"{type(found).__name__} was given where a {kind.__name__} is needed")
    return found
