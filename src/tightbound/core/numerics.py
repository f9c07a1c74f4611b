"""Precision and device of numbers: code outside of autocast, and float64, which some devices lack."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

NO_FLOAT64 = {"mps"}  # types of devices without float64; add the type of another backend without it
_NOTHING = nullcontext()


def unrounded(device: str) -> AbstractContextManager[object]:
    """Disable autocast for this type of device: networks may be in bfloat16, densities are not."""
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else _NOTHING


def first_parameter(module: nn.Module) -> nn.Parameter | None:
    """Return `next(module.parameters(), None)`, at a fraction of its cost."""
    for parameter in module._parameters.values():
        if parameter is not None:
            return parameter
    for child in module._modules.values():
        if child is not None and (found := first_parameter(child)) is not None:
            return found
    return None


def lacks_double(device: torch.device) -> bool:
    """Return whether a device has no float64."""
    return device.type in NO_FLOAT64


def capable(x: Tensor) -> Tensor:
    """Return x on a device with float64: its own, or the CPU."""
    return x.cpu() if lacks_double(x.device) else x


def precise(x: Tensor) -> Tensor:
    """Return x in float64, on a device that has it."""
    return capable(x).double()
