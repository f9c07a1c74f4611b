"""Layers that also carry derivatives along directions, for exact and cheap Jacobian traces.

Each function maps a value (N, ...) and its derivatives (K, N, ...) along K directions, or None for none of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor | None]


def linear(layer: nn.Linear | nn.Conv2d, x: Tensor, dx: Tensor | None) -> Pair:
    """Apply a linear layer or a convolution."""
    if dx is None:
        return layer(x), None
    if isinstance(layer, nn.Linear):
        return layer(x), F.linear(dx, layer.weight)
    change = F.conv2d(dx.flatten(0, 1), layer.weight, None, layer.stride, layer.padding)  # pyright: ignore
    return layer(x), change.unflatten(0, dx.shape[:2])


def silu(x: Tensor, dx: Tensor | None) -> Pair:
    """Apply x sigmoid(x)."""
    if dx is None:
        return F.silu(x), None
    gate = torch.sigmoid(x)
    return x * gate, gate * (1 + x * (1 - gate)) * dx


def normalized(x: Tensor, dx: Tensor | None, dims: int = 1, eps: float = 1e-5) -> Pair:
    """Shift and scale the last `dims` dimensions to mean 0 and variance 1."""
    over = tuple(range(-dims, 0))
    centered = x - x.mean(over, keepdim=True)
    scale = (centered.square().mean(over, keepdim=True) + eps).rsqrt()
    out = centered * scale
    if dx is None:
        return out, None
    moved = dx - dx.mean(over, keepdim=True)
    return out, scale * (moved - out * (moved * out).mean(over, keepdim=True))


def modulated(x: Tensor, dx: Tensor | None, shift: Tensor, scale: Tensor) -> Pair:
    """Return x (1 + scale) + shift."""
    return x * (1 + scale) + shift, None if dx is None else dx * (1 + scale)


def added(x: Tensor, dx: Tensor | None, y: Tensor, dy: Tensor | None) -> Pair:
    """Return x + y."""
    return x + y, None if dx is None or dy is None else dx + dy


def doubled(x: Tensor, dx: Tensor | None, size: tuple[int, ...]) -> Pair:
    """Repeat each element of maps (..., H, W) twice in both directions, and crop to a size."""

    def repeat(maps: Tensor) -> Tensor:
        return maps.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : size[0], : size[1]]

    return repeat(x), None if dx is None else repeat(dx)
