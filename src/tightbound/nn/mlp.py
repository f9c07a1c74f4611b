"""Fully connected networks."""

from __future__ import annotations

import math

from torch import nn

from tightbound.core.errors import number
from tightbound.nn.base import Architecture, Shape, activation, sizes


class MLP(Architecture):
    """Fully connected, for data of any shape.

    Arguments:
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
        activation: Of the hidden layers.
        dropout: Probability of dropping a hidden unit (of both networks).
    """

    def __init__(self, hidden: tuple[int, ...] = (512, 256), activation: str = "relu", dropout: float = 0.0) -> None:
        self.hidden, self.activation = sizes("hidden", hidden), activation
        self.dropout = number("dropout", dropout, least=0, below=1)

    def encoder(self, shape: Shape) -> nn.Module:
        """(B, *shape) -> (B, hidden[-1])."""
        return nn.Sequential(nn.Flatten(), *self._layers(math.prod(shape), self.hidden))

    def decoder(self, features: int, outputs: int, shape: Shape) -> nn.Module:
        """(B, features) -> (B, outputs * prod(shape))."""
        hidden = self.hidden[::-1]
        last = nn.Linear(hidden[-1] if hidden else features, outputs * math.prod(shape))
        return nn.Sequential(*self._layers(features, hidden), last)

    def _layers(self, width: int, hidden: Shape) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for previous, following in zip((width, *hidden), hidden, strict=False):
            layers += [nn.Linear(previous, following), activation(self.activation)]
            layers += [nn.Dropout(self.dropout)] if self.dropout else []
        return layers
