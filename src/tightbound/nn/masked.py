"""Masked convolutions and the gated layer of a PixelCNN, causal in raster order and without a blind spot."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Maps = Tensor  # (B, channels, H, W)


class MaskedConv2d(nn.Conv2d):
    """Convolution over a pixel and those to its left, in which a channel sees only earlier groups of channels.

    The channels of input and output are divided into `ordered_groups` groups of about equal size, one for each channel
    of an example. At its own pixel, output group g sees the input groups before g (mask A of the paper) or up to g
    (mask B); further left it sees all groups.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        width: Number of pixels seen, including the pixel itself.
        ordered_groups: Number of groups G.
        strict: Whether to use mask A instead of mask B.
        halves: Number of parts of the output (gates), each of which has all groups.

    References:
        Pixel recurrent neural networks (van den Oord et al. 2016), Section 3.4, https://arxiv.org/abs/1601.06759
    """

    mask: Tensor  # (outputs, inputs, 1, width)

    def __init__(
        self, inputs: int, outputs: int, width: int, ordered_groups: int, *, strict: bool = False, halves: int = 1
    ) -> None:
        super().__init__(inputs, outputs, (1, width))
        seen, sees = (
            channel_groups(inputs, ordered_groups),
            channel_groups(outputs // halves, ordered_groups).repeat(halves),
        )
        mask = torch.ones(self.weight.shape)
        mask[..., 0, -1] = (seen < sees[:, None] if strict else seen <= sees[:, None]).to(mask)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, input: Maps) -> Maps:
        """Map (B, inputs, H, W) -> (B, outputs, H, W)."""
        return F.conv2d(F.pad(input, (self.kernel_size[1] - 1, 0)), self.weight * self.mask, self.bias)

    def matrix(self) -> tuple[Tensor, Tensor]:
        """Return the map from the pixels seen, as a matrix (outputs, width * inputs) and a bias (outputs,)."""
        assert self.bias is not None
        return (self.weight * self.mask)[:, :, 0].transpose(1, 2).flatten(1), self.bias


def channel_groups(channels: int, groups: int) -> Tensor:
    """Return the group (channels,) of each channel, in ordered runs of about equal length."""
    return torch.arange(channels) * groups // channels


class GatedLayer(nn.Module):
    """Gated layer tanh(a + s) sigmoid(b + t) with a vertical stack v and a horizontal stack h.

    v sees the rows above a pixel; h also sees the pixels to its left in the same row. v in row i is computed only from
    the rows above i and is an input of h at each pixel, so that together they see every earlier pixel within reach.

    Args:
        inputs: Number of input channels of both stacks.
        hidden: Number of output channels of both stacks.
        kernel: Kernel size of the convolutions, an odd number, of which the causal half is used.
        groups: Number of ordered groups of channels per pixel; see `MaskedConv2d`.
        condition: Number of channels of the condition (B, condition, 1 or H, 1 or W), added before the gates; 0: none.
        first: Whether the inputs are x itself; then the predicted element is hidden, and there is no residual
            connection.
        dropout: Dropout probability of the gates' outputs in training.

    References:
        Conditional image generation with PixelCNN decoders (van den Oord et al. 2016), Eqs. 2 to 4 and Figure 2,
        https://arxiv.org/abs/1606.05328
    """

    def __init__(
        self, inputs: int, hidden: int, kernel: int, groups: int, condition: int, *, first: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.reach, self.first = kernel // 2, first
        rows = self.reach if first else self.reach + 1  # applied to x itself, v must not see its own row
        self.vertical = nn.Conv2d(inputs, 2 * hidden, (rows, kernel), padding=(0, self.reach))
        self.horizontal = MaskedConv2d(inputs, 2 * hidden, self.reach + 1, groups, strict=first, halves=2)
        self.across = nn.Conv2d(2 * hidden, 2 * hidden, 1)
        self.dropout, self.out = nn.Dropout(dropout), MaskedConv2d(hidden, hidden, 1, groups)
        self.condition = nn.Conv2d(condition, 4 * hidden, 1, bias=False) if condition else None

    def forward(self, v: Maps, h: Maps, condition: Maps | None) -> tuple[Maps, Maps]:
        """Map both stacks from (B, inputs, H, W) to (B, hidden, H, W)."""
        to_v, to_h = self.conditions(condition)
        v, across = self.rows(F.pad(v, (0, 0, self.reach, 0))[..., : -1 if self.first else None, :], to_v)
        out = self.out(self.dropout(gate(self.horizontal(h) + across + to_h)))
        return v, out if self.first else out + h

    def conditions(self, condition: Maps | None) -> tuple[Maps, Maps]:
        """Return the condition's contribution to each stack before its gates, (B or 1, 2 hidden, 1 or H, 1 or W)."""
        if self.condition is None or condition is None:
            none = self.across.weight.new_zeros(1, 1, 1, 1)
            return none, none
        to_v, to_h = self.condition(condition).chunk(2, 1)
        return to_v, to_h

    def rows(self, v: Maps, condition: Maps) -> tuple[Maps, Maps]:
        """Compute the vertical stack without padding above; return its output and its contribution to h."""
        before = self.vertical(v)
        return gate(before + condition), self.across(before)


def gate(x: Maps) -> Maps:
    """Apply the gates to (B, 2 c, H, W); return (B, c, H, W)."""
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)
