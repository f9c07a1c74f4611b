"""An architecture builds networks for shapes; a network may also be any module of the user's."""

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
    """Builds an encoder from any data shape and a decoder to any data shape."""

    @abstractmethod
    def encoder(self, shape: Shape) -> nn.Module:
        """A module (B, *shape) -> (B, features)."""

    def stages(self, shape: Shape) -> list[nn.Sequential]:
        """An encoder in parts: each takes what the one before it gives, (B, ...)."""
        return [nn.Sequential(self.encoder(shape))]

    @abstractmethod
    def decoder(self, features: int, outputs: int, shape: Shape) -> nn.Module:
        """A module (B, features) -> (B, outputs * prod(shape)) numbers, in any layout of that order."""

    def for_vectors(self) -> Architecture:
        """The same, with a decoder of vectors, where that of this one is made for maps."""
        return self

    def map_shapes(self, shape: Shape) -> list[Shape]:
        """(C, H, W) of the maps that each of the stages gives; none: they give no maps."""
        return []

    def upsampler(self, inputs: int, level: int, shape: Shape) -> nn.Module:
        """Where there are planes: maps (B, inputs, h, w) on that of a level -> maps (B, C, h, w) on that below it."""
        raise CompositionError(f"{type(self).__name__} has no planes between which maps could rise")


def merge_stages(stages: Iterable[nn.Sequential]) -> nn.Sequential:
    """All layers of these stages, one after the other."""
    return nn.Sequential(*(layer for stage in stages for layer in stage))


def activation(name: str) -> nn.Module:
    """An activation by its name."""
    if name not in _ACTIVATIONS:
        raise InputError(f"there is no activation {name!r}; {suggestion(str(name), _ACTIVATIONS)}")
    return _ACTIVATIONS[name]()


def as_sizes(name: str, values: object) -> Shape:
    """A sequence of positive whole numbers, or one number, as a tuple."""
    values = (values,) if isinstance(values, int) else values
    ok = isinstance(values, (tuple, list)) and all(
        isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values
    )
    if not ok:
        raise InputError(f"{name} = {values!r}; needed: positive whole numbers, such as (512, 256)")
    return tuple(cast("tuple[int, ...]", values))


def spectrally_normalized(network: nn.Module) -> nn.Module:
    """The network, with the weight of each layer divided by its largest singular value, estimated by a step of power
    iteration at each training pass (Miyato et al. 2018, Section 2.1, https://arxiv.org/abs/1802.05957)."""
    for layer in list(network.modules()):
        if isinstance(getattr(layer, "weight", None), nn.Parameter):
            spectral_norm(layer)
    return network


def fold(network: nn.Module, x: Tensor, event_dims: int) -> Tensor:
    """Applies a network to the last dimensions of x, with all leading ones folded into one batch axis.

    The result is at least float32: what autocast computed in bfloat16 is not reduced in it.
    """
    lead = x.shape[: x.dim() - event_dims]
    out = network(x.reshape(-1, *x.shape[len(lead) :]))
    out = out.reshape(*lead, *out.shape[1:])
    return out.to(torch.promote_types(out.dtype, torch.float32))


def output_size(network: nn.Module, shape: Shape, what: str) -> int:
    """The number of outputs an example of a network fed with zeros (2, *shape).

    Raises:
        CompositionError: where the network does not take that shape, or loses the batch axis.
    """
    like = next(network.parameters(), torch.empty(0))
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            out = network(like.new_zeros((2, *shape)))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise CompositionError(
            f"the {what} does not take input of shape {('batch', *shape)} ({reason}); "
            f"begin it with a layer for that shape, such as nn.Flatten() and nn.Linear({math.prod(shape)}, ...)"
        ) from error
    finally:
        network.train(was_training)
    if not isinstance(out, Tensor) or out.dim() < 1 or out.shape[0] != 2:
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise CompositionError(
            f"the {what} maps (2, {', '.join(map(str, shape))}) to {got}; needed: one tensor with batch axis first"
        )
    return out[0].numel()
