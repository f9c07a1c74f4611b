"""Codebooks: K vectors, the nearest of them, and what keeps them in use."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from tightbound.core.errors import CompositionError, number, whole
from tightbound.core.noise import Noise, key_seed
from tightbound.core.numerics import unrounded
from tightbound.core.world import gathered, summed
from tightbound.quantizers.base import Nearest, precise

AT_ONCE = 2**24  # numbers that a search holds at once
_PER_ENTRY = 64  # vectors that k-means looks at


class Codebook(Nearest, ABC):
    """The nearest of K vectors, and a penalty that keeps the encoder near it.

    It starts at the means that k-means finds among the first data. An entry that is hardly used is set to a vector of
    the batch.

    Arguments:
        size: Of a vector.
        entries: K.
        commitment: Weight of |v - sg(e)|^2, of the vector v and its code's e, summed over an example.
        decay: A step, of the moving average of each entry's use.
        restart: An entry used less than this share of the even use is set to a vector of the batch; 0: never.
        cosine: Vectors and entries are scaled to length 1: the nearest is that of the largest cosine.
        gradient: "straight-through" or "rotation": how that of z reaches the vectors. None of it goes to the codebook.

    Raises:
        InputError: no such gradient.
        CompositionError: cosine codes of size 1.

    References:
        Restart: Jukebox (Dhariwal et al. 2020), Section 3.1, https://arxiv.org/abs/2005.00341; cosine: ViT-VQGAN (Yu et
        al. 2022), Section 3.2, https://arxiv.org/abs/2110.04627; rotation: Fifty et al. 2024,
        https://arxiv.org/abs/2410.06424
    """

    codebook: Tensor  # (entries, size)
    use: Tensor  # (entries,) moving average of how often each is chosen; 1 is the even share

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
            raise CompositionError("codes of cosine=True have a direction, and size = 1 has none; give size=2 or more")
        self.register_buffer("use", torch.ones(self.codebook_size))
        self.register_codebook(self.to_vectors(torch.randn(self.codebook_size, self.size) / self.size**0.5))

    @abstractmethod
    def register_codebook(self, codebook: Tensor) -> None:
        """Registers the codebook (entries, size)."""

    def to_vectors(self, raw: Tensor) -> Tensor:
        """As they are, or of length 1."""
        return F.normalize(raw, dim=-1) if self.cosine else raw

    def embed(self, indices: Tensor) -> Tensor:
        """(..., 1) -> (..., size)."""
        return self.to_vectors(self.codebook[indices.squeeze(-1)])  # an optimizer takes parameters off the sphere

    def nearest(self, vectors: Tensor) -> Tensor:
        """(..., size) -> (..., 1)."""
        return nearest_rows(vectors, self.to_vectors(self.codebook))

    def candidates(self, vectors: Tensor, most: int) -> Tensor:
        """(..., size) -> (..., n, 1), exactly the nearest n."""
        return nearest_rows(vectors, self.to_vectors(self.codebook), most).unsqueeze(-1)

    def penalty(self, vectors: Tensor, indices: Tensor) -> Tensor:
        """(B,) the commitment: gradient to the vectors alone."""
        return self.commitment * (vectors - self.embed(indices).detach()).square().sum((1, 2))

    @torch.no_grad()
    def update_codebook(self, vectors: Tensor, indices: Tensor, noise: Noise) -> None:
        """Counts the use of entries, and restarts those that are hardly used at different vectors of the batch, with
        probability proportional to their squared distance to the nearest entry, as k-means++ does (Arthur and
        Vassilvitskii 2007): what is badly coded gets the entries."""
        flat = indices.flatten()
        counts = over_batch(torch.bincount(flat, minlength=self.codebook_size), noise)
        self.use.lerp_(counts.to(self.use) * (self.codebook_size / counts.sum()), 1 - self.decay)
        self.move_vectors(vectors.flatten(0, 1), flat, counts, noise)
        dead = (self.use < self.restart).nonzero().squeeze(1)
        if len(dead):
            far = (vectors - self.embed(indices)).square().sum(-1).flatten()
            # the first to come of exponential waiting times at these rates: drawn without replacement
            waits = -torch.log1p(-noise.uniform((1, *vectors.shape[:2]), vectors).flatten()) / far
            candidates = vectors.flatten(0, 1)
            if not noise.whole:
                shares = zip(*gathered((far.cpu(), waits.cpu(), candidates.cpu())), strict=True)
                far, waits, candidates = (torch.cat(parts).to(vectors.device) for parts in shares)
            most = min(len(dead), int(far.count_nonzero()))  # what is an entry needs none like it
            new = candidates[waits.argsort()[:most]].unique(dim=0)
            self.use[dead[: len(new)]] = 1.0
            self.set_vectors(dead[: len(new)], new)

    def move_vectors(self, vectors: Tensor, indices: Tensor, counts: Tensor, noise: Noise) -> None:
        """Moves entries that are no parameters after vectors (N, size), their codes (N,), and the counts (entries,) of
        all data of the batch, of which these may be a share."""

    @torch.no_grad()
    def set_vectors(self, which: Tensor, vectors: Tensor) -> None:
        """Sets the entries with these numbers (n,) to vectors (n, size)."""
        self.codebook[which] = vectors.to(self.codebook)

    @torch.no_grad()
    def start_at(self, raw: Tensor) -> None:
        """Takes the means that k-means finds among vectors (N, size). Where there are fewer different vectors than
        entries, the others keep their random start."""
        import numpy as np
        from sklearn.cluster import KMeans

        vectors = self.to_vectors(precise(raw))
        # at random: one in every so many would be of the same few positions in all data
        picked = np.random.default_rng(key_seed("k-means")).permutation(len(vectors))[: _PER_ENTRY * self.codebook_size]
        vectors = vectors.cpu().numpy()[picked]
        few = min(self.codebook_size, len(np.unique(vectors, axis=0)))
        found = KMeans(few, n_init="auto", max_iter=20, random_state=key_seed("k-means") % 2**32).fit(vectors)
        centers = self.to_vectors(torch.from_numpy(found.cluster_centers_))
        self.set_vectors(torch.arange(few, device=self.use.device), centers.to(self.use.device))
        self.use.fill_(1.0)


def over_batch(values: Tensor, noise: Noise) -> Tensor:
    """The sum over the processes that share the batch which this noise is drawn for."""
    return values if noise.whole else summed(values)


@torch.no_grad()
def nearest_rows(vectors: Tensor, table: Tensor, most: int = 1) -> Tensor:
    """The numbers (..., most) of the rows of a table (K, size) that are nearest to vectors (..., size), in order; all K
    where there are fewer.

    In single precision at least, and of a bounded number of distances at once.
    """
    kind = torch.promote_types(precise(vectors).dtype, table.dtype)
    with unrounded(vectors.device.type):
        table = table.to(kind)
        center = table.mean(0)  # about which less is lost in |v - e|^2 = |v|^2 - 2 v.e + |e|^2, and |v|^2 is of no use
        table = table - center
        lengths = table.square().sum(1)
        rows = []
        for part in (vectors.reshape(-1, table.shape[1]).to(kind) - center).split(max(1, AT_ONCE // len(table))):
            distance = torch.addmm(lengths, part, table.T, alpha=-2)
            several = most > 1  # argmin is faster
            rows.append(
                distance.topk(min(most, len(table)), largest=False).indices if several else distance.argmin(1, True)
            )
    return torch.cat(rows).view(*vectors.shape[:-1], -1)
