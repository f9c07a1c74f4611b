"""Grids of images as pixels, enlarged without smoothing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError

GAP = 4  # white pixels between images
WIDTH = 900  # pixels that a grid is enlarged to, at most
EDGE = 64  # pixels that the shorter edge of an image is enlarged to, at most

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def is_image(shape: Sequence[int]) -> bool:
    """Whether data of this shape can be shown as pictures."""
    return len(shape) == 3 and shape[0] in (1, 3, 4)


def to_pixels(x: Tensor, domain: Domain) -> Pixels:
    """Images (N, C, H, W) in the data's units -> (N, H, W, 3) bytes.

    Levels, bits and [0, 1] have a fixed black and white; real values and counts are stretched between the 1st and the
    99th percentile of what is shown.

    Raises:
        InputError: data that are not images.
    """
    if not is_image(x.shape[1:]):
        raise InputError(
            f"data of shape {tuple(x.shape[1:])} are not images; write them to .npz, .npy or .csv in place of .png"
        )
    x = x.detach().float().cpu()
    low, high = torch.tensor(domain.low), torch.tensor(domain.high)
    if high == torch.inf:
        low, high = torch.quantile(x.flatten()[:1_000_000], torch.tensor([0.01, 0.99]))
    x = ((x - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)[:, :3]
    return (x * 255).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def grid(rows: Sequence[Pixels], labels: Sequence[str] = (), heads: Sequence[str] = ()) -> Any:
    """A Pillow image with one row for each of `rows` (n, H, W, 3), their names at the left and the columns' above."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = rows[0].shape[1:3]
    across = max(len(row) for row in rows)
    factor = max(1, min((WIDTH // across - GAP) // width, EDGE // min(height, width)))
    font = ImageFont.load_default(14)
    margin = int(max(font.getlength(label) for label in labels)) + 16 if labels else 0
    down, right = height * factor + GAP, width * factor + GAP
    above = 24 if heads else 0
    canvas = Image.new("RGB", (margin + across * right - GAP, above + len(rows) * down - GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for j, head in enumerate(heads):
        draw.text((margin + j * right + width * factor / 2, above / 2), head, fill="#333333", font=font, anchor="mm")
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            picture = Image.fromarray(image).resize((width * factor, height * factor), Image.Resampling.NEAREST)
            canvas.paste(picture, (margin + j * right, above + i * down))
        if labels:
            draw.text(
                (margin - 8, above + i * down + height * factor / 2), labels[i], fill="#333333", font=font, anchor="rm"
            )
    return canvas


def columns(width: int) -> int:
    """How many images of this width a row of a page holds, 16 at most."""
    return max(4, min(16, WIDTH // (width + GAP)))


def square(images: Pixels) -> list[Pixels]:
    """Rows of a grid that is about square."""
    across = int(np.ceil(np.sqrt(len(images))))
    return [images[i : i + across] for i in range(0, len(images), across)]


def png(picture: Any) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
