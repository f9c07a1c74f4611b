"""Base class of architectures, and helpers for networks. A network may also be any module of the user's."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from tightbound.core.component import Component
from tightbound.core.errors import CompositionError, InputError, suggestion

Shape = tuple[int, ...]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "leaky-relu": nn.LeakyReLU,
    "identity": nn.Identity,
}


class Architecture(Component, ABC):
    """Base class of architectures, which build encoders and decoders for data of any shape."""

    @abstractmethod
    def encoder(self, shape: Shape) -> nn.Module:
        """Build a module that maps (B, *shape) -> (B, features)."""

    def stages(self, shape: Shape) -> list[nn.Sequential]:
        """Build an encoder in stages, each of which takes the output of the one before it."""
        return [nn.Sequential(self.encoder(shape))]

    @abstractmethod
    def decoder(self, features: int, outputs: int, shape: Shape) -> nn.Module:
        """Build a module that maps (B, features) -> (B, outputs * prod(shape)), in any layout of that order."""

    def for_vectors(self) -> Architecture:
        """Return a variant of this architecture whose decoder takes vectors instead of feature maps."""
        return self

    def map_shapes(self, shape: Shape) -> list[Shape]:
        """Return the shape (C, H, W) of each stage's feature maps; empty if the stages return no maps."""
        return []

    def upsampler(self, inputs: int, level: int, shape: Shape) -> nn.Module:
        """Build a module from maps (B, inputs, h, w) of a level to maps (B, C, H, W) of the level below it.

        Raises:
            CompositionError: If the architecture has no feature maps.
        """
        raise CompositionError(f"{type(self).__name__} has no feature maps to upsample; use network 'resnet'")


Network = Architecture | nn.Module


def merge_stages(stages: Iterable[nn.Sequential]) -> nn.Sequential:
    """Merge all layers of the stages into one sequence."""
    return nn.Sequential(*(layer for stage in stages for layer in stage))


def activation(name: str) -> nn.Module:
    """Return the activation with this name."""
    if name not in _ACTIVATIONS:
        raise InputError(f"activation = {name!r} is unknown; {suggestion(str(name), _ACTIVATIONS)}")
    return _ACTIVATIONS[name]()


def as_sizes(name: str, values: object) -> Shape:
    """Return a positive integer or a sequence of them as a tuple; `name` is the argument's name in errors."""
    values = (values,) if isinstance(values, int) else values
    ok = isinstance(values, (tuple, list)) and all(
        isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values
    )
    if not ok:
        raise InputError(f"{name} = {values!r}; needed: positive whole numbers, such as (512, 256)")
    return tuple(cast("tuple[int, ...]", values))


def spectrally_normalized(network: nn.Module) -> nn.Module:
    """Divide each weight of the network by its largest singular value, and return the network.

    The singular value is estimated by one step of power iteration per training pass.

    References:
        Spectral normalization for generative adversarial networks (Miyato et al. 2018), Section 2.1,
        https://arxiv.org/abs/1802.05957
    """
    for layer in list(network.modules()):
        if isinstance(getattr(layer, "weight", None), nn.Parameter):
            spectral_norm(layer)
    return network


def fold(network: nn.Module, x: Tensor, event_dims: int) -> Tensor:
    """Apply a network to the last `event_dims` dimensions of x, folding all leading ones into one batch axis.

    The result has at least float32 precision, so that later sums of bfloat16 outputs are not rounded.
    """
    lead = x.shape[: x.dim() - event_dims]
    out = network(x.reshape(-1, *x.shape[len(lead) :]))
    out = out.reshape(*lead, *out.shape[1:])
    return out.to(torch.promote_types(out.dtype, torch.float32))


def output_size(network: nn.Module, shape: Shape, what: str) -> int:
    """Return the number of outputs per example of a network that returns one tensor; see `pass_zeros`."""
    out = pass_zeros(network, shape, what)
    if not isinstance(out, Tensor):
        raise CompositionError(f"the {what} gives a tuple of {len(out)} tensors; needed: one tensor (batch, ...)")
    return out[0].numel()


def pass_zeros(network: nn.Module, shape: Shape, what: str) -> Tensor | tuple[Tensor, ...]:
    """Return the output of a network at zeros (2, *shape), in eval mode and without gradients.

    Args:
        network: The network.
        shape: Shape of one example.
        what: Name of the network in error messages.

    Raises:
        CompositionError: If the network does not accept this shape, or does not keep the batch axis.
    """
    like = next(network.parameters(), torch.empty(0))
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.no_grad():
            out = network(like.new_zeros((2, *shape)))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise CompositionError(
            f"the {what} does not accept inputs of shape {('batch', *shape)} ({reason}); "
            f"begin it with a layer for that shape, such as nn.Flatten() and nn.Linear({math.prod(shape)}, ...)"
        ) from error
    finally:
        for module in training:
            module.training = True
    parts = tuple(out) if isinstance(out, tuple | list) else (out,)
    if not all(isinstance(part, Tensor) and part.dim() >= 1 and part.shape[0] == 2 for part in parts):
        got = " and ".join(str(tuple(p.shape)) if isinstance(p, Tensor) else type(p).__name__ for p in parts)
        raise CompositionError(
            f"the {what} maps (2, {', '.join(map(str, shape))}) to {got}; needed: tensors with the batch axis first"
        )
    return out if isinstance(out, Tensor) else parts
