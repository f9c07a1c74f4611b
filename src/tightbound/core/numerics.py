"""The type and place of numbers: where autocast must not reach, and double precision, which some devices lack."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

LACKING = ("mps",)  # types of devices without float64
_NOTHING = nullcontext()


def unrounded(device: str) -> AbstractContextManager[object]:
    """Without autocast, on this type of device: networks may be in bfloat16, densities are not."""
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else _NOTHING


def first_parameter(module: nn.Module) -> nn.Parameter | None:
    """What `next(module.parameters(), None)` is, without its cost, which each step would pay."""
    for parameter in module._parameters.values():
        if parameter is not None:
            return parameter
    for child in module._modules.values():
        if child is not None and (found := first_parameter(child)) is not None:
            return found
    return None


def lacks_double(device: torch.device) -> bool:
    """Whether a device has no float64."""
    return device.type in LACKING


def capable(x: Tensor) -> Tensor:
    """Where float64 can be had: where it is, or on the CPU."""
    return x.cpu() if lacks_double(x.device) else x


def precise(x: Tensor) -> Tensor:
    """In float64, where that can be had."""
    return capable(x).double()
