"""Use of a codebook over many code indices, such as those of an epoch or a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from tightbound.core.errors import InputError


class QuantizationError(NamedTuple):
    """Sums that give the mean squared distance of vectors to their code vectors, and the variance of the vectors."""

    n: int
    squared: float  # sum of |v - e|^2
    mean: Tensor  # (size,)
    spread: float  # sum of |v - mean|^2

    @classmethod
    def of(cls, vectors: Tensor, chosen: Tensor) -> Self:
        """Compute the sums for vectors (..., size) and their code vectors (..., size)."""
        v, e = (x.detach().cpu().double().flatten(0, -2) for x in (vectors, chosen))
        mean = v.mean(0)
        return cls(len(v), float((v - e).square().sum()), mean, float((v - mean).square().sum()))

    def __add__(self, other: QuantizationError) -> QuantizationError:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Merge with the sums of other vectors.

        References:
            Updating formulae and a pairwise algorithm for computing sample variances (Chan et al. 1979)
        """
        n, gap = self.n + other.n, other.mean - self.mean
        between = float(gap.square().sum()) * self.n * other.n / n
        return QuantizationError(
            n, self.squared + other.squared, self.mean + gap * (other.n / n), self.spread + other.spread + between
        )


@dataclass
class CodebookUsage:
    """Counts of code indices by codebook, and the quantization error.

    Args:
        counts: How often each index was chosen (codebooks, codebook_size); `empty` starts at zero.
        distances: Sums of squared errors; None: unknown.
    """

    counts: Tensor
    distances: QuantizationError | None = None

    @classmethod
    def empty(cls, codebook_size: int, codebooks: int = 1) -> Self:
        """Return counts of zero."""
        return cls(torch.zeros(codebooks, codebook_size, dtype=torch.long))

    def add(self, indices: Tensor) -> None:
        """Count code indices (..., depth); each element of the last axis has its own codebook, unless all share one.

        Raises:
            InputError: If the size of the last axis is wrong, or indices are out of range.
        """
        codebooks, codebook_size = self.counts.shape
        if codebooks > 1 and indices.shape[-1] != codebooks:
            raise InputError(f"{indices.shape[-1]} indices per position for {codebooks} codebooks; pass one for each")
        columns = indices.detach().reshape(-1, codebooks).cpu()
        if columns.numel() and not 0 <= int(columns.min()) <= int(columns.max()) < codebook_size:
            raise InputError(f"code indices are {columns.min()} .. {columns.max()}; needed: 0 .. {codebook_size - 1}")
        self.counts += torch.stack([column.bincount(minlength=codebook_size) for column in columns.unbind(1)])

    def add_error(self, distances: QuantizationError) -> None:
        """Add the quantization error of further vectors."""
        self.distances = distances if self.distances is None else self.distances + distances

    @property
    def used(self) -> Tensor:
        """Number of indices that occur, (codebooks,)."""
        return (self.counts > 0).sum(1)

    @property
    def used_share(self) -> Tensor:
        """Fraction of the indices that occur, (codebooks,)."""
        return self.used / self.counts.shape[1]

    @property
    def entropy(self) -> Tensor:
        """Entropy of the index frequencies in nats, (codebooks,)."""
        p = self.counts.double() / self.counts.sum(1, keepdim=True)
        return -torch.special.xlogy(p, p).sum(1)

    @property
    def perplexity(self) -> Tensor:
        """exp(entropy), the number of equally used indices with the same entropy, (codebooks,)."""
        return self.entropy.exp()

    @property
    def relative_entropy(self) -> float:
        """Entropy divided by log K, averaged over codebooks: the fraction of the bits in use."""
        codebooks, codebook_size = self.counts.shape
        return float(self.entropy.sum() / (codebooks * torch.tensor(float(codebook_size)).log().double()))

    @property
    def relative_error(self) -> float | None:
        """Mean |v - e|^2 over the variance E|v - Ev|^2 of the vectors.

        0 is lossless, and 1 is as bad as one code vector at the mean. None if no distances were added or the vectors do
        not vary.
        """
        found = self.distances
        return found.squared / found.spread if found is not None and found.spread > 0 else None
