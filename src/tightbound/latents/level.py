"""One level of discrete latents, and the construction of its components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from tightbound.components import Spec, make
from tightbound.core.errors import CompositionError
from tightbound.nn.base import Architecture, Network, Shape, fold, output_size
from tightbound.priors.codes import CodePrior, Uniform
from tightbound.quantizers import Quantizer

Kind = TypeVar("Kind")
Maps = Tensor  # (..., C, H, W)


class Level(nn.Module):
    """Level with one grid of code indices.

    Args:
        up: Network from the maps of the level below, or from x, to maps (B, *plane).
        plane: Shape (C, H, W) of the maps.
        above: Number of channels of the maps from the levels above; 0: there are no levels above.
        quantizer: Quantizer of this level.
        prior: p(indices of this level | levels above).
        uniform: Prior to use until `prior` is trained.
        rise: Network from this level's vectors, joined with the maps from above, to the plane below; None: lowest.
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
        """Return the quantizer's input (..., P, inputs) for maps (B, *plane) and maps from above (..., B, C, H, W)."""
        if above is not None:
            maps = torch.cat([maps.expand(*above.shape[:-3], *maps.shape[-3:]), above], -3)
        return fold(self.head, maps, 3).flatten(-2).transpose(-2, -1)

    def standardize(self, raw: Tensor) -> None:
        """Rescale the head so that each of its outputs `raw` gets mean 0 and variance 1.

        Otherwise an untrained encoder gives nearly the same vector everywhere, and then changes faster than a codebook
        can follow. An output that varies only by rounding keeps its scale.
        """
        std, mean = torch.std_mean(raw.flatten(0, -2), 0, correction=0)
        scale = torch.where(std > 1e-5 * (1 + mean.abs()), 1 / std, 1.0)
        self.head.weight.mul_(scale[:, None, None, None])
        if self.head.bias is not None:
            self.head.bias.copy_((self.head.bias - mean) * scale)


def stages_of(
    network: Network, shape: Shape, latent: int, positions: int
) -> tuple[list[nn.Module], list[tuple[int, int, int]]]:
    """Return the stages of the encoder, and the plane of each stage's maps."""
    planes = network.map_shapes(shape) if isinstance(network, Architecture) else []
    if isinstance(network, Architecture) and planes:
        return [*network.stages(shape)], [(c, h, w) for c, h, w in planes]
    body = network.encoder(shape) if isinstance(network, Architecture) else network
    width, plane = output_size(body, shape, "encoder"), (latent, 1, positions)
    spread = nn.Sequential(body, nn.Flatten(), nn.Linear(width, latent * positions), nn.Unflatten(1, plane))
    return [spread], [plane]


def prior_of(
    given: str | Spec | CodePrior, i: int, quantizer: Quantizer, plane: tuple[int, int, int], above: int, context: int
) -> tuple[CodePrior, Uniform]:
    """Return the prior of level i, and a uniform prior for it.

    Raises:
        CompositionError: The prior was constructed for a different grid of code indices.
    """
    depth, size = quantizer.depth, quantizer.codebook_size
    about = {"grid": plane[1:], "depth": depth, "codebook_size": size, "maps": above, "context": context}
    prior = made(CodePrior, "code-prior", given, **about)
    for name, value in about.items():
        if prior.needs[name] != value:
            raise CompositionError(
                f"{type(prior).__name__} of level {i} has {name}={prior.needs[name]}, and the level needs {value}; "
                f"construct it with {name}={value}"
            )
    return prior, Uniform(plane[1:], depth, size, above, context)


def one_of(
    given: str | Spec | Kind | Sequence[str | Spec | Kind], level: int, levels: int, what: str
) -> str | Spec | Kind:
    """Return the component of one level, given one for all levels or one per level."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        if levels > 1 and isinstance(given, nn.Module):
            raise CompositionError(f"there are {levels} levels and one {what}; pass a list of {levels}, or its text")
        return cast("str | Spec | Kind", given)
    if len(given) != levels:
        raise CompositionError(f"there are {levels} levels, and {what}= is given for {len(given)}; pass one per level")
    return given[level]


def made(kind: type[Kind], name: str, given: str | Spec | Kind, **about: Any) -> Kind:
    """Return a component of this kind, given as an object or as text."""
    found = make(name, given, **about) if isinstance(given, str | Spec) else given
    if not isinstance(found, kind):
        raise CompositionError(f"{type(found).__name__} was given where a {kind.__name__} is needed")
    return found
