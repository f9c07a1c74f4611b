"""Vector quantization by a learned linear map of fixed random vectors."""

from __future__ import annotations

from torch import Tensor, nn

from tightbound.core.noise import Noise
from tightbound.core.numerics import unrounded
from tightbound.quantizers.codebook import GradientVectorQuantizer


class SimVQ(GradientVectorQuantizer):
    """Vector quantizer whose code vectors are a learned affine map of fixed random vectors.

    The map is trained by the penalty |sg(v) - e|^2. A step moves all code vectors, also those that no vector of the
    batch is nearest to, and so none has to be replaced.

    Args:
        size: Size of a code vector.
        codebook_size: Number of code vectors K.
        commitment: Weight of |v - sg(e)|^2 for the vector v and its code vector e, summed over an example.
        cosine: Scale vectors and code vectors to length 1, so that the nearest one has the largest cosine.
        gradient: "straight-through" or "rotation": how the gradient of z reaches the vectors.

    Raises:
        InputError: If the gradient is unknown.
        CompositionError: If cosine=True and size=1.

    References:
        Addressing representation collapse in vector quantized models with one linear layer (Zhu et al. 2024),
            Section 4, https://arxiv.org/abs/2411.02038
    """

    def __init__(
        self,
        size: int = 16,
        codebook_size: int = 512,
        commitment: float = 0.25,
        cosine: bool = False,
        gradient: str = "straight-through",
    ) -> None:
        super().__init__(size, codebook_size, commitment, restart=0, cosine=cosine, gradient=gradient)

    def register_codebook(self, codebook: Tensor) -> None:
        """Register the fixed vectors as a buffer, and the map as parameters, which start at random."""
        self.register_buffer("codebook", codebook)
        self.map = nn.Linear(self.size, self.size)

    def to_codes(self, rows: Tensor) -> Tensor:
        """Return the code vectors (..., size) of fixed vectors (..., size)."""
        with unrounded(rows.device.type):
            return self.to_vectors(self.map(rows))

    def update_codebook(self, vectors: Tensor, indices: Tensor, noise: Noise) -> None:
        """Do nothing: only the map changes, by its gradient."""

    def start_at(self, raw: Tensor) -> None:
        """Do nothing: the map starts at random, as in the paper.

        If code vectors started with the covariance of the encoder's vectors, fewer of them would be used: those beyond
        the encoder's vectors would never be nearest.
        """
