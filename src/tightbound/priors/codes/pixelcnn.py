"""Gated PixelCNN code prior with causal self-attention."""

from __future__ import annotations

from torch import Tensor

from tightbound.nn.masked import Maps
from tightbound.nn.pixelcnn import GatedPixelCNN
from tightbound.priors.codes.autoregressive import AutoregressivePrior, Choose


class PixelCNN(AutoregressivePrior):
    """Gated PixelCNN code prior, with gated convolutions over nearby indices and attention over all earlier ones.

    The maps, after their residual network, and the context enter every layer.

    Args:
        grid: As for `CodePrior`.
        depth: As for `CodePrior`.
        codebook_size: As for `CodePrior`.
        maps: As for `CodePrior`.
        context: As for `CodePrior`.
        embedding: Size of the embedding of an index.
        hidden: Number of feature maps per layer, divided among the indices of a position.
        layers: Number of gated layers.
        kernel: Kernel size of the convolutions, an odd number.
        attention: Number of attention heads after the middle and last layers, a divisor of `hidden`; 0: no attention.
        dropout: Dropout rate of the gates in training.
        blocks: Number of residual blocks of the network for the maps.

    Raises:
        InputError: If a number is out of range.

    References:
        Conditional image generation with PixelCNN decoders (van den Oord et al. 2016),
        https://arxiv.org/abs/1606.05328; Generating diverse high-fidelity images with VQ-VAE-2 (Razavi et al. 2019),
        Section 3.2, https://arxiv.org/abs/1906.00446
    """

    def __init__(
        self,
        grid: tuple[int, int] = (1, 1),
        depth: int = 1,
        codebook_size: int = 2,
        maps: int = 0,
        context: int = 0,
        embedding: int = 32,
        hidden: int = 64,
        layers: int = 5,
        kernel: int = 3,
        attention: int = 4,
        dropout: float = 0.1,
        blocks: int = 2,
    ) -> None:
        super().__init__(grid, depth, codebook_size, maps, context, embedding=embedding, hidden=hidden, blocks=blocks)
        self.net = GatedPixelCNN(
            self.depth,
            self.codebook_size,
            inputs=embedding,
            hidden=hidden,
            layers=layers,
            kernel=kernel,
            condition=self.conditioning.outputs,
            attention=attention,
            dropout=dropout,
        )

    def logits(self, codes: Tensor, condition: Maps | None) -> Tensor:
        """Return logits (N, P, depth, K) of indices (N, P, depth)."""
        x = self.embed(codes).flatten(2).transpose(1, 2).unflatten(2, self.grid)
        return self.net(x, condition).flatten(2, 3).transpose(1, 2)

    def generate(self, rows: int, condition: Maps | None, choose: Choose) -> None:
        """Generate indices at a cost linear in their number, except for the attention."""

        def step(logits: Tensor, row: int, column: int, index: int) -> Tensor:
            return self.embed_one(choose(logits, row * self.grid[1] + column, index), index)

        self.net.generate((rows, *self.grid), condition, step, self.table.weight)
