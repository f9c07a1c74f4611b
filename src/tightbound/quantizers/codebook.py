"""Codebooks of K code vectors, with nearest-vector search and restarts of unused vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.core.errors import CompositionError, number, whole
from tightbound.core.noise import Noise, key_seed
from tightbound.core.numerics import unrounded
from tightbound.core.world import gathered, summed
from tightbound.quantizers.base import Nearest, precise

BLOCK = 2**24  # default number of elements that a search holds at once


class Codebook(Nearest, ABC):
    """Base class of quantizers with K code vectors, and a penalty that keeps the encoder near them.

    The codebook is initialized by k-means on the first examples. A code vector that is rarely used is replaced by a
    vector of the batch.

    Args:
        size: Size of a code vector.
        codebook_size: Number of code vectors K.
        commitment: Weight of |v - sg(e)|^2 for the vector v and its code vector e, summed over an example.
        decay: Decay per step of the moving average of each code vector's use.
        restart: A code vector used less than this fraction of even use is replaced by a vector of the batch; 0: never.
        cosine: Scale vectors and code vectors to length 1, so that the nearest one has the largest cosine.
        gradient: "straight-through" or "rotation": how the gradient of z reaches the vectors. The codebook gets no
            gradient from z.

    Raises:
        InputError: If the gradient is unknown.
        CompositionError: If cosine=True and size=1.

    References:
        Restart: Jukebox (Dhariwal et al. 2020), Section 3.1, https://arxiv.org/abs/2005.00341; cosine: ViT-VQGAN (Yu et
            al. 2022), Section 3.2, https://arxiv.org/abs/2110.04627; rotation: Fifty et al. 2024,
            https://arxiv.org/abs/2410.06424
    """

    codebook: Tensor  # (codebook_size, size), from which `to_codes` makes the code vectors
    use: Tensor  # (codebook_size,) moving average of each code vector's use, relative to even use

    def __init__(
        self,
        size: int = 16,
        codebook_size: int = 512,
        commitment: float = 0.25,
        decay: float = 0.98,
        restart: float = 0.1,
        cosine: bool = False,
        gradient: str = "straight-through",
    ) -> None:
        super().__init__(size, gradient)
        self.codebook_size = whole("codebook_size", codebook_size, least=2)
        self.commitment = number("commitment", commitment, least=0)
        self.decay = number("decay", decay, least=0, below=1)
        self.restart = number("restart", restart, least=0, below=1)
        self.cosine, self.unbounded = bool(cosine), not cosine
        if cosine and self.size < 2:
            raise CompositionError("cosine=True needs vectors with a direction, but size = 1; pass size=2 or more")
        self.register_buffer("use", torch.ones(self.codebook_size))
        self.register_codebook(self.to_vectors(torch.randn(self.codebook_size, self.size) / self.size**0.5))

    @abstractmethod
    def register_codebook(self, codebook: Tensor) -> None:
        """Register the codebook (codebook_size, size) as a buffer or a parameter."""

    def to_vectors(self, raw: Tensor) -> Tensor:
        """Return the encoder's outputs, scaled to length 1 if `cosine`."""
        return F.normalize(raw, dim=-1) if self.cosine else raw

    def to_codes(self, rows: Tensor) -> Tensor:
        """Return the code vectors (..., size) of rows (..., size) of the codebook."""
        return self.to_vectors(rows)  # an optimizer may move parameters off the sphere

    def embed(self, indices: Tensor) -> Tensor:
        """Return the vectors (..., size) of code indices (..., 1)."""
        return self.to_codes(self.codebook[indices.squeeze(-1)])

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the code indices (..., 1) nearest to vectors (..., size)."""
        return nearest_rows(vectors, self.to_codes(self.codebook))

    def candidates(self, vectors: Tensor, n: int) -> Tensor:
        """Return the code indices (..., n, 1) of exactly the n nearest code vectors, nearest first."""
        return nearest_rows(vectors, self.to_codes(self.codebook), n).unsqueeze(-1)

    def penalty(self, vectors: Tensor, indices: Tensor) -> Tensor:
        """Return the commitment penalty (B,), whose gradient reaches only the vectors."""
        return self.commitment * (vectors - self.embed(indices).detach()).square().sum((1, 2))

    @torch.no_grad()
    def update_codebook(self, vectors: Tensor, indices: Tensor, noise: Noise) -> None:
        """Count the use of code vectors, and replace rarely used ones by different vectors of the batch.

        A vector is picked with probability proportional to its squared distance to the nearest code vector, as in
        k-means++ (Arthur and Vassilvitskii 2007), so that vectors with a large error get new code vectors.
        """
        flat = indices.flatten()
        counts = over_batch(torch.bincount(flat, minlength=self.codebook_size), noise)
        self.use.lerp_(counts.to(self.use) * (self.codebook_size / counts.sum()), 1 - self.decay)
        self.move_vectors(vectors.flatten(0, 1), flat, counts, noise)
        dead = (self.use < self.restart).nonzero().squeeze(1)
        if len(dead):
            far = (vectors - self.embed(indices)).square().sum(-1).flatten()
            # draw without replacement: take the first events of exponential waiting times with these rates
            waits = -torch.log1p(-noise.uniform((1, *vectors.shape[:2]), vectors).flatten()) / far
            candidates = vectors.flatten(0, 1)
            if not noise.whole:
                shares = zip(*gathered((far.cpu(), waits.cpu(), candidates.cpu())), strict=True)
                far, waits, candidates = (torch.cat(parts).to(vectors.device) for parts in shares)
            n = min(len(dead), int(far.count_nonzero()))  # do not add a vector that is in the codebook already
            new = candidates[waits.argsort()[:n]].unique(dim=0)
            self.use[dead[: len(new)]] = 1.0
            self.set_vectors(dead[: len(new)], new)

    def move_vectors(self, vectors: Tensor, indices: Tensor, counts: Tensor, noise: Noise) -> None:
        """Update code vectors that are not parameters.

        Args:
            vectors: Vectors (N, size) of this process's part of the batch.
            indices: Code indices (N,) of these vectors.
            counts: Use (codebook_size,) in the whole batch.
            noise: Noise of the batch, which tells whether this process holds the whole batch.
        """

    @torch.no_grad()
    def set_vectors(self, which: Tensor, vectors: Tensor) -> None:
        """Set the code vectors with indices `which` (n,) to vectors (n, size)."""
        self.codebook[which] = vectors.to(self.codebook)

    @torch.no_grad()
    def start_at(self, raw: Tensor) -> None:
        """Initialize the codebook by k-means on vectors (N, size).

        With fewer distinct vectors than code vectors, the remaining code vectors keep their random values.
        """
        import warnings

        import numpy as np
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        vectors = self.to_vectors(precise(raw))
        # pick at random, because every n-th vector would come from the same few positions of all examples
        picked = np.random.default_rng(key_seed("k-means")).permutation(len(vectors))[: 64 * self.codebook_size]
        vectors = vectors.cpu().numpy()[picked]
        few = min(self.codebook_size, len(np.unique(vectors, axis=0)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # vectors that differ by rounding share a center
            found = KMeans(few, n_init="auto", max_iter=20, random_state=key_seed("k-means") % 2**32).fit(vectors)
        centers = self.to_vectors(torch.from_numpy(found.cluster_centers_))
        self.set_vectors(torch.arange(few, device=self.use.device), centers.to(self.use.device))
        self.use.fill_(1.0)


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


def over_batch(values: Tensor, noise: Noise) -> Tensor:
    """Sum values over the processes that share the batch of this noise."""
    return values if noise.whole else summed(values)


@torch.no_grad()
def nearest_rows(vectors: Tensor, table: Tensor, n: int = 1, block: int = BLOCK) -> Tensor:
    """Return the indices (..., n) of the n rows of a table that are nearest to each vector, nearest first.

    Distances are computed in at least float32.

    Args:
        vectors: Vectors (..., size).
        table: Table (K, size).
        n: Number of rows to find, at most K.
        block: Maximum number of distances in memory.
    """
    kind = torch.promote_types(precise(vectors).dtype, table.dtype)
    with unrounded(vectors.device.type):
        table = table.to(kind)
        # centering loses fewer digits in |v - e|^2 = |v|^2 - 2 v.e + |e|^2, where |v|^2 is not needed
        center = table.mean(0)
        table = table - center
        lengths = table.square().sum(1)
        rows = []
        for part in (vectors.reshape(-1, table.shape[1]).to(kind) - center).split(max(1, block // len(table))):
            distance = torch.addmm(lengths, part, table.T, alpha=-2)
            several = n > 1  # argmin is faster
            rows.append(
                distance.topk(min(n, len(table)), largest=False).indices if several else distance.argmin(1, True)
            )
    return torch.cat(rows).view(*vectors.shape[:-1], -1)
