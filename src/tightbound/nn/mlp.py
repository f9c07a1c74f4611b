"""Fully connected networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tightbound.core.errors import number
from tightbound.nn.base import Architecture, Shape, activation, as_sizes, merge_stages, spectrally_normalized


class MLP(Architecture):
    """Fully connected network for data of any shape.

    Args:
        hidden: Widths of the encoder's hidden layers.
        activation: Activation of the hidden layers.
        dropout: Probability of dropping a hidden unit.
        decoder_hidden: Widths of the decoder's hidden layers; None: those of the encoder in reverse.
        decoder_dropout: Dropout probability of the decoder; None: the same as in the encoder.
        spectral_norm: Divide each weight of the decoder by its largest singular value.
        skip: Show the input to the last layer, too, beside the last hidden layer: a linear path, which starts at
            factor analysis where the latents are flat and normal.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (512, 256),
        activation: str = "relu",
        dropout: float = 0.0,
        decoder_hidden: tuple[int, ...] | None = None,
        decoder_dropout: float | None = None,
        spectral_norm: bool = False,
        skip: bool = False,
    ) -> None:
        self.hidden, self.activation = as_sizes("hidden", hidden), activation
        mirrored = decoder_hidden is None
        self.decoder_hidden = self.hidden[::-1] if mirrored else as_sizes("decoder_hidden", decoder_hidden)
        self.dropout = number("dropout", dropout, least=0, below=1)
        self.spectral_norm, self.skip = spectral_norm, skip
        same = decoder_dropout is None
        self.decoder_dropout = self.dropout if same else number("decoder_dropout", decoder_dropout, least=0, below=1)

    def encoder(self, shape: Shape) -> nn.Module:
        """Build a module that maps (B, *shape) -> (B, hidden[-1])."""
        body = merge_stages(self.stages(shape))
        return Beside(body) if self.skip else body

    def stages(self, shape: Shape) -> list[nn.Sequential]:
        """Build one stage per hidden layer."""
        first, *rest = self._stages(math.prod(shape), self.hidden, self.dropout) or [nn.Sequential()]
        return [nn.Sequential(nn.Flatten(), *first), *rest]

    def decoder(self, features: int, outputs: int, shape: Shape) -> nn.Module:
        """Build a module that maps (B, features) -> (B, outputs * prod(shape))."""
        hidden = self.decoder_hidden
        width = (hidden[-1] if hidden else features) + (features if self.skip else 0)
        last = nn.Linear(width, outputs * math.prod(shape))
        body = merge_stages(self._stages(features, hidden, self.decoder_dropout))
        decoder = nn.Sequential(Beside(body), last) if self.skip else nn.Sequential(*body, last)
        return spectrally_normalized(decoder) if self.spectral_norm else decoder

    def _stages(self, width: int, hidden: Shape, dropout: float) -> list[nn.Sequential]:
        stages: list[nn.Sequential] = []
        for previous, following in zip((width, *hidden), hidden, strict=False):
            layers = [nn.Linear(previous, following), activation(self.activation)]
            stages.append(nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else [])))
        return stages


class Beside(nn.Module):
    """Module whose outputs are followed by its inputs: x (B, ...) becomes (B, outputs + inputs).

    Args:
        body: The module.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs and inputs."""
        return torch.cat([self.body(x), x.flatten(1)], 1)


def linear_path(network: nn.Module | None) -> nn.Linear | None:
    """Return the last layer of a network in which the input stands beside the hidden units, or None."""
    layers = list(network.children()) if isinstance(network, nn.Sequential) else []
    if len(layers) < 2 or not isinstance(layers[0], Beside) or not isinstance(layers[-1], nn.Linear):
        return None
    return layers[-1]
