"""Gradient estimators for quantization, whose own gradient is zero: that of z as a smooth function of the vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

_SMALL = 1e-6  # vectors shorter than this have no direction


def straight_through(vectors: Tensor, nearest: Tensor) -> Tensor:
    """Return a function whose gradient is that of the vector (van den Oord et al. 2017, Section 3.2).

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Section 3.2,
        https://arxiv.org/abs/1711.00937
    """
    return vectors


def rotation(vectors: Tensor, nearest: Tensor) -> Tensor:
    """Return |e| / |v| R v, with the rotation R of v to e and the ratio of lengths held constant.

    z then keeps its angle and its relative length to the vector v. Straight-through if either is zero.

    References:
        Restructuring vector quantization with the rotation trick (Fifty et al. 2024), Section 4.2,
        https://arxiv.org/abs/2410.06424
    """
    v, e = vectors.detach(), nearest.detach()
    length, wanted = v.norm(dim=-1, keepdim=True), e.norm(dim=-1, keepdim=True)
    v, e = v / length.clamp_min(_SMALL), e / wanted.clamp_min(_SMALL)
    w = torch.nn.functional.normalize(v + e, dim=-1, eps=_SMALL)

    def along(direction: Tensor) -> Tensor:
        return (vectors * direction).sum(-1, keepdim=True)

    rotated = vectors - 2 * along(w) * w + 2 * along(v) * e
    z = rotated * (wanted / length.clamp_min(_SMALL))
    return torch.where((length > _SMALL) & (wanted > _SMALL), z, vectors)


GRADIENTS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "straight-through": straight_through,
    "rotation": rotation,
}


def with_gradient(name: str, vectors: Tensor, nearest: Tensor) -> Tensor:
    """Return exactly the nearest vectors (..., size), with this estimator's gradient to the vectors (..., size)."""
    smooth = GRADIENTS[name](vectors, nearest)
    return nearest.detach() + (smooth - smooth.detach())  # x - sg(x) is 0, without a rounding error
