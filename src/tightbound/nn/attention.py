"""Causal self-attention, over a sequence in one pass or step by step with keys and values kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.core.errors import InputError, number, whole
from tightbound.nn.masked import Maps, channel_groups

OCTAVES = 6  # wavelengths of 4, 8, ..., 128 positions


class CausalAttention(nn.Module):
    """Multi-head attention in which query i sees the keys 0 .. i.

    Arguments:
        queries, keys: Sizes of what these are made from.
        hidden: Size of the output, shared out among the heads.
        heads: A divisor of `hidden`.
        dropout: Of the attention's weights, in training.

    References:
        Attention is all you need (Vaswani et al. 2017), Section 3.2, https://arxiv.org/abs/1706.03762
    """

    def __init__(self, queries: int, keys: int, hidden: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if whole("hidden", hidden, least=1) % whole("heads", heads, least=1):
            raise InputError(f"hidden = {hidden} is no multiple of the {heads} heads of attention; needed: one that is")
        self.heads, self.dropout = heads, number("dropout", dropout, least=0, below=1)
        self.query = nn.Linear(queries, hidden)
        # without a bias: it would shift all of a query's scores alike, which the softmax takes out
        self.key_value = nn.Linear(keys, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(B, L, queries) and (B, L, keys) -> (B, L, hidden)."""
        q, (k, v) = self.project_queries(queries), self.project_keys(keys)
        dropout = self.dropout if self.training else 0.0
        return self.merge_heads(F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True))

    def project_queries(self, queries: Tensor) -> Tensor:
        """(B, L, queries) -> (B, heads, L, d)."""
        return self.query(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def project_keys(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, keys) -> keys and values (B, heads, L, d) each."""
        k, v = self.key_value(keys).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return k, v

    def merge_heads(self, heads: Tensor) -> Tensor:
        """What the heads have read, (B, heads, L, d) -> (B, L, hidden)."""
        return self.out(heads.transpose(1, 2).flatten(2))


class KeyValueCache:
    """The keys and values of a sequence so far.

    Arguments:
        attention: Whose.
        batch, length: B, and the most steps that are put.
        like: A tensor of the dtype and device to work in.
    """

    def __init__(self, attention: CausalAttention, batch: int, length: int, like: Tensor) -> None:
        hidden, heads = attention.query.out_features, attention.heads
        self.length, kept = 0, like.new_empty(2, batch, heads, length, hidden // heads)
        # a step is small: what counts is the number of calls, so weights and views are made ready here
        self.kept, self.slots = kept.flatten(1, 2), kept.unbind(3)
        self.key_value = attention.key_value.weight.T.contiguous()
        scale = (heads / hidden) ** 0.5
        self.query, self.bias = attention.query.weight.T.contiguous() * scale, attention.query.bias * scale
        self.out, self.out_bias = attention.out.weight.T.contiguous(), attention.out.bias

    def append(self, keys: Tensor) -> None:
        """The next step's (B, keys)."""
        slot = self.slots[self.length]  # (2, B, heads, d)
        _, rows, heads, d = slot.shape
        slot.copy_(torch.mm(keys, self.key_value).view(rows, 2, heads, d).transpose(0, 1))
        self.length += 1

    def attend(self, queries: Tensor) -> Tensor:
        """One query (B, queries) that sees all that was put -> (B, hidden)."""
        k, v = self.kept[:, :, : self.length].unbind()
        q = torch.addmm(self.bias, queries, self.query)
        weights = torch.bmm(q.view(len(k), 1, -1), k.transpose(1, 2)).softmax(-1)
        return torch.addmm(self.out_bias, torch.bmm(weights, v).view(q.shape), self.out)


class PixelAttention(nn.Module):
    """Adds to a PixelCNN's maps what each position reads from all strictly earlier ones, in raster order.

    A query is made from the position and those channels that no element of it has entered (the first group's); so one
    reading serves all groups. A key is made from its position, all its channels, and its elements themselves. The first
    position sees a key of zeros.

    Arguments:
        hidden: Channels of the maps.
        inputs: Channels in which the elements of a position are written.
        groups: Elements of a position.
        heads: A divisor of `hidden`.

    References:
        PixelSNAIL (Chen et al. 2018), Section 2.2, https://arxiv.org/abs/1712.09763
    """

    def __init__(self, hidden: int, inputs: int, groups: int, heads: int) -> None:
        super().__init__()
        self.own = int((channel_groups(hidden, groups) == 0).sum())
        at = 4 * OCTAVES
        self.attention = CausalAttention(self.own + at, hidden + inputs + at, hidden, heads)

    def forward(self, h: Maps, x: Maps) -> Maps:
        """Maps (B, hidden, H, W) and the elements as written (B, inputs, H, W) -> (B, hidden, H, W)."""
        height, width = h.shape[-2:]
        at = position_features(height, width, h).expand(len(h), -1, -1)
        h_at, x_at = (maps.flatten(2).transpose(1, 2) for maps in (h, x))
        keys = F.pad(self.keys(h_at, x_at, at)[:, :-1], (0, 0, 1, 0))
        read = self.attention(self.queries(h_at, at), keys)
        return h + read.transpose(1, 2).unflatten(2, (height, width))

    def queries(self, h: Tensor, at: Tensor) -> Tensor:
        """(..., hidden) and `position_features` (..., n) -> what queries are made from."""
        return torch.cat([h[..., : self.own], at], -1)

    def keys(self, h: Tensor, x: Tensor, at: Tensor) -> Tensor:
        """(..., hidden), (..., inputs) and `position_features` (..., n) -> what keys are made from."""
        return torch.cat([h, x, at], -1)


def position_features(height: int, width: int, like: Tensor) -> Tensor:
    """(H * W, 4 * OCTAVES) sines and cosines of row and column (Vaswani et al. 2017, Section 3.5)."""
    frequency = 2 * torch.pi / 2.0 ** torch.arange(2, 2 + OCTAVES, device=like.device, dtype=like.dtype)
    rows, columns = (
        torch.arange(n, device=like.device, dtype=like.dtype)[:, None] * frequency for n in (height, width)
    )
    angles = torch.stack([a.expand(height, width, -1) for a in (rows[:, None], columns)], -1)
    return torch.cat([angles.sin(), angles.cos()], -1).reshape(height * width, -1)
