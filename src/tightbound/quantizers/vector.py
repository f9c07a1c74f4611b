"""Vector quantization with code vectors that are moving averages or are trained by gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tightbound.core.noise import Noise
from tightbound.quantizers.codebook import Codebook, over_batch


class VectorQuantizer(Codebook):
    """Vector quantizer whose code vectors are moving averages of the encoder's vectors nearest to them.

    The averages are relative to even use, so they do not depend on the batch size. Arguments and errors are those of
    `Codebook`; `decay` also applies to these averages.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Eq. 3 and Appendix A.1,
        https://arxiv.org/abs/1711.00937
    """

    sums: Tensor  # (codebook_size, size) moving average of the sum of each index's vectors, in the unit of `use`

    def register_codebook(self, codebook: Tensor) -> None:
        """Register the codebook as a buffer, with its averages."""
        self.register_buffer("codebook", codebook)
        self.register_buffer("sums", codebook.clone())

    @torch.no_grad()
    def move_vectors(self, vectors: Tensor, indices: Tensor, counts: Tensor, noise: Noise) -> None:
        """Update the averages; see `Codebook.move_vectors`."""
        sums = over_batch(torch.zeros_like(self.sums).index_add_(0, indices, vectors.to(self.sums)), noise)
        self.sums.lerp_(sums * (self.codebook_size / counts.sum()), 1 - self.decay)
        # without new vectors both averages shrink equally, finally to 0 / 0, so keep their last quotient
        moved = self.to_vectors(self.sums / self.use.unsqueeze(1))
        self.codebook.copy_(torch.where((counts > 0).unsqueeze(1), moved, self.codebook))

    @torch.no_grad()
    def set_vectors(self, which: Tensor, vectors: Tensor) -> None:
        """Set code vectors and their averages."""
        super().set_vectors(which, vectors)
        self.sums[which] = self.codebook[which]


class GradientVectorQuantizer(Codebook):
    """Vector quantizer whose code vectors are parameters, trained by the additional penalty |sg(v) - e|^2.

    Arguments and errors are those of `Codebook`.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Eq. 3, https://arxiv.org/abs/1711.00937
    """

    def register_codebook(self, codebook: Tensor) -> None:
        """Register the codebook as a parameter."""
        self.codebook = nn.Parameter(codebook)

    def penalty(self, vectors: Tensor, indices: Tensor) -> Tensor:
        """Return the sum (B,) of the commitment penalty and the codebook loss."""
        return super().penalty(vectors, indices) + (vectors.detach() - self.embed(indices)).square().sum((1, 2))
