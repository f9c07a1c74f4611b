"""Check that gradients reach every parameter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def gradients_of(value: Tensor, leaves: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the gradients of `value` with respect to `leaves`.

    Raises:
        AssertionError: A gradient is missing or not finite; the message names the leaf.
    """
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True) if leaves else ()
    found = []
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        assert gradient is not None, f"no gradient reaches {name} of shape {tuple(leaf.shape)}"
        assert torch.isfinite(gradient).all(), f"the gradient of {name} of shape {tuple(leaf.shape)} is not finite"
        found.append(gradient)
    return found
