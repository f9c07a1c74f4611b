"""A causal transformer over the sequence of codes."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from tightbound.core.errors import whole
from tightbound.nn.masked import Maps
from tightbound.nn.transformer import INIT_STD, CausalTransformer
from tightbound.priors.codes.autoregressive import AutoregressivePrior, Choose


class Transformer(AutoregressivePrior):
    """Codes in one sequence of P * depth, each from all before it.

    The input of a step is the embedding of the code before (a learned vector at the first), a learned vector each for
    row, column and index of the code that is predicted, and what the maps, at that position, and the context give.

    Arguments:
        grid, depth, codebook_size, maps, context: See `CodePrior`.
        hidden: Size of a step.
        layers: Blocks of attention and a two-layer network.
        heads: Of attention; a divisor of `hidden`.
        dropout: Of the blocks, in training.
        blocks: Residual blocks that the maps pass through.

    Raises:
        InputError: a number out of range.

    References:
        Language models are unsupervised multitask learners (Radford et al. 2019), Section 2.3; over the codes of
        images: Taming transformers for high-resolution image synthesis (Esser et al. 2021), Section 3.2,
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
        """(N, P, depth) -> (N, P, depth, K)."""
        before = self.embed(codes).flatten(1, 2)[:, :-1]
        before = torch.cat([self.start.expand(len(codes), 1, -1), before], 1)
        out = self.net(before + self._places(condition)).unflatten(1, (self.positions, self.depth))
        return torch.stack([head(out[:, :, i]) for i, head in enumerate(self.heads)], 2)

    def generate(self, rows: int, condition: Maps | None, choose: Choose) -> None:
        """Each step reads the keys and values of all before it."""
        at = self._places(condition).unbind(1)
        step = self.net.steps(rows, len(at), self.start)
        before = self.start.expand(rows, -1)
        for i, place in enumerate(at):
            position, index = divmod(i, self.depth)
            logits = self.heads[index](step(before + place))
            before = self.embed_one(choose(logits, position, index), index)

    def _places(self, condition: Maps | None) -> Tensor:
        """(N or 1, P * depth, hidden) what is added to each step, for the code that it predicts."""
        at = (self.rows + self.columns + self.indices).flatten(0, 1).unsqueeze(0)
        if self.spread is not None and condition is not None:
            spread = self.spread(condition.flatten(2).transpose(1, 2))  # (N, P or 1, hidden)
            at = at + spread.unsqueeze(2)
        return at.flatten(1, 2)
