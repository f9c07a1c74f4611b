"""Numerical precision: code outside of autocast, and float64, which some devices lack."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

NO_FLOAT64 = {"mps"}  # device types without float64
_NOTHING = nullcontext()


def unrounded(device: str) -> AbstractContextManager[object]:
    """Disable autocast for this device type, since densities need full precision even if networks use bfloat16."""
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else _NOTHING


def first_parameter(module: nn.Module) -> nn.Parameter | None:
    """Return `next(module.parameters(), None)` at a fraction of the cost."""
    for parameter in module._parameters.values():
        if parameter is not None:
            return parameter
    for child in module._modules.values():
        if child is not None and (found := first_parameter(child)) is not None:
            return found
    return None


def bounded(log: Tensor, limit: float = 25.0) -> Tensor:
    """Return logarithms of scales, moved into [-limit, limit].

    Far from the training data a network's outputs have any size. Within the default limit, squares of the scale and of
    its inverse are finite in float32, so that densities are finite and normalized for every output.
    """
    return log.clamp(-limit, limit)


def lacks_double(device: torch.device) -> bool:
    """Return whether a device has no float64."""
    return device.type in NO_FLOAT64


def capable(x: Tensor) -> Tensor:
    """Return x on a device with float64: its own device, or else the CPU."""
    return x.cpu() if lacks_double(x.device) else x


def precise(x: Tensor) -> Tensor:
    """Return x in float64, on its own device if that has float64, or else on the CPU."""
    return capable(x).double()
