"""Vector quantization: the nearest of K vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from tightbound.core.errors import number, whole
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.quantizers.base import Quantized, Quantizer


class VectorQuantizer(Quantizer):
    """The nearest of K vectors, each the moving average of the encoder's vectors that it is nearest to.

    Arguments:
        size: Of a vector.
        entries: K.
        commitment: Weight of |vector - sg(code's vector)|^2, summed over a datum, which keeps the encoder near.
        decay: Of the moving averages, a step.
        restart: An entry used less than this share of the even use is set to a vector of the batch.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Eq. 3 and Appendix A,
        https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self,
        size: int = 16,
        entries: int = 512,
        commitment: float = 0.25,
        decay: float = 0.99,
        restart: float = 0.03,
    ) -> None:
        super().__init__(size)
        self.entries = whole("entries", entries, least=2)
        self.commitment = number("commitment", commitment, least=0)
        self.decay, self.restart = number("decay", decay, least=0, below=1), number("restart", restart, least=0)
        self.register_buffer("codebook", torch.randn(self.entries, self.size) / self.size**0.5)
        self.register_buffer("use", torch.ones(self.entries))  # moving average, 1 is the even share
        self.register_buffer("sums", self.codebook.clone())  # of vectors, in the same unit

    codebook: Tensor
    use: Tensor
    sums: Tensor

    def forward(self, raw: Tensor, samples: int, noise: Noise, knobs: Knobs) -> Quantized:
        """Straight-through: the gradient to z goes to the vectors as it is."""
        codes = self.nearest(raw)
        vectors = self.embed(codes)
        penalty = self.commitment * (raw - vectors).square().sum((1, 2))
        z = raw + (vectors - raw).detach()
        if self.training:
            self._follow(raw.detach().flatten(0, 1), codes.flatten(), noise)
        return Quantized(z.expand(samples, *z.shape), codes.expand(samples, *codes.shape), penalty.expand(samples, -1))

    @torch.no_grad()
    def _follow(self, vectors: Tensor, codes: Tensor, noise: Noise) -> None:
        """Moves the averages by vectors (N, size) and their codes (N,); restarts entries that are hardly used."""
        share = self.entries / len(codes)
        use = torch.zeros_like(self.use).index_add_(0, codes, torch.ones_like(vectors[:, 0])) * share
        sums = torch.zeros_like(self.sums).index_add_(0, codes, vectors) * share
        self.use.lerp_(use, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        dead = self.use < self.restart
        if dead.any():
            pick = (noise.uniform((1, self.entries), vectors)[0] * len(vectors)).long()
            self.sums[dead], self.use[dead] = vectors[pick[dead]], 1.0
        self.codebook.copy_(self.sums / self.use.unsqueeze(1))

    def embed(self, codes: Tensor) -> Tensor:
        """(..., 1) -> (..., size)."""
        return self.codebook[codes.squeeze(-1)]

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """(..., size) -> (..., 1)."""
        flat = vectors.reshape(-1, self.size)
        # |v - e|^2 less |v|^2
        return (
            torch.addmm(self.codebook.square().sum(1), flat, self.codebook.T, alpha=-2)
            .argmin(1)
            .view(*vectors.shape[:-1], 1)
        )

    @torch.no_grad()
    def start_at(self, raw: Tensor) -> None:
        """Takes the means that k-means finds among vectors (N, size)."""
        from sklearn.cluster import KMeans

        few = min(self.entries, len(raw))
        found = KMeans(few, max_iter=20, random_state=0).fit(raw.float().cpu().numpy())
        self.codebook[:few] = torch.from_numpy(found.cluster_centers_).to(self.codebook)
        self.sums.copy_(self.codebook)
        self.use.fill_(1.0)
