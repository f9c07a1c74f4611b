"""Vector quantization: the nearest of K code vectors, which follow the data or are trained by gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tightbound.core.noise import Noise
from tightbound.quantizers.codebook import Codebook, over_batch


class VectorQuantizer(Codebook):
    """Codebook whose vectors are moving averages of the encoder's vectors that are nearest to them.

    The averages are in shares of the even use, so that they do not depend on the batch size. Arguments and errors are
    those of `Codebook`; `decay` also applies to these averages.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Eq. 3 and Appendix A.1,
        https://arxiv.org/abs/1711.00937
    """

    sums: Tensor  # (codebook_size, size) moving average of the vectors of each index, in the unit of `use`

    def register_codebook(self, codebook: Tensor) -> None:
        """Register the codebook as a buffer, with its averages."""
        self.register_buffer("codebook", codebook)
        self.register_buffer("sums", codebook.clone())

    @torch.no_grad()
    def move_vectors(self, vectors: Tensor, indices: Tensor, counts: Tensor, noise: Noise) -> None:
        """Update the averages, see `Codebook.move_vectors`."""
        sums = over_batch(torch.zeros_like(self.sums).index_add_(0, indices, vectors.to(self.sums)), noise)
        self.sums.lerp_(sums * (self.codebook_size / counts.sum()), 1 - self.decay)
        # Without new vectors both averages shrink equally, finally to 0 / 0: their quotient is then kept.
        moved = self.to_vectors(self.sums / self.use.unsqueeze(1))
        self.codebook.copy_(torch.where((counts > 0).unsqueeze(1), moved, self.codebook))

    @torch.no_grad()
    def set_vectors(self, which: Tensor, vectors: Tensor) -> None:
        """Set code vectors and their averages."""
        super().set_vectors(which, vectors)
        self.sums[which] = self.codebook[which]


class GradientVectorQuantizer(Codebook):
    """Codebook whose vectors are parameters, moved by the additional penalty |sg(v) - e|^2.

    Arguments and errors are those of `Codebook`.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Eq. 3, https://arxiv.org/abs/1711.00937
    """

    def register_codebook(self, codebook: Tensor) -> None:
        """Register the codebook as a parameter."""
        self.codebook = nn.Parameter(codebook)

    def penalty(self, vectors: Tensor, indices: Tensor) -> Tensor:
        """Return commitment and codebook loss (B,)."""
        return super().penalty(vectors, indices) + (vectors.detach() - self.embed(indices)).square().sum((1, 2))
