"""Vector quantization: the nearest of K vectors, which follow the data or are learnt by gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tightbound.core.noise import Noise
from tightbound.quantizers.codebook import Codebook, over_batch


class VectorQuantizer(Codebook):
    """The nearest of K vectors, each the moving average of the encoder's vectors that it is nearest to.

    The averages are in shares of the even use, so that they do not depend on the size of a batch. Arguments, and the
    errors that they raise, are those of `Codebook`; `decay` is that of these averages, too.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Eq. 3 and Appendix A.1,
        https://arxiv.org/abs/1711.00937
    """

    sums: Tensor  # (entries, size) moving average of the vectors of each entry, in the unit of `use`

    def register_codebook(self, codebook: Tensor) -> None:
        """As a buffer, with its averages."""
        self.register_buffer("codebook", codebook)
        self.register_buffer("sums", codebook.clone())

    @torch.no_grad()
    def move_vectors(self, vectors: Tensor, indices: Tensor, counts: Tensor, noise: Noise) -> None:
        """Moves the averages."""
        sums = over_batch(torch.zeros_like(self.sums).index_add_(0, indices, vectors.to(self.sums)), noise)
        self.sums.lerp_(sums * (self.codebook_size / counts.sum()), 1 - self.decay)
        # of entries without a vector both averages shrink alike, at last to 0 / 0: their quotient stays as it is
        moved = self.to_vectors(self.sums / self.use.unsqueeze(1))
        self.codebook.copy_(torch.where((counts > 0).unsqueeze(1), moved, self.codebook))

    @torch.no_grad()
    def set_vectors(self, which: Tensor, vectors: Tensor) -> None:
        """As averages of the even use."""
        super().set_vectors(which, vectors)
        self.sums[which] = self.codebook[which]


class GradientVectorQuantizer(Codebook):
    """The nearest of K vectors, which are parameters: the penalty also has |sg(v) - e|^2, which moves them.

    Arguments, and the errors that they raise, are those of `Codebook`.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Eq. 3, https://arxiv.org/abs/1711.00937
    """

    def register_codebook(self, codebook: Tensor) -> None:
        """As a parameter."""
        self.codebook = nn.Parameter(codebook)

    def penalty(self, vectors: Tensor, indices: Tensor) -> Tensor:
        """(B,) commitment and codebook loss."""
        return super().penalty(vectors, indices) + (vectors.detach() - self.embed(indices)).square().sum((1, 2))
