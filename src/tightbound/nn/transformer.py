"""Causal transformer, evaluated on a whole sequence or step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.core.errors import number, whole
from tightbound.nn.attention import CausalAttention, KeyValueCache

INIT_STD = 0.02  # standard deviation of initial weights and embeddings


class CausalTransformer(nn.Module):
    """Causal transformer of pre-norm blocks, whose output i depends on inputs 0 .. i.

    Args:
        hidden: Size of a step's vector.
        layers: Number of blocks.
        heads: Number of attention heads, a divisor of `hidden`.
        dropout: Dropout probability of attention weights and of each block's output.

    References:
        Language models are unsupervised multitask learners (Radford et al. 2019), Section 2.3, with its initial scales,
        https://openai.com/index/better-language-models/
    """

    def __init__(self, hidden: int, layers: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        number("dropout", dropout, least=0, below=1)
        self.hidden, layers = whole("hidden", hidden, least=1), whole("layers", layers, least=1)
        self.blocks = nn.ModuleList(_Block(hidden, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            for block in self._blocks():  # give the sum over all blocks the scale of one block
                block.attention.out.weight /= (2 * layers) ** 0.5
                block.last.weight /= (2 * layers) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, hidden) -> (B, L, hidden)."""
        for block in self._blocks():
            x = block(x)
        return self.norm(x)

    def steps(self, batch: int, length: int, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function that maps the inputs (B, hidden) of up to `length` steps, in turn, to outputs (B, hidden).

        Keys and values are cached, and there is no dropout.
        """
        steps = [_Step(block, batch, length, like) for block in self._blocks()]

        def step(x: Tensor) -> Tensor:
            for each in steps:
                x = each(x)
            return self.norm(x)

        return step

    def _blocks(self) -> Sequence[_Block]:
        return cast("Sequence[_Block]", self.blocks)


class _Block(nn.Module):
    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = CausalAttention(hidden, hidden, hidden, heads, dropout)
        self.first, self.last = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, hidden) to the same shape."""
        seen = self.before(x)
        x = x + self.dropout(self.attention(seen, seen))
        return x + self.dropout(self.last(F.silu(self.first(self.between(x)))))


class _Step:
    """Block that is applied one step at a time."""

    def __init__(self, block: _Block, batch: int, length: int, like: Tensor) -> None:
        self.block, self.cache = block, KeyValueCache(block.attention, batch, length, like)
        self.first, self.last = block.first.weight.T.contiguous(), block.last.weight.T.contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Map the next step (B, hidden) to the same shape."""
        block = self.block
        seen = block.before(x)
        self.cache.append(seen)
        x = x + self.cache.attend(seen)
        wide = torch.addmm(block.first.bias, block.between(x), self.first)
        return x + torch.addmm(block.last.bias, F.silu(wide), self.last)
