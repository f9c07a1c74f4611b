"""A gated PixelCNN over codes, with causal self-attention."""

from __future__ import annotations

from torch import Tensor

from tightbound.nn.masked import Maps
from tightbound.nn.pixelcnn import GatedPixelCNN
from tightbound.priors.codes.autoregressive import AutoregressivePrior, Choose


class PixelCNN(AutoregressivePrior):
    """Codes from those near by through gated convolutions, and from all before them through attention.

    The maps, after their residual network, and the context enter every layer.

    Arguments:
        grid, depth, codebook_size, maps, context: See `CodePrior`.
        embedding: Size of a code's embedding.
        hidden: Feature maps of a layer, shared out among the codes of a position.
        layers, kernel: Gated layers, and the odd edge of their convolutions.
        attention: Heads of the attention after the middle and the last layer, a divisor of `hidden`; 0: none.
        dropout: Of the gates, in training.
        blocks: Residual blocks that the maps pass through.

    Raises:
        InputError: a number out of range.

    References:
        Conditional image generation with PixelCNN decoders (van den Oord et al. 2016), https://arxiv.org/abs/1606.05328;
        Generating diverse high-fidelity images with VQ-VAE-2 (Razavi et al. 2019), Section 3.2,
        https://arxiv.org/abs/1906.00446
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
        """(N, P, depth) -> (N, P, depth, K)."""
        x = self.embed(codes).flatten(2).transpose(1, 2).unflatten(2, self.grid)
        return self.net(x, condition).flatten(2, 3).transpose(1, 2)

    def generate(self, rows: int, condition: Maps | None, choose: Choose) -> None:
        """Cost is linear in the number of codes, but for attention's reading of those before."""

        def step(logits: Tensor, row: int, column: int, index: int) -> Tensor:
            return self.embed_one(choose(logits, row * self.grid[1] + column, index), index)

        self.net.generate((rows, *self.grid), condition, step, self.table.weight)
