"""Condition of a code prior, from the maps of the groups above and the context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tightbound.core.errors import CompositionError, whole
from tightbound.nn.base import fold
from tightbound.nn.resnet import Block


class Conditioning(nn.Module):
    """Network that combines the maps of the groups above with the context.

    Args:
        grid: Height and width (H, W).
        maps: Number of channels of the maps; 0: there are no maps.
        context: Size of the context; 0: there is none.
        hidden: Number of channels.
        blocks: Number of residual blocks.

    References:
        Generating diverse high-fidelity images with VQ-VAE-2 (Razavi et al. 2019), Appendix B,
        https://arxiv.org/abs/1906.00446
    """

    def __init__(self, grid: tuple[int, int], maps: int, context: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.shape, self.context = (maps, *grid), context
        self.outputs = (hidden if maps else 0) + context
        blocks = whole("blocks", blocks, least=0)
        self.network = None
        if maps:
            residual = [Block(hidden, hidden, "silu") for _ in range(blocks)]
            self.network = nn.Sequential(nn.Conv2d(maps, hidden, 3, padding=1), *residual)

    def forward(self, maps: Tensor | None, context: Tensor | None) -> Tensor | None:
        """Map maps (..., maps, H, W) and context (..., context) to (..., outputs, H or 1, W or 1); None without both.

        Raises:
            CompositionError: If maps or a context are needed, and are missing or have the wrong shape.
        """
        given: list[Tensor] = []
        if self.network is not None:
            given.append(fold(self.network, _checked("maps of the groups above", maps, self.shape), 3))
        if self.context:
            given.append(_checked("a context", context, (self.context,))[..., None, None])
        if not given:
            return None
        lead = torch.broadcast_shapes(*(x.shape[:-3] for x in given))
        area = given[0].shape[-2:]
        return torch.cat([x.expand(*lead, -1, *area) for x in given], -3)


def _checked(what: str, given: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    if given is None or given.shape[-len(shape) :] != shape or given.dim() < len(shape):
        got = "none" if given is None else f"shape {tuple(given.shape)}"
        needed = f"(..., {', '.join(map(str, shape))})"
        raise CompositionError(f"the code prior takes {what} of shape {needed} and was given {got}; pass that shape")
    return given
