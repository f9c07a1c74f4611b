"""Gated PixelCNN: what each element of a grid is predicted from, in one pass over a grid or element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tightbound.core.errors import InputError, whole
from tightbound.nn.masked import GatedLayer, Maps, MaskedConv2d


class GatedPixelCNN(nn.Module):
    """Parameters of p(x_i | x_<i, c) for every element i of a grid (H, W) of G channels, in raster order and channel
    by channel within a pixel.

    Arguments:
        groups: G, the elements of a pixel that are predicted in turn; 1 for a grid of codes.
        outputs: Parameters an element.
        inputs: Channels in which an element is written: 1 for a number, or the size of an embedding of codes.
        hidden: Feature maps of a layer, shared out among the groups; at least G.
        layers: Gated layers; each sees kernel // 2 pixels further.
        kernel: Edge of the convolutions; odd, at least 3.
        condition: Channels of c (B, condition), or of maps (B, condition, H, W), which enters every layer; 0: none.

    Raises:
        InputError: a number out of range.

    References:
        Conditional image generation with PixelCNN decoders (van den Oord et al. 2016), https://arxiv.org/abs/1606.05328
    """

    def __init__(
        self,
        groups: int,
        outputs: int,
        *,
        inputs: int = 1,
        hidden: int = 32,
        layers: int = 4,
        kernel: int = 5,
        condition: int = 0,
    ) -> None:
        super().__init__()
        self.groups, self.outputs, self.inputs = groups, outputs, inputs
        if whole("kernel", kernel, least=3) % 2 == 0:
            raise InputError(f"kernel = {kernel!r}; needed: an odd whole number, such as 5")
        whole("hidden", hidden, least=groups)
        self.layers = nn.ModuleList(
            GatedLayer(inputs * groups if i == 0 else hidden, hidden, kernel, groups, condition, first=i == 0)
            for i in range(whole("layers", layers, least=1))
        )
        self.head = nn.Sequential(
            nn.ReLU(),
            MaskedConv2d(hidden, hidden, 1, groups),
            nn.ReLU(),
            MaskedConv2d(hidden, groups * outputs, 1, groups),
        )

    @property
    def bias(self) -> nn.Parameter:
        """(groups * outputs) of the last layer."""
        bias = self.head[-1].bias
        assert isinstance(bias, nn.Parameter)
        return bias

    def forward(self, x: Maps, condition: Tensor | None = None) -> Tensor:
        """x (B, groups * inputs, H, W) as written, condition -> parameters (B, groups, H, W, outputs)."""
        maps, v, h = _as_maps(condition), x, x
        for layer in self._layers():
            v, h = layer(v, h, maps)
        return self._by_element(self.head(h))

    def generate(
        self,
        size: tuple[int, int, int],
        condition: Tensor | None,
        step: Callable[[Tensor, int, int, int], Tensor],
        like: Tensor,
    ) -> None:
        """Element by element, with what has been computed kept: cost is linear in the number of pixels.

        Arguments:
            size: B, H, W.
            condition: As in a call.
            step: (parameters (B, outputs), row, column, group) -> that element as written (B, inputs).
            like: A tensor of the dtype and device to work in.
        """
        caches = [_Cache(layer, size, _as_maps(condition), like) for layer in self._layers()]
        batch, height, width = size
        line = like.new_zeros(batch, self.groups, self.inputs, 1, width)  # no row stands above the first
        for row in range(height):
            v = line.flatten(1, 2)
            for cache in caches:
                v = cache.down(v, row)
            line = torch.zeros_like(line)
            for column in range(width):
                here = line.flatten(1, 2)[..., column : column + 1]  # a view: it fills as elements are known
                for number in range(self.groups):
                    h = here
                    for cache in caches:
                        h = cache.right(h, column)
                    parameters = self._by_element(self.head(h))[:, number, 0, 0]
                    line[:, number, :, 0, column] = step(parameters, row, column, number)
                caches[0].put(here, column)  # the last element; deeper layers do not see it at its own pixel

    def _layers(self) -> Sequence[GatedLayer]:
        return cast("Sequence[GatedLayer]", self.layers)

    def _by_element(self, out: Maps) -> Tensor:
        return out.unflatten(1, (self.groups, self.outputs)).movedim(2, -1)


class _Cache:
    """What one layer remembers: the rows of v above, and the columns of h to the left."""

    def __init__(self, layer: GatedLayer, size: tuple[int, int, int], condition: Maps | None, like: Tensor) -> None:
        batch, height, width = size
        inputs, rows = layer.vertical.in_channels, layer.vertical.kernel_size[0]
        self.layer, self.across = layer, like  # the latter is set by each row
        self.rows = like.new_zeros(batch, inputs, rows, width)  # the last ones that came
        self.columns = like.new_zeros(batch, inputs, 1, layer.reach + width)  # from the edge's zeros on
        added = layer.conditions(condition)
        self.to_v, self.to_h = (a.expand(batch, -1, height, width) for a in added)

    def down(self, v: Maps, row: int) -> Maps:
        """The next row (B, inputs, 1, W) of the vertical stack -> its output in this row; begins a row of h."""
        self.rows = torch.cat([self.rows, v], 2)[:, :, 1:]
        self.columns = torch.zeros_like(self.columns)
        v, across = self.layer.rows(self.rows, self.to_v[:, :, row : row + 1])
        self.across = across + self.to_h[:, :, row : row + 1]
        return v

    def put(self, h: Maps, column: int) -> None:
        """Remembers the input (B, inputs, 1, 1) of the horizontal stack at this pixel."""
        self.columns[..., self.layer.reach + column] = h[..., 0]

    def right(self, h: Maps, column: int) -> Maps:
        """The input of the horizontal stack at this pixel -> its output there, (B, hidden, 1, 1)."""
        self.put(h, column)
        seen = self.columns[..., column : column + self.layer.reach + 1]
        return self.layer.join(self.layer.horizontal.here(seen), self.across[..., column : column + 1], h)


def _as_maps(condition: Tensor | None) -> Maps | None:
    """A vector (B, n) as maps (B, n, 1, 1)."""
    return condition[..., None, None] if condition is not None and condition.dim() == 2 else condition
