"""Gated PixelCNN over a grid, evaluated in one pass or element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tightbound.core.errors import InputError, number, whole
from tightbound.nn.attention import KeyValueCache, PixelAttention, position_features
from tightbound.nn.masked import GatedLayer, Maps, MaskedConv2d, gate


class GatedPixelCNN(nn.Module):
    """Network for the parameters of p(x_i | x_<i, c) for every element i of a grid (H, W) with G channels.

    Elements come in raster order, and channel by channel within a pixel.

    Args:
        groups: Number G of elements per pixel, predicted in turn; 1 for a grid with one code index per position.
        outputs: Number of parameters per element.
        inputs: Number of channels that represent an element: 1 for a number, or the size of an index's embedding.
        hidden: Number of feature maps per layer, divided among the groups; at least G.
        layers: Number of gated layers, each of which sees kernel // 2 pixels further.
        kernel: Kernel size of the convolutions, an odd number of at least 3.
        condition: Number of channels of the condition c, (B, condition) or maps (B, condition, H, W), which is an input
            of every layer; 0: none.
        attention: Number of heads of causal self-attention over all earlier elements, after the middle and last layers;
            a divisor of `hidden`. 0: no attention.
        dropout: Dropout probability of the layers' gates in training.

    Raises:
        InputError: If a number is out of range.

    References:
        Conditional image generation with PixelCNN decoders (van den Oord et al. 2016),
        https://arxiv.org/abs/1606.05328; PixelSNAIL (Chen et al. 2018), https://arxiv.org/abs/1712.09763
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
        attention: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.groups, self.outputs, self.inputs = groups, outputs, inputs
        if whole("kernel", kernel, least=3) % 2 == 0:
            raise InputError(f"kernel = {kernel!r}; needed: an odd whole number, such as 5")
        whole("hidden", hidden, least=groups)
        number("dropout", dropout, least=0, below=1)
        self.layers = nn.ModuleList(
            GatedLayer(
                inputs * groups if i == 0 else hidden, hidden, kernel, groups, condition, first=i == 0, dropout=dropout
            )
            for i in range(whole("layers", layers, least=1))
        )
        after = {max(0, layers // 2 - 1), layers - 1} if whole("attention", attention, least=0) else set()
        self.attention = nn.ModuleDict(
            {str(i): PixelAttention(hidden, inputs * groups, groups, attention) for i in sorted(after)}
        )
        self.head = nn.Sequential(
            nn.ReLU(),
            MaskedConv2d(hidden, hidden, 1, groups),
            nn.ReLU(),
            MaskedConv2d(hidden, groups * outputs, 1, groups),
        )

    @property
    def bias(self) -> nn.Parameter:
        """The bias (groups * outputs,) of the last layer."""
        bias = self.head[-1].bias
        assert isinstance(bias, nn.Parameter)
        return bias

    def forward(self, x: Maps, condition: Tensor | None = None) -> Tensor:
        """Return the parameters (B, groups, H, W, outputs) of all elements.

        Args:
            x: Elements as network inputs, (B, groups * inputs, H, W).
            condition: Condition (B, condition) or (B, condition, H, W); None if the network takes none.
        """
        maps, v, h = _as_maps(condition), x, x
        for layer, attention in self._layers():
            v, h = layer(v, h, maps)
            h = h if attention is None else attention(h, x)
        return self.head(h).unflatten(1, (self.groups, self.outputs)).movedim(2, -1)

    @torch.no_grad()
    def generate(
        self,
        size: tuple[int, int, int],
        condition: Tensor | None,
        step: Callable[[Tensor, int, int, int], Tensor],
        like: Tensor,
    ) -> None:
        """Generate element by element, without dropout, reusing earlier results.

        The cost is linear in the number of pixels, except for attention, which reads all earlier positions at each
        step.

        Args:
            size: Batch size and grid size (B, H, W).
            condition: As in `forward`.
            step: Function that, given the parameters (B, outputs), row, column and group, returns the element as
                network input (B, inputs).
            like: Tensor that gives the dtype and device.
        """
        caches: list[_Layer | _Attention] = []
        for layer, attention in self._layers():
            caches.append(_Layer(layer, size, _as_maps(condition), like))
            caches += [] if attention is None else [_Attention(attention, size, like)]
        batch, height, width = size
        line = like.new_zeros(batch, width, self.groups, self.inputs)  # zeros above the first row
        (within, within_bias), (last, last_bias) = (
            layer.matrix() for layer in self.head if isinstance(layer, MaskedConv2d)
        )
        within, heads = (
            within.T.contiguous(),
            last.unflatten(0, (self.groups, -1)).transpose(1, 2).contiguous().unbind(),
        )
        biases = last_bias.unflatten(0, (self.groups, -1)).unbind()
        for row in range(height):
            v = line.flatten(2).transpose(1, 2).unsqueeze(2)
            for cache in caches:
                v = cache.down(v, row)
            line = torch.zeros_like(line)
            for column in range(width):
                here = line[:, column].flatten(1)  # a view that fills as elements become known
                for element in range(self.groups):
                    h = here
                    for cache in caches:
                        h = cache.right(h, column)
                    inner = torch.addmm(within_bias, h.relu(), within).relu()
                    parameters = torch.addmm(biases[element], inner, heads[element])
                    line[:, column, element] = step(parameters, row, column, element)
                for cache in caches:
                    cache.close(here, column)

    def _layers(self) -> Iterator[tuple[GatedLayer, PixelAttention | None]]:
        after = dict(self.attention.items())
        for i, layer in enumerate(self.layers):
            yield cast(GatedLayer, layer), cast("PixelAttention | None", after.get(str(i)))


class _Layer:
    """Cache of one layer: the rows of v above, and the columns of h to the left."""

    def __init__(self, layer: GatedLayer, size: tuple[int, int, int], condition: Maps | None, like: Tensor) -> None:
        batch, height, width = size
        inputs, rows = layer.vertical.in_channels, layer.vertical.kernel_size[0]
        self.layer = layer
        self.rows = like.new_zeros(batch, inputs, rows, width)  # the most recent rows
        columns = like.new_zeros(batch, layer.reach + width, inputs)  # begins with the zeros beyond the edge
        # a step is small, so its cost is the number of calls: prepare weights and views once
        self.here = columns[:, layer.reach :].unbind(1)
        self.seen = [columns[:, i : i + layer.reach + 1].flatten(1) for i in range(width)]
        self.across: Sequence[Tensor] = ()  # (B, 2 hidden) for each column of this row
        added = layer.conditions(condition)
        self.to_v, self.to_h = (a.expand(batch, -1, height, width) for a in added)
        (weight, self.bias), (out, self.out_bias) = layer.horizontal.matrix(), layer.out.matrix()
        self.weight, self.out = weight.T.contiguous(), out.T.contiguous()

    def down(self, v: Maps, row: int) -> Maps:
        """Push the next row (B, inputs, 1, W) of v, begin a row of h, and return the output of v in this row."""
        self.rows = torch.cat([self.rows, v], 2)[:, :, 1:]
        v, across = self.layer.rows(self.rows, self.to_v[:, :, row : row + 1])
        across = across + self.to_h[:, :, row : row + 1]
        self.across = (across[:, :, 0].transpose(1, 2) + self.bias).unbind(1)
        return v

    def right(self, h: Tensor, column: int) -> Tensor:
        """Return the horizontal stack's output (B, hidden) at this pixel for its input h (B, inputs)."""
        self.here[column].copy_(h)
        gated = gate(torch.addmm(self.across[column], self.seen[column], self.weight))
        out = torch.addmm(self.out_bias, gated, self.out)
        return out if self.layer.first else out + h

    def close(self, x: Tensor, column: int) -> None:
        """Store all elements x (B, inputs * groups) of this pixel; deeper layers do not need the last element."""
        if self.layer.first:
            self.here[column].copy_(x)


class _Attention:
    """Cache of an attention layer: keys and values of all positions so far."""

    def __init__(self, attention: PixelAttention, size: tuple[int, int, int], like: Tensor) -> None:
        batch, height, width = size
        self.attention, self.at = (
            attention,
            position_features(height, width, like)[:, None].expand(-1, batch, -1).unbind(),
        )
        core = attention.attention
        self.cache = KeyValueCache(core, batch, height * width + 1, like)
        self.cache.append(like.new_zeros(batch, core.key_value.in_features))  # key of the first position
        self.h, self.read = like, None  # input and attention's output at the current position

    def down(self, v: Maps, row: int) -> Maps:
        """Return v unchanged; the vertical stack has no attention."""
        return v

    def right(self, h: Tensor, column: int) -> Tensor:
        """Return h (B, hidden) plus the attention's output, which is computed once for all groups."""
        if self.read is None:
            at = self.at[self.cache.length - 1]
            self.read = self.cache.attend(self.attention.queries(h, at))
        self.h = h
        return h + self.read

    def close(self, x: Tensor, column: int) -> None:
        """Store all elements x (B, inputs * groups) of this position."""
        self.cache.append(self.attention.keys(self.h, x, self.at[self.cache.length - 1]))
        self.read = None


def _as_maps(condition: Tensor | None) -> Maps | None:
    """Return a vector (B, n) as maps (B, n, 1, 1), and maps unchanged."""
    return condition[..., None, None] if condition is not None and condition.dim() == 2 else condition
