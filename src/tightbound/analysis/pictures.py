"""Grids of images as pixels, enlarged smoothly."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.figures import Pictures
from tightbound.core.domain import Domain
from tightbound.core.errors import InputError

GAP = 4  # white pixels between images
WIDTH = 900  # pixels; grids are enlarged to this width, at most
EDGE = 112  # pixels; the shorter edge of an image is enlarged to this, at most
ACROSS = 12  # images in a row, at most

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def is_image(shape: Sequence[int]) -> bool:
    """Return whether examples of this shape can be shown as images."""
    return len(shape) == 3 and shape[0] in (1, 3, 4)


def to_pixels(x: Tensor, domain: Domain) -> Pixels:
    """Convert images (N, C, H, W) in the units of the data to bytes (N, H, W, 3).

    Levels, bits and [0, 1] have a fixed black and white; real values and counts are stretched between the 1st and the
    99th percentile of these images.

    Raises:
        InputError: If the examples are not images.
    """
    if not is_image(x.shape[1:]):
        raise InputError(
            f"examples of shape {tuple(x.shape[1:])} are not images; write them to .npz, .npy or .csv instead of .png"
        )
    x = x.detach().float().cpu()
    low, high = torch.tensor(domain.low), torch.tensor(domain.high)
    if high == torch.inf:
        low, high = torch.quantile(x.flatten()[:1_000_000], torch.tensor([0.01, 0.99]))
    x = ((x - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)[:, :3]
    return (x * 255).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def grid(rows: Sequence[Pixels], labels: Sequence[str] = (), heads: Sequence[str] = ()) -> Any:
    """Return a Pillow image with one row of images for each of `rows`.

    Args:
        rows: Images (n, H, W, 3); those of later rows are resized to the size of the first.
        labels: Names of the rows, at the left.
        heads: Names of the columns, above.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = rows[0].shape[1:3]
    across = max(len(row) for row in rows)
    font = ImageFont.load_default(14)
    margin = int(max(font.getlength(label) for label in labels)) + 16 if labels else 0
    factor = max(1.0, min(((WIDTH - margin + GAP) // across - GAP) / width, EDGE / min(height, width)))
    size = round(width * factor), round(height * factor)
    right, down = size[0] + GAP, size[1] + GAP
    above = 24 if heads else 0
    canvas = Image.new("RGB", (margin + across * right - GAP, above + len(rows) * down - GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for j, head in enumerate(heads):
        draw.text((margin + j * right + size[0] / 2, above / 2), head, fill="#333333", font=font, anchor="mm")
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            picture = Image.fromarray(image)
            if picture.size != size:
                picture = picture.resize(size, Image.Resampling.BICUBIC)
            canvas.paste(picture, (margin + j * right, above + i * down))
        if labels:
            draw.text((margin - 8, above + i * down + size[1] / 2), labels[i], fill="#333333", font=font, anchor="rm")
    return canvas


def panel(rows: Sequence[Pixels], labels: Sequence[str] = (), heads: Sequence[str] = ()) -> Pictures:
    """Return the grid of these rows as a panel of a figure."""
    return Pictures(png=png(grid(rows, labels, heads)))


def columns(width: int) -> int:
    """Return how many images of this width fit into a row."""
    return max(4, min(ACROSS, WIDTH // (width + GAP)))


def square(images: Pixels) -> list[Pixels]:
    """Return the rows of a grid that is about square."""
    return in_rows(images, int(np.ceil(np.sqrt(len(images)))))


def in_rows(images: Pixels, across: int) -> list[Pixels]:
    """Return the images in rows of `across`."""
    return [images[i : i + across] for i in range(0, len(images), across)]


def png(picture: Any) -> bytes:
    """Return the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
