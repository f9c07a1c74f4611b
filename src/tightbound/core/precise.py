"""Sums and densities in double precision, on devices that may not have it."""

from __future__ import annotations

import torch
from torch import Tensor

LACKING = ("mps",)  # types of devices without float64


def lacks_double(device: torch.device) -> bool:
    """Whether a device has no float64."""
    return device.type in LACKING


def capable(x: Tensor) -> Tensor:
    """Where float64 can be had: where it is, or on the CPU."""
    return x.cpu() if lacks_double(x.device) else x


def precise(x: Tensor) -> Tensor:
    """In float64, where that can be had."""
    return capable(x).double()
