"""Gradient estimators for quantization, which replace its zero gradient by that of a smooth function."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

_SMALL = 1e-6  # vectors shorter than this have no direction


def straight_through(vectors: Tensor, nearest: Tensor) -> Tensor:
    """Return the vectors themselves, so that the gradient passes unchanged.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Section 3.2,
        https://arxiv.org/abs/1711.00937
    """
    return vectors


def rotation(vectors: Tensor, nearest: Tensor) -> Tensor:
    """Return |e| / |v| R v, where R rotates v to e, and R and the ratio of lengths are held constant.

    z then keeps its angle and relative length to the vector v. If v or e is zero, the gradient is straight-through.

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
    """Return exactly the nearest code vectors (..., size), with the named estimator's gradient to the vectors."""
    smooth = GRADIENTS[name](vectors, nearest)
    return nearest.detach() + (smooth - smooth.detach())  # x - sg(x) is exactly 0
