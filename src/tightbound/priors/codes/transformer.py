"""Causal transformer code prior."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from tightbound.core.errors import whole
from tightbound.nn.masked import Maps
from tightbound.nn.transformer import INIT_STD, CausalTransformer
from tightbound.priors.codes.autoregressive import AutoregressivePrior, Choose


class Transformer(AutoregressivePrior):
    """Transformer code prior over one sequence of P * depth code indices, each given all earlier ones.

    The input of a step is the sum of the embedding of the previous index (a learned vector at the first step), learned
    vectors for the row, column and number of the predicted index, and a linear map of its condition: the maps at its
    position, and the context.

    Args:
        grid: As for `CodePrior`.
        depth: As for `CodePrior`.
        codebook_size: As for `CodePrior`.
        maps: As for `CodePrior`.
        context: As for `CodePrior`.
        hidden: Width of the transformer.
        layers: Number of blocks, each with attention and a two-layer network.
        heads: Number of attention heads, a divisor of `hidden`.
        dropout: Dropout rate of the blocks in training.
        blocks: Number of residual blocks of the network for the maps.

    Raises:
        InputError: If a number is out of range.

    References:
        Language models are unsupervised multitask learners (Radford et al. 2019), Section 2.3; for codes of images:
        Taming transformers for high-resolution image synthesis (Esser et al. 2021), Section 3.2,
        https://arxiv.org/abs/2012.09841
    """

    def __init__(
        self,
        grid: tuple[int, int] = (1, 1),
        depth: int = 1,
        codebook_size: int = 2,
        maps: int = 0,
        context: int = 0,
        hidden: int = 128,
        layers: int = 3,
        heads: int = 4,
        dropout: float = 0.1,
        blocks: int = 2,
    ) -> None:
        hidden = whole("hidden", hidden, least=1)
        super().__init__(grid, depth, codebook_size, maps, context, embedding=hidden, hidden=hidden, blocks=blocks)
        self.net = CausalTransformer(hidden, layers, heads, dropout)
        height, width = self.grid
        self.start = nn.Parameter(INIT_STD * torch.randn(hidden))
        self.rows = nn.Parameter(INIT_STD * torch.randn(height, 1, 1, hidden))
        self.columns = nn.Parameter(INIT_STD * torch.randn(width, 1, hidden))
        self.indices = nn.Parameter(INIT_STD * torch.randn(self.depth, hidden))
        nn.init.normal_(self.table.weight, std=INIT_STD)
        given = self.conditioning.outputs
        self.spread = nn.Linear(given, hidden, bias=False) if given else None
        self.heads = nn.ModuleList(nn.Linear(hidden, self.codebook_size) for _ in range(self.depth))
        for head in self.heads:
            nn.init.normal_(cast(nn.Linear, head).weight, std=INIT_STD)

    def logits(self, codes: Tensor, condition: Maps | None) -> Tensor:
        """Return logits (N, P, depth, K) of indices (N, P, depth)."""
        before = self.embed(codes).flatten(1, 2)[:, :-1]
        before = torch.cat([self.start.expand(len(codes), 1, -1), before], 1)
        out = self.net(before + self._places(condition)).unflatten(1, (self.positions, self.depth))
        return torch.stack([head(out[:, :, i]) for i, head in enumerate(self.heads)], 2)

    def generate(self, rows: int, condition: Maps | None, choose: Choose) -> None:
        """Generate indices; each step reads the cached keys and values of all earlier steps."""
        at = self._places(condition).unbind(1)
        step = self.net.steps(rows, len(at), self.start)
        before = self.start.expand(rows, -1)
        for i, place in enumerate(at):
            position, index = divmod(i, self.depth)
            logits = self.heads[index](step(before + place))
            before = self.embed_one(choose(logits, position, index), index)

    def _places(self, condition: Maps | None) -> Tensor:
        """Return the inputs that describe the index each step predicts, (N or 1, P * depth, hidden)."""
        at = (self.rows + self.columns + self.indices).flatten(0, 1).unsqueeze(0)
        if self.spread is not None and condition is not None:
            spread = self.spread(condition.flatten(2).transpose(1, 2))  # (N, P or 1, hidden)
            at = at + spread.unsqueeze(2)
        return at.flatten(1, 2)
