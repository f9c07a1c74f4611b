"""The type and place of a model's numbers, and where autocast must not reach."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

_NOTHING = nullcontext()


def unrounded(device: str) -> AbstractContextManager[object]:
    """Without autocast, on this type of device: networks may be in bfloat16, densities are not."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else _NOTHING


def first_parameter(module: nn.Module) -> nn.Parameter | None:
    """What `next(module.parameters(), None)` is, without its cost, which each step would pay."""
    for parameter in module._parameters.values():
        if parameter is not None:
            return parameter
    for child in module._modules.values():
        if child is not None and (found := first_parameter(child)) is not None:
            return found
    return None
