"""The user's own encoders and decoders: any module, checked by one forward pass when the model is built."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tightbound.core.errors import CompositionError
from tightbound.nn.base import Architecture, Network, Shape, pass_zeros


class MeanLogVariance(nn.Module):
    """Encoder with its own head, which maps x (B, *shape) to mean and log-variance, stacked to (B, 2, latent).

    Args:
        encoder: Module that returns a pair of tensors (B, latent).
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """Return mean and log-variance (B, 2, latent)."""
        mean, log_variance = self.encoder(x)
        return torch.stack([mean.flatten(1), log_variance.flatten(1)], 1)


def posterior_network(
    encoder: nn.Module, shape: Shape, raw_shape: Shape, name: str, *, accepts_pair: bool
) -> nn.Module:
    """Return the network of a posterior: the encoder with a linear head, or with its own head.

    Args:
        encoder: Module that maps x (B, *shape) to features (B, ...) or, if `accepts_pair`, to a pair
            (mean, log-variance), each (B, latent).
        shape: Shape of the encoder's input.
        raw_shape: Shape of the posterior's parameters for one example.
        name: Name of the posterior in error messages.
        accepts_pair: Whether the parameters are a mean and a log-variance.

    Raises:
        CompositionError: The encoder does not accept the input, or its output does not fit.
    """
    out = pass_zeros(encoder, shape, "encoder")
    if isinstance(out, Tensor):
        return nn.Sequential(encoder, nn.Flatten(), nn.Linear(out[0].numel(), math.prod(raw_shape)))
    shapes = [_shown(part) for part in out]
    if not accepts_pair:
        raise CompositionError(
            f"the encoder gives a tuple of {' and '.join(shapes)}, and posterior {name} needs one tensor of features "
            "(B, F); return one tensor, or use posterior 'normal'"
        )
    latent = raw_shape[-1]
    if len(out) != 2 or any(part[0].numel() != latent for part in out):
        raise CompositionError(
            f"the encoder gives ({', '.join(shapes)}), and latent={latent} needs a pair (mean, log-variance), "
            f"each (B, {latent}); return such a pair, or one tensor of features (B, F)"
        )
    return MeanLogVariance(encoder)


def likelihood_network(
    network: Network | None, features: int | None, outputs: int, shape: Shape, name: str
) -> nn.Module | None:
    """Return the network of a likelihood: an architecture's decoder, or the user's own module after a check.

    Args:
        network: An architecture, or a module that maps features (B, features) to `outputs * prod(shape)` numbers per
            example, in any layout with the order (outputs, *shape), such as (B, outputs * prod(shape)),
            (B, outputs, *shape) or, if outputs is 1, (B, *shape).
        features: Size of the decoder's input; None: unknown, so that a module is not checked.
        outputs: Number of parameters per element of x.
        shape: Shape of one example.
        name: Name of the likelihood in error messages.

    Raises:
        CompositionError: The decoder does not accept the features, or gives the wrong number of outputs.
    """
    if isinstance(network, Architecture):
        if features is None:
            raise CompositionError("an architecture was given without features; pass features=<latent size>")
        return network.decoder(features, outputs, shape)
    if network is None or features is None:
        return network
    out, needed = pass_zeros(network, (features,), "decoder"), outputs * math.prod(shape)
    if not isinstance(out, Tensor):
        raise CompositionError(f"the decoder gives a tuple, and likelihood {name} needs one tensor; return one tensor")
    if out[0].numel() != needed:
        each = f" ({outputs} per element, in the order (outputs, *shape))" if outputs > 1 else ""
        raise CompositionError(
            f"the decoder gives {_shown(out)}, and likelihood {name} of data {shape} needs {needed} numbers per "
            f"example{each}; end the decoder with nn.Linear(..., {needed}), or with layers of that size"
        )
    return network


def _shown(out: Tensor) -> str:
    return f"({', '.join(map(str, ('B', *out.shape[1:])))})"
