"""How a codebook is used, over a stream of codes: a whole epoch or data set, never a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.quantizers.base import Quantizer


class QuantizationError(NamedTuple):
    """Of some vectors: what the mean distance to their codes, and their variance, are made of."""

    n: int
    squared: float  # sum of |v - e|^2
    mean: Tensor  # (size,)
    about: float  # sum of |v - mean|^2

    @classmethod
    def of(cls, vectors: Tensor, chosen: Tensor) -> Self:
        """Of vectors (..., size) and those of their codes (..., size)."""
        v, e = (x.detach().cpu().double().flatten(0, -2) for x in (vectors, chosen))
        mean = v.mean(0)
        return cls(len(v), float((v - e).square().sum()), mean, float((v - mean).square().sum()))

    def __add__(self, other: QuantizationError) -> QuantizationError:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Of these and others: updating formulae (Chan et al. 1979), which lose little."""
        n, gap = self.n + other.n, other.mean - self.mean
        between = float(gap.square().sum()) * self.n * other.n / n
        return QuantizationError(
            n, self.squared + other.squared, self.mean + gap * (other.n / n), self.about + other.about + between
        )


@dataclass
class CodebookUsage:
    """Counts of codes, by codebook, and distances of vectors to those of their codes.

    Arguments:
        counts: (codebooks, entries) how often each entry was chosen; start with zeros, or by `empty`, `of`.
    """

    counts: Tensor
    distances: QuantizationError | None = None

    @classmethod
    def empty(cls, codebook_size: int, codebooks: int = 1) -> Self:
        """Nothing counted yet."""
        return cls(torch.zeros(codebooks, codebook_size, dtype=torch.long))

    @classmethod
    def for_quantizer(cls, quantizer: Quantizer) -> Self:
        """Nothing counted yet, of this quantizer's codebooks."""
        return cls.empty(quantizer.codebook_size, 1 if quantizer.shared else quantizer.depth)

    def add(self, indices: Tensor) -> None:
        """Counts codes (..., depth): each index of the last axis has a codebook of its own, unless there is only one.

        Raises:
            InputError: another number of codes in the last axis, or codes that are no entries.
        """
        codebooks, codebook_size = self.counts.shape
        if codebooks > 1 and indices.shape[-1] != codebooks:
            raise InputError(f"{indices.shape[-1]} indices per position, for {codebooks} codebooks; give one each")
        columns = indices.detach().reshape(-1, codebooks).cpu()
        if columns.numel() and not 0 <= int(columns.min()) <= int(columns.max()) < codebook_size:
            raise InputError(f"codes {columns.min()} .. {columns.max()} are not of 0 .. {codebook_size - 1}")
        self.counts += torch.stack([column.bincount(minlength=codebook_size) for column in columns.unbind(1)])

    def add_distances(self, vectors: Tensor, chosen: Tensor) -> None:
        """Takes vectors (..., size) and those of their codes (..., size) into the distance."""
        self.add_error(QuantizationError.of(vectors, chosen))

    def add_error(self, distances: QuantizationError) -> None:
        """Takes those of further vectors."""
        self.distances = distances if self.distances is None else self.distances + distances

    @property
    def used(self) -> Tensor:
        """(codebooks,) entries that occur."""
        return (self.counts > 0).sum(1)

    @property
    def used_share(self) -> Tensor:
        """(codebooks,) of the entries, those that occur."""
        return self.used / self.counts.shape[1]

    @property
    def entropy(self) -> Tensor:
        """(codebooks,) of the frequencies of entries, nats."""
        p = self.counts.double() / self.counts.sum(1, keepdim=True)
        return -torch.special.xlogy(p, p).sum(1)

    @property
    def perplexity(self) -> Tensor:
        """(codebooks,) exp(entropy): entries in even use."""
        return self.entropy.exp()

    @property
    def relative_entropy(self) -> float:
        """Of the bits that codes have, the part in use: entropy over log K, summed over codebooks."""
        codebooks, codebook_size = self.counts.shape
        return float(self.entropy.sum() / (codebooks * torch.tensor(float(codebook_size)).log().double()))

    @property
    def relative_error(self) -> float | None:
        """Mean |v - e|^2 over the variance E|v - Ev|^2 of the vectors: 0 is lossless, 1 as bad as one entry at the
        mean; None where no distances were given, or the vectors do not vary."""
        found = self.distances
        return found.squared / found.about if found is not None and found.about > 0 else None
