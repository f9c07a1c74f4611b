"""Latents that are maps: the KL autoencoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from tightbound.components import Spec
from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.latents.flat import Flat
from tightbound.latents.level import made
from tightbound.nn.base import Architecture, Network, Shape, merge_stages
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import Prior


class Spatial(Flat):
    """One group of latents that is a map z (C, H, W) of the image, with a diagonal Gaussian q(z | x).

    Encoder and decoder are convolutional, without a linear layer between image and z, so that their size does not grow
    with that of the image. A context enters only the prior. With prior `flow-matching` this is latent diffusion with a
    bound; before its second stage, the prior is N(0, I).

    Args:
        shape: Shape (channels, height, width) of the encoder's input.
        network: Architecture with feature maps of one level ("resnet").
        channels: Number of channels C of z.
        factor: Edge length of the image as a multiple of that of z, a power of two; None: as the network has it.
        prior: p(z), as text or an object.
        context: Size of the context, which only the prior takes; 0: no context.

    Raises:
        CompositionError: The network has no maps of this size, or there is a context and the prior is N(0, I).

    References:
        High-resolution image synthesis with latent diffusion models (Rombach et al. 2022), Section 3.1,
        https://arxiv.org/abs/2112.10752
    """

    maps = True
    builds: ClassVar[Sequence[str]] = ("prior",)

    def __init__(
        self,
        shape: Shape,
        network: Network,
        channels: int = 4,
        factor: int | None = None,
        prior: str | Spec | Prior = "normal",
        context: int = 0,
    ) -> None:
        channels = whole("channels", channels, least=1)
        edge = None if factor is None else _power(factor)
        planes = network.map_shapes(shape) if isinstance(network, Architecture) else []
        if len(planes) != 1 or not isinstance(network, Architecture):
            raise CompositionError(
                "latents 'spatial' need images and a network with feature maps on one level; use network "
                "'resnet(halvings=(2,))'"
            )
        depth, *size = planes[0]
        if edge is not None and size != (needed := [math.ceil(length / edge) for length in shape[1:]]):
            raise CompositionError(
                f"factor={factor} needs maps of {' x '.join(map(str, needed))}, and the "
                f"network has {' x '.join(map(str, size))}; leave out network=, or factor="
            )
        plane = (channels, *size)
        latent = math.prod(plane)
        own = made(Prior, "prior", prior, latent=latent, context=context, plane=plane)
        if context and (own.standard or not own.context):
            raise CompositionError(
                f"a context enters latents 'spatial' only through their prior, and prior {type(own).__name__} takes "
                "none; use prior='flow-matching', or leave out context="
            )
        encoder = MapEncoder(merge_stages(network.stages(shape)), depth, plane[0])
        super().__init__(own, DiagonalNormal(shape, latent, encoder))
        self.plane = plane
        self.record_again(prior=own)

    @classmethod
    def network_for(cls, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> str | None:
        """Return a residual network with the factor of the arguments, or one that leaves maps of at least 4 x 4."""
        if len(shape) != 3:
            return None
        factor = arguments.get("factor")
        halvings = 2 if min(shape[1:]) >= 16 else 1
        return f"resnet(halvings=({halvings if factor is None else _power(factor).bit_length() - 1},))"

    @property
    def description(self) -> str:
        """The shape of z in words."""
        return f"{' x '.join(map(str, self.plane))} latents"


class MapEncoder(nn.Module):
    """Encoder from images to maps of means and of log-variances, (B, channels, H, W) each.

    Args:
        body: Network from images to feature maps (B, depth, H, W).
        depth: Number of feature maps.
        channels: Number of channels of z.
    """

    def __init__(self, body: nn.Module, depth: int, channels: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Conv2d(depth, 2 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-variances."""
        mean, log_variance = self.head(self.body(x)).chunk(2, 1)
        return mean, log_variance


def _power(factor: object) -> int:
    """Check that a factor is a power of two."""
    found = whole("factor", factor, least=2)  # pyright: ignore
    if found & (found - 1):
        raise InputError(f"factor = {found}; needed: a power of two, such as 4")
    return found
