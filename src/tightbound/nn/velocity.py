"""Networks of a time-dependent velocity field."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tightbound.nn import tangents
from tightbound.nn.tangents import Pair

FREQUENCIES = 32


class VelocityMLP(nn.Module):
    """Residual network that maps points x (N, features) and times t (N,) to velocities (N, features), zero at first.

    Time and context scale and shift the normalized input of each block.

    Args:
        features: Dimension of the space.
        context: Size of the context; 0: no context.
        hidden: Width of the hidden layers.
        blocks: Number of residual blocks.

    References:
        Scalable diffusion models with transformers (Peebles and Xie 2023), Section 3.2 (adaptive layer norm),
        https://arxiv.org/abs/2212.09748
    """

    def __init__(self, features: int, context: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, 2, FREQUENCIES), persistent=False)
        self.condition = nn.Sequential(nn.Linear(2 * FREQUENCIES + context, hidden), nn.SiLU())
        self.first = nn.Linear(features, hidden)
        self.blocks = nn.ModuleList(_Block(hidden, hidden) for _ in range(blocks))
        self.last = nn.Linear(hidden, features)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    frequencies: Tensor

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None, directions: Tensor | None = None) -> Pair:
        """Return the velocities and their derivatives.

        Args:
            x: Points (N, features).
            t: Times (N,).
            context: Contexts (N, context).
            directions: Directions (K, N, features); None: no derivatives.

        Returns:
            Velocities (N, features), and derivatives (K, N, features) along the directions, or None.
        """
        condition = self.condition(conditions(t, self.frequencies, context))
        pair = _through(self.blocks, tangents.linear(self.first, x, directions), condition)
        return tangents.linear(self.last, *tangents.silu(*pair))


class VelocityMaps(nn.Module):
    """Convolutional network that maps points, maps (N, C * H * W), and times t (N,) to velocities, zero at first.

    It has residual blocks on two scales, H x W and half of it, and a skip connection between them.

    Args:
        plane: Shape (C, H, W) of the maps.
        context: Size of the context; 0: no context.
        hidden: Number of channels of the hidden layers.
        blocks: Number of residual blocks before, on and after the coarse scale.

    References:
        U-Net: convolutional networks for biomedical image segmentation (Ronneberger et al. 2015),
        https://arxiv.org/abs/1505.04597; see also `VelocityMLP`
    """

    def __init__(self, plane: tuple[int, ...], context: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.plane, width = tuple(plane), 2 * hidden
        self.register_buffer("frequencies", torch.logspace(0, 2, FREQUENCIES), persistent=False)
        self.condition = nn.Sequential(nn.Linear(2 * FREQUENCIES + context, width), nn.SiLU())
        self.first = nn.Conv2d(self.plane[0], hidden, 3, padding=1)
        self.fine = nn.ModuleList(_Block(hidden, width, maps=True) for _ in range(blocks))
        self.down = nn.Conv2d(hidden, hidden, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(_Block(hidden, width, maps=True) for _ in range(blocks))
        self.up = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.finer = nn.ModuleList(_Block(hidden, width, maps=True) for _ in range(blocks))
        self.last = nn.Conv2d(hidden, self.plane[0], 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    frequencies: Tensor

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None, directions: Tensor | None = None) -> Pair:
        """Return the velocities and their derivatives; see `VelocityMLP.forward`."""
        condition = self.condition(conditions(t, self.frequencies, context))
        moved = None if directions is None else directions.unflatten(-1, self.plane)
        fine = _through(self.fine, tangents.linear(self.first, x.unflatten(-1, self.plane), moved), condition)
        coarse = _through(self.coarse, tangents.linear(self.down, *fine), condition)
        up = tangents.linear(self.up, *tangents.doubled(*coarse, self.plane[1:]))
        pair = _through(self.finer, tangents.added(*fine, *up), condition)
        value, change = tangents.linear(self.last, *tangents.silu(*pair))
        return value.flatten(1), None if change is None else change.flatten(2)


class _Block(nn.Module):
    """Residual block; time and context shift and scale each channel."""

    def __init__(self, width: int, condition: int, *, maps: bool = False) -> None:
        super().__init__()
        self.modulation = nn.Linear(condition, 2 * width)
        self.first, self.second = (_layer(width, maps) for _ in range(2))
        self._maps = maps
        for parameter in self.modulation.parameters():
            nn.init.zeros_(parameter)

    def forward(self, hidden: Tensor, change: Tensor | None, condition: Tensor) -> Pair:
        values = self.modulation(condition)
        shift, scale = (values[..., None, None] if self._maps else values).chunk(2, 1)
        pair = tangents.normalized(hidden, change, 3 if self._maps else 1)
        pair = tangents.silu(*tangents.linear(self.first, *tangents.modulated(*pair, shift, scale)))
        return tangents.added(hidden, change, *tangents.linear(self.second, *pair))


def _through(blocks: nn.ModuleList, pair: Pair, condition: Tensor) -> Pair:
    for block in blocks:
        pair = block(*pair, condition)
    return pair


def _layer(width: int, maps: bool) -> nn.Linear | nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=1) if maps else nn.Linear(width, width)


def conditions(t: Tensor, frequencies: Tensor, context: Tensor | None) -> Tensor:
    """Return Fourier features of times t (N,), joined with contexts (N, context)."""
    angle = math.pi * t.unsqueeze(-1) * frequencies
    parts = [angle.sin(), angle.cos(), *(() if context is None else (context,))]
    return torch.cat(parts, -1)
