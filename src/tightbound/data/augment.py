"""Random changes of training images, so that a model sees each image in several positions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tightbound.components import make
from tightbound.components.syntax import parse_several
from tightbound.core.component import Component
from tightbound.core.errors import InputError, whole
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch
from tightbound.data.splits.base import Split


class Augmentation(Component, ABC):
    """Random change of images that moves their pixels."""

    @abstractmethod
    def __call__(self, images: Sequence[Tensor], noise: Noise) -> list[Tensor]:
        """Return tensors (B, C, H, W), such as images and their masks, all changed alike."""


class Shift(Augmentation):
    """Shift of each image by up to `pixels` pixels in each direction; pixels of the border are repeated.

    Args:
        pixels: Maximum number of pixels.
    """

    def __init__(self, pixels: int = 2) -> None:
        self.pixels = whole("pixels", pixels, least=1, most=1000)

    def __call__(self, images: Sequence[Tensor], noise: Noise) -> list[Tensor]:
        """See `Augmentation.__call__`; all shifts are equally probable."""
        n, _, *edges = images[0].shape
        choices, device = 2 * self.pixels + 1, images[0].device
        draws = noise.uniform((1, n, 2), torch.empty(0, device=device))[0]
        shifts = (draws * choices).long().clamp_max(choices - 1) - self.pixels
        rows, columns = (
            (torch.arange(edge, device=device) - by.unsqueeze(1)).clamp(0, edge - 1)
            for edge, by in zip(edges, shifts.unbind(1), strict=True)
        )
        every = torch.arange(n, device=device)[:, None, None]
        return [
            x.movedim(1, -1)[every, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous() for x in images
        ]


class Flip(Augmentation):
    """Horizontal flip of each image with probability 1/2."""

    def __call__(self, images: Sequence[Tensor], noise: Noise) -> list[Tensor]:
        """See `Augmentation.__call__`."""
        n = len(images[0])
        flipped = noise.uniform((1, n), torch.empty(0, device=images[0].device))[0] < 0.5
        return [torch.where(flipped[:, None, None, None], x.flip(-1), x) for x in images]


def augmentations(text: str | None, data: Split) -> list[Augmentation]:
    """Return augmentations from text, such as "shift(pixels=2), flip"; None: none.

    Raises:
        InputError: If a name or an argument is unknown, or the data are no images.
    """
    if text is None:
        return []
    if len(data.shape) != 3:
        raise InputError(
            f"augment = {text!r} moves the pixels of images, and examples have the shape {tuple(data.shape)}; needed: "
            "images (channels, height, width); leave out augment="
        )
    return [make("augmentation", spec) for spec in parse_several(text)]


def augmented(batch: Batch, changes: Sequence[Augmentation], noise: Noise) -> Batch:
    """Return a raw batch with changed images; labels and contexts stay."""
    images = [batch.x] if batch.mask is None else [batch.x, batch.mask]
    for change in changes:
        images = change(images, noise)
    x, *mask = images
    return replace(batch, x=x, mask=mask[0] if mask else None)
