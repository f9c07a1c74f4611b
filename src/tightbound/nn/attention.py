"""Causal self-attention, over a whole sequence or step by step with cached keys and values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.core.errors import InputError, number, whole
from tightbound.nn.masked import Maps, channel_groups

OCTAVES = 6  # sines and cosines with wavelengths of 4, 8, ..., 128 positions


class CausalAttention(nn.Module):
    """Multi-head attention in which query i attends to keys 0 .. i.

    Args:
        queries: Size of the inputs that queries are computed from.
        keys: Size of the inputs that keys and values are computed from.
        hidden: Size of the output, divided among the heads.
        heads: Number of heads, a divisor of `hidden`.
        dropout: Dropout probability of the attention weights in training.

    References:
        Attention is all you need (Vaswani et al. 2017), Section 3.2, https://arxiv.org/abs/1706.03762
    """

    def __init__(self, queries: int, keys: int, hidden: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if whole("hidden", hidden, least=1) % whole("heads", heads, least=1):
            raise InputError(f"hidden = {hidden} is not a multiple of heads = {heads}; pass a multiple")
        self.heads, self.dropout = heads, number("dropout", dropout, least=0, below=1)
        self.query = nn.Linear(queries, hidden)
        # a bias of the keys would shift all scores of a query equally, and the softmax would cancel it
        self.key_value = nn.Linear(keys, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Attend from queries (B, L, queries) to keys (B, L, keys); return (B, L, hidden)."""
        q, (k, v) = self.project_queries(queries), self.project_keys(keys)
        dropout = self.dropout if self.training else 0.0
        return self.merge_heads(F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True))

    def project_queries(self, queries: Tensor) -> Tensor:
        """Compute queries (B, heads, L, d) from (B, L, queries)."""
        return self.query(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def project_keys(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Compute keys and values, each (B, heads, L, d), from (B, L, keys)."""
        k, v = self.key_value(keys).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return k, v

    def merge_heads(self, heads: Tensor) -> Tensor:
        """Combine the outputs (B, heads, L, d) of the heads to (B, L, hidden)."""
        return self.out(heads.transpose(1, 2).flatten(2))


class KeyValueCache:
    """Cache of a sequence's keys and values so far, for attention step by step.

    Args:
        attention: The attention layer.
        batch: Number of sequences B.
        length: Maximum number of steps.
        like: Tensor that gives the dtype and device.
    """

    def __init__(self, attention: CausalAttention, batch: int, length: int, like: Tensor) -> None:
        hidden, heads = attention.query.out_features, attention.heads
        self.length, cache = 0, like.new_empty(2, batch, heads, length, hidden // heads)
        # a step is small, so its cost is the number of calls: prepare weights and views once
        self.cache, self.slots = cache.flatten(1, 2), cache.unbind(3)
        self.key_value = attention.key_value.weight.T.contiguous()
        scale = (heads / hidden) ** 0.5
        self.query, self.bias = attention.query.weight.T.contiguous() * scale, attention.query.bias * scale
        self.out, self.out_bias = attention.out.weight.T.contiguous(), attention.out.bias

    def append(self, keys: Tensor) -> None:
        """Append the keys and values of the next step, computed from (B, keys)."""
        slot = self.slots[self.length]  # (2, B, heads, d)
        _, rows, heads, d = slot.shape
        slot.copy_(torch.mm(keys, self.key_value).view(rows, 2, heads, d).transpose(0, 1))
        self.length += 1

    def attend(self, queries: Tensor) -> Tensor:
        """Attend from one query (B, queries) to all appended steps; return (B, hidden)."""
        k, v = self.cache[:, :, : self.length].unbind()
        q = torch.addmm(self.bias, queries, self.query)
        weights = torch.bmm(q.view(len(k), 1, -1), k.transpose(1, 2)).softmax(-1)
        return torch.addmm(self.out_bias, torch.bmm(weights, v).view(q.shape), self.out)


class PixelAttention(nn.Module):
    """Residual attention of each position of a PixelCNN to all earlier positions in raster order.

    Queries are computed from the position and from the channels of the first group, which do not depend on the elements
    of the position, so that one result serves all groups. Keys are computed from the position, all channels and the
    elements themselves. The first position attends to a key of zeros.

    Args:
        hidden: Number of channels of the feature maps.
        inputs: Number of channels that represent the elements of a position.
        groups: Number of elements per position.
        heads: Number of heads, a divisor of `hidden`.

    References:
        PixelSNAIL (Chen et al. 2018), Section 2.2, https://arxiv.org/abs/1712.09763
    """

    def __init__(self, hidden: int, inputs: int, groups: int, heads: int) -> None:
        super().__init__()
        self.own = int((channel_groups(hidden, groups) == 0).sum())
        at = 4 * OCTAVES
        self.attention = CausalAttention(self.own + at, hidden + inputs + at, hidden, heads)

    def forward(self, h: Maps, x: Maps) -> Maps:
        """Add the attention's output to h (B, hidden, H, W), given the elements x (B, inputs, H, W)."""
        height, width = h.shape[-2:]
        at = position_features(height, width, h).expand(len(h), -1, -1)
        h_at, x_at = (maps.flatten(2).transpose(1, 2) for maps in (h, x))
        keys = F.pad(self.keys(h_at, x_at, at)[:, :-1], (0, 0, 1, 0))
        read = self.attention(self.queries(h_at, at), keys)
        return h + read.transpose(1, 2).unflatten(2, (height, width))

    def queries(self, h: Tensor, at: Tensor) -> Tensor:
        """Concatenate the query inputs: h (..., hidden) and `position_features` (..., n)."""
        return torch.cat([h[..., : self.own], at], -1)

    def keys(self, h: Tensor, x: Tensor, at: Tensor) -> Tensor:
        """Concatenate the key inputs: h (..., hidden), x (..., inputs) and `position_features` (..., n)."""
        return torch.cat([h, x, at], -1)


def position_features(height: int, width: int, like: Tensor) -> Tensor:
    """Return sines and cosines (H * W, 4 * OCTAVES) of row and column (Vaswani et al. 2017, Section 3.5)."""
    frequency = 2 * torch.pi / 2.0 ** torch.arange(2, 2 + OCTAVES, device=like.device, dtype=like.dtype)
    rows, columns = (
        torch.arange(n, device=like.device, dtype=like.dtype)[:, None] * frequency for n in (height, width)
    )
    angles = torch.stack([a.expand(height, width, -1) for a in (rows[:, None], columns)], -1)
    return torch.cat([angles.sin(), angles.cos()], -1).reshape(height * width, -1)
