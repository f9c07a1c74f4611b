"""Join examples and their contexts into one tensor that any network accepts."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, ...]


def joined_shape(shape: Shape, context: Shape) -> Shape:
    """Return the shape of `join(x, context)` for examples and contexts of these shapes."""
    if len(shape) <= 1:
        return (math.prod(shape) + math.prod(context),)
    if context[1:] == shape[1:]:
        return (shape[0] + context[0], *shape[1:])
    return (shape[0] + -(-math.prod(context) // math.prod(shape[1:])), *shape[1:])


def join(x: Tensor, context: Tensor | None) -> Tensor:
    """Join x (B, *shape) with a context (B, *context) to (B, *joined_shape).

    Vectors are concatenated. A context of the same height and width becomes additional channels; any other is written
    row by row into additional channels, padded with zeros.
    """
    if context is None:
        return x
    context = context.to(x)
    if x.dim() <= 2:
        return torch.cat([x.reshape(len(x), -1), context.flatten(1)], 1)
    if context.shape[2:] != x.shape[2:]:
        plane = math.prod(x.shape[2:])
        flat = context.flatten(1)
        flat = F.pad(flat, (0, -flat.shape[1] % plane))
        context = flat.reshape(len(x), -1, *x.shape[2:])
    return torch.cat([x, context], 1)


def append(features: Tensor, context: Tensor | None) -> Tensor:
    """Append a context (B, *context) to features (..., B, F); return (..., B, F + size of the context)."""
    if context is None:
        return features
    flat = context.flatten(1).to(features)
    return torch.cat([features, flat.expand(*features.shape[:-1], -1)], -1)
